"""``Dispatcher``: starts the next job of every lane, follows those that run, and finds again those it did not start.

Whoever hosts it (``lorasmith queue run``, the web server) may be killed at any moment. Nothing it knows is needed by
the next one but what lies in folders and database: what it only keeps in mind are rests before retries, how far down
a ladder a worker is, and how much of its events was heard.

One per home: it holds ``dispatcher.lock``.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout
from sqlalchemy import Connection

from lorasmith import processes
from lorasmith.errors import EnvironmentProblem, JobError, LorasmithError
from lorasmith.files import read_json, write_json
from lorasmith.jobs import Job
from lorasmith.queue import records, tables
from lorasmith.queue.ending import ROOM_TO_GO_ON, Ending
from lorasmith.queue.fsck import bring_after_folders
from lorasmith.queue.ladder import Ladder
from lorasmith.queue.lanes import environment_of, lanes_here, served_by
from lorasmith.queue.observing import Listener, Observation, observe
from lorasmith.queue.records import Happening, QueuedJob, Superseded
from lorasmith.queue.retries import Retries
from lorasmith.queue.states import ACTIVE, State
from lorasmith.queue.ticket import read_ticket, request_digest, write_ticket
from lorasmith.queue.vacancy import Vacancy
from lorasmith.queue.verbs import Queue

log = logging.getLogger(__name__)

Collect = Callable[[Job], Mapping[str, Any] | None]
"""Files what a job that succeeded has made where it belongs, and says where; asked twice it does so once."""
_JOURNAL_KEPT: Final = 200_000


@dataclass(frozen=True)
class Pace:
    """How often it looks, and how patient it is. Seconds."""

    look: float = 0.5
    """Between two looks at what runs."""
    search: float = 3.0
    """Between two searches for jobs that somebody else submitted or started."""
    report: float = 1.0
    """Least time between two reports of progress of one job."""
    grace: float = 120.0
    """For a worker that was asked to end, and again for one that was signalled."""


@dataclass
class Dispatcher:
    """``with dispatcher:`` takes the home's lock, and adopts; ``run`` or ``tick`` do the work."""

    queue: Queue
    collect: Collect = lambda job: None
    lanes: Mapping[str, int] = field(default_factory=lanes_here)
    pace: Pace = field(default_factory=Pace)
    retries: Retries = field(default_factory=Retries)
    room: int = ROOM_TO_GO_ON
    """Free bytes, beside twice its newest checkpoint, at which a job goes on that paused on a full disk."""
    clock: Callable[[], float] = time.monotonic
    vacancy: Vacancy = field(default_factory=Vacancy)
    """Asks a card whether it is free before its lane opens again."""
    _lock: FileLock = field(init=False, repr=False)
    _wake: threading.Event = field(default_factory=threading.Event, init=False, repr=False)
    _ended: threading.Event = field(default_factory=threading.Event, init=False, repr=False)
    _ladders: dict[str, Ladder] = field(default_factory=dict, init=False, repr=False)
    _listeners: dict[str, tuple[Listener, float]] = field(default_factory=dict, init=False, repr=False)
    _resting: dict[str, float] = field(default_factory=dict, init=False, repr=False)
    _starts: dict[str, int] = field(default_factory=dict, init=False, repr=False)
    _searched: float = field(default=float("-inf"), init=False, repr=False)

    # Its life

    def __enter__(self) -> Dispatcher:
        """Take the lock, open the lanes, bring the rows after the folders.

        Raises:
            JobError: another dispatcher has this home.
        """
        home = self.queue.home
        self._lock = FileLock(home / "dispatcher.lock", timeout=0)
        try:
            self._lock.acquire()
        except Timeout as cause:
            other = read_json(home / "dispatcher.json").get("pid", "unknown")
            raise JobError(
                f"Another process ({other}) runs the queue of {home}.", "It takes new jobs too; there is one per home."
            ) from cause
        try:
            write_json(home / "dispatcher.json", processes.identity())
            self._open_lanes()
            self._adopt()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *details: object) -> None:
        self._ended.set()
        self._lock.release()

    def run(self, *, until_idle: bool = False, hear: Callable[[Happening], None] | None = None) -> None:
        """Work until ``end``. Workers are left running: the next dispatcher finds them.

        Args:
            until_idle: return when nothing runs and nothing is left that could be started.
            hear: hears the journal from now on.
        """
        _, heard = self.queue.journal_end()
        while not self._ended.is_set():
            try:
                self.tick()
                if hear is not None:
                    for entry in self.queue.journal(heard):
                        heard = entry.id
                        hear(entry)
                if until_idle and self._idle():
                    return
            except (EnvironmentProblem, OSError) as problem:
                # a locked database, a full disk: workers go on, and so does this
                log.warning("the queue waits: %s", problem)
            self._wake.wait(self.pace.look)
            self._wake.clear()

    def _idle(self) -> bool:
        states = self.queue.counts().keys()
        drained = all(lane.draining for lane in self.queue.lanes())
        return not states & (ACTIVE | {"lost"} | (frozenset() if drained else {"queued"}))

    def end(self) -> None:
        """Let ``run`` return, from any thread."""
        self._ended.set()
        self._wake.set()

    def wake(self) -> None:
        """Something has changed: look at once."""
        self._wake.set()

    def tick(self) -> None:
        """One look at everything: what was submitted, what runs, what has ended, what is the next."""
        if self.clock() - self._searched >= self.pace.search:
            self._searched = self.clock()
            self._search()
        with self.queue.database.read() as connection:
            active = records.list_jobs(connection, states=ACTIVE | {"lost"})
        for row in active:
            self._guarded(row, self._follow)
        self._unblock()
        self._fill()

    def _guarded(self, row: QueuedJob, act: Callable[[QueuedJob], None]) -> None:
        """One job's damage is its own: it is said, and the others go on."""
        try:
            act(row)
        except Superseded:  # somebody else changed it meanwhile; the next look sees what it is now
            return
        except EnvironmentProblem:
            raise
        except LorasmithError as error:
            log.warning("job %s: %s", row.id, error)
            self._ending.give_up(row, error)

    # Taking over

    def _open_lanes(self) -> None:
        with self.queue.database.write() as connection:
            known = {lane.name: lane for lane in records.lanes(connection)}
            table = tables.lane
            for name in known.keys() - self.lanes.keys():
                connection.execute(table.delete().where(table.c.name == name))
            for name, capacity in self.lanes.items():
                if name not in known:
                    connection.execute(table.insert().values(name=name, capacity=capacity))
                elif known[name].capacity != capacity:
                    connection.execute(table.update().where(table.c.name == name).values(capacity=capacity))

    def _adopt(self) -> None:
        """Bring every row after its folder; what runs goes on, whoever started it."""
        bring_after_folders(self.queue)
        with self.queue.database.write() as connection:
            records.prune_journal(connection, _JOURNAL_KEPT)

    def _search(self) -> None:
        """Find what came past the queue: new folders, and jobs that somebody started by hand."""
        rows = {row.id: row for row in self.queue.list()}
        for job in self.queue.jobs.list():
            row = rows.get(job.id)
            if row is None:
                self._index(job)
            elif row.state == "paused" and row.failure == "out_of_disk" and row.managed and self._ending.has_room(job):
                self.queue.resume(row.id)
            elif row.state not in ACTIVE and row.state != "succeeded":
                started = _stamp(job.folder.path / "start.json")
                if started != self._starts.get(job.id):
                    self._starts[job.id] = started
                    self._guarded(row, self._follow_stray)

    def _index(self, job: Job) -> None:
        try:
            self.queue.index(job)
        except JobError as damage:  # listed by fsck; it hides no other job
            log.warning("%s", damage)

    def _follow_stray(self, row: QueuedJob) -> None:
        job = self.queue.job(row.id)
        if observe(job, read_ticket(job.folder.path)).state in ACTIVE:
            values: dict[str, Any] = {"lane": self._lane_of(row), "attempt": row.attempt + 1}
            self._move(row, "starting", "It was started by hand.", **values)

    # Following

    @property
    def _ending(self) -> Ending:
        return Ending(self.queue, self.collect, self.retries, self._rest, self.room)

    def _rest(self, job: str, seconds: float) -> None:
        self._resting[job] = self.clock() + seconds

    def _follow(self, row: QueuedJob) -> None:
        job = self.queue.job(row.id)
        seen = observe(job, read_ticket(job.folder.path))
        if seen.state in ACTIVE:
            self._follow_worker(row, job, seen)
            return
        self._hear(row, job, last=True)
        self._forget(row.id)
        self.vacancy.left(row.lane, _processes_of(job))
        if seen.state in ("queued", "held"):  # claimed, and nobody got to start it
            row = self._again(row)
            if row.state not in ("starting", "lost"):  # its end was written down already, and it shall go on
                row = self._move(row, "lost", row.reason)
            self._move(row, "queued" if seen.state == "queued" else "held", "It goes on.", lane="")
        else:
            self._ending.settle(self._again(row), job, seen)

    def _follow_worker(self, row: QueuedJob, job: Job, seen: Observation) -> None:
        if seen.state != row.state and not (row.state == "running" and seen.state == "starting"):
            if row.state == "starting" and seen.state in ("pausing", "cancelling"):
                row = self._move(row, "running", "")
            if row.state == "cancelling":
                pass  # what is wanted of the worker is said already
            elif seen.state in ("running", "pausing", "cancelling"):
                row = self._move(row, seen.state, row.reason if seen.state != "running" else "")
        self._hear(row, job)
        if row.state in ("pausing", "cancelling"):
            self._hurry(row, job)

    def _hear(self, row: QueuedJob, job: Job, *, last: bool = False) -> None:
        """Bring phase and progress into the row, not too often."""
        listener, said = self._listeners.get(row.id) or (Listener.of(job.folder), float("-inf"))
        changed = listener.hear()
        now = self.clock()
        stale = (listener.phase, listener.done, listener.total) != (row.phase, row.done, row.total)
        if (changed or stale) and (last or now - said >= self.pace.report or listener.phase != row.phase):
            said = now
            with self.queue.database.write() as connection:
                fresh = records.find(connection, row.id)
                if fresh is not None:
                    values = {"phase": listener.phase, "done": listener.done, "total": listener.total}
                    records.change(connection, fresh, "progress", **values, seconds_left=listener.seconds_left)
        self._listeners[row.id] = (listener, said)

    def _hurry(self, row: QueuedJob, job: Job) -> None:
        """Down the ladder, a rung at a time."""
        ladder = self._ladders.setdefault(row.id, Ladder(job.folder.path, self.pace.grace, self.clock))
        rung = ladder.step()
        if rung is None:
            return
        log.warning("job %s did not end when asked: %s", row.id, rung)
        job.signal(kill=rung == "killed")
        if rung == "killed" and job.vacant():
            job.settle("paused" if row.state == "pausing" else "stopped")

    def _forget(self, job: str) -> None:
        self._ladders.pop(job, None)
        self._listeners.pop(job, None)

    # Starting

    def _unblock(self) -> None:
        """Queue what waited for something that has come, block what waits for something."""
        with self.queue.database.read() as connection:
            waiting = records.list_jobs(connection, states=("blocked", "queued"))
            needing = records.with_needs(connection) if waiting else frozenset()
            told = {row.id: self._obstacle(connection, row, needing) for row in waiting}
        for row in waiting:
            obstacle = told[row.id]
            with contextlib.suppress(Superseded):
                if obstacle and row.state == "queued":
                    self._move(row, "blocked", obstacle)
                elif obstacle and row.reason != obstacle:
                    with self.queue.database.write() as connection:
                        records.change(connection, row, "order", reason=obstacle)
                elif not obstacle and row.state == "blocked":
                    self._move(row, "queued", "")

    def _obstacle(self, connection: Connection, row: QueuedJob, needing: Collection[str]) -> str:
        if not any(row.wants in served_by(lane) for lane in self.lanes):
            return f"This machine has no lane for '{row.wants}'."
        return records.waiting_for(connection, row.id) if row.id in needing else ""

    def _fill(self) -> None:
        with self.queue.database.read() as connection:
            lanes = records.lanes(connection)
            taken = [self._lane_of(row) for row in records.list_jobs(connection, states=ACTIVE)]
        now = self.clock()
        self._resting = {job: until for job, until in self._resting.items() if until > now}
        for lane in lanes:
            room = 0 if lane.draining else lane.capacity - taken.count(lane.name)
            if room > 0 and not self.vacancy.free(lane.name):
                continue
            for _ in range(room):
                row = self.claim(lane.name)
                if row is None:
                    break
                self._guarded(row, self._start)

    def _lane_of(self, row: QueuedJob) -> str:
        """The lane that a job holds; one that was started by hand holds the first that serves it."""
        return row.lane or next((name for name in self.lanes if row.wants in served_by(name)), "")

    def claim(self, lane: str) -> QueuedJob | None:
        """Take the next job of a lane: it is ``starting`` from here on, and nobody else's."""
        wants = served_by(lane)
        while True:
            try:
                with self.queue.database.write() as connection:
                    row = records.next_in_turn(connection, wants, tuple(self._resting))
                    if row is None:
                        return None
                    return records.transition(
                        connection,
                        row,
                        "starting",
                        lane=lane,
                        attempt=row.attempt + 1,
                        phase="",
                        done=0,
                        total=0,
                        seconds_left=None,
                    )
            except Superseded:
                continue

    def _start(self, row: QueuedJob) -> None:
        job = self.queue.job(row.id)
        if row.request and request_digest(job.folder.path) != row.request:
            raise JobError(f"What job {row.id} asks for was changed after it was submitted.", "Submit it anew.")
        ticket = read_ticket(job.folder.path)
        if ticket is not None and ticket.lane != row.lane:
            write_ticket(job.folder.path, ticket.model_copy(update={"lane": row.lane}))
        self.vacancy.taken(row.lane)
        begin = job.start if job.state() == "queued" else job.resume
        try:
            begin(environment_of(row.lane))
        except JobError as refusal:  # it was cancelled meanwhile, or runs already: its folder says which
            log.info("job %s: %s", row.id, refusal)
            self._follow(row)

    def _move(self, row: QueuedJob, to: State, reason: str, **values: Any) -> QueuedJob:
        with self.queue.database.write() as connection:
            return records.transition(connection, row, to, reason=reason, **values)

    def _again(self, row: QueuedJob) -> QueuedJob:
        """The row as it is now."""
        return self.queue.get(row.id)


def _processes_of(job: Job) -> tuple[int, ...]:
    """The worker that a job had, as its folder names it."""
    pid = read_json(job.folder.path / "owner.json").get("pid")
    return (pid,) if isinstance(pid, int) else ()


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
