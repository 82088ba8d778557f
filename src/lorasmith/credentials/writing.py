"""Log files and streams without secrets."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, TextIO

from lorasmith.credentials.secret import redact


class RedactingFormatter(logging.Formatter):
    """Writes log records, with their tracebacks, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class RedactingStream:
    """A text stream that takes secrets out of what is printed, line by line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rest = ""

    def write(self, text: str) -> int:
        """Whole lines go on at once; the end of one waits for its rest, for it may hold half a secret."""
        whole, newline, self._rest = (self._rest + text).rpartition("\n")
        if newline:
            self._stream.write(redact(whole) + newline)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._stream.flush()

    def finish(self) -> None:
        """Let the last, unfinished line go."""
        rest, self._rest = self._rest, ""
        self._stream.write(redact(rest))
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
