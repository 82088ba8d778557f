"""Folders and database held against each other, both ways; the folders are right.

``examine`` changes nothing. ``bring_after_folders`` mends what a crash leaves; a dispatcher does so when it begins.
``rebuild`` makes all rows anew and keeps the journal, whose readers are told to read everything again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from sqlalchemy import Connection, func, select

from lorasmith.errors import EnvironmentProblem, JobError
from lorasmith.jobs import Job, Jobs
from lorasmith.queue import records, tables
from lorasmith.queue.database import FILE, open_database
from lorasmith.queue.migrations import back_up
from lorasmith.queue.observing import damage_of, row_of
from lorasmith.queue.records import QueuedJob, Superseded
from lorasmith.queue.states import ACTIVE, WAITING, WAYS
from lorasmith.queue.ticket import read_ticket, request_digest
from lorasmith.queue.verbs import Queue

DifferenceKind = Literal[
    "no_row", "no_folder", "state", "place", "facts", "request", "needs", "attempts", "damaged", "orphan", "database"
]
_FACTS: Final = ("kind", "title", "parent", "output_name", "managed", "request")
_PLACE: Final = ("wants", "priority", "position")
_ALIKE: Final = ({"starting", "running"}, {"running", "pausing"}, {"running", "cancelling"}, {"lost", "running"})


@dataclass(frozen=True)
class Difference:
    """One thing that the folders and the database do not say alike."""

    job: str
    kind: DifferenceKind
    sentence: str


def examine(queue: Queue) -> tuple[Difference, ...]:
    """Everything that differs, by job."""
    if damage := queue.database.damage():
        return (Difference("", "database", f"SQLite finds its file damaged: {damage}."),)
    found: list[Difference] = []
    folders = {job.id: job for job in queue.jobs.list()}
    rows = {row.id: row for row in queue.list()}
    for job in folders.values():
        found += _of_folder(queue, job, rows.get(job.id))
    for job_id in sorted(rows.keys() - folders.keys()):
        if not (queue.jobs.folder / job_id / "job.json").exists():
            found.append(Difference(job_id, "no_folder", "The database has it, and there is no folder."))
    found += _without_record(queue.jobs.folder)
    return (*sorted(found, key=lambda difference: difference.job), *_orphans(queue))


def _of_folder(queue: Queue, job: Job, row: QueuedJob | None) -> Iterator[Difference]:
    if damage := damage_of(job):
        yield Difference(job.id, "damaged", damage)
        return
    digest, ticket = request_digest(job.folder.path), read_ticket(job.folder.path)
    if ticket is not None and ticket.request and ticket.request != digest:
        yield Difference(job.id, "request", "Its job.json was changed after it was submitted.")
    if row is None:
        yield Difference(job.id, "no_row", "It has a folder, and the database does not know it.")
        return
    wanted, needs = row_of(job)
    row = queue.get(job.id)  # after the folder: what was said in between is not a difference
    if not _same_state(row, wanted):
        yield Difference(job.id, "state", f"The database says {row.state}, its folder {wanted.state}.")
    for kind, names in (("facts", _FACTS), ("place", _PLACE)):
        wrong = [name for name in names if getattr(row, name) != getattr(wanted, name)]
        if wrong:
            said = ", ".join(f"{n} is {getattr(row, n)!r} and should be {getattr(wanted, n)!r}" for n in wrong)
            yield Difference(job.id, "facts" if kind == "facts" else "place", f"In the database {said}.")
    known = queue.needs(job.id)
    if set(known) != set(needs):
        yield Difference(job.id, "needs", f"It needs {_list(needs)}; the database says {_list(known)}.")
    if ticket is not None and row.state not in ACTIVE:
        with queue.database.read() as connection:
            table = tables.attempt
            count = connection.scalar(select(func.count()).select_from(table).where(table.c.job == job.id))
        if count != len(ticket.attempts):
            sentence = f"It was tried {len(ticket.attempts)} times; the database says {count}."
            yield Difference(job.id, "attempts", sentence)


def _same_state(row: QueuedJob, wanted: QueuedJob) -> bool:
    if row.state == "blocked":
        return wanted.state == "queued"
    return row.state == wanted.state or (row.state in ACTIVE and any({row.state, wanted.state} <= s for s in _ALIKE))


def _without_record(folder: Path) -> Iterator[Difference]:
    """Folders that hold no job: what a crash leaves of a submission that was never confirmed."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not (path / "job.json").exists():
                sentence = "Its folder has no job.json: its submission was never finished. Delete the folder."
                yield Difference(path.name, "damaged", sentence)


def _orphans(queue: Queue) -> Iterator[Difference]:
    with queue.database.read() as connection:
        known = select(tables.job.c.id)
        for table in (tables.attempt, tables.dependency):
            for job in connection.scalars(select(table.c.job).where(table.c.job.not_in(known)).distinct()):
                yield Difference(job, "orphan", f"The table {table.name} names it, and there is no such job.")


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def bring_after_folders(queue: Queue) -> tuple[Difference, ...]:
    """Mend what can be mended without deciding anything; what differed, mended or not.

    Rows that hold a lane are left to the dispatcher, which follows their workers.
    """
    found = examine(queue)
    if any(difference.kind == "database" for difference in found):
        raise EnvironmentProblem(found[0].sentence, "`lorasmith queue fsck --rebuild` makes it anew.")
    for job_id in dict.fromkeys(difference.job for difference in found if difference.kind not in ("damaged",)):
        try:
            _mend(queue, job_id)
        except (Superseded, JobError):  # changed meanwhile, or damaged: the next time
            continue
    return found


def _mend(queue: Queue, job_id: str) -> None:
    job = queue.job(job_id)
    if not (job.folder.path / "job.json").exists():
        with queue.database.write() as connection:
            records.remove(connection, job_id)
        return
    wanted, needs = row_of(job)
    with queue.database.write() as connection:
        row = records.find(connection, job_id)
        if row is None:
            records.insert(connection, wanted, needs)
            return
        values = {name: getattr(wanted, name) for name in (*_FACTS, *_PLACE)}
        if any(getattr(row, name) != value for name, value in values.items()):
            row = records.change(connection, row, "order", **values)
        connection.execute(tables.dependency.delete().where(tables.dependency.c.job == job_id))
        for needed in dict.fromkeys(needs):
            connection.execute(tables.dependency.insert().values(job=job_id, needs=needed))
        _put_attempts(connection, job)
        if row.state in ACTIVE or _same_state(row, wanted):
            return
        if wanted.state in WAYS[row.state] and wanted.state in (*WAITING, "paused", "cancelled"):
            records.transition(connection, row, wanted.state, reason=wanted.reason)
        elif "starting" in WAYS[row.state]:  # it ran, or runs: the dispatcher follows it from here
            records.transition(connection, row, "starting", reason=wanted.reason, lane=row.lane or wanted.lane)


def _put_attempts(connection: Connection, job: Job) -> None:
    ticket = read_ticket(job.folder.path)
    connection.execute(tables.attempt.delete().where(tables.attempt.c.job == job.id))
    for attempt in ticket.attempts if ticket is not None else ():
        values = {**attempt.model_dump(exclude={"checkpoint"}), "job": job.id, "failure": attempt.failure or ""}
        connection.execute(tables.attempt.insert().values(values))


def rebuild(queue: Queue) -> tuple[int, tuple[Difference, ...]]:
    """Make all rows anew from the folders, after a backup; how many, and the folders that could not be read."""
    back_up(queue.database, queue.home / "backups", "before-rebuild")
    damaged: list[Difference] = []
    rows: list[tuple[Job, QueuedJob, tuple[str, ...]]] = []
    for job in queue.jobs.list():
        if damage := damage_of(job):
            damaged.append(Difference(job.id, "damaged", damage))
        else:
            rows.append((job, *row_of(job)))
    with queue.database.write() as connection:
        for table in (tables.attempt, tables.dependency, tables.job):
            connection.execute(table.delete())
        for job, row, needs in rows:
            records.insert(connection, replace(row, version=1), needs)
            _put_attempts(connection, job)
        for _, row, _ in rows:
            if row.state == "queued" and (waits := records.waiting_for(connection, row.id)):
                records.transition(connection, row, "blocked", reason=waits)
        records.note(connection, "", "rebuilt", {"jobs": len(rows)})
    queue.changed()
    return len(rows), tuple(damaged)


def open_to_rebuild(jobs: Jobs, address: str = "") -> Queue:
    """The queue, for ``rebuild``: a database file that cannot be opened is set aside, never deleted."""
    try:
        queue = Queue.open(jobs, address)
        if not queue.database.damage():
            return queue
        queue.close()
    except EnvironmentProblem:
        if address or not (jobs.home / FILE).exists():
            raise
    aside = jobs.home / "backups"
    aside.mkdir(parents=True, exist_ok=True)
    number = 1
    while (aside / f"studio-damaged-{number}.db").exists():
        number += 1
    for suffix in ("", "-wal", "-shm"):
        file = jobs.home / f"{FILE}{suffix}"
        if file.exists():
            file.rename(aside / f"studio-damaged-{number}.db{suffix}")
    return Queue(jobs.home, jobs, open_database(jobs.home, address))
