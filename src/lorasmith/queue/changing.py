"""How a verb changes a job: its row as it is now, its ticket before the commit, in one transaction."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from lorasmith.errors import JobError
from lorasmith.jobfolder import JobFolder
from lorasmith.jobs import Job, Jobs
from lorasmith.queue import records, tables
from lorasmith.queue.database import Database
from lorasmith.queue.observing import waiting_token
from lorasmith.queue.records import QueuedJob, Superseded
from lorasmith.queue.states import ACTIVE, WAITING, State
from lorasmith.queue.ticket import Draft, Ticket, read_ticket, request_digest, write_ticket

_TRIES: Final = 50  # how often a verb begins anew because the row changed under it
_WORDS: Final[Mapping[State, str]] = {
    "pausing": "Paused by hand.",
    "cancelling": "Cancelled by hand.",
    "cancelled": "Cancelled by hand.",
}
_FORESEEN: Final = 5
"""How often of these a ticket is foreseen; then it is written while everybody else waits."""
Act = Callable[[Connection, QueuedJob], QueuedJob]
Foresee = Callable[[Connection, QueuedJob, Ticket], Ticket]
"""From a row and its ticket to the ticket it shall have; it reads, and refuses with a ``JobError``."""
Follow = Callable[[Connection, QueuedJob, Ticket], QueuedJob]
"""Brings the row after the new ticket."""


class NoRoom(Exception):
    """Between two positions there is no number any more."""

    def __init__(self, priority: int) -> None:
        super().__init__(priority)
        self.priority = priority


@dataclass(frozen=True)
class Changes:
    """The changes of one queue; ``changed`` is called after each."""

    jobs: Jobs
    database: Database
    changed: Callable[[], None]

    def job(self, job_id: str) -> Job:
        """The folder of a job and what speaks to its worker; whether it is there shows when it is used."""
        return Job(JobFolder(self.jobs.folder / job_id), self.jobs)

    def change(self, job: str, act: Act) -> QueuedJob:
        """Do it to the row as it is now, in one transaction.

        Raises:
            JobError: the act refuses, or the job is gone.
        """
        for _ in range(_TRIES):
            try:
                with self.database.write() as connection:
                    row = records.find(connection, job)
                    if row is None:
                        raise JobError(f"Job {job} has been removed.", "`lorasmith queue list` lists what is there.")
                    changed = act(connection, row)
            except Superseded:
                continue
            self.changed()
            return changed
        raise JobError(f"Job {job} changes too fast to be changed.", "Try again in a moment.")

    def rewrite(self, job: str, foresee: Foresee, follow: Follow, *, settle: bool = True) -> QueuedJob:
        """Change a job's ticket and its row together, without keeping others from writing while the disk is waited for.

        The ticket is foreseen and made durable first. Inside the transaction it is foreseen once more: if nothing has
        changed that it depends on, it is put in its place before the commit, else all of it begins anew. A ticket that
        others keep changing under is at last written inside.

        Args:
            job: its id.
            foresee: gives the ticket.
            follow: changes the row.
            settle: whether it returns only when a power cut cannot bring the last ticket back.

        Raises:
            JobError: ``foresee`` refuses, or the job is gone.
        """
        folder = self.job(job).folder.path
        for tried in range(_TRIES):
            try:
                with ExitStack() as drafted:
                    draft = None
                    if tried < _FORESEEN:
                        with self.database.read() as connection:
                            row, ticket, wanted = self._foreseen(connection, job, foresee)
                        if wanted != ticket or not row.managed:
                            draft = drafted.enter_context(Draft(folder, wanted))
                    with self.database.write() as connection:
                        row, ticket, wanted = self._foreseen(connection, job, foresee)
                        if wanted != ticket or not row.managed:
                            if draft is not None and draft.ticket == wanted:
                                draft.take()
                            elif tried < _FORESEEN:
                                raise Superseded(job)
                            else:
                                write_ticket(folder, wanted, settle=settle)
                        changed = follow(connection, row, wanted)
                    if draft is not None and draft.taken and settle:
                        draft.settle()
            except Superseded:
                continue
            self.changed()
            return changed
        raise JobError(f"Job {job} changes too fast to be changed.", "Try again in a moment.")

    def _foreseen(self, connection: Connection, job: str, foresee: Foresee) -> tuple[QueuedJob, Ticket, Ticket]:
        """A row, its ticket, or the one it would get at the back of the queue, and the ticket it shall have."""
        row = records.find(connection, job)
        if row is None:
            raise JobError(f"Job {job} has been removed.", "`lorasmith queue list` lists what is there.")
        folder = self.job(job).folder.path
        ticket = read_ticket(folder)
        if ticket is None:
            position = records.edge_position(connection, 0, front=False)
            ticket = Ticket(wants=row.wants, position=position, request=request_digest(folder))
        return row, ticket, foresee(connection, row, ticket)

    def edit(
        self,
        row: QueuedJob,
        change: Callable[[Ticket], Ticket],
        *,
        connection: Connection | None = None,
        keep: bool = False,
        settle: bool = True,
    ) -> Ticket:
        """Change a job's ticket; one without gets one, unless ``keep``. ``settle``: as of ``write_ticket``."""
        folder = self.job(row.id).folder
        ticket = read_ticket(folder.path)
        if ticket is None and not keep:
            position = records.edge_position(connection, 0, front=False) if connection is not None else 0.0
            ticket = Ticket(wants=row.wants, position=position, request=request_digest(folder.path))
        if ticket is None:
            return Ticket(wants=row.wants)
        changed = change(ticket)
        if changed != ticket or row.managed is False:
            write_ticket(folder.path, changed, settle=settle)
        return changed

    def place(
        self,
        job: str,
        where: Callable[[Connection, QueuedJob], float],
        *,
        priority: int | None = None,
    ) -> QueuedJob:
        """Give a waiting job another position, and perhaps another priority.

        Args:
            job: its id.
            where: its position; raises ``NoRoom`` where no number is left.
            priority: its new one.
        """

        def foresee(connection: Connection, row: QueuedJob, ticket: Ticket) -> Ticket:
            if row.state not in WAITING and row.state != "paused":
                raise JobError(f"Job {row.id} is {row.state}; only a waiting job can be moved.", instead(row))
            if not row.managed:
                raise JobError(
                    f"Job {row.id} has no place in the queue.", f"`lorasmith queue release {row.id}` gives it one."
                )
            new = row.priority if priority is None else priority
            return ticket.model_copy(update={"priority": new, "position": where(connection, row)})

        def follow(connection: Connection, row: QueuedJob, ticket: Ticket) -> QueuedJob:
            return records.change(connection, row, "order", priority=ticket.priority, position=ticket.position)

        try:
            return self.rewrite(job, foresee, follow, settle=False)  # an order that is lost is no harm
        except NoRoom as crowded:
            self._renumber(crowded.priority)
            return self.rewrite(job, foresee, follow, settle=False)

    def _renumber(self, priority: int) -> None:
        """Spread positions out again, in the same order."""
        column = tables.job.c.priority
        with self.database.write() as connection:
            for number, row in enumerate(
                records.list_jobs(connection, states=WAITING, in_turn=True, where=column == priority)
            ):
                move = {"position": float(number)}
                self.edit(row, functools.partial(_updated, move), keep=True)
                records.change(connection, row, "order", **move)

    def again(self, job: str, *, front: bool, reason: str) -> QueuedJob:
        """Let a job that ended or paused wait for its turn once more."""

        def act(connection: Connection, row: QueuedJob) -> QueuedJob:
            if row.state in WAITING:
                return row
            if row.state == "succeeded":
                raise JobError(f"Job {row.id} has succeeded.", f"`lorasmith queue clone {row.id}` runs it anew.")
            if row.state in ACTIVE:
                raise JobError(f"Job {row.id} is {row.state}.", "Cancel or pause it first.")
            position = records.edge_position(connection, row.priority, front=front)
            token = waiting_token(self.job(row.id).folder.path)
            update = {"again": token, "cancelled": "", "held": False, "reason": "", "position": position}
            ticket = self.edit(row, lambda ticket: ticket.model_copy(update=update), connection=connection)
            values = {"managed": True, "position": position, "failure": "", "request": ticket.request}
            return self.wait(connection, row, reason, **values)

        return self.change(job, act)

    def wait(self, connection: Connection, row: QueuedJob, reason: str, **values: Any) -> QueuedJob:
        """Into the queue, or blocked if something else has to succeed first."""
        waits = records.waiting_for(connection, row.id)
        return records.transition(connection, row, "blocked" if waits else "queued", reason=waits or reason, **values)

    def towards(self, job: str, to: State) -> QueuedJob:
        """Bring the row after what was said to the worker, unless it has come further by itself."""

        def act(connection: Connection, row: QueuedJob) -> QueuedJob:
            if row.state == to or row.state in ("succeeded", "failed", "cancelled"):
                return row
            if to == "cancelled" and row.state in ACTIVE:
                return records.transition(connection, row, "cancelling", reason=_WORDS["cancelled"])
            if to == "cancelling" and row.state not in ACTIVE:
                return records.transition(connection, row, "cancelled", reason=_WORDS["cancelled"])
            if to == "pausing" and row.state not in ACTIVE:
                return row
            return records.transition(connection, row, to, reason=_WORDS.get(to, ""))

        return self.change(job, act)


def _updated(update: Mapping[str, Any], ticket: Ticket) -> Ticket:
    return ticket.model_copy(update=update)


def instead(row: QueuedJob) -> str:
    """What can be done with a job in this state."""
    if row.state in ACTIVE:
        return f"`lorasmith queue pause {row.id}` frees its device."
    if row.state in ("paused", "failed", "cancelled", "lost"):
        return f"`lorasmith queue resume {row.id}` goes on with it."
    return "Nothing was changed."
