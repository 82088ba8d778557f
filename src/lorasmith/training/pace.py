"""How fast steps come, and when the last one will."""

from __future__ import annotations

import math
import statistics
import time
from collections import deque

from lorasmith.events import Progress


class Pace:
    """Keeps the seconds of the latest steps; previews and checkpoints between steps are not counted.

    Args:
        window: how many steps it remembers.
    """

    def __init__(self, window: int = 50) -> None:
        self._seconds: deque[float] = deque(maxlen=window)
        self._begun = time.perf_counter()

    def begin(self) -> None:
        """A step begins now."""
        self._begun = time.perf_counter()

    def end(self) -> None:
        """The step that began last has ended."""
        self._seconds.append(time.perf_counter() - self._begun)

    def progress(self, done: int, total: int) -> Progress:
        """The event. ``seconds_left_spread`` is two standard errors: time left is within it 19 times in 20.

        Only when the pace holds: a machine that gets another job meanwhile slows down.
        """
        mean = statistics.fmean(self._seconds)
        left = total - done
        spread = None
        if len(self._seconds) > 2:
            deviation = statistics.stdev(self._seconds)
            # The mean is uncertain by s/sqrt(n) for every step left, and each of them varies by s on its own.
            spread = 2 * deviation * math.sqrt(left * left / len(self._seconds) + left)
        return Progress(done, total, "steps", 1 / mean if mean > 0 else None, left * mean, spread)
