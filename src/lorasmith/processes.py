"""Worker processes: started in a session of their own, told apart from strangers, ended, and their end put in words.

A process is known by its pid and its start time together, because a pid passes to a stranger once its owner is gone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from lorasmith.credentials import refuse_to_write
from lorasmith.errors import EnvironmentProblem

_START_TIME_TOLERANCE = 2.0  # seconds; the kernel's boot time, which start times are counted from, may be corrected


def identity(pid: int | None = None) -> dict[str, Any]:
    """``{"pid", "started"}`` of a live process, by default this one, for a file that others read.

    ``started`` is None when the process has already gone.
    """
    pid = os.getpid() if pid is None else pid
    try:
        return {"pid": pid, "started": psutil.Process(pid).create_time()}
    except psutil.NoSuchProcess:
        return {"pid": pid, "started": None}


def find(known: Mapping[str, Any]) -> psutil.Process | None:
    """The live process of that identity; None when it has ended, even if its pid is in use again."""
    pid, started = known.get("pid"), known.get("started")
    if not isinstance(pid, int) or not isinstance(started, int | float):
        return None
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < _START_TIME_TOLERANCE
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # a stranger's process on Windows denies even the look
        return None


def spawn(command: Sequence[str], *, folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a process in ``folder`` that outlives this one, without stdin; what it prints goes to the end of ``log``.

    Raises:
        EnvironmentProblem: no process can be started.
        ConfigError: an argument holds a secret, which everybody on this machine could read.
    """
    refuse_to_write(" ".join(command), "The command line of a process")
    environment = os.environ | {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": _search_path()}
    try:
        with log.open("ab") as stream:
            return subprocess.Popen(  # noqa: S603  the command is ours
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=environment,
                **_own_session(),
            )
    except OSError as cause:
        raise EnvironmentProblem(f"No worker can be started: {cause}.", "Run `lorasmith doctor`.") from cause


def _search_path() -> str:
    """``PYTHONPATH`` for a process in another folder: relative entries made absolute, and where this package lies."""
    given = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    return os.pathsep.join(str(Path(part).absolute()) for part in (*given, str(Path(__file__).parents[1])))


def _own_session() -> dict[str, Any]:
    """Arguments that part a child from this terminal, so that closing it or Ctrl-C does not end the child."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def end(process: psutil.Process, *, kill: bool) -> None:
    """Ask a process to end, or end it with the processes it started; one that has already gone is no error."""
    try:
        if not kill:
            process.terminate()
        elif sys.platform != "win32" and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except (psutil.NoSuchProcess, ProcessLookupError):
        return


def manner_of_end(code: int | None) -> str:
    """How a process ended, in words; ``code`` as ``Popen.returncode`` has it, None when it is not known."""
    if code is None:
        return "it left no result, and its exit status is not known here"
    if code >= 0:
        return f"exit code {code}, without a result"
    name = signal.Signals(-code).name if -code in list(signal.Signals) else "unknown"
    reason = ", as the system does when memory runs out" if name == "SIGKILL" else ""
    return f"signal {-code} ({name}{reason})"
