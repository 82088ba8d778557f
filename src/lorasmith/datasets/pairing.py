"""Which pictures of a source are references of which: what an edit model is given, beside what it shall make of it.

    folder   ``control/cat.png`` is the reference of ``cat.png``; ``cat_0.png`` and ``cat_1.png`` are two of them
    suffix   ``cat_control.png`` is the reference of ``cat.png``; ``cat_start.png`` of ``cat_end.png``, and
             ``cat_start2.png`` its second, with the instruction in ``cat.txt``

Nothing is paired by likeness, and a reference that could be of two pictures is of none.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Final

from lorasmith.datasets.layouts import Described, Reading
from lorasmith.datasets.layouts.reading import SourceFiles, flat, parent, stem
from lorasmith.errors import ConfigError, DatasetError

LAYOUT: Final = "pairs"
"""The layout whose names these are; what a source without another is read as when references are asked for."""
_NUMBERED: Final = re.compile(r"(.+)_([0-9]{1,3})")
_MOST_SUFFIX: Final = 60


@dataclass
class Pairs:
    """References by the picture they belong to, in order."""

    references: dict[str, tuple[str, ...]] = field(default_factory=dict)
    captions: dict[str, str] = field(default_factory=dict)
    """Files that hold the caption of a picture and are called like the pair, not like the picture."""
    orphans: dict[str, str] = field(default_factory=dict)
    """References of no picture, with the rest of the ledger's sentence."""

    def join(self, others: Pairs) -> None:
        """Append what others found, behind the references that are known."""
        for picture, references in others.references.items():
            self.references[picture] = self.references.get(picture, ()) + references
        self.captions.update(others.captions)
        self.orphans.update(others.orphans)


def suffixes(text: str) -> tuple[str, str]:
    """What names of references and of their pictures end in, of ``_control`` or ``_start:_end``.

    Raises:
        ConfigError: it is neither.
    """
    start, _, end = text.partition(":")
    wrong = not start or start == end or len(text) > _MOST_SUFFIX or any(c in text for c in "/\\\0") or ":" in end
    if wrong:
        raise ConfigError(
            f"'{text}' says nothing of how references are called.", "Write _control, or _start:_end for both of a pair."
        )
    return start.lower(), end.lower()


def by_stem(pictures: Iterable[str], candidates: Iterable[str]) -> Pairs:
    """Pair references with the pictures of their stem: ``cat.png``, or ``cat_0.png``, ``cat_1.png`` in this order."""
    named: defaultdict[str, list[str]] = defaultdict(list)
    for picture in pictures:
        named[stem(picture)].append(picture)
    found: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    pairs = Pairs()
    for candidate in candidates:
        name, number = stem(candidate), -1
        numbered = _NUMBERED.fullmatch(name)
        if name not in named and numbered is not None:
            name, number = numbered[1], int(numbered[2])
        owners = _nearest(named.get(name, ()), candidate)
        if len(owners) == 1:
            found[owners[0]].append((number, candidate))
        else:
            why = "several pictures of that name" if owners else "no picture of that name"
            pairs.orphans[candidate] = f"is a reference, and there {'are' if owners else 'is'} {why}."
    for picture, those in found.items():
        _settle(pairs, picture, sorted(those))
    return pairs


def _settle(pairs: Pairs, picture: str, those: Sequence[tuple[int, str]]) -> None:
    """The references of a picture, unless two of them claim one place: which is meant nobody can tell."""
    claimed = Counter(number for number, _ in those)
    twice = [path for number, path in those if claimed[number] > 1]
    if not twice:
        pairs.references[picture] = tuple(path for _, path in those)
        return
    for _, path in those:
        pairs.orphans[path] = f"is a reference of {picture}, for which {twice[0]} and {twice[1]} claim the same place."


def by_folders(files: SourceFiles, folders: Sequence[str]) -> Pairs:
    """Pair the pictures of all folders of these names, in their order, with those outside of them.

    Raises:
        DatasetError: no picture of the source lies in one of them.
    """
    inside: list[list[str]] = []
    for folder in folders:
        wanted = tuple(part for part in folder.replace("\\", "/").split("/") if part not in ("", "."))
        inside.append([path for path in files.pictures if wanted and _lies_in(path, wanted)])
        if not inside[-1]:
            raise DatasetError(
                f"No picture of the source lies in a folder '{folder}'.",
                "Name the folder of the references as it is called in the source, or leave references out.",
            )
    within = {path for those in inside for path in those}
    outside = [path for path in files.pictures if path not in within]
    pairs = Pairs()
    for those in inside:
        pairs.join(by_stem(outside, those))
    return pairs


def by_suffix(files: SourceFiles, start: str, end: str) -> Pairs:
    """Pair pictures by what their names end in (lower case); ``end`` may be empty."""
    named = {(parent(path), stem(path).lower()): path for path in files.pictures}
    pattern = re.compile(rf"(.+){re.escape(start)}_?([0-9]{{0,3}})", re.DOTALL)
    found: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    pairs = Pairs()
    for path in files.pictures:
        hit = pattern.fullmatch(stem(path).lower())
        if hit is None:
            continue
        owner = named.get((parent(path), hit[1] + end))
        if owner is None:
            pairs.orphans[path] = f"is a reference, and there is no picture '{hit[1]}{end}' beside it."
        else:
            found[owner].append((int(hit[2] or -1), path))
    for picture, those in found.items():
        _settle(pairs, picture, sorted(those))
    for picture in files.pictures if end else ():
        if not stem(picture).lower().endswith(end) or stem(picture).lower() == end:
            continue
        root = picture[: -len(PurePosixPath(flat(picture)).suffix) or None][: -len(end)]
        beside = files.beside(f"{root}.png", ".txt")
        if beside is not None and files.beside(picture, ".txt") is None:
            pairs.captions[picture] = beside
    return pairs


def read_captions(pairs: Pairs, files: SourceFiles, used: dict[str, str], said: list[str]) -> Mapping[str, str]:
    """The instructions that lie in files called like the pair."""
    texts: dict[str, str] = {}
    for picture, path in pairs.captions.items():
        try:
            texts[picture] = files.text(path)
        except DatasetError as cause:
            said.append(str(cause))
            continue
        used[path] = f"is the caption of {picture}."
    return texts


def with_pairs(reading: Reading | None, files: SourceFiles, folders: str | None, suffix: str | None) -> Reading | None:
    """What a layout says, with the references that were asked for; the reading itself when none were.

    Args:
        reading: of the layout, if there is one.
        files: of the source.
        folders: names of folders of references, commas between, in order.
        suffix: see ``suffixes``.

    Raises:
        ConfigError: the suffix is none.
        DatasetError: nothing in the source is a reference in that way, or all of it is.
    """
    if not folders and not suffix:
        return reading
    pairs = by_folders(files, [name.strip() for name in (folders or "").split(",") if name.strip()])
    if suffix:
        told = by_suffix(files, *suffixes(suffix))
        if not told.references:
            raise DatasetError(
                f"No two pictures of the source are a pair by '{suffix}'.",
                "Say what names of references end in, as _control or _start:_end.",
            )
        pairs.join(told)
    return _joined(reading, pairs, files)


def _joined(reading: Reading | None, pairs: Pairs, files: SourceFiles) -> Reading:
    described = dict(reading.described) if reading else {}
    used = dict(reading.used) if reading else {}
    said = list(reading.said) if reading else []
    captions = read_captions(pairs, files, used, said)
    references = {path for those in pairs.references.values() for path in those}
    for path in (*references, *pairs.orphans):
        described.pop(path, None)
    for picture, those in pairs.references.items():
        if picture in references:
            raise DatasetError(f"{picture} is a reference and has one itself.", "Give every pair names of its own.")
        before = described.get(picture, Described())
        caption = captions.get(picture, before.caption)
        described[picture] = replace(before, references=those, caption=caption)
    if reading is None:
        return Reading(LAYOUT, "its references were asked for.", described, used, said, pairs.orphans)
    return replace(
        reading, described=described, used=used, said=tuple(said), orphans={**reading.orphans, **pairs.orphans}
    )


def _nearest(pictures: Sequence[str], reference: str) -> list[str]:
    """Those that share the most folders with a reference."""
    folders = PurePosixPath(flat(reference)).parts[:-1]

    def shared(picture: str) -> int:
        both = zip(PurePosixPath(flat(picture)).parts[:-1], folders, strict=False)
        return next((n for n, (one, other) in enumerate(both) if one != other), min(len(folders), picture.count("/")))

    most = max(map(shared, pictures), default=0)
    return [picture for picture in pictures if shared(picture) == most]


def _lies_in(path: str, folder: tuple[str, ...]) -> bool:
    parts = tuple(part.lower() for part in PurePosixPath(flat(path)).parts[:-1])
    wanted = tuple(part.lower() for part in folder)
    return any(parts[at : at + len(wanted)] == wanted for at in range(len(parts) - len(wanted) + 1))
