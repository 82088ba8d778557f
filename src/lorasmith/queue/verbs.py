"""``Queue``: what can be asked of it. Every verb reads, decides and writes in one transaction, or changes nothing.

A verb about a worker speaks to its job folder first; the row follows, and where it does not get to, the dispatcher
brings it after the folder.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import IntegrityError

from lorasmith.errors import ConfigError, JobError
from lorasmith.jobfolder import JobKind
from lorasmith.jobs import Job, Jobs
from lorasmith.queue import records, tables
from lorasmith.queue.changing import Changes, NoRoom, instead
from lorasmith.queue.database import PATIENCE, Database, open_database
from lorasmith.queue.lanes import wanted_by
from lorasmith.queue.observing import row_of
from lorasmith.queue.records import Happening, Lane, QueuedJob, Superseded
from lorasmith.queue.states import ACTIVE, WAITING, State
from lorasmith.queue.ticket import Ticket, start_token, write_ticket

_TRIES: Final = 50  # how often a verb begins anew because the row changed under it
if TYPE_CHECKING:
    from lorasmith.queue.fsck import Difference

_LOWEST, _HIGHEST = -100, 100


@dataclass(frozen=True)
class Placement:
    """Where in the queue a new job goes."""

    wants: str = ""
    """What it runs on; left out, told from what it asks for."""
    priority: int = 0
    """-100 to 100; higher goes first."""
    front: bool = False
    """Before all that wait with the same priority."""
    after: tuple[str, ...] = ()
    """Ids of jobs that have to succeed first."""
    held: bool = False
    """Whether it waits for somebody to release it."""
    parent: str = ""
    """The job it comes from."""


@dataclass(frozen=True)
class Queue:
    """The queue of one home."""

    home: Path
    jobs: Jobs
    database: Database
    changed: Callable[[], None] = field(default=lambda: None, compare=False)
    """Called after every change of this process; a dispatcher beside it need not wait for its next look."""

    @classmethod
    def open(cls, jobs: Jobs, address: str = "", *, patience: float = PATIENCE) -> Queue:
        """The queue of a home; see ``open_database`` for what may go wrong."""
        return cls(jobs.home, jobs, open_database(jobs.home, address, patience=patience))

    def close(self) -> None:
        self.database.close()

    @property
    def _changes(self) -> Changes:
        return Changes(self.jobs, self.database, self.changed)

    def job(self, job_id: str) -> Job:
        """The folder of a job and what speaks to its worker; whether it is there shows when it is used."""
        return self._changes.job(job_id)

    # Looking

    def list(
        self,
        states: Collection[State] | None = None,
        *,
        in_turn: bool = False,
        newest: bool = False,
        limit: int | None = None,
        offset: int = 0,
    ) -> tuple[QueuedJob, ...]:
        """Jobs, oldest first; ``newest`` turns that round, ``in_turn`` gives the order in which they would run."""
        with self.database.read() as connection:
            return records.list_jobs(
                connection, states=states, in_turn=in_turn, newest=newest, limit=limit, offset=offset
            )

    def get(self, reference: str) -> QueuedJob:
        """The job of that id, of an unmistakable part of it, or the newest for ``last``.

        Raises:
            JobError: no job, or more than one, is meant; or the queue does not know it yet.
        """
        with self.database.read() as connection:
            found = records.find(connection, reference)
        if found is not None:
            return found
        job = self.jobs.get(reference)  # the refusals are the same
        with self.database.read() as connection:
            found = records.find(connection, job.id)
        return found if found is not None else self.index(job)

    def counts(self) -> dict[State, int]:
        """How many jobs there are in each state that has any."""
        with self.database.read() as connection:
            state = tables.job.c.state
            return {row[0]: row[1] for row in connection.execute(select(state, func.count()).group_by(state))}

    def journal(self, after: int = 0, *, limit: int = 1000, job: str = "") -> tuple[Happening, ...]:
        """What happened behind an id, oldest first."""
        with self.database.read() as connection:
            return records.read_journal(connection, after, limit, job)

    def journal_end(self) -> tuple[str, int]:
        """The journal's name, and the id of its newest entry. Ids of a journal of another name mean nothing here."""
        with self.database.read() as connection:
            return records.journal_name(connection), records.last_event(connection)

    def lanes(self) -> tuple[Lane, ...]:
        """The lanes that a dispatcher has opened."""
        with self.database.read() as connection:
            return records.lanes(connection)

    def needs(self, job: str) -> tuple[str, ...]:
        """The jobs that have to succeed before this one."""
        with self.database.read() as connection:
            return records.needed_by(connection, job)

    def examine(self) -> tuple[Difference, ...]:
        """What the job folders and the database do not say alike."""
        from lorasmith.queue.fsck import examine

        return examine(self)

    # Coming in

    def submit(
        self,
        kind: JobKind,
        payload: Mapping[str, Any],
        *,
        name: str = "",
        placement: Placement | None = None,
        prepare: Callable[[Path], object] = lambda folder: None,
    ) -> QueuedJob:
        """Accept a job: when this returns it is on the disk, and a crash does not lose it.

        Args:
            kind: what the worker shall do.
            payload: its arguments, JSON values; frozen from here on.
            name: a word for people.
            placement: where in the queue.
            prepare: puts more into its folder before it becomes a job.

        Raises:
            ConfigError: an impossible placement, or a secret in the payload.
            JobError: the payload is not JSON, or it needs a job that does not exist.
            EnvironmentProblem: it cannot be written.
        """
        place = placement or Placement()
        _check(place.priority)
        wants = place.wants or wanted_by(kind, payload)
        with self.database.read() as connection:
            for needed in place.after:
                if records.find(connection, needed) is None:
                    raise JobError(f"There is no job {needed} to wait for.", "`lorasmith queue list` lists them.")
            position = records.edge_position(connection, place.priority, front=place.front)

        def fill(folder: Path, record: bytes) -> None:
            prepare(folder)
            ticket = Ticket(
                wants=wants,
                priority=place.priority,
                position=position,
                held=place.held,
                reason="It was submitted to be held." if place.held else "",
                after=place.after,
                parent=place.parent,
                request=hashlib.sha256(record).hexdigest(),
            )
            write_ticket(folder, ticket, settle=False)  # job.json, in the same folder, settles both

        return self.index(self.jobs.submit(kind, payload, name=name, prepare=fill))

    def index(self, job: Job) -> QueuedJob:
        """Give a folder its row, and return it; one that has one keeps it.

        Raises:
            JobError: the folder is damaged.
        """
        row, after = row_of(job)
        try:
            with self.database.write() as connection:
                if (known := records.find(connection, job.id)) is not None:
                    return known
                records.insert(connection, row, after)
                if row.state == "queued" and (waits := records.waiting_for(connection, row.id)):
                    row = records.transition(connection, row, "blocked", reason=waits)
        except IntegrityError:  # another process was quicker
            return self.get(job.id)
        self.changed()
        return row

    # Order

    def hold(self, reference: str, reason: str = "") -> QueuedJob:
        """Keep a job from being started until it is released."""

        why = reason or "Held by hand."

        def foresee(connection: Connection, row: QueuedJob, ticket: Ticket) -> Ticket:
            if row.state not in WAITING:
                raise JobError(f"Job {row.id} is {row.state}; only a waiting job can be held.", instead(row))
            return ticket if row.state == "held" else ticket.model_copy(update={"held": True, "reason": why})

        def follow(connection: Connection, row: QueuedJob, ticket: Ticket) -> QueuedJob:
            return row if row.state == "held" else records.transition(connection, row, "held", reason=why)

        return self._changes.rewrite(self.get(reference).id, foresee, follow)

    def release(self, reference: str) -> QueuedJob:
        """Let a held job wait for its turn again; one without a place in the queue gets one at the back."""

        def foresee(connection: Connection, row: QueuedJob, ticket: Ticket) -> Ticket:
            if row.state in ("queued", "blocked"):
                return ticket
            if row.state != "held":
                raise JobError(f"Job {row.id} is {row.state} and not held.", instead(row))
            return ticket.model_copy(update={"held": False, "reason": ""})

        def follow(connection: Connection, row: QueuedJob, ticket: Ticket) -> QueuedJob:
            if row.state != "held":
                return row
            values = {"managed": True, "position": ticket.position, "request": ticket.request}
            return self._changes.wait(connection, row, "", **values)

        return self._changes.rewrite(self.get(reference).id, foresee, follow)

    def front(self, reference: str) -> QueuedJob:
        """Before all that wait with the same priority."""
        return self._changes.place(
            self.get(reference).id, lambda connection, row: records.edge_position(connection, row.priority, front=True)
        )

    def back(self, reference: str) -> QueuedJob:
        """Behind all that wait with the same priority."""
        return self._changes.place(
            self.get(reference).id, lambda connection, row: records.edge_position(connection, row.priority, front=False)
        )

    def move_before(self, reference: str, other: str) -> QueuedJob:
        """Directly before another waiting job, whose priority it takes."""
        target = self.get(other)
        if target.id == self.get(reference).id:
            raise JobError(f"Job {target.id} cannot go before itself.", "Name another one.")

        def between(connection: Connection, row: QueuedJob) -> float:
            there = records.find(connection, target.id)
            if there is None or there.state not in WAITING:
                raise JobError(f"Job {target.id} does not wait any more.", "Name one that does.")
            column = tables.job.c
            least = connection.scalar(
                select(func.max(column.position)).where(
                    column.priority == there.priority,
                    column.position < there.position,
                    column.id != row.id,
                    column.state.in_(list(WAITING)),
                )
            )
            if least is None:
                return there.position - 1.0
            middle = (float(least) + there.position) / 2
            if not least < middle < there.position:  # no number is left between the two
                raise NoRoom(there.priority)
            return middle

        return self._changes.place(self.get(reference).id, between, priority=target.priority)

    def prioritise(self, reference: str, priority: int) -> QueuedJob:
        """Give a job another priority, -100 to 100; it goes behind those that have it already."""
        _check(priority)
        return self._changes.place(
            self.get(reference).id,
            lambda connection, row: records.edge_position(connection, priority, front=False),
            priority=priority,
        )

    # Speaking to workers

    def pause(self, reference: str) -> QueuedJob:
        """Let a job save and free its device; a waiting one is held instead."""
        row = self.get(reference)
        if row.state in WAITING:
            return self.hold(row.id, "Paused before it began.")
        if row.state in ("pausing", "paused"):
            return row
        if row.state not in ACTIVE or row.state == "cancelling":
            raise JobError(f"Job {row.id} is {row.state} and cannot pause.", instead(row))
        self.job(row.id).pause()
        return self._changes.towards(row.id, "pausing")

    def resume(self, reference: str) -> QueuedJob:
        """Go on with a job that was paused, cancelled, failed or lost: before all that wait with its priority.

        A pause that is on its way is called off, and a held job is released.
        """
        row = self.get(reference)
        if row.state == "held":
            return self.release(row.id)
        if row.state == "pausing":
            raise JobError(f"Job {row.id} is still saving.", "Resume it when it is paused.")
        return self._changes.again(row.id, front=True, reason="Resumed.")

    def retry(self, reference: str) -> QueuedJob:
        """Another attempt at a job that failed, was cancelled or lost, behind those that wait."""
        return self._changes.again(self.get(reference).id, front=False, reason="Another attempt was asked for.")

    def cancel(self, reference: str) -> QueuedJob:
        """Let a job save and end; a waiting one ends at once. ``resume`` goes on with it."""
        row = self.get(reference)
        if row.state in ("cancelled", "cancelling"):
            return row
        if row.state in ("succeeded", "failed"):
            raise JobError(f"Job {row.id} has ended ({row.state}).", "There is nothing to cancel.")
        job = self.job(row.id)
        if row.state in ACTIVE or job.state() in ("queued", "running"):
            job.stop()
            return self._changes.towards(row.id, "cancelled" if row.state not in ACTIVE else "cancelling")

        def foresee(connection: Connection, row: QueuedJob, ticket: Ticket) -> Ticket:
            if row.state in ACTIVE:  # it was its turn just now
                raise Superseded(row.id)
            return ticket.model_copy(update={"cancelled": start_token(job.folder.path), "again": ""})

        def follow(connection: Connection, row: QueuedJob, ticket: Ticket) -> QueuedJob:
            return records.transition(connection, row, "cancelled", reason="Cancelled by hand.", failure="")

        return self._changes.rewrite(row.id, foresee, follow)

    def finish(self, reference: str) -> QueuedJob:
        """Let a running job end now with what it has made so far as its result."""
        row = self.get(reference)
        self.job(row.id).finish()
        return self._noted(row, "finish")

    def save_now(self, reference: str) -> QueuedJob:
        """Ask for a checkpoint at the next step."""
        row = self.get(reference)
        self.job(row.id).save_now()
        return self._noted(row, "save")

    def sample_now(self, reference: str) -> QueuedJob:
        """Ask for previews at the next step."""
        row = self.get(reference)
        self.job(row.id).sample_now()
        return self._noted(row, "sample")

    # Lanes

    def drain(self, lane: str = "", reason: str = "") -> tuple[Lane, ...]:
        """Start nothing more on a lane, or on all; what runs there goes on."""
        return self._drain(lane, True, reason or "Drained by hand.")

    def open_lane(self, lane: str = "") -> tuple[Lane, ...]:
        """Start jobs on a drained lane again, or on all."""
        return self._drain(lane, False, "")

    def _drain(self, lane: str, draining: bool, reason: str) -> tuple[Lane, ...]:
        with self.database.write() as connection:
            known = [one.name for one in records.lanes(connection)]
            if lane and lane not in known:
                raise ConfigError(f"There is no lane '{lane}'.", f"There are: {', '.join(known) or 'none yet'}.")
            for name in [lane] if lane else known:
                table = tables.lane
                connection.execute(table.update().where(table.c.name == name).values(draining=draining, reason=reason))
                records.note(connection, "", "lane", {"lane": name, "draining": draining, "reason": reason})
        self.changed()
        return self.lanes()

    def _noted(self, row: QueuedJob, what: str) -> QueuedJob:
        with self.database.write() as connection:
            records.note(connection, row.id, "request", {"request": what})
        self.changed()
        return row

    def wait(self, reference: str, *, poll: float = 0.2) -> QueuedJob:
        """Wait until a job has ended or is paused; somebody else has to run a dispatcher."""
        while (row := self.get(reference)).state in ACTIVE | WAITING:
            time.sleep(poll)
        return row


def _check(priority: int) -> None:
    if not _LOWEST <= priority <= _HIGHEST:
        raise ConfigError(f"A priority of {priority} cannot be.", f"Give {_LOWEST} to {_HIGHEST}; higher goes first.")
