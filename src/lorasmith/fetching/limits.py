"""What a fetch may cost, and whom it may ask; the clock that it waits by."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lorasmith.errors import Stopped

Cancel = Callable[[], bool] | threading.Event
"""Set, or true when called: the fetch stops, and what has arrived stays for the next time."""


@dataclass(frozen=True)
class Limits:
    """Caps and manners of a fetch. Bytes and seconds."""

    max_bytes: int = 200_000_000_000
    max_answer_bytes: int = 64_000_000
    """Of an answer that is read into memory: JSON and text."""
    max_seconds: float = 48 * 3600.0
    """For one download, with all its waiting."""
    connect_seconds: float = 20.0
    answer_seconds: float = 60.0
    """From the request to the end of the answer's header."""
    silence_seconds: float = 45.0
    """Without a byte of the body."""
    slowest: float = 500.0
    """Bytes a second over ``slow_seconds``; what is slower is cut off and asked for again."""
    slow_seconds: float = 60.0
    attempts: int = 6
    """One after the other without getting any further."""
    longest_wait: float = 180.0
    """The longest wait a server may ask for with Retry-After; asked for more, the fetch ends and says until when."""
    per_host: int = 4
    """Requests at the same time to one host."""
    pace: Mapping[str, float] = field(default_factory=dict)
    """Least seconds between the beginnings of two requests, by host (``name``, or ``name:port`` for odd ports)."""
    max_redirects: int = 10
    reserve_bytes: int = 500_000_000
    """Disk space that is left alone."""
    allow_http: bool = False
    """Whether addresses that begin with ``http://`` may be asked at all."""
    allow_loopback: bool = False
    """Whether this machine itself may be asked, over http too: for tests, and for a model server of one's own."""
    allow_hosts: frozenset[str] = frozenset()
    """Own servers, ``name`` or ``name:port``: http and private addresses are fine there, and any port."""


@dataclass(frozen=True)
class Clock:
    """Time as a fetch sees it; tests bring another one."""

    now: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random

    def sleep(self, seconds: float, cancel: Cancel | None = None) -> None:
        """Wait, and look up now and then whether somebody wants to stop."""
        until = self.now() + seconds
        while (left := until - self.now()) > 0:
            stop_if(cancel)
            self.pause(min(left, 0.2))
        stop_if(cancel)


def stop_if(cancel: Cancel | None) -> None:
    """Raise ``Stopped`` when it is wanted."""
    if cancel is None:
        return
    if cancel.is_set() if isinstance(cancel, threading.Event) else cancel():
        raise Stopped("The download was stopped.", "Start it again to go on from where it stopped.")
