"""``queue.json``: a job's place in the queue, in its folder, so that the database can be made anew from the folders.

It is put in place inside the database's transaction, before its commit: whoever dies in between leaves a ticket that
says what was meant, and the next dispatcher brings the row after it. Where it can be foreseen it is made durable as a
``Draft`` before the transaction begins, so that nobody waits for the disk while it is written.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict

from lorasmith.errors import EnvironmentProblem, JobError, OutOfDisk
from lorasmith.files import file_digest, put_in_place, read_json, sync_folder, write_atomically
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


def write_ticket(folder: Path, ticket: Ticket, *, settle: bool = True) -> None:
    """Write it whole; without ``settle`` a power cut may bring the last one back, which is no harm to an order.

    Raises:
        OutOfDisk, EnvironmentProblem: it cannot be written.
    """
    with _explained(folder):
        write_atomically(folder / FILE, _bytes_of(ticket), settle=settle)


class Draft:
    """A ticket made durable beside the one that is there; ``take`` puts it in its place, which needs no disk.

    Use it as a context: what was not taken is gone at its end.
    """

    def __init__(self, folder: Path, ticket: Ticket) -> None:
        """
        Raises:
            OutOfDisk, EnvironmentProblem: it cannot be written.
        """
        self.ticket: Final = ticket
        self.taken = False
        self._folder = folder
        self._file = folder / f".{FILE}.{os.getpid()}-{threading.get_ident()}.tmp"
        try:
            with _explained(folder), self._file.open("wb") as stream:
                stream.write(_bytes_of(ticket))
                stream.flush()
                os.fsync(stream.fileno())
        except EnvironmentProblem:
            self._file.unlink(missing_ok=True)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        if not self.taken:
            self._file.unlink(missing_ok=True)

    def take(self) -> None:
        """Let it be the ticket. A power cut before ``settle`` may bring the last one back, whole."""
        with _explained(self._folder):
            put_in_place(self._file, self._folder / FILE)
        self.taken = True

    def settle(self) -> None:
        """Make it durable that it is the ticket."""
        with _explained(self._folder):
            sync_folder(self._folder)


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        if cause.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfDisk(f"The disk that holds {folder} is full.", "Free some space and try again.") from cause
        raise EnvironmentProblem(f"{folder} cannot be written: {cause.strerror}.", "Mend its permissions.") from cause


def _bytes_of(ticket: Ticket) -> bytes:
    return ticket.model_dump_json(indent=2).encode()


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
