"""Which files an export makes: groups of items that share a folder, and names that do not clash in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Final

from lorasmith.datasets.manifest import Item, Role
from lorasmith.datasets.names import collision_key, safe_item_name

ROLE_FOLDERS: Final[Mapping[Role, str]] = {"train": "train", "regularisation": "reg", "validation": "validation"}
UNNAMED: Final = "images"
"""Stands where a folder needs a concept and there is none."""
_COUNTED: Final = re.compile(r"([0-9]+)_(.*)", re.DOTALL)
_CLIPS: Final = re.compile(r"-clips[0-9]+(?:at[0-9.]+)?$")
_PAIRS: Final = re.compile(r"-pairs[0-9]+$")
_REG_FOLDERS: Final = ("reg", "regularization", "regularisation", "reg_images", "regularization_images")
_VALIDATION_FOLDERS: Final = ("validation", "valid", "val", "eval", "test", "dev")


@dataclass(frozen=True)
class Group:
    """Items that a trainer's settings treat alike, and the folder they share."""

    role: Role
    repeats: int
    concept: str
    folder: str
    """Relative to the export, e.g. ``train/10_cat``."""
    items: tuple[Item, ...]

    @property
    def masked(self) -> bool:
        """Whether any of its items has a mask."""
        return any(item.mask for item in self.items)


def groups_of(items: Iterable[Item], *, apart: bool = False) -> list[Group]:
    """Items by role, repeats and concept, in order of first appearance.

    Args:
        items: of one version.
        apart: items with a mask get a folder of their own (``train/10_cat-masked``), for targets that want a mask
            for every picture of a folder or for none.
    """
    members: dict[tuple[Role, int, str, bool], list[Item]] = {}
    for item in items:
        key = (item.role, item.repeats, item.concept, apart and item.mask is not None)
        members.setdefault(key, []).append(item)
    taken: set[str] = set()
    groups: list[Group] = []
    for (role, repeats, concept, masked), inside in members.items():
        wanted = f"{ROLE_FOLDERS[role]}/{repeats}_{folder_word(concept)}{'-masked' if masked else ''}"
        groups.append(Group(role, repeats, concept, _free(wanted, taken), tuple(inside)))
    return groups


def clips_apart(group: Group, key: Callable[[Item], str]) -> list[Group]:
    """The pictures of a group, and of its clips a group for each ``key`` (such as ``33`` or ``33at16``), in a folder
    that ends in ``-clips33``: for targets that treat them unlike."""
    members: dict[str, list[Item]] = {}
    for item in group.items:
        members.setdefault("" if item.clip is None else f"-clips{key(item)}", []).append(item)
    return [replace(group, folder=group.folder + word, items=tuple(items)) for word, items in members.items()]


def pairs_apart(group: Group) -> list[Group]:
    """The pictures of a group without references, and those with one, two ... each in a folder that ends in
    ``-pairs2``: for targets that want a reference for every picture of a folder or for none."""
    members: dict[int, list[Item]] = {}
    for item in group.items:
        members.setdefault(len(item.references), []).append(item)
    return [
        replace(group, folder=f"{group.folder}-pairs{count}" if count else group.folder, items=tuple(items))
        for count, items in members.items()
    ]


def folder_word(concept: str) -> str:
    """A concept as a part of a folder's name."""
    if not concept:
        return UNNAMED
    return safe_item_name(concept.replace("/", "_").replace("\\", "_")).lstrip(".") or "_"


def concept_of(folder: str) -> str:
    """The concept that a folder's name says: what stands behind the repeats, or nothing."""
    counted = _COUNTED.fullmatch(folder.rpartition("/")[2])
    if counted is None:
        return ""
    word = _CLIPS.sub("", _PAIRS.sub("", counted[2])).removesuffix("-masked")
    return "" if word == UNNAMED else word


def counted_folder(folder: str) -> tuple[int, str] | None:
    """Repeats and concept of a folder named ``10_cat``; None when it is not named so."""
    counted = _COUNTED.fullmatch(folder.rpartition("/")[2])
    if counted is None or len(counted[1]) > 9:
        return None
    return int(counted[1]), concept_of(folder)


def role_of(folder: str) -> Role:
    """The role that a folder or one above it says by its name, as trainers' guides name them."""
    for part in reversed(folder.lower().split("/")):
        if part in _REG_FOLDERS:
            return "regularisation"
        if part in _VALIDATION_FOLDERS:
            return "validation"
    return "train"


def stems(
    items: Sequence[Item], *, flat: bool, before: Mapping[str, str] | None = None, dotless: bool = False
) -> dict[str, str]:
    """A file name without suffix for every item, by the item's name; no two clash on any file system.

    Args:
        items: that share a folder.
        flat: the target reads one folder only, so that the item's own folders become part of the name where the
            last part alone is not enough.
        before: what the last export chose. A name once given is kept, for trainers cache by name.
        dotless: no dot in the last part, for targets that end a name at the first one.
    """
    taken: set[str] = set()
    chosen: dict[str, str] = {}
    wanted = {item.name: _stem(item.name, dotless=dotless) for item in items}
    for name, stem in wanted.items():
        kept = (before or {}).get(name)
        if kept is not None and _continues(kept, stem) and collision_key(kept) not in taken:
            taken.add(collision_key(kept))
            chosen[name] = kept
    for name, stem in wanted.items():
        if name not in chosen:
            chosen[name] = _free(stem if not flat else _shortest_free(stem, taken), taken)
    return {item.name: chosen[item.name] for item in items}


def renamed(item: Item, stem: str) -> bool:
    """Whether an export calls a picture otherwise than the dataset does, its suffix aside."""
    return str(PurePosixPath(item.name).with_suffix("")) != stem


def _stem(name: str, *, dotless: bool) -> str:
    """The name without its suffix and without what hides a file."""
    parts = [part.lstrip(".") or "_" for part in safe_item_name(name).split("/")]
    last = parts[-1]
    pure = PurePosixPath(last)
    parts[-1] = last[: -len(pure.suffix)] if pure.suffix else last
    parts[-1] = parts[-1].rstrip(". ") or "_"
    if dotless:
        parts[-1] = parts[-1].replace(".", "_")
    return "/".join(parts)


def _shortest_free(stem: str, taken: set[str]) -> str:
    """``c`` of ``a/b/c``, or else ``b_c``, or else ``a_b_c``: the first that is free."""
    parts = stem.split("/")
    candidates = ["_".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]
    return next((c for c in candidates if collision_key(c) not in taken), candidates[-1])


def _continues(kept: str, stem: str) -> bool:
    """Whether a name kept from before was made for this stem."""
    bare = re.sub(r"-[0-9]+$", "", kept)
    joined = stem.replace("/", "_")
    return any(joined.endswith(word) or stem.endswith(word) for word in (kept, bare))


def _free(wanted: str, taken: set[str]) -> str:
    candidate, count = wanted, 1
    while collision_key(candidate) in taken:
        count += 1
        candidate = f"{wanted}-{count}"
    taken.add(collision_key(candidate))
    return candidate
