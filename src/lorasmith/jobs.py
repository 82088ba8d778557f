"""Submit, start, follow, pause, stop and resume jobs; how each one stands is read from its folder, never remembered.

    queued      submitted, no worker has been started
    running     the worker that was started last, or the one that holds the folder, is alive
    succeeded, failed, stopped, paused
                ``result.json`` says so
    lost        it was started, nobody is alive, and there is no result: the worker died

Beside the files of ``jobfolder`` a caller writes ``start.json`` (the process it started) and holds ``callers.lock``
while it starts a worker or changes what is wanted, so that two callers never do so at once.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psutil
from filelock import FileLock, Timeout

from lorasmith import errors, processes
from lorasmith.credentials import refuse_to_write
from lorasmith.errors import EnvironmentProblem, JobError, LorasmithError, UnknownJob
from lorasmith.events import Event
from lorasmith.files import read_json, write_atomically, write_json
from lorasmith.jobfolder import Control, JobFolder, JobKind, JobRecord, Result

State = Literal["queued", "running", "succeeded", "failed", "stopped", "paused", "lost"]
Command = Callable[[Path], Sequence[str]]

_SHORTEST_REST = 0.02  # seconds between looks at a job that is talking
_LONGEST_REST = 0.5  # ... and at one that is silent
_CALLERS_PATIENCE = 10.0  # seconds; nobody holds callers.lock longer than a spawn takes
_LOG_TAIL_BYTES = 64 * 1024
_SECOND = len("20261231-235959")  # the part of an id that tells when


def worker_command(folder: Path) -> Sequence[str]:
    """How a worker is started. ``-P``: nothing that lies in the job folder can be imported by accident."""
    return (sys.executable, "-P", "-m", "lorasmith.worker", str(folder))


@dataclass(frozen=True)
class Jobs:
    """The jobs of one home, in ``<home>/jobs``."""

    home: Path
    command: Command = worker_command
    _children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def folder(self) -> Path:
        return self.home / "jobs"

    def submit(
        self,
        kind: JobKind,
        payload: Mapping[str, Any],
        *,
        name: str = "",
        prepare: Callable[[Path, bytes], object] = lambda folder, record: None,
    ) -> Job:
        """Write a new job folder; the job is queued until ``Job.start``.

        Args:
            kind: what the worker shall do.
            payload: its arguments, JSON values; frozen from here on.
            name: a word for people, becomes part of the id.
            prepare: puts more into the folder; is given it and the bytes of ``job.json``, which makes it a job.

        Raises:
            JobError: the payload is not JSON.
            ConfigError: it holds a secret.
            EnvironmentProblem: the folder cannot be written.
        """
        refuse_to_write(json.dumps(payload, ensure_ascii=False, default=str), f"The {kind} job")
        now = datetime.now(UTC)
        path = self._claim(f"{now:%Y%m%d-%H%M%S}-{kind}" + (f"-{slug}" if (slug := _slug(name)) else ""))
        try:
            record = JobRecord(id=path.name, kind=kind, created=now.isoformat(), payload=dict(payload))
            content = record.model_dump_json(indent=2).encode()
            prepare(path, content)
            write_atomically(path / "job.json", content)
        except (ValueError, OSError) as cause:
            shutil.rmtree(path)
            if isinstance(cause, OSError):
                raise EnvironmentProblem(
                    f"The {kind} job cannot be written to {self.folder}: {cause.strerror}.", "Free some space."
                ) from cause
            raise JobError(f"The {kind} job cannot be written down: {cause}.", "Use plain JSON values.") from cause
        return Job(JobFolder(path), self)

    def get(self, reference: str) -> Job:
        """The job of that id, of an unmistakable part of it, or the newest for ``last``.

        Raises:
            JobError: no job, or more than one, is meant.
        """
        ids = self._ids()
        if reference == "last" and ids:
            return Job(JobFolder(self.folder / ids[-1]), self)
        meant = [reference] if reference in ids else [i for i in ids if reference and reference in i]
        if len(meant) == 1:
            return Job(JobFolder(self.folder / meant[0]), self)
        if meant:
            raise JobError(
                f"'{reference}' could be any of {len(meant)} jobs: {', '.join(meant[-3:])}.", "Say more of it."
            )
        near = difflib.get_close_matches(reference, ids, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else "Run `lorasmith jobs` for the list."
        raise UnknownJob(f"There is no job '{reference}'.", hint)

    def list(self) -> tuple[Job, ...]:
        """All jobs, oldest first."""
        return tuple(Job(JobFolder(self.folder / name), self) for name in self._ids())

    def _ids(self) -> tuple[str, ...]:
        """Oldest first: by the second in the name, and within one by when it was asked, which is written once."""
        found: list[tuple[str, int, str]] = []
        for path in self.folder.glob("*/job.json"):
            with suppress(FileNotFoundError):  # removed meanwhile
                found.append((path.parent.name[:_SECOND], path.stat().st_mtime_ns, path.parent.name))
        return tuple(name for _, _, name in sorted(found))

    def _claim(self, name: str) -> Path:
        """A new, empty folder: ``mkdir`` either makes it or says that somebody else has."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for suffix in ("", *(f"-{secrets.token_hex(2)}" for _ in range(20))):
                path = self.folder / f"{name}{suffix}"
                try:
                    path.mkdir()
                except FileExistsError:
                    continue
                return path
        except OSError as cause:
            raise EnvironmentProblem(
                f"The jobs folder {self.folder} cannot be written: {cause.strerror}.", "Choose another --home."
            ) from cause
        raise JobError(f"No free name is left for the job {name}.", "Try again.")


@dataclass(frozen=True)
class Job:
    """One job: its folder, and those who may speak to its worker."""

    folder: JobFolder
    jobs: Jobs = field(repr=False)

    @property
    def id(self) -> str:
        return self.folder.path.name

    def record(self) -> JobRecord:
        return self.folder.record()

    def result(self) -> Result | None:
        """How the job ended; None while it has not.

        Raises:
            JobError: ``result.json`` is damaged.
        """
        try:
            return self.folder.result()
        except ValueError as cause:
            raise JobError(f"The result.json of {self.id} is damaged.", f"Run `lorasmith resume {self.id}`.") from cause

    def state(self) -> State:
        """How the job stands now, from the folder and the processes of this machine."""
        if self._worker() is not None:  # looked at first: a result read after the worker's end is final
            return "running"
        try:
            result = self.folder.result()
        except ValueError:  # damaged: as good as none, and ``resume`` sets it aside
            return "lost"
        if result is not None:
            return result.outcome
        started = (self.folder.path / "start.json").exists() or (self.folder.path / "owner.json").exists()
        return "lost" if started else "queued"

    def start(self, environment: Mapping[str, str] | None = None) -> Job:
        """Start a worker in a session of its own, which outlives this process.

        Args:
            environment: variables for it besides this process's own, such as which card it may see.

        Raises:
            JobError: it is running, or it has ended.
            EnvironmentProblem: no process can be started.
        """
        with self._alone():
            state = self.state()
            if state == "running":
                raise JobError(f"Job {self.id} is already running.", f"`lorasmith jobs show {self.id}` follows it.")
            if state != "queued":
                raise JobError(
                    f"Job {self.id} has been started before ({state}).", f"Use `lorasmith resume {self.id}`."
                )
            self._spawn(environment)
        return self

    def resume(self, environment: Mapping[str, str] | None = None) -> Job:
        """Go on where the job stopped, paused, failed or was lost; its last result is kept beside the new one.

        Args:
            environment: variables for the worker besides this process's own.

        Raises:
            JobError: it is running, or has succeeded.
        """
        with self._alone():
            state = self.state()
            if state == "running":
                raise JobError(f"Job {self.id} is already running.", f"`lorasmith jobs show {self.id}` follows it.")
            if state == "succeeded":
                raise JobError(f"Job {self.id} has succeeded; there is nothing left to do.", "Start a new one.")
            self.folder.set_control(self._control().model_copy(update={"wanted": "run"}))
            self._spawn(environment)
        return self

    def follow(self, *, latest: bool = False) -> Iterator[Event]:
        """Events as they come, beginning with those already written, until the job ends.

        Args:
            latest: leave out what was said before the worker was last started.

        Raises:
            JobError: the job was never started, or its worker died without a result.
        """
        if self.state() == "queued":
            raise JobError(f"Job {self.id} is queued and nobody runs it.", f"`lorasmith resume {self.id}` starts it.")
        offset = int(self._start().get("events_from", 0)) if latest else 0
        rest = _SHORTEST_REST
        while True:
            alive = self._worker() is not None  # looked at before reading: the last words are read after the end
            quiet = True
            for behind, event in self.folder.read_events(offset):
                offset, quiet = behind, False
                yield event
            if not alive and self.state() != "running":  # it may have been resumed just now
                break
            rest = min(rest * 1.5, _LONGEST_REST) if quiet else _SHORTEST_REST
            self._rest(rest)
        if self.state() == "lost":
            raise self.death()

    def wait(self) -> Result:
        """Wait for the end and say how it was.

        Raises:
            JobError: the worker died without a result.
        """
        for _ in self.follow():
            pass
        result = self.result()
        if result is None:
            raise self.death()
        return result

    def output(self) -> dict[str, Any]:
        """What a job that has succeeded made.

        Raises:
            LorasmithError: it has not; the error, of the class it had in the worker, says why.
        """
        result = self.result()
        if result is None:
            if self.state() == "lost":
                raise self.death()
            raise JobError(f"Job {self.id} has not ended.", f"`lorasmith jobs show {self.id}` follows it.")
        if result.outcome == "succeeded":
            return result.output
        if result.outcome in ("stopped", "paused") and not result.error:
            raise JobError(f"Job {self.id} was {result.outcome}.", f"`lorasmith resume {self.id}` goes on.")
        kind = getattr(errors, result.error, None)
        if not (isinstance(kind, type) and issubclass(kind, LorasmithError)):  # nobody foresaw it
            raise LorasmithError(
                result.message or f"Job {self.id} failed.", f"{result.hint}{self._last_words()}".strip()
            )
        raise kind(result.message or f"Job {self.id} failed.", result.hint or f"See {self.folder.path / 'log.txt'}.")

    def death(self) -> JobError:
        """The error that describes a worker which died without a result, with the end of its log."""
        manner = processes.manner_of_end(self.exit_code())
        return JobError(
            f"The worker of job {self.id} died: {manner}.", f"`lorasmith resume {self.id}` goes on.{self._last_words()}"
        )

    def _last_words(self) -> str:
        log = self.log_tail(50)
        return "\nLast lines of its log:\n" + "\n".join(f"  {line}" for line in log) if log else ""

    def log_tail(self, lines: int = 50) -> list[str]:
        """The last lines that the worker's libraries wrote."""
        path = self.folder.path / "log.txt"
        if not path.exists():
            return []
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _LOG_TAIL_BYTES))
            return stream.read().decode(errors="replace").splitlines()[-lines:]

    def pause(self) -> None:
        """Ask the worker to save, end and free the device; ``resume`` goes on."""
        self._want("pause")

    def finish(self) -> None:
        """Ask the worker to end early with what it has made so far as the result.

        Raises:
            JobError: the job is not running.
        """
        with self._alone():
            if (state := self.state()) != "running":
                raise JobError(f"Job {self.id} is not running ({state}).", "There is nothing to finish.")
            self.folder.set_control(self._control().model_copy(update={"wanted": "finish"}))

    def stop(self, *, force: bool = False, grace: float = 30.0) -> None:
        """Ask the worker to save and end.

        Args:
            force: if it has not ended after ``grace`` seconds, signal it, and after as many again kill it.
            grace: seconds.
        """
        self._want("stop")
        if force and not self._ended_within(grace):
            for kill in (False, True):
                self.signal(kill=kill)
                self._ended_within(grace if not kill else _CALLERS_PATIENCE)
            self.settle("stopped")

    def signal(self, *, kill: bool) -> None:
        """Signal the worker, if there is one: to end, or with ``kill`` to its death and that of its children."""
        worker = self._worker()
        if worker is not None and worker.pid != os.getpid() and not self._start().get("starting"):
            processes.end(worker, kill=kill)

    def vacant(self) -> bool:
        """Whether nobody holds the folder's lock, which is certain where pids only hint; for a job that looks lost."""
        try:
            with FileLock(self.folder.path / "lock", timeout=0):
                return True
        except Timeout:
            return False

    def exit_code(self) -> int | None:
        """How the worker ended, as ``Popen.returncode`` has it; None when this process did not start it."""
        return child.poll() if (child := self.jobs._children.get(self.id)) is not None else None

    def save_now(self) -> None:
        """Ask for a checkpoint at the next step.

        Raises:
            JobError: the job is not running.
        """
        self._ask("save_now")

    def sample_now(self) -> None:
        """Ask for previews at the next step.

        Raises:
            JobError: the job is not running.
        """
        self._ask("sample_now")

    # How a worker is started and told apart from strangers

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other caller starts this job or changes what is wanted of it meanwhile."""
        self.record()
        try:
            with FileLock(self.folder.path / "callers.lock", timeout=_CALLERS_PATIENCE):
                yield
        except Timeout as cause:
            raise JobError(f"Another process is busy with job {self.id}.", "Try again in a moment.") from cause

    def _spawn(self, environment: Mapping[str, str] | None = None) -> None:
        """Start a worker; the last result, if there is one, is set aside.

        Until the worker has a pid, ``start.json`` names this process, so that nobody takes the job for lost meanwhile.
        Its token tells this worker from one of an earlier start that was slow to come up.
        """
        path = self.folder.path.absolute()
        events, start, result = path / "events.jsonl", path / "start.json", path / "result.json"
        token = secrets.token_hex(8)
        offset = {"events_from": events.stat().st_size if events.exists() else 0, "token": token}
        aside = self._free_result_name() if result.exists() else None
        write_json(start, offset | {"starting": True} | processes.identity())
        if aside is not None:
            result.rename(aside)
        try:
            child = processes.spawn(
                self.jobs.command(path),
                folder=path,
                log=path / "log.txt",
                environment={**(environment or {}), processes.START_TOKEN: token},
            )
        except EnvironmentProblem:
            if aside is not None:
                aside.rename(result)
            start.unlink()
            raise
        self.jobs._children[self.id] = child
        write_json(start, offset | processes.identity(child.pid))

    def _start(self) -> dict[str, Any]:
        return read_json(self.folder.path / "start.json")

    def _worker(self) -> psutil.Process | None:
        """The live process that holds the folder or was started for it; None when there is none.

        A process counts only with the start time that was written down: a pid may have passed to a stranger.
        """
        child = self.jobs._children.get(self.id)
        if child is not None:
            child.poll()  # takes a dead child off the process table
        for known in (read_json(self.folder.path / "owner.json"), self._start()):
            process = processes.find(known)
            if process is not None:
                return process
        return None

    def _rest(self, seconds: float) -> None:
        """Sleep, but not past the end of a worker that is our child."""
        child = self.jobs._children.get(self.id)
        if child is None or child.poll() is not None:
            time.sleep(seconds)
            return
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            return

    def _ended_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self._worker() is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._rest(min(left, 0.1))
        return True

    # What is wanted

    def _control(self) -> Control:
        try:
            return self.folder.control()
        except ValueError as cause:
            raise JobError(f"The control.json of {self.id} is damaged.", "Delete that file.") from cause

    def _want(self, wanted: Literal["pause", "stop"]) -> None:
        with self._alone():
            state = self.state()
            if state not in ("queued", "running"):
                if wanted == "pause" and state != "paused":
                    raise JobError(f"Job {self.id} cannot pause: it has ended ({state}).", "Nothing was changed.")
                return
            self.folder.set_control(self._control().model_copy(update={"wanted": wanted}), settle=state != "queued")
            if state == "queued":  # nobody is there to end it; this settles both
                self.folder.set_result(Result(outcome="stopped" if wanted == "stop" else "paused"))

    def _ask(self, counter: Literal["save_now", "sample_now"]) -> None:
        with self._alone():
            state = self.state()
            if state != "running":
                hint = "It has ended." if state == "succeeded" else f"`lorasmith resume {self.id}` starts it."
                raise JobError(f"Job {self.id} is not running ({state}).", hint)
            control = self._control()
            self.folder.set_control(control.model_copy(update={counter: getattr(control, counter) + 1}))

    def settle(self, outcome: Literal["stopped", "paused", "failed"], message: str = "") -> None:
        """Write the result that a dead worker no longer can; ``failed`` also over one that it left by a signal."""
        if self.state() not in (("lost", "stopped") if outcome == "failed" else ("lost",)):
            return
        with FileLock(self.folder.path / "lock", timeout=_CALLERS_PATIENCE):
            words = message or "The worker did not end when asked and was ended by force."
            hint = f"`lorasmith resume {self.id}` goes on."
            self.folder.set_result(Result(outcome=outcome, message=words, hint=hint))

    def _free_result_name(self) -> Path:
        numbers = [
            int(p.name.split(".")[1]) for p in self.folder.path.glob("result.*.json") if p.name.split(".")[1].isdigit()
        ]
        return self.folder.path / f"result.{max(numbers, default=0) + 1}.json"


def _slug(name: str) -> str:
    """Letters, digits and single dashes of a name, at most 40, safe in every file system."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-")
