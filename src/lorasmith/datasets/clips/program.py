"""ffmpeg: found, started without a shell, and held to limits of time, memory and protocols.

A file that somebody else made never chooses how it is read: its first bytes decide the demuxer, and only local files
may be opened, so a playlist called ``clip.mp4`` leads nowhere.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from lorasmith.errors import EnvironmentProblem

SECONDS: Final = 900.0
"""How long one file may take."""
_MEMORY: Final = 4 * 2**30  # bytes of address space, where the system can hold a process to it
_QUIET: Final = ("-nostdin", "-hide_banner", "-v", "error", "-threads", "2")
_SAID: Final = 20_000  # bytes of complaints that are kept


@dataclass(frozen=True)
class Failed(Exception):
    """ffmpeg ended with an error, or was ended; ``said`` is its first sentence."""

    said: str
    out_of_time: bool = False


def find_ffmpeg() -> Path | None:
    """ffmpeg on the path, or the one that the package imageio-ffmpeg brings; None without either."""
    found = shutil.which("ffmpeg")
    if found is not None:
        return Path(found)
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        return None
    import imageio_ffmpeg

    try:
        return Path(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:  # installed without its program
        return None


def need_ffmpeg() -> Path:
    """As ``find_ffmpeg``.

    Raises:
        EnvironmentProblem: there is none.
    """
    found = find_ffmpeg()
    if found is None:
        raise EnvironmentProblem(
            "Videos are decoded by the program ffmpeg, which is not here.",
            "Install it with your system, or: pip install 'lorasmith[video]'.",
        )
    return found


def version_of(program: Path) -> str:
    """What ffmpeg says it is, e.g. ``7.0.2``; empty when it does not start."""
    try:
        done = subprocess.run(  # noqa: S603
            [program, "-hide_banner", "-version"],
            capture_output=True,
            timeout=20,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    words = done.stdout.decode("utf-8", "replace").split()
    return words[2] if done.returncode == 0 and words[:2] == ["ffmpeg", "version"] else ""


def input_of(path: Path, demuxer: str) -> list[str]:
    """The arguments that open a file of somebody else's."""
    return ["-protocol_whitelist", "file", "-f", demuxer, "-i", f"file:{path}"]


@contextmanager
def started(
    arguments: Sequence[str], *, feed: bool = False, seconds: float = SECONDS, said: list[bytes] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """ffmpeg at work, its output in ``stdout``; ended when the block is left, whatever happens.

    Args:
        arguments: without the program.
        feed: whether something is written into its ``stdin``.
        seconds: after which it is ended.
        said: is given what it complains of.

    Raises:
        Failed: it ended with an error, took too long, or could not be started. Leaving early is no failure.
        EnvironmentProblem: there is no ffmpeg.
    """
    program = need_ffmpeg()
    complaints: list[bytes] = [] if said is None else said
    try:
        process = subprocess.Popen(  # noqa: S603
            [program, *_QUIET, *arguments],
            stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as cause:
        raise Failed(f"it does not start: {cause.strerror}") from cause
    _hold(process.pid)
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, end)
    listener = threading.Thread(target=_listen, args=(process, complaints), daemon=True)
    timer.start()
    listener.start()
    ended = False
    try:
        yield process
        assert process.stdout is not None
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        ended = not process.stdout.read(1)  # nothing more is asked of it: it ends of itself, or is ended
    except BrokenPipeError:
        ended = True  # it gave up; what it said tells why
    finally:
        if not ended:
            process.kill()
        code = process.wait()
        timer.cancel()
        listener.join()
        for stream in (process.stdout, process.stderr, process.stdin):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
    if late.is_set():
        raise Failed(f"it took more than {seconds:.0f} seconds", out_of_time=True)
    if ended and code != 0:
        raise Failed(first_sentence(b"".join(complaints)) or "it gave no reason")


def _listen(process: subprocess.Popen[bytes], complaints: list[bytes]) -> None:
    assert process.stderr is not None
    kept = 0
    with contextlib.suppress(OSError, ValueError):
        while chunk := process.stderr.read1(4096):  # type: ignore[attr-defined]
            if kept < _SAID:
                complaints.append(chunk)
                kept += len(chunk)


def _hold(pid: int) -> None:
    """No more memory than that, where the system can hold it to it."""
    if sys.platform == "linux":
        with contextlib.suppress(psutil.Error, OSError):
            process: Any = psutil.Process(pid)
            process.rlimit(psutil.RLIMIT_AS, (_MEMORY, _MEMORY))


def first_sentence(said: bytes) -> str:
    """What ffmpeg complained of first, without who said it; empty when it did not."""
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    plain = [line.rpartition("] ")[2] for line in lines]
    return " ".join((plain[0] if plain else "").split())[:200].rstrip(".")
