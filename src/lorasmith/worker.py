"""Runs one job folder: ``python -m lorasmith.worker JOBDIR``.

It holds the folder's lock while it lives, appends events, obeys ``control.json`` at step boundaries and always ends
with ``result.json``. Interrupt and termination signals save and stop. A kind of job is a function
``run(folder, emit, control)`` that returns the result's ``output``; with ``complete: false`` in it, the job was
paused or stopped on the way.

Exit codes are those of ``errors.py``; 0 also for a job that was paused or stopped on request, 130 after a signal.
"""

from __future__ import annotations

import errno
import faulthandler
import importlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

from filelock import FileLock, Timeout

from lorasmith import processes
from lorasmith.credentials import Credentials, RedactingFormatter, RedactingStream, redact
from lorasmith.errors import ConsentNeeded, JobError, LorasmithError, OutOfDisk
from lorasmith.events import Emit, Event, Finished, Outcome, Phase
from lorasmith.files import read_json, write_json
from lorasmith.heartbeat import Heartbeat
from lorasmith.jobfolder import Control, JobFolder, JobKind, Result

KINDS: Final[dict[JobKind, str]] = {
    "train": "lorasmith.trainers.native",
    "caption": "lorasmith.captioners.run",
    "generate": "lorasmith.generation.run",
    "certify": "lorasmith.adapters.run",
    "import": "lorasmith.datasets.importing_job",
    "fetch": "lorasmith.bases.fetching_job",
    "export": "lorasmith.datasets.exporting_job",
    "gather": "lorasmith.gathering",
    "tool": "lorasmith.toolbox",
}
INTERRUPTED: Final = 130
LOG_LINES: Final = 50
START_TOKEN: Final = processes.START_TOKEN
_PATIENCE: Final = 2.0  # seconds for the lock: who looks whether it is free holds it for a moment
_LOG_TAIL_BYTES: Final = 100_000
_RESERVE_BYTES: Final = 256 * 1024  # given back when the disk is full, so that the result can still be written

log = logging.getLogger("lorasmith.worker")


class Wishes:
    """What is wanted of the job: ``control.json``, and signals, which count as a wish to stop.

    Counters are those since the worker's start. The file is only read when it has changed.
    """

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder
        self._seen = self._stamp()  # before reading, so that a change in between is seen as one
        self._start = self._known = folder.control()
        self.signalled = False

    def __call__(self) -> Control:
        stamp = self._stamp()
        if stamp != self._seen:
            try:
                self._known, self._seen = self._folder.control(), stamp
            except ValueError:
                log.warning("control.json cannot be read; going on as before")
                self._seen = stamp
        return Control(
            wanted="stop" if self.signalled else self._known.wanted,
            save_now=self._known.save_now - self._start.save_now,
            sample_now=self._known.sample_now - self._start.sample_now,
        )

    def _stamp(self) -> tuple[int, int, int]:
        try:
            stat = (self._folder.path / "control.json").stat()
        except FileNotFoundError:
            return 0, 0, 0
        return stat.st_mtime_ns, stat.st_ino, stat.st_size

    def handle(self, number: int, frame: object) -> None:
        """A signal handler: the first one asks, a second one insists."""
        if self.signalled:
            raise KeyboardInterrupt
        self.signalled = True


def main(arguments: list[str] | None = None) -> int:
    """Run the job whose folder is named; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1:
        sys.stderr.write("usage: python -m lorasmith.worker JOBDIR\n")
        return 2
    folder = JobFolder(Path(given[0]).resolve())
    try:
        record = folder.record()
        with _claimed(folder):
            return _work(folder, record.kind)
    except LorasmithError as error:  # not ours to run: nothing in the folder was touched
        sys.stderr.write(f"{error}\n")
        return error.exit_code


@contextmanager
def _claimed(folder: JobFolder) -> Iterator[None]:
    """Hold the folder's lock, which the system frees when the process dies, however it dies.

    A worker that was started and forgotten (whoever started it died, and another was started since) gives way: only
    the one that ``start.json`` names by its token may work.

    Raises:
        JobError: another process holds it, or was started since.
    """
    token = os.environ.pop(START_TOKEN, "")
    lock = FileLock(folder.path / "lock", timeout=_PATIENCE)
    try:
        lock.acquire()
    except Timeout as cause:
        raise JobError(
            f"Job {folder.path.name} is already running{_owner(folder)}.", "Wait for it, or pause or stop it first."
        ) from cause
    try:
        if token and read_json(folder.path / "start.json").get("token", token) != token:
            raise JobError(f"Job {folder.path.name} was started again since.", "This worker gives way to the other.")
        write_json(folder.path / "owner.json", processes.identity() | {"host": socket.gethostname()})
        yield
    finally:
        lock.release()


def _owner(folder: JobFolder) -> str:
    owner = read_json(folder.path / "owner.json")
    return f", as process {owner['pid']} on {owner['host']}" if {"pid", "host"} <= owner.keys() else ""


def _work(folder: JobFolder, kind: JobKind) -> int:
    earlier = _earlier_result(folder)
    if earlier is not None and earlier.outcome == "succeeded":
        sys.stderr.write(f"Job {folder.path.name} has finished already; submit a new one to run it again.\n")
        return 0
    if earlier is not None:  # an earlier request has been honoured: being started again means to go on
        folder.set_control(folder.control().model_copy(update={"wanted": "run"}))
        (folder.path / "result.json").unlink()
    folder.mend_events()
    wishes = Wishes(folder)
    heartbeat = Heartbeat(folder.path / "heartbeat")

    def emit(event: Event) -> None:
        if isinstance(event, Phase):
            heartbeat.phase = event.name
        heartbeat.count += 1
        folder.emit(event)

    Credentials(folder.home).remember_all()  # before anything is logged or said
    with _recorded(folder.path / "log.txt") as console, _signals(wishes), heartbeat.beating():
        result = _run(folder, kind, emit, wishes)
        _settle(folder, result, console)
    return INTERRUPTED if wishes.signalled and result.outcome == "stopped" else result.exit_code


def _earlier_result(folder: JobFolder) -> Result | None:
    try:
        return folder.result()
    except ValueError:
        log.warning("result.json was damaged; the job is run again")
        return Result(outcome="failed")


def _run(folder: JobFolder, kind: JobKind, emit: Emit, wishes: Wishes) -> Result:
    """Do the job; every way it can end becomes a ``Result``. The one place where everything is caught."""
    reserve = folder.path / ".reserve"
    try:
        reserve.write_bytes(os.urandom(_RESERVE_BYTES))
        run: Callable[..., dict[str, Any]] = importlib.import_module(KINDS[kind]).run
        output = run(folder, emit, wishes)
        if output.get("complete", True):
            return Result(outcome="succeeded", output=output)
        outcome: Outcome = "paused" if wishes().wanted == "pause" else "stopped"
        message = f"The job was {outcome} on request."
        return Result(outcome=outcome, message=message, hint=_resume(folder), output=output)
    except KeyboardInterrupt:
        message = "The job was interrupted before it could save; it goes on from its newest checkpoint."
        return Result(outcome="stopped", message=message, hint=_resume(folder), exit_code=INTERRUPTED)
    except LorasmithError as error:
        log.exception("the job failed")
        outcome = "paused" if isinstance(error, OutOfDisk) else "failed"
        return _failure(folder, outcome, error, type(error).__name__)
    except Exception as error:
        log.exception("the job failed")
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            reserve.unlink(missing_ok=True)
            full = OutOfDisk(
                f"The disk of {folder.home} is full; the job is paused and nothing that was saved is lost.",
                f"Free some space. {_resume(folder)}",
            )
            return _failure(folder, "paused", full, "OutOfDisk")
        unforeseen = LorasmithError(
            f"The job failed in a way nobody foresaw: {type(error).__name__}: {' '.join(str(error).split())}",
            f"The whole story is in {folder.path / 'log.txt'}.",
        )
        return _failure(folder, "failed", unforeseen, type(error).__name__)
    finally:
        reserve.unlink(missing_ok=True)


def _failure(folder: JobFolder, outcome: Outcome, error: LorasmithError, name: str) -> Result:
    asked: dict[str, Any] = {}
    if isinstance(error, ConsentNeeded):  # so that whoever reads this can agree to exactly these words
        asked = {"consent": {"id": error.notice, "title": error.title, "text": error.text}}
    return Result(
        outcome=outcome,
        message=error.message,
        hint=error.hint,
        error=name,
        exit_code=error.exit_code,
        output={"log": _tail(folder.path / "log.txt")} | asked,
    )


def _settle(folder: JobFolder, result: Result, console: TextIO) -> None:
    """Say how it ended: last event, console, and ``result.json`` as the last of all."""
    try:
        folder.emit(Finished(result.outcome, result.message, result.hint))
    except OSError:
        log.exception("the last event could not be written")
    folder.set_result(result)
    if result.message:
        console.write(redact(f"{result.message} {result.hint}\n"))


def _resume(folder: JobFolder) -> str:
    return f"Run `lorasmith resume {folder.path.name}` to go on."


def _tail(path: Path) -> list[str]:
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _LOG_TAIL_BYTES))
        return stream.read().decode(errors="replace").splitlines()[-LOG_LINES:]


@contextmanager
def _signals(wishes: Wishes) -> Iterator[None]:
    """Interrupt and termination become wishes."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if sys.platform == "win32":
        numbers.append(signal.SIGBREAK)
    before = {number: signal.signal(number, wishes.handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _recorded(path: Path) -> Iterator[TextIO]:
    """Send logging, warnings and whatever libraries write to stdout or stderr into a file; yields the real stderr."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    stream = path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    printed = sys.stdout, sys.stderr
    hiding = RedactingStream(sys.stdout), RedactingStream(sys.stderr)
    sys.stdout, sys.stderr = hiding
    os.dup2(stream.fileno(), 1)
    os.dup2(stream.fileno(), 2)
    faulthandler.enable(stream)
    console = os.fdopen(os.dup(kept[1]), "w", encoding="utf-8", errors="backslashreplace")
    try:
        yield console
    finally:
        console.close()
        for hidden in hiding:
            hidden.finish()
        sys.stdout, sys.stderr = printed
        faulthandler.disable()
        logging.captureWarnings(False)
        root.removeHandler(handler)
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)
        stream.close()


if __name__ == "__main__":
    # Before any library reads them: no progress bars in the log, no threads of the tokenizers.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    sys.exit(main())
