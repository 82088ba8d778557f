"""``queue.json``: a job's place in the queue, in its folder, so that the database can be made anew from the folders.

It is written inside the database's transaction, before its commit: whoever dies in between leaves a ticket that says
what was meant, and the next dispatcher brings the row after it.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from lorasmith.errors import EnvironmentProblem, JobError, OutOfDisk
from lorasmith.files import file_digest, read_json, write_atomically
from lorasmith.queue.states import Failure

FILE: Final = "queue.json"
NEVER: Final = "never"
"""In place of a start's token, for a job that no worker was ever started for."""


class Attempt(BaseModel):
    """One start of a worker, after it ended."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    number: int
    lane: str = ""
    outcome: str
    failure: Failure | None = None
    error: str = ""
    """Name of the error, or how the worker died."""
    step: int = 0
    """How far it came."""
    checkpoint: int = 0
    """The newest checkpoint then."""


class Ticket(BaseModel):
    """``queue.json``."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: int = 1
    wants: str
    """What it runs on: ``light``, ``cpu``, ``cuda`` (any card), ``cuda:1``, ``mps``."""
    priority: int = 0
    """Higher goes first."""
    position: float = 0.0
    """Among those of the same priority lower goes first."""
    held: bool = False
    reason: str = ""
    """Why it is held."""
    after: tuple[str, ...] = ()
    """Jobs that have to succeed first."""
    parent: str = ""
    """The job it was cloned from, or goes on from."""
    again: str = ""
    """It shall run once more: the token of the start whose end does not count any more."""
    cancelled: str = ""
    """It was cancelled while it waited: the token of its last start then."""
    request: str = ""
    """SHA-256 of ``job.json`` as it was submitted."""
    lane: str = ""
    """Where it was started last."""
    attempts: tuple[Attempt, ...] = ()


def read_ticket(folder: Path) -> Ticket | None:
    """The ticket of a job; None for one that never was in the queue.

    Raises:
        JobError: it is damaged.
    """
    try:
        return Ticket.model_validate_json((folder / FILE).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as cause:
        raise JobError(
            f"The {FILE} of {folder.name} is damaged.", f"Delete {folder / FILE}; then release the job again."
        ) from cause


def write_ticket(folder: Path, ticket: Ticket) -> None:
    """Write it whole, durably.

    Raises:
        OutOfDisk, EnvironmentProblem: it cannot be written.
    """
    try:
        write_atomically(folder / FILE, ticket.model_dump_json(indent=2).encode())
    except OSError as cause:
        if cause.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfDisk(f"The disk that holds {folder} is full.", "Free some space and try again.") from cause
        raise EnvironmentProblem(f"{folder} cannot be written: {cause.strerror}.", "Mend its permissions.") from cause


def request_digest(folder: Path) -> str:
    """SHA-256 of what was asked; empty when it is not there."""
    try:
        return file_digest(folder / "job.json")
    except FileNotFoundError:
        return ""


def start_token(folder: Path) -> str:
    """Which start of a worker was the last."""
    start = read_json(folder / "start.json")
    return str(start.get("token", "unnamed")) if start else NEVER
