"""The report of a dataset: one page to look at, made of what the other rooms know."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lorasmith.datasets.source import disk_errors
from lorasmith.files import write_atomically

if TYPE_CHECKING:
    from lorasmith.datasets.report.record import DatasetPage


def write_report(page: DatasetPage, path: Path) -> None:
    """Write the page as one HTML file that needs no other.

    Raises:
        OutOfDisk, EnvironmentProblem: it cannot be written there.
    """
    from lorasmith.datasets.report.page import render

    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, render(page).encode("utf-8"))
