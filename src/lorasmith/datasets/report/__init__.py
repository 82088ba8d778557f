"""The report of a dataset: one page to look at, made of what the other rooms know."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lorasmith.datasets.source import disk_errors
from lorasmith.errors import ConfigError
from lorasmith.jobfolder import write_atomically

if TYPE_CHECKING:
    from lorasmith.datasets.report.record import DatasetPage


def write_report(page: DatasetPage, path: Path) -> None:
    """Write the page as one HTML file that needs no other. A page that was there stays until this one is whole.

    Raises:
        ConfigError: the path is a folder.
        OutOfDisk, EnvironmentProblem: it cannot be written there.
    """
    from lorasmith.datasets.report.page import render

    if path.is_dir():
        raise ConfigError(f"{path} is a folder.", f"Name a file, such as {path / 'report.html'}.")
    content = render(page).encode("utf-8")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
