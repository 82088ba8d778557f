"""All pairs of 64-bit hashes that differ in few bits, exactly, in numpy alone.

Two hashes that differ in at most ``radius`` bits agree up to ``radius // 4`` bits in one of their four 16-bit chunks
(pigeonhole). So it is enough to look, chunk by chunk, at the hashes whose chunk is one of a few neighbours: the
multi-index of Norouzi, Punjani and Fleet, "Fast Search in Hamming Space with Multi-Index Hashing" (CVPR 2012). With
two flips a chunk it is exact up to a radius of 11; above that, for few hashes, and where the hashes crowd so that the
index would not pay, every pair is looked at.

Memory depends on the number of pairs found and on ``_PIECE``, not on how many could be pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Indices = NDArray[np.intp]
Distances = NDArray[np.uint8]
Pairs = tuple[Indices, Indices, Distances]

_CHUNKS: Final = 4
_CHUNK_BITS: Final = 16
_MOST_FLIPS: Final = 2
_FEW: Final = 3000
"""Hashes below which looking at every pair is faster than building the index (50 ms)."""
_CROWDED: Final = 0.1
"""Share of all pairs above which looking at every pair is faster than fetching candidates one by one."""
_PIECE: Final = 1 << 20
"""Candidates looked at in one go; 8 bytes each, a few arrays of them."""


class CrowdedError(Exception):
    """There are more pairs than the caller wants to hold."""


def near_pairs(
    hashes: Hashes, radius: int = 8, *, equal: Literal["linked", "all"] = "linked", most: int | None = None
) -> Pairs:
    """Every pair of hashes with a Hamming distance of at most ``radius``.

    Args:
        hashes: shape (n,), any order, repetitions allowed.
        radius: most bits a pair may differ in, 0 to 64.
        equal: what is said of hashes that occur more than once. ``linked``: the first of them stands for all, each
            other is paired with it alone at distance 0, so that ten thousand equal pictures are 9,999 pairs and not
            50 million; ``all``: every pair is listed.
        most: pairs of different hashes above which to give up, before they fill the memory.

    Returns:
        ``(i, j, distance)``, each of shape (pairs,), with ``i < j``, sorted by ``i`` and then ``j``.

    Raises:
        ValueError: ``radius`` is not within 0 to 64.
        CrowdedError: there are more than ``most``.
    """
    distinct, first, member = np.unique(hashes, return_index=True, return_inverse=True)
    found: list[Pairs] = []
    number = 0
    for pairs in _join(distinct, distinct, radius, own=True):
        found.append(pairs)
        number += pairs[0].size
        if most is not None and number > most:
            raise CrowdedError(f"more than {most} pairs")
    i, j, distance = _concatenated(found)
    if equal == "linked":
        later = np.flatnonzero(first[member] != np.arange(member.size))
        left = np.concatenate([first[i], first[member[later]]])
        right = np.concatenate([first[j], later])
        distance = np.concatenate([distance, np.zeros(later.size, np.uint8)])
    else:
        left, right, distance = _spread(i, j, distance, member, distinct.size)
    left, right = np.minimum(left, right), np.maximum(left, right)
    order = np.lexsort((right, left))
    return left[order], right[order], distance[order]


def near_pairs_between(left: Hashes, right: Hashes, radius: int = 8) -> Pairs:
    """Every ``(i, j, distance)`` with ``left[i]`` and ``right[j]`` at most ``radius`` bits apart, by ``i``, then ``j``.

    Raises:
        ValueError: ``radius`` is not within 0 to 64.
    """
    i, j, distance = _concatenated(list(_join(left, right, radius, own=False)))
    order = np.lexsort((j, i))
    return i[order], j[order], distance[order]


def _concatenated(found: list[Pairs]) -> Pairs:
    if not found:
        nothing = np.zeros(0, np.intp)
        return nothing, nothing, np.zeros(0, np.uint8)
    i, j, distance = (np.concatenate(column) for column in zip(*found, strict=True))
    return i, j, distance


def _spread(i: Indices, j: Indices, distance: Distances, member: Indices, groups: int) -> Pairs:
    """Pairs of distinct hashes as pairs of all hashes that have them."""
    order = np.argsort(member, kind="stable")
    count = np.bincount(member, minlength=groups)
    start = np.cumsum(count) - count
    which, right = _products(count[i], start[j], count[j])
    pair, left = which  # which pair of hashes, which of the left hash's owners
    inner, partner = _products(count, start, count)
    group, owner = inner
    within = start[group] + owner < partner
    return (
        np.concatenate([order[start[i[pair]] + left], order[(start[group] + owner)[within]]]),
        np.concatenate([order[right], order[partner[within]]]),
        np.concatenate([distance[pair], np.zeros(int(within.sum()), np.uint8)]),
    )


def _products(lefts: Indices, starts: Indices, rights: Indices) -> tuple[tuple[Indices, Indices], Indices]:
    """For every k, all ``(left, start + right)``: ``((k, left), start + right)``, flat."""
    k, left = _ranges(np.zeros_like(lefts), lefts)
    repeated, right = _ranges(starts[k], rights[k])
    return (k[repeated], left[repeated]), right


def _ranges(first: Indices, number: Indices) -> tuple[Indices, Indices]:
    """``range(first[k], first[k] + number[k])`` for every k, one behind the other; and the k of each value."""
    ends = np.cumsum(number)
    k = np.repeat(np.arange(number.size), number)
    values = np.arange(int(ends[-1]) if ends.size else 0) + np.repeat(first - (ends - number), number)
    return k, values


# --- the search --------------------------------------------------------------------------------------------------


def _join(left: Hashes, right: Hashes, radius: int, *, own: bool) -> Iterator[Pairs]:
    """Pairs of ``left`` and ``right``, each once; with ``own`` both are the same array and i is never j."""
    if not 0 <= radius <= 64:
        raise ValueError(f"radius is {radius}; hashes of 64 bits differ in 0 to 64")
    flips = radius // _CHUNKS
    few = min(left.size, right.size) < 2 or left.size * right.size < _FEW * _FEW
    if few or flips > _MOST_FLIPS:
        yield from _scan(left, right, radius, own=own)
        return
    masks = _masks(flips)
    indexes = [_index(right, chunk) for chunk in range(_CHUNKS)]
    candidates = sum(_candidates(left, index, masks) for index in indexes)
    if candidates > _CROWDED * left.size * right.size:
        yield from _scan(left, right, radius, own=own)
        return
    for index in indexes:
        keys, values, ids = _keys(left, index.chunk), left, np.arange(left.size)
        if own:
            keys, values, ids = index.keys, index.values, index.ids
        for mask in masks:
            for a, b in _proposed(keys, index, mask, own=own):
                yield from _accepted(values[a] ^ index.values[b], ids[a], index.ids[b], radius, index.chunk, flips)


def _scan(left: Hashes, right: Hashes, radius: int, *, own: bool) -> Iterator[Pairs]:
    rows = max(1, _PIECE // max(1, right.size))
    for top in range(0, left.size, rows):
        skip = top + 1 if own else 0
        distance = np.bitwise_count(left[top : top + rows, None] ^ right[None, skip:])
        hit = distance <= radius
        if own:  # row r is hash top + r, column c is hash top + 1 + c: only what lies behind the row's own
            hit &= np.arange(hit.shape[1])[None, :] >= np.arange(hit.shape[0])[:, None]
        row, column = np.nonzero(hit)
        if row.size:
            yield row + top, column + skip, distance[row, column]


@dataclass(frozen=True)
class _Index:
    """Hashes sorted by one of their chunks."""

    chunk: int
    ids: Indices
    keys: Indices
    values: Hashes
    count: Indices
    """Hashes with each of the 65,536 keys."""
    start: Indices
    """Where they begin."""


def _keys(hashes: Hashes, chunk: int) -> Indices:
    return ((hashes >> np.uint64(chunk * _CHUNK_BITS)) & np.uint64((1 << _CHUNK_BITS) - 1)).astype(np.intp)


def _index(hashes: Hashes, chunk: int) -> _Index:
    keys = _keys(hashes, chunk)
    ids = np.argsort(keys, kind="stable")
    count = np.bincount(keys, minlength=1 << _CHUNK_BITS)
    return _Index(chunk, ids, keys[ids], hashes[ids], count, np.cumsum(count) - count)


def _masks(flips: int) -> list[int]:
    """All 16-bit numbers with at most ``flips`` bits set."""
    bits = [1 << bit for bit in range(_CHUNK_BITS)]
    return [sum(chosen) for number in range(flips + 1) for chosen in combinations(bits, number)]


def _candidates(left: Hashes, index: _Index, masks: list[int]) -> int:
    """How many pairs the index would propose."""
    asked = np.bincount(_keys(left, index.chunk), minlength=index.count.size)
    buckets = np.flatnonzero(asked)
    return sum(int(asked[buckets] @ index.count[buckets ^ mask]) for mask in masks)


def _proposed(keys: Indices, index: _Index, mask: int, *, own: bool) -> Iterator[tuple[Indices, Indices]]:
    """Pairs of positions (in ``keys``, in the index) whose chunks differ by ``mask``, in pieces."""
    if own and mask == 0:
        chosen = np.arange(keys.size)
        first = chosen + 1
        number = index.start[keys] + index.count[keys] - first
    else:
        # Both a pair and its mirror differ by the mask: of the two, keep the one with the lowest bit unset.
        chosen = np.flatnonzero(keys & (mask & -mask) == 0) if own else np.arange(keys.size)
        partners = keys[chosen] ^ mask
        first, number = index.start[partners], index.count[partners]
    some = np.flatnonzero(number)
    chosen, first, number = chosen[some], first[some], number[some]
    ends = np.cumsum(number)
    at = 0
    while at < chosen.size:
        before = int(ends[at - 1]) if at else 0
        upto = max(at + 1, int(np.searchsorted(ends, before + _PIECE, side="right")))
        k, right = _ranges(first[at:upto], number[at:upto])
        yield chosen[at:upto][k], right
        at = upto


def _accepted(differing: Hashes, i: Indices, j: Indices, radius: int, chunk: int, flips: int) -> Iterator[Pairs]:
    """Those within the radius that no chunk before this one has proposed already."""
    distance = np.bitwise_count(differing)
    hit = np.flatnonzero(distance <= radius)
    for earlier in range(chunk):
        hit = hit[np.bitwise_count(_keys(differing[hit], earlier)) > flips]
    if hit.size:
        yield i[hit], j[hit], distance[hit]
