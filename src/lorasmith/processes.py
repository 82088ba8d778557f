"""Worker processes: started in a session of their own, told apart from strangers, ended, and their end put in words.

A process is known by its pid and its start time together, because a pid passes to a stranger once its owner is gone.
On Linux the start is counted in the kernel's ticks since the boot of that name, which no change of the clock can move.
"""

from __future__ import annotations

import contextlib
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

START_TOKEN = "LORASMITH_START"  # noqa: S105  no secret: it tells starts apart
"""The variable that tells a worker which start it belongs to."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_START_FIELD = 19  # of /proc/PID/stat behind the command's name: starttime
_START_TIME_TOLERANCE = 2.0  # seconds; the kernel's boot time, which start times are counted from, may be corrected


def identity(pid: int | None = None) -> dict[str, Any]:
    """``{"pid", "started"}`` of a live process, by default this one, for a file that others read.

    On Linux ``boot`` and ``ticks`` stand beside them. ``started`` is None when the process has already gone.
    """
    pid = os.getpid() if pid is None else pid
    try:
        return {"pid": pid, "started": psutil.Process(pid).create_time(), **_ticks(pid)}
    except psutil.NoSuchProcess:
        return {"pid": pid, "started": None}


def _ticks(pid: int) -> dict[str, Any]:
    """When a process started by the kernel's own count; empty where there is no such count."""
    try:
        boot = _BOOT.read_text(encoding="ascii").strip()
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return {"boot": boot, "ticks": int(stat.rpartition(")")[2].split()[_START_FIELD])}
    except (OSError, ValueError, IndexError):
        return {}


def find(known: Mapping[str, Any]) -> psutil.Process | None:
    """The live process of that identity; None when it has ended, even if its pid is in use again."""
    pid, started = known.get("pid"), known.get("started")
    if not isinstance(pid, int) or not isinstance(started, int | float):
        return None
    try:
        process = psutil.Process(pid)
        if known.get("boot") and (now := _ticks(pid)):
            same = (now["boot"], now["ticks"]) == (known["boot"], known.get("ticks"))
        else:
            same = abs(process.create_time() - started) < _START_TIME_TOLERANCE
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # a stranger's process on Windows denies even the look
        return None


def spawn(
    command: Sequence[str], *, folder: Path, log: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process in ``folder`` that outlives this one, without stdin; what it prints goes to the end of ``log``.

    Args:
        command: program and arguments.
        folder: where it works.
        log: what it prints is added here.
        environment: variables besides this process's own.

    Raises:
        EnvironmentProblem: no process can be started.
        ConfigError: an argument holds a secret, which everybody on this machine could read.
    """
    refuse_to_write(" ".join(command), "The command line of a process")
    ours = {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": _search_path()}
    try:
        with log.open("ab") as stream:
            return subprocess.Popen(  # noqa: S603  the command is ours
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=os.environ | ours | dict(environment or {}),
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
    """Ask a process to end, or end it with the processes it started; one that has already gone is no error.

    On Windows nothing can be asked by signal of a process without a console, and ``terminate`` would kill it: there
    the control file is the only question, and only ``kill`` does something.
    """
    try:
        if not kill:
            if sys.platform != "win32":
                process.terminate()
        elif sys.platform != "win32" and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            for one in (*process.children(recursive=True), process):
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
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
