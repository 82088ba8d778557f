"""Manners towards servers: how many requests at once, how soon after one another, and when to try again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from lorasmith.errors import FetchError
from lorasmith.fetching.limits import Cancel, Clock, Limits, stop_if

_FIRST_WAIT: Final = 1.0  # seconds; doubled with every failure
_LAST_WAIT: Final = 60.0
_MOST_TRIES: Final = 1000  # of one download, however much it gets on


class Temporary(Exception):
    """Something went wrong that may go right a little later. Never leaves this room."""

    def __init__(
        self, place: str, reason: str, *, wait: float | None = None, status: int | None = None, progress: bool = True
    ) -> None:
        super().__init__(reason)
        self.progress = progress
        """Whether what arrived before counts as getting on; a trickle does not."""
        self.place = place
        self.reason = reason
        self.wait = wait
        """Seconds the server asked for."""
        self.status = status


@dataclass
class _Host:
    """One host: who is asking it, and when the next one may."""

    slots: threading.Semaphore
    lock: threading.Lock = field(default_factory=threading.Lock)
    next_start: float = 0.0


class Hosts:
    """The hosts that one fetcher knows, by ``name`` or ``name:port``. Shared by its threads."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits, self._clock = limits, clock
        self._lock = threading.Lock()
        self._known: dict[str, _Host] = {}

    @contextmanager
    def turn(self, place: str, cancel: Cancel | None) -> Iterator[None]:
        """Wait until this host may be asked, and keep one of its places until the end."""
        known = self._host(place)
        while not known.slots.acquire(timeout=0.2):
            stop_if(cancel)
        try:
            self._clock.sleep(self._wait(place, known), cancel)
            yield
        finally:
            known.slots.release()

    def hold_back(self, place: str, seconds: float) -> None:
        """Let nobody ask this host for so long: it said so to one of us."""
        known = self._host(place)
        with known.lock:
            known.next_start = max(known.next_start, self._clock.now() + seconds)

    def _wait(self, place: str, known: _Host) -> float:
        with known.lock:
            now = self._clock.now()
            start = max(now, known.next_start)
            known.next_start = start + self._limits.pace.get(place, 0.0)
            return start - now

    def _host(self, place: str) -> _Host:
        with self._lock:
            return self._known.setdefault(place, _Host(threading.Semaphore(self._limits.per_host)))


class Patience:
    """Counts failures of one task, waits between them, and knows when it is enough."""

    def __init__(self, limits: Limits, clock: Clock, cancel: Cancel | None) -> None:
        self._limits, self._clock, self._cancel = limits, clock, cancel
        self.end = clock.now() + limits.max_seconds
        self._failures = 0
        self._tries = 0

    def after(self, failure: Temporary, *, got_further: bool = False, kept: str = "") -> float:
        """Wait as long as is polite after a failure; the seconds waited.

        Args:
            failure: what happened.
            got_further: more has arrived than ever before, so that it is worth going on.
            kept: what is there already, for the sentence.

        Raises:
            FetchError: enough.
        """
        self._tries += 1
        self._failures = 1 if got_further else self._failures + 1
        if self._failures >= self._limits.attempts or self._tries >= _MOST_TRIES:
            raise FetchError(
                f"{failure.place} could not be read: {failure.reason} ({self._failures} times in a row).",
                f"Try again later{'; ' + kept if kept else ''}. Check your connection if other sites fail too.",
                failure.status,
            ) from failure
        wait = self._politely(failure)
        if self._clock.now() + wait > self.end:
            raise FetchError(
                f"{failure.place} could not be read in {self._limits.max_seconds:.0f} seconds: {failure.reason}.",
                f"Start it again{'; ' + kept if kept else ''}.",
                failure.status,
            ) from failure
        self._clock.sleep(wait, self._cancel)
        return wait

    def _politely(self, failure: Temporary) -> float:
        if failure.wait is None:
            full = min(_LAST_WAIT, _FIRST_WAIT * 2.0 ** (self._failures - 1))
            return full * (0.5 + 0.5 * self._clock.chance())
        if failure.wait > self._limits.longest_wait:
            until = datetime.now().astimezone() + timedelta(seconds=failure.wait)
            raise FetchError(
                f"{failure.place} wants to be left alone for {failure.wait:.0f} seconds: {failure.reason}.",
                f"Try again after {until:%H:%M on %d %B}.",
                failure.status,
            ) from failure
        return failure.wait + 0.5 * self._clock.chance()


def retry_after(header: str | None, now: datetime | None = None) -> float | None:
    """Seconds that ``Retry-After`` asks for, as a number or a date (RFC 9110 10.2.3); None when it is neither."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())
