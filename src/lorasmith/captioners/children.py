"""Processes of ours that answer one question at a time, and may die while they do.

Question and answer are frames: a line of JSON, whose ``blobs`` are the lengths of what follows as bytes. A child reads
frames from its standard input and writes them to what was its standard output; whatever a library prints goes to
standard error. It ends when its input does, so that it never outlives whoever asks.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import lorasmith

Frame = tuple[dict[str, Any], list[bytes]]
_CLOSING_SECONDS: Final = 5.0


class ChildDiedError(Exception):
    """The process ended, or was ended for taking too long; the text says how."""


class Child:
    """One process. Not for several threads at once."""

    def __init__(self, module: str, *arguments: str) -> None:
        """
        Args:
            module: run with ``python -m``.
            arguments: of the module.
        """
        here = str(Path(lorasmith.__file__).parents[1])
        paths = [here, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        self._process = subprocess.Popen(  # noqa: S603  our own interpreter and module
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))},
        )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def ask(self, question: dict[str, Any], blobs: Sequence[bytes] = (), *, seconds: float | None = None) -> Frame:
        """Ask, and wait for the answer.

        Args:
            question: as JSON.
            blobs: bytes that go with it.
            seconds: after which the process is ended; None waits as long as it takes.

        Raises:
            ChildDiedError: it ended, and has to be replaced by another.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the process was started without pipes")
        late = threading.Event()
        alarm = threading.Timer(seconds, self._end_late, (late,)) if seconds is not None else None
        if alarm is not None:
            alarm.daemon = True
            alarm.start()
        try:
            write_frame(stdin, question, blobs)
            answer = read_frame(stdout)
        except (OSError, ValueError) as cause:
            raise ChildDiedError(self._how(late, seconds)) from cause
        finally:
            if alarm is not None:
                alarm.cancel()
        if answer is None:
            raise ChildDiedError(self._how(late, seconds))
        return answer

    def close(self) -> None:
        """End it: by ending its input first, then by force."""
        process = self._process
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            process.wait(_CLOSING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self.close()

    def _end_late(self, late: threading.Event) -> None:
        late.set()
        self._process.kill()

    def _how(self, late: threading.Event, seconds: float | None) -> str:
        self._process.kill()
        code = self._process.wait()
        self.close()
        if late.is_set():
            return f"gave no answer within {seconds:.0f} seconds"
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"


def serve() -> Iterator[tuple[Frame, BinaryIO]]:
    """In a child: the questions as they come, each with the stream for the answer.

    Interrupts are left to whoever asks: Ctrl-C reaches all processes of a terminal, and the answer that is being made
    is still wanted.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    questions = sys.stdin.buffer
    while (frame := read_frame(questions)) is not None:
        yield frame, answers


def write_frame(stream: Any, document: dict[str, Any], blobs: Sequence[bytes] = ()) -> None:
    """Write a frame and flush."""
    header = json.dumps({**document, "blobs": [len(blob) for blob in blobs]}, ensure_ascii=True)
    stream.write(header.encode() + b"\n")
    for blob in blobs:
        stream.write(blob)
    stream.flush()


def read_frame(stream: Any) -> Frame | None:
    """The next frame; None at the end, also when it ends in the middle of one.

    Raises:
        ValueError: these are no frames.
    """
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    document = json.loads(line)
    blobs = []
    for length in document.pop("blobs"):
        blob = stream.read(length)
        if len(blob) < length:
            return None
        blobs.append(blob)
    return document, blobs
