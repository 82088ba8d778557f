"""The worker's job "import": take pictures in, from where they lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import Stopped
from lorasmith.events import Emit, Phase, Progress

if TYPE_CHECKING:
    from lorasmith.jobfolder import Control, JobFolder


def run(folder: JobFolder, emit: Emit, control: Callable[[], Control]) -> dict[str, Any]:
    """Import ``payload["sources"]`` (paths) under ``name`` with the ``options`` of ``DatasetStore.import_source``.

    Returns ``reference``, ``items`` and ``left_out``; ``complete`` is false when it was stopped, and nothing was
    written then: going on begins anew.

    Raises:
        InputError, DatasetError, ConfigError, OutOfDisk: as ``import_source`` does.
    """
    payload = folder.record().payload
    emit(Phase("importing"))
    try:
        version = DatasetStore(folder.home).import_source(
            [Path(source) for source in payload["sources"]],
            name=payload.get("name") or None,
            progress=lambda done, total, path: emit(Progress(done, total, unit="pictures")),
            cancel=lambda: control().wanted != "run",
            **payload.get("options", {}),
        )
    except Stopped:
        return {"complete": False}
    left_out = sum(fate.item is None for fate in version.ledger)
    return {"reference": version.reference, "items": len(version.items), "left_out": left_out}
