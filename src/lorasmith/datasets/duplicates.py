"""Pictures that are there more than once: the same bytes, the same pixels, nearly the same, or the same one turned.

    bytes     one file twice
    pixels    the same pixels in another container
    near      perceptual hashes at most 4 bits apart: resized, saved again, retouched
    similar   5 to 8 bits: frames of a burst, another expression
    turned    mirrored or rotated; for some subjects wanted, for others a fault

Groups do not chain: if A is like B and B is like C, A and C may be strangers. So every member of a group is within the
limit of its keeper, and whoever keeps the keepers alone loses no picture that does not look like one that stays. Each
kind compares the keepers of the kinds before it, so nothing is reported twice.

A plain surface has a hash made of noise. Pictures without structure are compared by bytes and pixels only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from lorasmith.datasets.hamming import CrowdedError, Pairs, near_pairs, near_pairs_between
from lorasmith.datasets.keeper import best_first, choose_keeper
from lorasmith.datasets.manifest import Item
from lorasmith.datasets.signals.values import Signals

Kind = Literal["bytes", "pixels", "near", "similar", "turned"]

NEAR: Final = 4
SIMILAR: Final = 8
TURNED: Final = 4
"""Bits. Of photographs, copies that were resized or saved again differ in 0 to 4, unrelated ones in 16 or more."""
_MOST_PAIRS: Final = 2_000_000
"""Pairs that are held at once. Ten thousand frames of one scene have 50 million; those are gone through one center at
a time, which takes longer and no memory."""
_MANY: Final = 1000
"""Different hashes in one group above which the one in the middle is kept unasked."""


@dataclass(frozen=True)
class DuplicateGroup:
    """Pictures that show the same, and the one to keep."""

    kind: Kind
    keeper: str
    """Name of the item to keep."""
    reason: str
    """Why that one, in words, e.g. ``the sharpest (812 to 430)``."""
    members: tuple[str, ...]
    """Names of all items, the keeper's first, then in the order of the version."""
    distance: int
    """The most bits by which a member differs from the keeper; 0 for the same pixels."""
    across_roles: bool
    """Whether it reaches from training into validation or regularisation."""
    captions_differ: bool
    """Whether its pictures have different captions, so that training is told two things of one picture."""

    @property
    def others(self) -> tuple[str, ...]:
        """Who would go if the keeper alone stayed."""
        return tuple(name for name in self.members if name != self.keeper)


def find_duplicates(items: Sequence[Item], signals: Mapping[str, Signals]) -> list[DuplicateGroup]:
    """All groups of duplicates among items, closest kind first, in the order of the items.

    Args:
        items: of one version, or of several with names that differ.
        signals: by SHA-256 of the picture (``SignalStore.of``); items without are compared by bytes only.
    """
    search = _Search(items, signals)
    left = search.same("bytes", range(len(items)), lambda i: items[i].image)
    left = search.same("pixels", left, lambda i: signals[items[i].image].pixel_hash if search.is_known(i) else "")
    left = [i for i in left if search.is_known(i) and signals[items[i].image].can_be_compared]
    left = search.alike(left, NEAR)
    left = search.alike(left, SIMILAR)
    search.turned(left)
    return search.groups


class _Search:
    """One run over items: each step adds groups and hands on one index for each, with all that are in none."""

    def __init__(self, items: Sequence[Item], signals: Mapping[str, Signals]) -> None:
        self.items = items
        self.signals = signals
        self.groups: list[DuplicateGroup] = []

    def is_known(self, i: int) -> bool:
        return self.items[i].image in self.signals

    def same(self, kind: Kind, left: Sequence[int], key: Callable[[int], str]) -> list[int]:
        """Those that share a key; an empty one is shared with none."""
        by_key: dict[str, list[int]] = {}
        for i in left:
            if key(i):
                by_key.setdefault(key(i), []).append(i)
        gone: set[int] = set()
        for members in by_key.values():
            if len(members) > 1:
                gone.update(self._add(kind, members, members, {}))
        return [i for i in left if i not in gone]

    def alike(self, left: Sequence[int], radius: int) -> list[int]:
        """Those whose hashes are within the radius of the best of them."""
        ranked = best_first(left, self.items, self.signals)
        hashes = self._hashes(ranked)
        try:
            pairs = near_pairs(hashes, radius, most=_MOST_PAIRS)
        except CrowdedError:
            pairs = _rays(hashes, radius)
        return self._stars(ranked, hashes, pairs, radius)

    def turned(self, left: Sequence[int]) -> None:
        """Those that are within the radius when one is mirrored or rotated, and are not without it.

        A symmetric picture is its own mirror image; that is no finding, and a pair of its like was found upright.
        """
        ranked = best_first(left, self.items, self.signals)
        hashes = self._hashes(ranked)
        nearest: dict[tuple[int, int], int] = {}
        for turn in range(1, 8):
            others = [self.signals[self.items[i].image].phash_orientations[turn] for i in ranked]
            for i, j, distance in zip(*near_pairs_between(hashes, np.array(others, np.uint64), TURNED), strict=True):
                pair = (int(min(i, j)), int(max(i, j)))
                if i != j and _bits_apart(hashes[i], hashes[j]) > SIMILAR:
                    nearest[pair] = min(int(distance), nearest.get(pair, 64))
        gone: set[int] = set()
        for center in sorted({i for i, _ in nearest}):
            found = {j: d for (i, j), d in nearest.items() if i == center and j not in gone}
            if found and center not in gone:
                gone.update(found, (center,))
                members = [ranked[k] for k in (center, *found)]
                self._add(
                    "turned",
                    members,
                    members if len(members) == 2 else members[:1],
                    {ranked[k]: d for k, d in found.items()},
                )

    def _stars(self, ranked: list[int], hashes: NDArray[np.uint64], pairs: Pairs, radius: int) -> list[int]:
        """Groups around the best picture that is in none yet, then the next best, and so on.

        The pairs are of ranks, so the first of each is the better one; equal hashes are linked to the best of them.
        """
        equal: dict[int, list[int]] = {}
        near: dict[int, list[int]] = {}
        for i, j, distance in zip(*(column.tolist() for column in pairs), strict=True):
            (near if distance else equal).setdefault(i, []).append(j)
        taken: set[int] = {j for followers in equal.values() for j in followers}  # they go where the best of them goes
        gone: set[int] = set()
        for center in sorted({*near, *equal}):
            if center in taken:
                continue
            around = [center, *(j for j in near.get(center, ()) if j not in taken)]
            taken.update(around)
            members = [k for first in around for k in (first, *equal.get(first, ()))]
            if len(members) > 1:
                gone.update(self._add_star(ranked, hashes, members, around, radius))
        return [i for i in ranked if i not in gone]

    def _add_star(
        self, ranked: list[int], hashes: NDArray[np.uint64], members: list[int], around: list[int], radius: int
    ) -> set[int]:
        """Any member that is within the radius of all others may be kept, not the one in the middle alone."""
        centers = members
        if len(around) > _MANY:
            centers = around[:1]
        elif len(around) > 1:
            apart = np.bitwise_count(hashes[around][:, None] ^ hashes[around][None, :]).max(axis=1)
            inside = {int(hashes[around[k]]) for k in np.flatnonzero(apart <= radius)}
            centers = [k for k in members if int(hashes[k]) in inside]
        candidates = [ranked[k] for k in centers]
        by_hash = {ranked[k]: int(hashes[k]) for k in members}
        kept, _ = choose_keeper(candidates, self.items, self.signals)
        distances = {i: (value ^ by_hash[kept]).bit_count() for i, value in by_hash.items()}
        kind: Kind = "near" if max(distances.values()) <= NEAR else "similar"
        return self._add(kind, list(by_hash), candidates, distances)

    def _add(
        self, kind: Kind, members: Sequence[int], candidates: Sequence[int], distances: Mapping[int, int]
    ) -> set[int]:
        """Add a group; returns who is not its keeper."""
        items = self.items
        keeper, reason = choose_keeper(candidates, items, self.signals)
        if len(candidates) == 1:
            reason = "the one that all others are like"
        others = sorted(i for i in members if i != keeper)
        self.groups.append(
            DuplicateGroup(
                kind=kind,
                keeper=items[keeper].name,
                reason=reason,
                members=tuple(items[i].name for i in (keeper, *others)),
                distance=max(distances.values(), default=0),
                across_roles=len({items[i].role for i in members}) > 1,
                captions_differ=len({items[i].caption.strip() for i in members}) > 1,
            )
        )
        return set(others)

    def _hashes(self, left: Sequence[int]) -> NDArray[np.uint64]:
        return np.array([self.signals[self.items[i].image].phash for i in left], np.uint64)


def _bits_apart(a: np.uint64, b: np.uint64) -> int:
    return int(np.bitwise_count(a ^ b))


def _rays(hashes: NDArray[np.uint64], radius: int) -> Pairs:
    """The pairs that stars are made of and no others: the best with all near it, then the best of the rest."""
    left = np.arange(hashes.size)
    found: list[Pairs] = []
    while left.size:
        distance = np.bitwise_count(hashes[left] ^ hashes[left[0]])
        near = distance <= radius
        near[0] = False
        if near.any():
            found.append((np.full(int(near.sum()), left[0]), left[near], distance[near]))
        left = left[1:][~near[1:]]
    i, j, distances = (np.concatenate(column) for column in zip(*found, strict=True))
    return i, j, distances
