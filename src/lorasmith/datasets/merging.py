"""Two edits of one version, joined by the names of the items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.errors import ConflictError


@dataclass(frozen=True)
class Conflict:
    """What two edits made of one item; None where it is not there."""

    item: str
    base: Item | None
    mine: Item | None
    theirs: Item | None


@dataclass(frozen=True)
class Merge:
    """The outcome; ``items`` holds my edit on top of theirs and means something only without conflicts."""

    items: tuple[Item, ...]
    conflicts: tuple[Conflict, ...]
    order: bool
    """Whether both put the items of the base in another order, and not the same one."""


def merge(base: Sequence[Item], mine: Sequence[Item], theirs: Sequence[Item]) -> Merge:
    """Join what was done to ``base`` twice. An item may be changed, added or removed by one of the two, or by both
    alike; a rename is a removal and an addition."""
    was, my, their = _by_name(base), _by_name(mine), _by_name(theirs)
    changed = {name for name in {*was, *my} if my.get(name) != was.get(name)}
    conflicts = [
        Conflict(name, was.get(name), my.get(name), their.get(name))
        for name in (*was, *(name for name in my if name not in was))
        if name in changed and their.get(name) != was.get(name) and their.get(name) != my.get(name)
    ]
    chosen = {name: my.get(name) if name in changed else their.get(name) for name in {*was, *my, *their}}
    i_moved, they_moved = _moved(base, my), _moved(base, their)
    both = i_moved and they_moved and [n for n in my if n in their] != [n for n in their if n in my]
    first, second = (my, their) if i_moved else (their, my)
    order = _weave(list(first), list(second))
    items = tuple(item for name in order if (item := chosen[name]) is not None)
    return Merge(items, tuple(conflicts), both)


def join(parent: DatasetVersion, mine: Sequence[Item], theirs: DatasetVersion) -> tuple[Item, ...]:
    """My edit of ``parent`` on top of theirs.

    Raises:
        ConflictError: both changed the same items, or the order, and not alike.
    """
    joined = merge(parent.items, mine, theirs.items)
    if not joined.conflicts and not joined.order:
        return joined.items
    hint = (
        f"Look at {theirs.reference} and edit that; or keep your side in the history with `commit_aside`, "
        "or go on from the older version with `onto='parent'`."
    )
    if not joined.conflicts:
        message = f"{parent.reference} was edited meanwhile, and both edits put its pictures in another order."
        raise ConflictError(message, hint)
    more = len(joined.conflicts) - 1
    also = f" and {more} more picture{'s' if more > 1 else ''}" if more else ""
    first = joined.conflicts[0]
    message = f"{parent.reference} was edited meanwhile, and both edits change '{first.item}'{also}: {describe(first)}."
    raise ConflictError(message, hint, joined.conflicts)


def describe(conflict: Conflict) -> str:
    """The first thing two edits disagree about, yours first: ``caption "a" against caption "b"``."""
    mine, theirs = conflict.mine, conflict.theirs
    if mine is None or theirs is None:
        edited = "added it" if conflict.base is None else "changed it"
        return f"you removed it, the other {edited}" if mine is None else f"you {edited}, the other removed it"
    for field in (f.name for f in fields(mine)):
        yours, other = getattr(mine, field), getattr(theirs, field)
        if yours != other:
            return f"{field} {_short(yours)} is yours, {_short(other)} the other's"
    return "both are alike"


def _by_name(items: Sequence[Item]) -> dict[str, Item]:
    return {item.name: item for item in items}


def _moved(base: Sequence[Item], there: Mapping[str, Item]) -> bool:
    """Whether the items that are left stand in another order."""
    kept = {item.name for item in base} & there.keys()
    return [item.name for item in base if item.name in kept] != [name for name in there if name in kept]


def _weave(first: list[str], second: list[str]) -> list[str]:
    """The order of ``first``; what only ``second`` has comes behind the name it follows there."""
    known = set(first)
    followers: dict[str | None, list[str]] = {}
    last: str | None = None
    for name in second:
        if name in known:
            last = name
        else:
            followers.setdefault(last, []).append(name)
    woven = list(followers.get(None, ()))
    for name in first:
        woven.append(name)
        woven.extend(followers.get(name, ()))
    return woven


def _short(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:76]}...{text[-1]}"
