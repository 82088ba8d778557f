"""Pictures of one set that are in another too: across roles, versions or datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from lorasmith.datasets.colours import Colours
from lorasmith.datasets.duplicates import NEAR, TURNED, Kind
from lorasmith.datasets.hamming import near_pairs_between
from lorasmith.datasets.manifest import Item
from lorasmith.datasets.signals.values import Signals

_CLOSEST_FIRST: Final[tuple[Kind, ...]] = ("bytes", "pixels", "near", "similar", "turned")


@dataclass(frozen=True)
class Leak:
    """A picture of one set, and the picture of an earlier set that it is most like."""

    kind: Kind
    set: str
    name: str
    other_set: str
    other_name: str
    distance: int
    """Bits between their perceptual hashes, for ``turned`` after turning; 0 for the same bytes or pixels."""


def find_leaks(
    sets: Mapping[str, Sequence[Item]], signals: Mapping[str, Signals], *, radius: int = NEAR, turned: bool = True
) -> list[Leak]:
    """For each picture of a set, the closest in each set before it, if there is one.

    Unlike groups, which are made to choose a keeper from, this leaves no pair of sets unsaid.

    Args:
        sets: items by the name of their set: roles, versions (``cats@1``) or datasets.
        signals: by SHA-256 of the picture (``SignalStore.of``); items without are compared by bytes only.
        radius: most bits between two perceptual hashes; those whose colours are alike and not the same (a gray copy)
            are ``similar`` at any distance.
        turned: whether mirrored and rotated copies count.

    Returns:
        In the order of the sets and of their items.
    """
    names = list(sets)
    return [
        leak
        for k, later in enumerate(names)
        for earlier in names[:k]
        for leak in _between(later, sets[later], earlier, sets[earlier], signals, radius, turned)
    ]


def _between(
    later: str,
    new: Sequence[Item],
    earlier: str,
    old: Sequence[Item],
    signals: Mapping[str, Signals],
    radius: int,
    turned: bool,
) -> list[Leak]:
    best: dict[int, tuple[int, int, int]] = {}  # index in new -> rank of the kind, distance, index in old

    def offer(i: int, kind: Kind, distance: int, j: int) -> None:
        found = (_CLOSEST_FIRST.index(kind), distance, j)
        best[i] = min(found, best.get(i, found))

    _offer_equal(new, old, signals, offer)
    left = _by_looks([i for i in range(len(new)) if i not in best], new, signals)
    right = _by_looks(range(len(old)), old, signals)
    firsts, owners = [members[0] for members in right.values()], list(left.values())
    measured = [signals[new[members[0]].image] for members in owners], [signals[old[j].image] for j in firsts]
    colours = Colours([*measured[0], *measured[1]])
    hashes = np.array([one.phash for one in measured[0]], np.uint64)
    for turn in range(8 if turned else 1):
        others = np.array([one.phash_orientations[turn] for one in measured[1]], np.uint64)
        within = min(radius, TURNED) if turn else radius
        a, b, distance = near_pairs_between(hashes, others, within)
        same = colours.same(a, b + len(owners), turn=turn)
        for k in np.flatnonzero(same if turn else colours.alike(a, b + len(owners))).tolist():
            kind: Kind = "turned" if turn else "near" if same[k] and distance[k] <= NEAR else "similar"
            for i in owners[a[k]]:
                offer(i, kind, int(distance[k]), firsts[b[k]])
    return [
        Leak(_CLOSEST_FIRST[rank], later, new[i].name, earlier, old[j].name, distance)
        for i, (rank, distance, j) in sorted(best.items())
    ]


def _offer_equal(
    new: Sequence[Item],
    old: Sequence[Item],
    signals: Mapping[str, Signals],
    offer: Callable[[int, Kind, int, int], None],
) -> None:
    """What shares its bytes or its pixels."""
    images = {item.image: j for j, item in reversed(list(enumerate(old)))}
    pixels = {_pixels(item, signals): j for j, item in reversed(list(enumerate(old)))}
    for i, item in enumerate(new):
        if item.image in images:
            offer(i, "bytes", 0, images[item.image])
        elif _pixels(item, signals) and _pixels(item, signals) in pixels:
            offer(i, "pixels", 0, pixels[_pixels(item, signals)])


def _pixels(item: Item, signals: Mapping[str, Signals]) -> str:
    return signals[item.image].pixel_hash if item.image in signals else ""


def _by_looks(
    indices: Iterable[int], items: Sequence[Item], signals: Mapping[str, Signals]
) -> dict[tuple[int, bytes], list[int]]:
    """Those that can be compared, by hash and colours: ten thousand equal pictures are looked up once."""
    owners: dict[tuple[int, bytes], list[int]] = {}
    for i in indices:
        found = signals.get(items[i].image)
        if found is not None and found.can_be_compared:
            owners.setdefault((found.phash, found.colours), []).append(i)
    return owners
