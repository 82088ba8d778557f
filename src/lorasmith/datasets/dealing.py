"""Which bucket the next batch comes from: the counting behind the sampler, without pictures or randomness.

Every bucket deals its own pictures pass after pass, and a batch may span two passes: none is short, none is filled up
with doubles, none is dropped. The next bucket is the one furthest behind its share, so that all pictures are shown
equally often, to within a batch per bucket.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd


class Dealer:
    """Counts batches over buckets, endlessly.

    Args:
        sizes: pictures per bucket, each counted as often as a pass shows it; none 0.
        batch_size: pictures per batch.
    """

    def __init__(self, sizes: Sequence[int], batch_size: int) -> None:
        self._sizes = tuple(sizes)
        self._batch_size = batch_size
        self._total = sum(self._sizes)
        self.taken = [0] * len(self._sizes)
        """Batches dealt so far, per bucket."""
        self._dealt = 0

    @property
    def batches(self) -> int:
        """Batches dealt so far."""
        return self._dealt

    @property
    def total(self) -> int:
        """Pictures of one pass over all buckets."""
        return self._total

    @property
    def epoch(self) -> float:
        """Passes over all pictures and repeats so far."""
        return self._dealt * self._batch_size / self._total

    def next(self) -> int:
        """The bucket of the next batch, which counts as dealt."""
        due = self._dealt + 1
        shortfall = [size * due - taken * self._total for size, taken in zip(self._sizes, self.taken, strict=True)]
        bucket = shortfall.index(max(shortfall))
        self.taken[bucket] += 1
        self._dealt += 1
        return bucket

    def skip(self, batches: int) -> None:
        """Deal ``batches`` batches; rounds after which every bucket has had its share are alike, and taken at once."""
        period = self._total // gcd(*self._sizes) if self._sizes else 0
        if batches > 2 * period and self._even():
            before = list(self.taken)
            self._walk(period)
            batches -= period
            if self._even():
                rounds, batches = divmod(batches, period)
                self.taken = [now + rounds * (now - then) for now, then in zip(self.taken, before, strict=True)]
                self._dealt += rounds * period
        self._walk(batches)

    def _walk(self, batches: int) -> None:
        for _ in range(batches):
            self.next()

    def _even(self) -> bool:
        """Whether every bucket has had exactly its share, so that what follows is what followed the start."""
        return all(
            size * self._dealt == taken * self._total for size, taken in zip(self._sizes, self.taken, strict=True)
        )

    def seek(self, taken: Sequence[int]) -> None:
        """Go on from counts that ``taken`` once held."""
        self.taken = list(taken)
        self._dealt = sum(self.taken)

    def passes(self, bucket: int) -> tuple[int, int]:
        """Whole passes over a bucket so far, and pictures of the pass under way."""
        return divmod(self.taken[bucket] * self._batch_size, self._sizes[bucket])
