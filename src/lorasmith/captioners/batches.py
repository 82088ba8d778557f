"""How many pictures at a time: found while working, by doubling as long as that makes it faster and memory holds."""

from __future__ import annotations

from typing import Final

_MOST: Final = 64
_FASTER: Final = 1.05  # times as many pictures per second, or it is not worth the memory
_TRIES: Final = 2  # batches that a size is measured with; the first of a size also pays for its buffers


class BatchSize:
    """The size of the next batch."""

    def __init__(self, fixed: int | None, limit: int | None) -> None:
        """
        Args:
            fixed: what the user chose; None finds it.
            limit: the most that the model takes; None for no limit.
        """
        self._limit = min(limit or _MOST, _MOST if fixed is None else fixed)
        self._searching = fixed is None and self._limit > 1
        self._size = 1 if self._searching else self._limit
        self._best_size, self._best_rate = self._size, 0.0
        self._rates: list[float] = []

    @property
    def size(self) -> int:
        """Pictures to take next."""
        return self._size

    def took(self, pictures: int, seconds: float) -> None:
        """A batch worked, and took so long."""
        if not self._searching or pictures != self._size:
            return
        self._rates.append(pictures / max(seconds, 1e-9))
        if len(self._rates) < _TRIES:
            return
        rate = max(self._rates)
        self._rates.clear()
        if rate > self._best_rate * _FASTER:
            self._best_size, self._best_rate = self._size, rate
            if self._size < self._limit:
                self._size = min(self._limit, self._size * 2)
                return
        self._size, self._searching = self._best_size, False

    def failed(self) -> bool:
        """A batch was too much for memory: take fewer from now on. Whether that is possible."""
        smaller = max(1, self._size // 2)
        possible = smaller < self._size
        self._size, self._searching, self._limit = smaller, False, smaller
        return possible
