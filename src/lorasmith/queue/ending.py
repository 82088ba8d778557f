"""What becomes of a job whose worker has ended: collected, tried again, paused, failed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lorasmith import processes
from lorasmith.errors import LorasmithError
from lorasmith.files import write_json
from lorasmith.jobfolder import Result
from lorasmith.jobs import Job
from lorasmith.queue import records, tables
from lorasmith.queue.observing import COLLECTED, Observation, newest_checkpoint, steps_done, waiting_token
from lorasmith.queue.records import QueuedJob
from lorasmith.queue.retries import Retries
from lorasmith.queue.states import Failure, failure_of
from lorasmith.queue.ticket import Attempt, Ticket, read_ticket, request_digest, write_ticket
from lorasmith.queue.verbs import Queue

ROOM_TO_GO_ON: Final = 1_000_000_000  # bytes, beside twice what a job's newest checkpoint takes


@dataclass(frozen=True)
class Ending:
    """Settles one job after the other."""

    queue: Queue
    collect: Callable[[Job], Mapping[str, Any] | None]
    retries: Retries
    rest: Callable[[str, float], None]
    room: int = ROOM_TO_GO_ON

    def settle(self, row: QueuedJob, job: Job, seen: Observation) -> None:
        """Bring a row that held a lane to what its folder says."""
        match seen.state:
            case "succeeded":
                self._succeed(row, job)
            case "paused":
                failure = failure_of(seen.result.error) if seen.result is not None and seen.result.error else None
                self._record(row, job, "paused", failure, seen.result)
                self._move(row, "paused", seen.reason, failure=failure or "", lane="")
            case "cancelled":
                self._record(row, job, "cancelled", None, seen.result)
                self._move(row, "cancelled", seen.reason, lane="")
            case _:
                self._failed(row, job, seen)

    def give_up(self, row: QueuedJob, error: LorasmithError) -> None:
        """A job that cannot even be looked at or started fails, with the reason."""
        if not (self.queue.jobs.folder / row.id / "job.json").exists():
            with self.queue.database.write() as connection:
                records.remove(connection, row.id)
            return
        row = self.queue.get(row.id)
        if row.state in ("failed", "cancelled", "succeeded"):
            return
        self._move(row, "failed", f"{error.message} {error.hint}".strip(), failure=failure_of(type(error).__name__))

    def _succeed(self, row: QueuedJob, job: Job) -> None:
        try:
            output = dict(self.collect(job) or {}) if row.managed else {}
            if row.managed:
                write_json(job.folder.path / COLLECTED, output)
        except LorasmithError as error:
            failure = failure_of(type(error).__name__)
            self._record(row, job, "failed", failure, Result(outcome="failed", error=type(error).__name__))
            self._move(row, "failed", f"{error.message} {error.hint}".strip(), failure=failure)
            return
        self._record(row, job, "succeeded", None, None)
        self._move(row, "succeeded", "", output=output, failure="", lane=row.lane)

    def _failed(self, row: QueuedJob, job: Job, seen: Observation) -> None:
        """Try again where that may help."""
        if seen.never_came_up and row.state == "starting":
            ticket = self._ticket(row, job)
            self._write(job, ticket.model_copy(update={"again": waiting_token(job.folder.path)}))
            self._move(row, "queued", "Its worker never came up.", attempt=len(ticket.attempts), lane="")
            return
        failure: Failure = "infrastructure"
        words, error = seen.reason, ""
        if seen.result is not None and not seen.interrupted:
            failure, error = failure_of(seen.result.error), seen.result.error
            words = f"{seen.result.message} {seen.result.hint}".strip()
        elif seen.result is None:
            error = processes.manner_of_end(job.exit_code())
            failure = _class_of_death(job.exit_code())
            words = f"The worker died: {error}."
        if seen.state == "lost" and (row.state in ("pausing", "cancelling")):
            self._died_on_the_way(row, job)
            return
        ticket = self._record(row, job, "lost" if seen.state == "lost" else "failed", failure, seen.result, error)
        row = self._move(row, "lost", words) if seen.state == "lost" and row.state != "lost" else row
        if row.managed and row.state != "cancelling":
            decision = self.retries.decide(ticket.attempts)
            if decision.again:
                self._write(job, ticket.model_copy(update={"again": waiting_token(job.folder.path)}))
                if row.state != "lost":
                    row = self._move(row, "failed", words, failure=failure)
                self._move(row, "queued", f"{words} {decision.sentence}", failure="", lane="")
                self.rest(row.id, decision.rest)
                return
            words = f"{words} {decision.sentence}".strip()
        if seen.state == "lost":
            job.settle("failed", words)
        self._move(row, "failed", words, failure=failure, lane="")

    def _died_on_the_way(self, row: QueuedJob, job: Job) -> None:
        """Its worker was to end, and has, without a word."""
        paused = row.state == "pausing"
        job.settle("paused" if paused else "stopped")
        self._record(row, job, "paused" if paused else "cancelled", None, None)
        words = "Its worker died on the way; what was saved is kept."
        self._move(row, "paused" if paused else "cancelled", words, lane="")

    def has_room(self, job: Job) -> bool:
        """Whether a job that paused on a full disk can go on."""
        newest = job.folder.path / "checkpoints" / str(newest_checkpoint(job.folder.path))
        size = sum(path.stat().st_size for path in newest.glob("*")) if newest.is_dir() else 0
        return shutil.disk_usage(self.queue.home).free >= 2 * size + self.room

    def _record(
        self,
        row: QueuedJob,
        job: Job,
        outcome: str,
        failure: Failure | None,
        result: Result | None,
        error: str = "",
    ) -> Ticket:
        """Write the attempt down, in the folder and in the database; asked twice it does so once."""
        ticket = self._ticket(row, job)
        number = max(1, row.attempt)
        if ticket.attempts and ticket.attempts[-1].number >= number:
            return ticket
        attempt = Attempt(
            number=number,
            lane=row.lane,
            outcome=outcome,
            failure=failure,
            error=error or (result.error if result is not None else ""),
            step=steps_done(job.folder),
            checkpoint=newest_checkpoint(job.folder.path),
        )
        ticket = ticket.model_copy(update={"attempts": (*ticket.attempts, attempt)})
        self._write(job, ticket, row.managed)
        values = {**attempt.model_dump(exclude={"checkpoint"}), "job": row.id, "failure": failure or ""}
        with self.queue.database.write() as connection:
            table = tables.attempt
            connection.execute(table.delete().where(table.c.job == row.id, table.c.number == number))
            connection.execute(table.insert().values(values))
            records.note(connection, row.id, "attempt", values)
        return ticket

    def _ticket(self, row: QueuedJob, job: Job) -> Ticket:
        return read_ticket(job.folder.path) or Ticket(wants=row.wants, request=request_digest(job.folder.path))

    def _write(self, job: Job, ticket: Ticket, managed: bool = True) -> None:
        if managed:
            write_ticket(job.folder.path, ticket)

    def _move(self, row: QueuedJob, to: Any, reason: str, **values: Any) -> QueuedJob:
        with self.queue.database.write() as connection:
            return records.transition(connection, row, to, reason=reason, **values)


def _class_of_death(code: int | None) -> Failure:
    """Killed from outside, or not known: the machine's doing. Any other end is a crash of its own."""
    return "infrastructure" if code is None or code in (-9, -15, -1, -2) else "crash"
