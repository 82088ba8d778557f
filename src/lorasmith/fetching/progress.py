"""How a download gets on, in numbers that hold still long enough to be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lorasmith import events
from lorasmith.fetching.hosts import Temporary
from lorasmith.fetching.limits import Clock, Limits

_REST = 0.2  # seconds between two reports
_MEMORY = 10.0  # seconds over which the speed is smoothed


@dataclass(frozen=True)
class Transfer:
    """A moment of a download. Bytes and seconds."""

    url: str
    done: int
    total: int | None
    per_second: float | None = None
    seconds_left: float | None = None
    note: str = ""
    """Something that was decided on the way: begun anew, waiting, tried again."""

    def event(self) -> events.Progress:
        """The same as an event of a job; the total is what is done where nobody knows it."""
        total = self.done if self.total is None else self.total
        return events.Progress(self.done, total, "bytes", self.per_second, self.seconds_left)


Watch = Callable[[Transfer], None]


class Pace:
    """Measures one download: reports it, and notices when it trickles."""

    def __init__(self, url: str, clock: Clock, limits: Limits, watch: Watch | None) -> None:
        self._url, self._clock, self._limits, self._watch = url, clock, limits, watch
        self._total: int | None = None
        self._done = self._then_done = self._window_done = 0
        self._then = self._window = clock.now()
        self._speed: float | None = None
        self._reported = float("-inf")

    def start(self, done: int, total: int | None) -> None:
        """An answer begins, at this byte."""
        self._done = self._then_done = self._window_done = done
        self._total = total
        self._then = self._window = self._clock.now()

    def advance(self, done: int, place: str) -> None:
        """So much is there now.

        Raises:
            Temporary: it comes too slowly to ever end.
        """
        self._done = done
        now = self._clock.now()
        if now - self._reported >= _REST:
            self._measure(now)
            self._report("")
            self._reported = now
        elapsed = now - self._window
        if elapsed >= self._limits.slow_seconds:
            if done - self._window_done < self._limits.slowest * elapsed:
                raise Temporary(place, "only a trickle arrives", progress=False)
            self._window, self._window_done = now, done

    def say(self, note: str) -> None:
        """Pass on a decision."""
        self._report(note)

    def finish(self, done: int) -> None:
        self._done = self._total = done
        self._report("")

    def _measure(self, now: float) -> None:
        elapsed = now - self._then
        if elapsed <= 0:
            return
        speed = (self._done - self._then_done) / elapsed
        weight = min(1.0, elapsed / _MEMORY)
        self._speed = speed if self._speed is None else (1 - weight) * self._speed + weight * speed
        self._then, self._then_done = now, self._done

    def _report(self, note: str) -> None:
        if self._watch is None:
            return
        left = None
        if self._total is not None and self._speed:
            left = max(0, self._total - self._done) / self._speed
        self._watch(Transfer(self._url, self._done, self._total, self._speed, left, note))
