"""The worker's job "fetch": bring base weights into the home."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lorasmith.bases.adding import Downloads, add_local, add_wanted
from lorasmith.bases.links import LocalPath, parse_link
from lorasmith.bases.registry import BaseRegistry
from lorasmith.bases.wanting import resolve
from lorasmith.credentials import Credentials
from lorasmith.errors import Stopped
from lorasmith.events import Emit, Notice, Phase

if TYPE_CHECKING:
    from lorasmith.jobfolder import Control, JobFolder


def run(
    folder: JobFolder, emit: Emit, control: Callable[[], Control], downloads: Downloads | None = None
) -> dict[str, Any]:
    """Fetch what ``payload["link"]`` means, under ``name`` if there is one; what has arrived is not asked for again.

    Returns ``base`` and ``new``; not ``complete`` when it was stopped.

    Raises:
        BaseError: what came cannot be read, or is no base.
        FetchError: it cannot be fetched.
    """
    from lorasmith.fetching import Fetcher

    payload = folder.record().payload
    registry, name = BaseRegistry(folder.home), str(payload.get("name") or "")
    fetcher: Downloads = downloads or Fetcher(credentials=Credentials(folder.home))
    emit(Phase("downloading"))
    try:
        parsed = parse_link(str(payload["link"]))
        if isinstance(parsed, LocalPath):
            added = add_local(registry, parsed.path, name=name)
        else:
            wanted = resolve(parsed, fetcher.json)
            added = add_wanted(
                registry,
                wanted,
                fetcher,
                name=name,
                progress=lambda transfer: emit(transfer.event()),
                cancel=lambda: control().wanted != "run",
            )
    except Stopped:
        return {"complete": False}
    for note in added.notes:
        emit(Notice(note))
    return {"base": added.base.name, "new": added.new}
