"""The worker's job "export": write a version in the layout of another program."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorasmith.datasets.layouts import export
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import Stopped
from lorasmith.events import Emit, Notice, Phase, Progress

if TYPE_CHECKING:
    from lorasmith.jobfolder import Control, JobFolder


def run(folder: JobFolder, emit: Emit, control: Callable[[], Control]) -> dict[str, Any]:
    """Export ``payload["dataset"]`` in ``layout`` to ``folder``; ``force`` replaces what others wrote there.

    Returns ``folder``, ``written``, ``unchanged`` and ``losses``. Stopped on the way it is not ``complete``; what was
    written is brought up to date by the next attempt.

    Raises:
        DatasetError, ConfigError, OutOfDisk: as ``layouts.export`` does.
    """
    payload = folder.record().payload
    store = DatasetStore(folder.home)

    def progress(done: int, total: int, path: str) -> None:
        del path
        if control().wanted != "run":
            raise Stopped("The export was stopped.", "Start it again to go on.")
        emit(Progress(done, total, unit="files"))

    emit(Phase("exporting"))
    target = Path(str(payload["folder"]))
    version = store.get(str(payload["dataset"]))
    try:
        exported = export(
            version, store, str(payload["layout"]), target, force=bool(payload.get("force")), progress=progress
        )
    except Stopped:
        return {"complete": False}
    for loss in exported.losses:
        emit(Notice(loss.sentence))
    return {
        "folder": str(exported.folder),
        "written": len(exported.files) - exported.unchanged,
        "unchanged": exported.unchanged,
        "losses": [loss.sentence for loss in exported.losses],
    }
