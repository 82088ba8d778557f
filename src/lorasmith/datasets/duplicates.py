"""Pictures that are there more than once: the same bytes, the same pixels, nearly the same, or the same one turned.

    bytes     one file twice
    pixels    the same pixels in another container
    near      perceptual hashes at most 4 bits apart and the same colours: resized, saved again, retouched
    similar   at most 8 bits and colours alike: frames of a burst, another expression; also a gray copy of a picture
              with colours, or one with stronger colours
    turned    mirrored or rotated, with the same colours; for some subjects wanted, for others a fault

Groups do not chain: if A is like B and B is like C, A and C may be strangers. So every member of a group is within the
limit of its keeper, and whoever keeps the keepers alone loses no picture that does not look like one that stays. Each
kind compares the keepers of the kinds before it, so nothing is reported twice.

The hash sees no colour, so flat drawings of one shape are told apart by their colours (``colours.py``). A plain surface
has a hash made of noise; pictures without structure are compared by bytes and pixels only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from lorasmith.datasets.colours import Colours
from lorasmith.datasets.hamming import CrowdedError, near_pairs, near_pairs_between
from lorasmith.datasets.keeper import best_first, choose_keeper
from lorasmith.datasets.manifest import Item, shown_by
from lorasmith.datasets.signals.values import Signals

Ranks = tuple[NDArray[np.intp], NDArray[np.intp]]
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
    left = search.same("bytes", range(len(items)), lambda i: shown_by(items[i]))
    left = [i for i in left if items[i].clip is None]  # what is measured of a clip is its first frame alone
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
        """Those whose hashes are within the radius of the best of them, and whose colours are like its."""
        ranking = self._ranked(left, radius)
        equal, firsts = ranking.equals()
        try:
            i, j, _ = near_pairs(ranking.hashes[firsts], radius, equal="all", most=_MOST_PAIRS)
            some = ranking.like(firsts[i], firsts[j])
            near = (firsts[i[some]], firsts[j[some]])
        except CrowdedError:
            near = ranking.rays(firsts)
        return self._stars(ranking, equal, near)

    def turned(self, left: Sequence[int]) -> None:
        """Those that are within the radius when one is mirrored or rotated, and are not without it.

        A symmetric picture is its own mirror image; that is no finding, and a pair of its like was found upright.
        """
        ranking = self._ranked(left, TURNED)
        ranked, hashes = ranking.order, ranking.hashes
        nearest: dict[tuple[int, int], int] = {}
        for turn in range(1, 8):
            others = np.array([self.signals[self.items[i].image].phash_orientations[turn] for i in ranked], np.uint64)
            first, second, distance = near_pairs_between(hashes, others, TURNED)
            upright = np.bitwise_count(hashes[first] ^ hashes[second]) <= SIMILAR
            chosen = np.flatnonzero((first != second) & ~upright)
            chosen = chosen[ranking.colours.same(first[chosen], second[chosen], turn=turn)]
            for i, j, bits in zip(
                first[chosen].tolist(), second[chosen].tolist(), distance[chosen].tolist(), strict=True
            ):
                pair = (min(i, j), max(i, j))
                nearest[pair] = min(bits, nearest.get(pair, 64))
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

    def _stars(self, ranking: _Ranking, equal: Mapping[int, list[int]], near: Ranks) -> list[int]:
        """Groups around the best picture that is in none yet, then the next best, and so on.

        The pairs are of ranks, so the first of each is the better one; whoever equals a better one goes where it goes,
        unless its colours are too far from those of the group's middle.
        """
        around: dict[int, list[int]] = {}
        for i, j in zip(near[0].tolist(), near[1].tolist(), strict=True):
            around.setdefault(i, []).append(j)
        taken: set[int] = set()
        gone: set[int] = set()
        for center in sorted({*around, *equal}):
            if center in taken:
                continue
            close = [j for j in around.get(center, ()) if j not in taken]
            taken.update((center, *close))
            followers = np.array([k for j in close for k in equal.get(j, ())], np.intp)
            followers = followers[ranking.like(np.full(followers.size, center), followers)]
            members = [center, *equal.get(center, ()), *close, *followers.tolist()]
            if len(members) > 1:
                gone.update(self._add_star(ranking, members))
        return [i for i in ranking.order if i not in gone]

    def _add_star(self, ranking: _Ranking, members: list[int]) -> set[int]:
        """Any member that is like all others may be kept, not the one in the middle alone."""
        centers = members[:1] if len(members) > _MANY else ranking.like_all(np.array(members, np.intp))
        candidates = [ranking.order[k] for k in centers]
        kept, _ = choose_keeper(candidates, self.items, self.signals)
        keeper = ranking.order.index(kept)
        bits = np.bitwise_count(ranking.hashes[members] ^ ranking.hashes[keeper])
        same = ranking.colours.same(np.full(len(members), keeper), np.array(members, np.intp)).all()
        kind: Kind = "near" if bits.max() <= NEAR and same else "similar"
        names = [ranking.order[k] for k in members]
        return self._add(kind, names, candidates, dict(zip(names, bits.tolist(), strict=True)))

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

    def _ranked(self, left: Sequence[int], radius: int) -> _Ranking:
        order = best_first(left, self.items, self.signals)
        measured = [self.signals[self.items[i].image] for i in order]
        hashes = np.array([one.phash for one in measured], np.uint64)
        return _Ranking(order, hashes, Colours(measured), radius)


@dataclass(frozen=True)
class _Ranking:
    """Pictures from the best to the worst; a rank is a place in that order."""

    order: list[int]
    """Their indices among the items."""
    hashes: NDArray[np.uint64]
    colours: Colours
    radius: int

    def like(self, first: NDArray[np.intp], second: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether the colours of each pair are as near as this radius asks for."""
        return (self.colours.same if self.radius <= NEAR else self.colours.alike)(first, second)

    def like_all(self, members: NDArray[np.intp]) -> list[int]:
        """Members that are within the radius of all others and like all of them; the first one always counts."""
        first, second = (side.ravel() for side in np.meshgrid(members, members, indexing="ij"))
        within = np.bitwise_count(self.hashes[first] ^ self.hashes[second]) <= self.radius
        within[within] = self.like(first[within], second[within])
        whole = within.reshape(members.size, -1).all(axis=1)
        whole[0] = True
        return [int(rank) for rank in members[whole]]

    def equals(self) -> tuple[dict[int, list[int]], NDArray[np.intp]]:
        """Whoever has the hash and the colours of a better one, by that one; and all who equal nobody better."""
        _, owner, count = np.unique(self.hashes, return_inverse=True, return_counts=True)
        firsts = [np.flatnonzero(count[owner] == 1)]
        equal: dict[int, list[int]] = {}
        several = np.flatnonzero(count[owner] > 1)
        several = several[np.argsort(owner[several], kind="stable")]
        for group in np.split(several, np.flatnonzero(np.diff(owner[several])) + 1):
            left = group
            while left.size:
                like = self.like(np.full(left.size - 1, left[0]), left[1:])
                firsts.append(left[:1])
                if like.any():
                    equal[int(left[0])] = left[1:][like].tolist()
                left = left[1:][~like]
        return equal, np.sort(np.concatenate(firsts))

    def rays(self, left: NDArray[np.intp]) -> Ranks:
        """The pairs that stars are made of and no others: the best with all like it, then the best of the rest."""
        found: list[Ranks] = []
        while left.size:
            near = np.flatnonzero(np.bitwise_count(self.hashes[left[1:]] ^ self.hashes[left[0]]) <= self.radius) + 1
            near = near[self.like(np.full(near.size, left[0]), left[near])]
            found.append((np.full(near.size, left[0]), left[near]))
            staying = np.ones(left.size, np.bool_)
            staying[0] = False
            staying[near] = False
            left = left[staying]
        i, j = (np.concatenate(column) for column in zip(*found, strict=True))
        return i, j
