"""Rows of the queue, the one transition between states, and the journal: an event with every change, or neither."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final, Literal, cast

from sqlalchemy import ColumnElement, Connection, func, select

from lorasmith.jobfolder import JobKind
from lorasmith.queue import tables
from lorasmith.queue.states import Failure, State, refuse_impossible

EventKind = Literal["state", "order", "progress", "attempt", "lane", "request", "removed", "rebuilt"]
"""state: ``before`` and ``after``; order: moved, or another priority; progress: phase, done, total; attempt: a worker
has ended; lane: drained or opened; request: somebody asked to save, sample or finish; removed, rebuilt: rows are gone
or were made anew, read them again."""


class Superseded(Exception):
    """The row has changed since it was read: it is read again and decided anew."""


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A job as the database knows it."""

    id: str
    kind: JobKind
    title: str
    state: State
    version: int
    """Counts every change; a change names the version it knew."""
    reason: str
    """Why it is held, blocked, failed, paused."""
    failure: Failure | Literal[""]
    phase: str
    done: int
    total: int
    seconds_left: float | None
    wants: str
    lane: str
    """Where it runs or ran last."""
    priority: int
    position: float
    managed: bool
    """Whether the queue decides over it; False: somebody started it by hand."""
    attempt: int
    """How often a worker was started."""
    parent: str
    output_name: str
    request: str
    output: Mapping[str, Any] | None
    """What was collected at its end."""
    created: str
    changed: str


@dataclass(frozen=True, slots=True)
class Happening:
    """One entry of the journal."""

    id: int
    job: str
    kind: EventKind
    before: str
    after: str
    detail: Mapping[str, Any]
    at: str
    """For people; the order is that of the ids."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A place where so many jobs run at once."""

    name: str
    capacity: int
    draining: bool
    reason: str


_COLUMNS: Final = tuple(getattr(tables.job.c, field.name) for field in fields(QueuedJob))
_TURN: Final = (tables.job.c.priority.desc(), tables.job.c.position, tables.job.c.id)


def find(connection: Connection, job: str) -> QueuedJob | None:
    """The row of that id."""
    row = connection.execute(select(*_COLUMNS).where(tables.job.c.id == job)).one_or_none()
    return QueuedJob(*row) if row is not None else None


def list_jobs(
    connection: Connection,
    *,
    states: Collection[State] | None = None,
    ids: Collection[str] | None = None,
    in_turn: bool = False,
    newest: bool = False,
    limit: int | None = None,
    offset: int = 0,
    where: ColumnElement[bool] | None = None,
) -> tuple[QueuedJob, ...]:
    """Rows, oldest first; ``newest`` turns that round, ``in_turn`` gives the order in which they would run."""
    query = select(*_COLUMNS)
    if states is not None:
        query = query.where(tables.job.c.state.in_(list(states)))
    if ids is not None:
        query = query.where(tables.job.c.id.in_(list(ids)))
    if where is not None:
        query = query.where(where)
    created = (tables.job.c.created, tables.job.c.id)
    query = query.order_by(*(_TURN if in_turn else [c.desc() for c in created] if newest else created))
    return tuple(QueuedJob(*row) for row in connection.execute(query.limit(limit).offset(offset)))


def next_in_turn(connection: Connection, wants: Sequence[str], passed_over: Collection[str] = ()) -> QueuedJob | None:
    """The queued job that is the next for a lane which serves these wants."""
    query = select(*_COLUMNS).where(tables.job.c.state == "queued", tables.job.c.wants.in_(list(wants)))
    query = query.where(tables.job.c.managed)
    if passed_over:
        query = query.where(tables.job.c.id.not_in(list(passed_over)))
    row = connection.execute(query.order_by(*_TURN).limit(1)).one_or_none()
    return QueuedJob(*row) if row is not None else None


def transition(connection: Connection, job: QueuedJob, to: State, *, reason: str = "", **values: Any) -> QueuedJob:
    """Bring a job from the state it was read in to another, and say so in the journal.

    Args:
        connection: of a transaction that writes.
        job: as it was read.
        to: the state it shall have.
        reason: why; replaces the last one.
        values: other columns to set with it.

    Raises:
        JobError: no way leads there.
        Superseded: the row has changed since.
    """
    refuse_impossible(job.id, job.state, to)
    detail = {"reason": reason} if reason else {}
    detail |= {key: value for key, value in values.items() if key in ("failure", "lane", "attempt") and value}
    changed = _swap(connection, job, {**values, "state": to, "reason": reason})
    note(connection, job.id, "state", detail, before=job.state, after=to)
    return changed


def change(connection: Connection, job: QueuedJob, kind: EventKind, /, **values: Any) -> QueuedJob:
    """Set columns without changing the state, and say so in the journal.

    Raises:
        Superseded: the row has changed since.
    """
    changed = _swap(connection, job, values)
    note(connection, job.id, kind, values, before=job.state, after=job.state)
    return changed


def _swap(connection: Connection, job: QueuedJob, values: Mapping[str, Any]) -> QueuedJob:
    new = {**values, "version": job.version + 1, "changed": now()}
    row = tables.job.c
    done = connection.execute(
        tables.job.update().where(row.id == job.id, row.version == job.version, row.state == job.state).values(new)
    )
    if done.rowcount != 1:
        raise Superseded(job.id)
    return QueuedJob(**{field.name: new.get(field.name, getattr(job, field.name)) for field in fields(QueuedJob)})


def note(
    connection: Connection,
    job: str,
    kind: EventKind,
    detail: Mapping[str, Any] | None = None,
    *,
    before: str = "",
    after: str = "",
) -> None:
    """Write an entry of the journal."""
    values = {"job": job, "kind": kind, "before": before, "after": after, "detail": dict(detail or {}), "at": now()}
    connection.execute(tables.event.insert().values(values))


def read_journal(connection: Connection, after: int, limit: int, job: str = "") -> tuple[Happening, ...]:
    """Entries with a higher id, oldest first."""
    query = select(tables.event).where(tables.event.c.id > after)
    if job:
        query = query.where(tables.event.c.job == job)
    return tuple(
        Happening(**row._mapping) for row in connection.execute(query.order_by(tables.event.c.id).limit(limit))
    )


def last_event(connection: Connection) -> int:
    """The id of the newest entry; 0 for an empty journal."""
    return connection.scalar(select(func.max(tables.event.c.id))) or 0


def prune_journal(connection: Connection, keep: int) -> int:
    """Remove all but the newest entries; how many went."""
    return connection.execute(tables.event.delete().where(tables.event.c.id <= last_event(connection) - keep)).rowcount


def insert(connection: Connection, job: QueuedJob, after: Sequence[str] = ()) -> None:
    """A new row with its dependencies and its first event."""
    connection.execute(
        tables.job.insert().values({field.name: getattr(job, field.name) for field in fields(QueuedJob)})
    )
    for needs in dict.fromkeys(after):
        connection.execute(tables.dependency.insert().values(job=job.id, needs=needs))
    note(connection, job.id, "state", {"reason": job.reason} if job.reason else {}, after=job.state)


def remove(connection: Connection, job: str) -> None:
    """Take a job out of all tables but the journal."""
    connection.execute(tables.dependency.delete().where(tables.dependency.c.job == job))
    connection.execute(tables.attempt.delete().where(tables.attempt.c.job == job))
    connection.execute(tables.job.delete().where(tables.job.c.id == job))
    note(connection, job, "removed")


def edge_position(connection: Connection, priority: int, *, front: bool) -> float:
    """A position before or behind all that wait with this priority."""
    position = tables.job.c.position
    inside = tables.job.c.state.in_(["queued", "held", "blocked", "paused"])
    edge = func.min(position) if front else func.max(position)
    found = connection.scalar(select(edge).where(inside, tables.job.c.priority == priority))
    return float(found or 0.0) + (-1.0 if front else 1.0)


def needed_by(connection: Connection, job: str) -> tuple[str, ...]:
    """The jobs that have to succeed before this one, in no order."""
    return tuple(connection.scalars(select(tables.dependency.c.needs).where(tables.dependency.c.job == job)))


def with_needs(connection: Connection) -> frozenset[str]:
    """The jobs that need others to succeed first."""
    return frozenset(connection.scalars(select(tables.dependency.c.job).distinct()))


def waiting_for(connection: Connection, job: str) -> str:
    """What a job's dependencies say: empty when all have succeeded, else the reason why it is blocked."""
    needs = needed_by(connection, job)
    known = {other.id: other for other in list_jobs(connection, ids=needs)} if needs else {}
    for other in sorted(needs):
        if other not in known:
            return f"{other}, which it needs, is not there any more."
        state = known[other].state
        if state in ("failed", "cancelled", "lost"):
            return f"{other}, which it needs, {'was ' if state in ('cancelled', 'lost') else ''}{state}."
    open_ones = [other for other in sorted(needs) if known[other].state != "succeeded"]
    return f"It waits for {', '.join(open_ones)}." if open_ones else ""


def lanes(connection: Connection) -> tuple[Lane, ...]:
    """All lanes, by name."""
    return tuple(Lane(**row._mapping) for row in connection.execute(select(tables.lane).order_by(tables.lane.c.name)))


def journal_name(connection: Connection) -> str:
    """Which journal this is: ids of another one mean nothing here."""
    return cast(str, connection.scalar(select(tables.meta.c.value).where(tables.meta.c.key == "journal")))


def now() -> str:
    """The clock, for people; nothing decides by it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
