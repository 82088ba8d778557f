"""How a verb changes a job: its row as it is now, its ticket before the commit, in one transaction."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
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
from lorasmith.queue.ticket import Ticket, read_ticket, request_digest, write_ticket

_TRIES: Final = 50  # how often a verb begins anew because the row changed under it
_WORDS: Final[Mapping[State, str]] = {
    "pausing": "Paused by hand.",
    "cancelling": "Cancelled by hand.",
    "cancelled": "Cancelled by hand.",
}
Act = Callable[[Connection, QueuedJob], QueuedJob]


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

    def edit(
        self,
        row: QueuedJob,
        change: Callable[[Ticket], Ticket],
        *,
        connection: Connection | None = None,
        keep: bool = False,
    ) -> Ticket:
        """Change a job's ticket; one without gets one, unless ``keep``."""
        folder = self.job(row.id).folder
        ticket = read_ticket(folder.path)
        if ticket is None and not keep:
            position = records.edge_position(connection, 0, front=False) if connection is not None else 0.0
            ticket = Ticket(wants=row.wants, position=position, request=request_digest(folder.path))
        if ticket is None:
            return Ticket(wants=row.wants)
        changed = change(ticket)
        if changed != ticket or row.managed is False:
            write_ticket(folder.path, changed)
        return changed

    def place(
        self,
        job: str,
        where: Callable[[Connection, QueuedJob], float],
        *,
        priority: int | None = None,
    ) -> QueuedJob:
        """Give a waiting job another position, and perhaps another priority."""

        def act(connection: Connection, row: QueuedJob) -> QueuedJob:
            if row.state not in WAITING and row.state != "paused":
                raise JobError(f"Job {row.id} is {row.state}; only a waiting job can be moved.", instead(row))
            if not row.managed:
                raise JobError(
                    f"Job {row.id} has no place in the queue.", f"`lorasmith queue release {row.id}` gives it one."
                )
            new = row.priority if priority is None else priority
            position = where(connection, row)
            row = records.find(connection, row.id) or row  # it may have been renumbered
            self.edit(row, lambda ticket: ticket.model_copy(update={"priority": new, "position": position}))
            return records.change(connection, row, "order", priority=new, position=position)

        return self.change(job, act)

    def renumber(self, connection: Connection, priority: int) -> None:
        """Spread positions out again, in the same order."""
        waiting = records.list_jobs(connection, states=WAITING, in_turn=True, where=tables.job.c.priority == priority)
        for number, row in enumerate(waiting):
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
