"""How a job really stands: told by its folder and the processes of this machine, whatever the database says."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorasmith.errors import JobError
from lorasmith.events import Metric, Phase, Progress
from lorasmith.files import read_json
from lorasmith.jobfolder import JobFolder, JobRecord, Result
from lorasmith.jobs import Job
from lorasmith.queue.lanes import wanted_by
from lorasmith.queue.records import QueuedJob
from lorasmith.queue.states import ACTIVE, State
from lorasmith.queue.ticket import NEVER, Ticket, read_ticket, request_digest, start_token

UNMANAGED = "It was written down without a place in the queue; release it to give it one."


@dataclass(frozen=True)
class Observation:
    """The truth about one job at a moment."""

    state: State
    """``queued`` also where it waits for something else: only the other jobs say so."""
    reason: str = ""
    result: Result | None = None
    interrupted: bool = False
    """Lost, or ended by a signal that nobody of us sent."""
    never_came_up: bool = False
    """It was to be started, and there is no sign that it ever was."""


def observe(job: Job, ticket: Ticket | None) -> Observation:
    """Look at a job. One that looks lost is lost only if its lock can be had."""
    state = job.state()
    if state == "running" or (state == "lost" and not job.vacant()):
        return _at_work(job)
    token = start_token(job.folder.path)
    if ticket is not None and ticket.cancelled == token:
        return Observation("cancelled", "Cancelled by hand.")
    if state == "queued" or (ticket is not None and ticket.again == token):
        return _waiting(ticket)
    if state == "lost":
        start = read_json(job.folder.path / "start.json")
        return Observation("lost", interrupted=True, never_came_up=bool(start.get("starting")))
    result = job.result()
    if result is None:  # it was there a moment ago: a new worker has set it aside
        return _at_work(job)
    return _ended(job, result)


def _ended(job: Job, result: Result) -> Observation:
    if result.outcome == "stopped" or (result.outcome == "paused" and job.folder.control().wanted == "stop"):
        return _stopped(job, result)
    return Observation(result.outcome, result.message, result)


def _waiting(ticket: Ticket | None) -> Observation:
    if ticket is None:
        return Observation("held", UNMANAGED)
    return Observation("held", ticket.reason) if ticket.held else Observation("queued")


def _at_work(job: Job) -> Observation:
    wanted = job.folder.control().wanted
    if wanted in ("pause", "stop"):
        return Observation("pausing" if wanted == "pause" else "cancelling")
    return Observation("starting" if read_json(job.folder.path / "start.json").get("starting") else "running")


def _stopped(job: Job, result: Result) -> Observation:
    """Stopped because somebody asked; or by a signal, as when the machine is shut down, and nobody did."""
    asked = job.folder.control().wanted in ("stop", "finish")
    return Observation("cancelled" if asked else "lost", result.message, result, interrupted=not asked)


def steps_done(folder: JobFolder) -> int:
    """How far the last attempt came: the highest step or count it said."""
    start = read_json(folder.path / "start.json").get("events_from", 0)
    step = 0
    for _, event in folder.read_events(int(start)):
        if isinstance(event, Metric):
            step = max(step, event.step)
        elif isinstance(event, Progress):
            step = max(step, event.done)
    return step


def newest_checkpoint(folder: Path) -> int:
    """The step of the newest checkpoint; 0 when there is none."""
    numbers = [int(path.name) for path in (folder / "checkpoints").glob("*") if path.name.isdecimal()]
    return max(numbers, default=0)


@dataclass
class Listener:
    """Hears what a worker says, from where it was started, a piece at a time."""

    folder: JobFolder
    offset: int
    phase: str = ""
    done: int = 0
    total: int = 0
    seconds_left: float | None = None
    _known: dict[str, tuple[int, int, float | None]] = field(default_factory=dict)  # by phase: saving comes in between

    @classmethod
    def of(cls, folder: JobFolder) -> Listener:
        return cls(folder, int(read_json(folder.path / "start.json").get("events_from", 0)))

    def hear(self) -> bool:
        """Read what is new; whether phase or progress have changed."""
        before = (self.phase, self.done, self.total)
        for behind, event in self.folder.read_events(self.offset):
            self.offset = behind
            if isinstance(event, Phase):
                self.phase = event.name
                self.done, self.total, self.seconds_left = self._known.get(event.name, (0, 0, None))
            elif isinstance(event, Progress):
                self.done, self.total, self.seconds_left = event.done, event.total, event.seconds_left
                self._known[self.phase] = (event.done, event.total, event.seconds_left)
        return before != (self.phase, self.done, self.total)


def row_of(job: Job) -> tuple[QueuedJob, tuple[str, ...]]:
    """The row that a job's folder asks for, and what it needs first; dependencies are not looked at.

    Raises:
        JobError: ``job.json``, ``queue.json`` or ``result.json`` is damaged.
    """
    record, ticket = job.record(), read_ticket(job.folder.path)
    seen = observe(job, ticket)
    start = read_json(job.folder.path / "start.json")
    attempts = ticket.attempts if ticket is not None else ()
    state, reason = seen.state, seen.reason
    if state == "succeeded" and ticket is not None and collected(job.folder.path) is None:
        state, reason = "running", "Its result is being filed."
    failure = attempts[-1].failure if attempts and seen.state in ("failed", "paused") else None
    row = QueuedJob(
        id=job.id,
        kind=record.kind,
        title=title_of(record),
        state=state,
        version=1,
        reason=reason,
        failure=failure or "",
        phase="",
        done=0,
        total=0,
        seconds_left=None,
        wants=ticket.wants if ticket is not None else wanted_by(record.kind, record.payload),
        lane=ticket.lane if ticket is not None and state in ACTIVE else "",
        priority=ticket.priority if ticket is not None else 0,
        position=ticket.position if ticket is not None else 0.0,
        managed=ticket is not None,
        attempt=len(attempts) + (bool(start) and seen.state in ACTIVE),
        parent=ticket.parent if ticket is not None else "",
        output_name=output_name_of(record),
        request=ticket.request if ticket is not None else request_digest(job.folder.path),
        output=collected(job.folder.path),
        created=record.created,
        changed=record.created,
    )
    return row, ticket.after if ticket is not None else ()


def title_of(record: JobRecord) -> str:
    """A word for people."""
    payload = record.payload
    config = payload.get("config")
    if isinstance(config, dict):
        return str(config.get("output_name") or config.get("dataset") or "")
    prompts = payload.get("prompts")
    first = prompts[0] if isinstance(prompts, list) and prompts else ""
    return str(payload.get("dataset") or payload.get("name") or payload.get("link") or payload.get("adapter") or first)


def output_name_of(record: JobRecord) -> str:
    """What the adapter of a training is called; empty for other jobs."""
    config = record.payload.get("config")
    if record.kind != "train" or not isinstance(config, dict) or record.payload.get("rehearse"):
        return ""
    return str(config.get("output_name", ""))


COLLECTED = "collected.json"


def collected(folder: Path) -> dict[str, Any] | None:
    """What the house made of the result, once it has."""
    return read_json(folder / COLLECTED) if (folder / COLLECTED).exists() else None


def waiting_token(folder: Path) -> str:
    """What ``Ticket.again`` has to hold so that the job waits once more; empty where nothing is to be overruled."""
    token = start_token(folder)
    return token if token != NEVER or (folder / "result.json").exists() else ""


def damage_of(job: Job) -> str:
    """What is wrong with a job's files; empty when nothing is."""
    try:
        row_of(job)
        job.folder.control()
    except JobError as error:
        return error.message
    return ""
