"""Which tags come together more, or less, than chance would have it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

CONSIDERED_TAGS: Final = 400
"""Pairs are looked for among this many of the most frequent tags, so that time and memory do not grow with the
vocabulary. A pair that is not looked at has at most as many items as its rarer tag, which is not among these."""
_ROWS: Final = 8_192


@dataclass(frozen=True)
class TagPair:
    """Two tags that stand together in ``items`` items.

    ``lift`` is how many times more often that is than if they were independent: 1 is chance.
    """

    first: str
    second: str
    items: int
    lift: float


def frequent_pairs(tags_by_item: Sequence[Iterable[str]], order: Sequence[str], most: int) -> list[TagPair]:
    """The most frequent pairs, by the number of items that have both, then by lift, then by name.

    Args:
        tags_by_item: the tags of every item, each once.
        order: all tags, the most frequent first; the first ``CONSIDERED_TAGS`` are looked at.
        most: how many pairs to give at most. A pair of one item only is never given.
    """
    considered = list(order[:CONSIDERED_TAGS])
    place = {tag: index for index, tag in enumerate(considered)}
    together = np.zeros((len(considered), len(considered)), dtype=np.float64)
    for start in range(0, len(tags_by_item), _ROWS):
        chunk = tags_by_item[start : start + _ROWS]
        has = np.zeros((len(chunk), len(considered)), dtype=np.float32)  # (items, tags); sums below 2^24 are exact
        for row, tags in enumerate(chunk):
            has[row, [place[tag] for tag in tags if tag in place]] = 1
        together += has.T @ has
    first, second = np.triu_indices(len(considered), k=1)
    both = together[first, second]
    kept = both > 1
    first, second, both = first[kept], second[kept], both[kept]
    singles = np.diag(together)
    lift = both * len(tags_by_item) / (singles[first] * singles[second])
    ranking = np.lexsort((-lift, -both))[:most]
    return [
        TagPair(considered[first[i]], considered[second[i]], int(both[i]), round(float(lift[i]), 4)) for i in ranking
    ]
