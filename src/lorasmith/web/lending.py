"""Which pictures whoever asks may have edited: those of datasets that he sees, and those that he gave himself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from fastapi import Request

from lorasmith.errors import InputError
from lorasmith.generation.request import is_hash, refuse_paths
from lorasmith.studio import Studio
from lorasmith.web.brought import files_of, forget
from lorasmith.web.owning import OwnedStudio


def may_edit(request: Request, sha256: str) -> bool:
    """Whether somebody may have a picture edited."""
    studio: OwnedStudio = request.app.state.studio
    if not is_hash(sha256):
        return False
    actor, lent = request.state.actor, studio.lending.about(sha256)
    if lent is not None and (actor.name in lent.owners or (actor.role == "admin" and actor.only is None)):
        return True
    return studio.curate.holds_picture(sha256) and studio.sees_picture(sha256)


def checked(request: Request, references: Iterable[str]) -> list[str]:
    """References of a request that came over the network.

    Raises:
        ConfigError: one is a path.
        InputError: one is no picture that whoever asks may have edited.
    """
    told = [str(one) for one in references]
    refuse_paths(told)
    for one in told:
        if not may_edit(request, one):
            raise InputError(f"There is no picture {one[:12]} to edit.", "Choose it again, or send it anew.")
    return told


def lend(request: Request, ids: Sequence[str]) -> list[str]:
    """Keep uploads of whoever asks as pictures to edit; their hashes. The uploads go.

    Raises:
        InputError: one is no picture.
        UploadRefused: one is not there, of somebody else, or not whole.
    """
    studio: Studio = request.app.state.studio
    files: list[Path] = files_of(request, ids)
    try:
        return [studio.lending.take(file, file.name, request.state.actor.name) for file in files]
    finally:
        forget(request, ids)
