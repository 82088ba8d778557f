"""What somebody sent in pieces, for a request that works on it at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fastapi import Request

from lorasmith.errors import UploadRefused
from lorasmith.studio import Studio


def files_of(request: Request, ids: Sequence[str]) -> list[Path]:
    """Where these uploads of whoever asks lie, whole.

    Raises:
        UploadRefused: one is not there, of somebody else, or not whole.
    """
    studio = _studio(request)
    return [studio.uploads.finish(_own(request, id)) for id in ids]


@contextmanager
def laid_out(request: Request, ids: Sequence[str], *, keep: bool) -> Iterator[tuple[Path, ...]]:
    """Uploads of whoever asks, as the folder they came from, for as long as it takes.

    Args:
        request: who asks.
        ids: of the uploads.
        keep: whether the uploads stay, for another look; else they go when all went well.

    Raises:
        UploadRefused: one is not there, of somebody else, or not whole.
        InputError: there are none.
    """
    studio = _studio(request)
    ready = studio.lay_out_uploads(ids, request.state.actor.name)
    try:
        yield ready.sources
    finally:
        studio.release_uploads(ready)
    if not keep:
        forget(request, ids)


def forget(request: Request, ids: Sequence[str]) -> None:
    """Remove uploads that were taken."""
    for id in ids:
        _studio(request).uploads.abandon(id)


def _own(request: Request, id: str) -> str:
    if _studio(request).uploads.status(id).owner != request.state.actor.name:
        raise UploadRefused("There is no such upload, or it has expired.", "Begin it again.", "unknown")
    return id


def _studio(request: Request) -> Studio:
    studio: Studio = request.app.state.studio
    return studio
