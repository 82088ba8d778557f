"""Numbers summed up: their spread, and how many fall between which edges."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

_BINS: Final = 20
_STEPS: Final = (1, 2, 5)


@dataclass(frozen=True)
class Histogram:
    """``counts[i]`` values lie from ``edges[i]`` to below ``edges[i + 1]``; a last edge of None stands for no end."""

    edges: tuple[float | None, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Distribution:
    """How numbers spread. Percentiles lie between two neighbours where they fall between them."""

    count: int
    minimum: float
    p10: float
    median: float
    mean: float
    p90: float
    maximum: float
    histogram: Histogram


def distribution(values: Sequence[float]) -> Distribution | None:
    """The spread of numbers, in at most 20 bins of a round width; None of no numbers."""
    if not values:
        return None
    array = np.asarray(values, dtype=np.float64)
    p10, median, p90 = (float(x) for x in np.percentile(array, [10, 50, 90]))
    low, high = float(array.min()), float(array.max())
    return Distribution(
        len(values), low, p10, median, float(array.mean()), p90, high, binned(values, _round_edges(low, high))
    )


def binned(values: Sequence[float], edges: Sequence[float]) -> Histogram:
    """Values counted between ascending edges; one more bin without an upper edge takes what lies above the last.

    Bins at either end that hold nothing are left out. The first edge must not lie above any value.
    """
    counts = [0] * len(edges)
    for value in values:
        counts[bisect_right(edges, value) - 1] += 1
    filled = [index for index, count in enumerate(counts) if count]
    if not filled:
        return Histogram((), ())
    first, last = filled[0], filled[-1]
    upper: list[float | None] = [*edges, None]
    return Histogram(tuple(upper[first : last + 2]), tuple(counts[first : last + 1]))


def _round_edges(low: float, high: float) -> list[float]:
    """Edges in steps of 1, 2 or 5 times a power of ten, at least 1, from below the lowest to above the highest."""
    raw = max(1.0, (high - low) / _BINS)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((power * factor for factor in _STEPS if power * factor >= raw), 10 * power)
    start = math.floor(low / step) * step
    return [start + step * index for index in range(int((high - start) / step) + 2)]
