"""What became of a dataset: its versions as a tree, and what two of them have not in common."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from lorasmith.datasets.head import Head, parent_of
from lorasmith.datasets.headers import Header
from lorasmith.datasets.manifest import DatasetVersion, Item, Operation

_SETTINGS: Final = ("role", "repeats", "concept")
_WORDS: Final = {
    "import": "import of {source}",
    "restore": "restore of version {number}",
    "branch": "branch of {source}",
    "add_trigger_word": "trigger word '{word}'",
    "remove_tags": "tags removed: {tags}",
    "caption": "captions by {captioner}",
    "set_captions": "captions by hand: {count}",
    "leave_out": "pictures left out: {count}",
    "set_role": "role {role} for pictures: {count}",
    "set_repeats": "repeats {repeats} for pictures: {count}",
    "split_validation": "pictures held out: {count}",
    "rename_in_sequence": "pictures numbered: {count}",
}
_COUNTED: Final = ("items", "held_out", "names")  # arguments that list pictures


@dataclass(frozen=True)
class HistoryEntry:
    """One version in the history of its dataset."""

    number: int
    parent: int | None
    """The version it was made from; of a dropped one, its nearest ancestor that is there."""
    operation: Operation
    created: str
    """ISO 8601, UTC."""
    count: int
    """Items."""
    root: str
    """Merkle root; empty, as ``created`` and ``count`` are, when the version is damaged and ``words`` says how."""
    is_head: bool
    on_current_line: bool
    """Whether it is the head or an ancestor of it."""
    redo: bool
    """Whether ``redo`` leads to it."""

    @property
    def words(self) -> str:
        """The operation in words."""
        return in_words(self.operation)


@dataclass(frozen=True)
class CaptionChange:
    """A caption before and after, of the item that is called so now."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class SettingChange:
    """A change of ``role``, ``repeats`` or ``concept``."""

    name: str
    setting: str
    before: str | int
    after: str | int


@dataclass(frozen=True)
class VersionDiff:
    """What changed from one version to another; names are those of the later version, unless it has them no more."""

    before: str
    """``name@number``"""
    after: str
    added: tuple[Item, ...] = ()
    removed: tuple[Item, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    """Old and new name of items that have the same picture."""
    pixels: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    captions: tuple[CaptionChange, ...] = ()
    settings: tuple[SettingChange, ...] = ()
    provenance: tuple[str, ...] = ()
    """Items of which only the provenance changed."""
    reordered: bool = False
    """Whether the items that are in both stand in another order."""

    @property
    def is_empty(self) -> bool:
        """Whether both versions hold the same items in the same order."""
        return self == VersionDiff(self.before, self.after)

    def counts(self) -> dict[str, int]:
        """How many of each kind there are; kinds without any are left out."""
        lists = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: len(found) for name, found in lists.items() if isinstance(found, tuple) and found}


def history(headers: Mapping[int, Header], head: Head, damaged: Mapping[int, str]) -> list[HistoryEntry]:
    """The versions of a dataset by number.

    Args:
        headers: of those that can be read.
        head: where the dataset stands.
        damaged: what is wrong with the others.
    """
    parents = {number: header.parent for number, header in headers.items()} | dict.fromkeys(damaged)
    line: set[int] = set()
    at: int | None = head.number
    while at is not None:
        line.add(at)
        at = parent_of(at, parents, head.dropped)
    entries = []
    for number in sorted(parents):
        header = headers.get(number)
        wrong = Operation(name="damaged", arguments={"in_words": damaged.get(number, "")})
        entries.append(
            HistoryEntry(
                number,
                parent_of(number, parents, head.dropped),
                header.operation if header else wrong,
                header.created if header else "",
                header.count if header else 0,
                header.root if header else "",
                is_head=number == head.number,
                on_current_line=number in line,
                redo=number in head.redo,
            )
        )
    return entries


def in_words(operation: Operation) -> str:
    """An operation as people would say it; ``arguments["in_words"]`` if whoever made it said it himself."""
    said: Mapping[str, Any] = operation.arguments
    plain = {k: ", ".join(map(str, v)) if isinstance(v, list) else v for k, v in said.items() if k != "rebased_from"}
    pictures: Any = next((said[key] for key in _COUNTED if key in said), None)
    counted = {"count": len(pictures)} if pictures is not None else {}
    try:
        template = "{in_words}" if isinstance(said.get("in_words"), str) else _WORDS[operation.name]
        words = template.format_map({**plain, **counted})
    except KeyError:
        words = operation.name.replace("_", " ")
        if short := [f"{k}: {v}" for k, v in plain.items() if isinstance(v, str | int | float) and len(str(v)) <= 60]:
            words += f" ({', '.join(short)})"
    if "finding" in said:
        words += f", because of {said['finding']}"
    return f"{words}, joined with later edits" if "rebased_from" in said else words


def diff(before: DatasetVersion, after: DatasetVersion) -> VersionDiff:
    """What changed from ``before`` to ``after``; pieces that both share are not looked into."""
    was, now = _apart(before, after), _apart(after, before)
    gone = {name: item for name, item in was.items() if name not in now}
    new = {name: item for name, item in now.items() if name not in was}
    renamed = _renamed(gone, new)
    pairs = [(was[name], item) for name, item in now.items() if name in was]
    pairs += [(replace(was[old], name=name), now[name]) for old, name in renamed]
    changed = [(a, b) for a, b in pairs if a is not b and a != b]
    old_names, new_names = {old for old, _ in renamed}, {name for _, name in renamed}
    return VersionDiff(
        before.reference,
        after.reference,
        added=tuple(item for name, item in new.items() if name not in new_names),
        removed=tuple(item for name, item in gone.items() if name not in old_names),
        renamed=tuple(renamed),
        pixels=tuple(b.name for a, b in changed if a.image != b.image),
        masks=tuple(b.name for a, b in changed if a.mask != b.mask),
        references=tuple(b.name for a, b in changed if a.references != b.references),
        captions=tuple(CaptionChange(b.name, a.caption, b.caption) for a, b in changed if a.caption != b.caption),
        settings=tuple(
            SettingChange(b.name, setting, getattr(a, setting), getattr(b, setting))
            for a, b in changed
            for setting in _SETTINGS
            if getattr(a, setting) != getattr(b, setting)
        ),
        provenance=tuple(b.name for a, b in changed if _same_but_provenance(a, b)),
        reordered=_reordered(before, after, dict(renamed)),
    )


def _apart(version: DatasetVersion, other: DatasetVersion) -> dict[str, Item]:
    """Items of the pieces that the other version has not, by name."""
    shared = {piece.sha256 for piece in other.pieces}
    if not shared or not version.pieces:
        return {item.name: item for item in version.items}
    return {item.name: item for piece in version.pieces if piece.sha256 not in shared for item in piece.items}


def _renamed(gone: Mapping[str, Item], new: Mapping[str, Item]) -> list[tuple[str, str]]:
    """Pairs of names with the same picture; where several have it, in their order."""
    waiting: defaultdict[str, list[str]] = defaultdict(list)
    for name, item in reversed(list(gone.items())):
        waiting[item.image].append(name)
    return [(waiting[item.image].pop(), name) for name, item in new.items() if waiting.get(item.image)]


def _same_but_provenance(before: Item, after: Item) -> bool:
    seen = [f.name for f in fields(before) if f.name != "provenance"]
    return all(getattr(before, name) == getattr(after, name) for name in seen)


def _reordered(before: DatasetVersion, after: DatasetVersion, renamed: Mapping[str, str]) -> bool:
    if before.root and before.root == after.root:
        return False
    old: Sequence[str] = [renamed.get(item.name, item.name) for item in before.items]
    new = [item.name for item in after.items]
    there, was = set(new), set(old)
    return [name for name in old if name in there] != [name for name in new if name in was]
