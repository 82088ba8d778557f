"""Says that a worker is alive, from a thread, also while one long call keeps it from saying anything else."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pulse:
    """What a heartbeat said last: the named phase, and how many seconds ago."""

    phase: str
    age: float


def read_pulse(path: Path) -> Pulse | None:
    """The last beat of a heartbeat file; None before the first one, or while it cannot be read."""
    try:
        age = time.time() - path.stat().st_mtime
        phase = json.loads(path.read_bytes())["phase"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Pulse(str(phase), max(0.0, age))


@dataclass
class Heartbeat:
    """Rewrites a small JSON file every ``seconds``: ``beat`` (counts up), ``phase``, ``count`` (events so far).

    A reader compares two readings: a ``beat`` that moves is a live process, a ``count`` that moves is a live job.
    """

    path: Path
    seconds: float = 5.0
    phase: str = "starting"
    count: int = 0

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Beat until the end of the block."""
        ended = threading.Event()
        thread = threading.Thread(target=self._beat, args=(ended,), name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _beat(self, ended: threading.Event) -> None:
        beat = 0
        while True:
            beat += 1
            content = json.dumps({"beat": beat, "phase": self.phase, "count": self.count})
            temporary = self.path.with_name(f".{self.path.name}.tmp")
            try:
                temporary.write_text(content, encoding="utf-8")
                temporary.replace(self.path)
            except OSError as problem:  # a full disk or a reader on Windows; the next beat tries again
                log.debug("no heartbeat: %s", problem)
            if ended.wait(self.seconds):
                return
