"""The HTML page about a version: what is found, gathered and written, one stage after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lorasmith.datasets.lens import Lens
from lorasmith.datasets.manifest import DatasetVersion
from lorasmith.datasets.store import DatasetStore

if TYPE_CHECKING:
    from lorasmith.datasets.checks import Report
    from lorasmith.datasets.report.stages import Watch


def write_page(
    target: Path,
    version: DatasetVersion,
    store: DatasetStore,
    lens: Lens,
    inspect: Callable[..., Report],
    *,
    trainers: Sequence[str] | None,
    progress: Callable[[int, int, str], None] | None,
    watch: Watch | None,
) -> None:
    """Write the page as ``Curation.report`` does; ``inspect`` carries out the checks and takes a ``progress``."""
    from lorasmith.datasets.eyes import eye_of
    from lorasmith.datasets.report import write_report
    from lorasmith.datasets.report.gather import gather
    from lorasmith.datasets.report.stages import Stages

    for name in trainers or ():
        eye_of(name)  # so that a wrong name is told before anything is measured
    stages = Stages(progress, watch)
    stages("pictures measured", 0, len(version.items))
    found = inspect(progress=lambda done, total, _: stages("pictures measured", done, total))
    stages("checks", 1, 1)
    page = gather(version, store, found, lens, trainers=trainers, stages=stages)
    stages("page written", 0, 1)
    write_report(page, target)
    stages("page written", 1, 1)
