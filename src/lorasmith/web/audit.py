"""Who changed what, when and from where: a line of JSON each in ``audit.jsonl``, which only grows.

Bodies are never written down: they hold passwords and secrets.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import unicodedata
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from lorasmith.credentials import redact

_log = logging.getLogger(__name__)
FILE: Final = "audit.jsonl"
_LONGEST: Final = 500  # characters of an address
_LARGEST: Final = 64 * 2**20  # bytes; then a new file is begun and one old one is kept


@dataclass(frozen=True)
class Entry:
    """One line."""

    at: str
    """ISO 8601, UTC."""
    who: str
    what: str
    """Method of the request."""
    target: str
    """Path of the request."""
    status: int
    """What was answered; 4xx was refused and changed nothing."""
    address: str
    """Where from."""


class Audit:
    """The log of a home."""

    def __init__(self, home: Path) -> None:
        self._path = home / FILE
        self._lock = threading.Lock()

    def write(self, *, who: str, what: str, target: str, status: int, address: str) -> None:
        """Append a line. A full disk does not stop the work: it is said in the server's log."""
        plain = "".join(mark if unicodedata.category(mark)[0] != "C" else "?" for mark in redact(target))
        entry = Entry(
            datetime.now(UTC).isoformat(timespec="milliseconds"), who, what, plain[:_LONGEST], status, address
        )
        line = (json.dumps(asdict(entry)) + "\n").encode()
        try:
            with self._lock:
                if self._path.exists() and self._path.stat().st_size > _LARGEST:
                    self._path.replace(self._path.with_suffix(".1.jsonl"))
                handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                try:
                    os.write(handle, line)
                finally:
                    os.close(handle)
        except OSError as cause:
            _log.error("The audit log cannot be written: %s", cause.strerror)

    def latest(self, most: int = 200) -> list[Entry]:
        """The newest entries, the newest first."""
        return list(reversed(deque(self.entries(), maxlen=most)))

    def entries(self) -> Iterator[Entry]:
        """All that is kept, oldest first; torn lines are passed over."""
        for path in (self._path.with_suffix(".1.jsonl"), self._path):
            if not path.exists():
                continue
            with path.open(encoding="utf-8") as stream:
                for line in stream:
                    try:
                        yield Entry(**json.loads(line))
                    except (ValueError, TypeError):
                        continue
