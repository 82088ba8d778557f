"""The folder of one job: the truth about it, and the only thing a worker and the rest of the house share.

    job.json        what to do, frozen when the job is submitted
    control.json    what is wanted of it now (written whole, renamed into place)
    events.jsonl    what it says, appended by the worker
    log.txt         what its libraries say
    queue.json      its place in the queue, if it has one (``queue/ticket.py``)
    person.json     who asked for it, on a server with accounts; a job that follows another is of whoever asked for that
    lock            held by the worker while it lives; owner.json beside it says who that is
    result.json     how it ended, written last
    samples/  checkpoints/<step>/  cache/  ...

The folder lies in ``<home>/jobs/<id>``. The worker reads datasets and blobs of that home, never a database.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from lorasmith import events
from lorasmith.credentials import redact
from lorasmith.errors import JobError, UnknownJob
from lorasmith.files import read_json, write_atomically

JobKind = Literal["train", "caption", "generate", "certify", "import", "fetch", "export", "gather", "tool"]


PERSON: Final = "person.json"
_TICKET: Final = "queue.json"


class JobRecord(BaseModel):
    """``job.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = 1
    id: str
    kind: JobKind
    created: str
    payload: dict[str, Any]
    """train: ``config`` (TrainConfig), ``fingerprint``; caption: ``dataset``, ``captioner``, ``options``;
    generate: the request; certify: ``adapter``, ``base``; import: ``sources``, ``name``, ``options``;
    fetch: ``link``, ``name``; export: ``dataset``, ``layout``, ``folder``, ``force``; gather: ``location``, ``source``,
    ``options``, ``name``, ``into``, ``importing``."""


class Control(BaseModel):
    """``control.json``. The two counters are raised by one for every request, so that none is missed."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    wanted: Literal["run", "pause", "stop", "finish"] = "run"
    """``finish``: end early and keep what was made so far as the result; who cannot do that stops."""
    save_now: int = 0
    sample_now: int = 0


class Result(BaseModel):
    """``result.json``. ``output`` depends on the kind of job; paths in it are relative to the job folder."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    outcome: events.Outcome
    message: str = ""
    hint: str = ""
    error: str = ""
    """Class name of the error, for retry rules and exit codes; empty when there was none."""
    exit_code: int = 0
    output: dict[str, Any] = {}


@dataclass(frozen=True)
class JobFolder:
    """Reads and writes the files of one job."""

    path: Path

    @property
    def home(self) -> Path:
        return self.path.parent.parent

    def record(self) -> JobRecord:
        """``job.json``; a ``JobError`` when it is missing or damaged."""
        try:
            return JobRecord.model_validate_json((self.path / "job.json").read_bytes())
        except FileNotFoundError as cause:
            raise UnknownJob(f"There is no job at {self.path}.", "Run `lorasmith jobs` for the list.") from cause
        except ValueError as cause:
            raise JobError(f"The job.json of {self.path.name} is damaged.", "Submit the job again.") from cause

    def control(self) -> Control:
        """What is wanted now; a job nobody has spoken to is wanted to run."""
        try:
            return Control.model_validate_json((self.path / "control.json").read_bytes())
        except FileNotFoundError:
            return Control()
        except ValueError as cause:
            raise JobError(f"The control.json of {self.path.name} is damaged.", "Delete it, then resume.") from cause

    def set_control(self, control: Control, *, settle: bool = True) -> None:
        write_atomically(self.path / "control.json", control.model_dump_json(indent=2).encode(), settle=settle)

    def result(self) -> Result | None:
        """How the job ended; None while it has not."""
        try:
            return Result.model_validate_json((self.path / "result.json").read_bytes())
        except FileNotFoundError:
            return None

    def set_result(self, result: Result) -> None:
        write_atomically(self.path / "result.json", redact(result.model_dump_json(indent=2)).encode())

    def emit(self, event: events.Event) -> None:
        """Append an event; one write call, so that lines never mix. What a full disk tears is taken back."""
        path = self.path / "events.jsonl"
        with path.open("ab", buffering=0) as stream:
            end, line = stream.tell(), redact(event.to_json()).encode() + b"\n"
            try:
                written = stream.write(line)
                if written != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            except OSError:
                stream.truncate(end)
                raise

    def mend_events(self) -> None:
        """Take back a last line that a power cut tore, so that the next event begins a line of its own."""
        path = self.path / "events.jsonl"
        if not path.exists():
            return
        with path.open("r+b") as stream:
            content = stream.read()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                stream.truncate(whole)

    def read_events(self, start: int = 0) -> Iterator[tuple[int, events.Event]]:
        """Events from byte ``start`` on, each with the offset behind it; a torn last line is left for later."""
        path = self.path / "events.jsonl"
        if not path.exists():
            return
        with path.open("rb") as stream:
            stream.seek(start)
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                start += len(line)
                event = events.parse(line.decode(errors="replace"))
                if event is not None:
                    yield start, event


def person_of(home: Path, job: str) -> str:
    """Who asked for a job, or for the one that it follows; empty for the owner of this machine, and where it is not
    told."""
    seen: set[str] = set()
    while job and Path(job).name == job and job not in seen:
        seen.add(job)
        folder = home / "jobs" / job
        if person := str(read_json(folder / PERSON).get("person", "")):
            return person
        job = str(read_json(folder / _TICKET).get("parent", ""))
    return ""
