"""Accounting for an import: which picture becomes which item, whose caption is whose, and why the rest is left out.

Decided over the whole source at once, after everything was read, so that it does not depend on order or speed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, Final

from lorasmith.datasets.as_came import of_prepared, telling
from lorasmith.datasets.first_notes import FirstNotes
from lorasmith.datasets.images import Prepared
from lorasmith.datasets.layouts import Described, Reading
from lorasmith.datasets.ledger import Imported, Staged
from lorasmith.datasets.magic import SUFFIX_OF, VIDEO_SUFFIX_OF
from lorasmith.datasets.manifest import Clip, Fate, Item
from lorasmith.datasets.names import collision_key, make_unique, natural_key, safe_item_name
from lorasmith.datasets.origins import Origin
from lorasmith.datasets.sidecars import Heard, NotReadableError, PictureNames, Sidecar, Statement, hear
from lorasmith.datasets.source import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Entry, left_out

_REPEATS_FOLDER: Final = re.compile(r"([0-9]+)_(.*)", re.DOTALL)
_SUFFIXES: Final = SUFFIX_OF | VIDEO_SUFFIX_OF
_MOST_REPEATS: Final = 999  # 2024_summer is a year, and no trainer shows a picture two thousand times an epoch


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that was decoded, with its files."""

    entry: Entry
    prepared: Prepared
    original: Staged
    converted: Staged | None
    mask: Staged | None = None
    """Its alpha, when that was asked for."""
    clip: Clip | None = None
    """Set when it moves; ``image`` is then its first frame."""

    @property
    def image(self) -> Staged:
        return self.converted or self.original


@dataclass(frozen=True, slots=True)
class Mask:
    """A picture that a layout names as the mask of another."""

    entry: Entry
    staged: Staged
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption file, or one of captions, that was read."""

    entry: Entry
    text: str
    encoding: str


@dataclass(frozen=True)
class Found:
    """Everything that was read of a source, before it is decided what becomes of it."""

    source: str
    pictures: tuple[Picture, ...]
    captions: tuple[Caption, ...]
    fates: tuple[Fate, ...]
    """Of files whose fate does not depend on others."""
    masks: Mapping[str, Mask] = field(default_factory=dict)
    """By path in the source."""
    references: Mapping[str, Picture] = field(default_factory=dict)
    """Pictures that others are made from, by path in the source."""
    reading: Reading | None = None
    used: tuple[str, ...] = ()
    """Files the layout was read from, without masks."""
    said: tuple[str, ...] = ()
    origin: Origin | None = None
    """Where it was brought from; None for what was on this machine."""


def account(found: Found, present: Sequence[Item] = ()) -> Imported:
    """Names, duplicates, captions and masks, decided over the whole source at once.

    Args:
        found: what was read.
        present: items of the dataset that is added to. They stay as they are and come first; what is among them
            already is a duplicate, and its captions are not applied.
    """
    return _Accounting(found, present).close()


class _Accounting:
    """One import's books, written page by page."""

    def __init__(self, found: Found, present: Sequence[Item]) -> None:
        self.found = found
        self.present = {item.name: item for item in present}
        self.pictures = found.pictures
        self.described = dict(found.reading.described) if found.reading else {}
        self.fates = list(found.fates)
        self.staged: dict[str, Staged] = {}
        self.names: dict[int, str] = {}
        """Item of every picture that is taken, by index."""
        self._taken: set[str] = set()
        """Names that are taken, as they collide."""
        self.used_masks: set[str] = set()
        self.used_references: set[str] = set()
        self.notes = FirstNotes()
        self.old: dict[int, str] = {}
        """Item of the dataset that is added to, of every picture that is in it already."""
        lost = [fate.path for fate in found.fates if fate.fate == "left_out" and _was_image(fate)]
        self.offered = PictureNames([*(p.entry.path for p in self.pictures), *lost])
        self.heard: dict[int, Heard] = {}
        """By file; not of captions of one picture, of which there are too many to keep: they are heard twice."""
        self.unreadable: dict[int, str] = {}
        self.chosen: dict[int, Statement] = {}
        self.statements: dict[int, tuple[Statement, ...]] = {}

    def close(self) -> Imported:
        self._listen()
        self.old = self._already_there()
        kept = self._keep_one_of_each(self.old)
        items = [self._take(index) for index in range(len(self.pictures)) if kept[index] == index]
        for index, other in kept.items():
            if other != index:
                self._leave_duplicate(index, other)
        del kept
        self._taken.clear()
        self.fates.extend(self._caption_fates())
        self.fates.extend(self._layout_fates())
        self._forget()
        self.fates.sort(key=lambda fate: natural_key(fate.path))
        for place, fate in enumerate(self.fates):  # one by one, so that they are not all held twice
            self.fates[place] = replace(fate, source=self.found.source)
        everything = (*self.present.values(), *items)
        said = (*self.found.said, *self.notes.sentences(items, everything))
        return Imported(everything, tuple(self.fates), tuple(self.staged.values()), said)

    def _forget(self) -> None:
        """Let go of what only deciding needs, before the keys that the ledger is sorted by take room."""
        self.heard.clear()
        self.statements.clear()
        self.chosen.clear()
        self.names.clear()
        self.offered = PictureNames(())

    # --- what is said about the pictures ---

    def _listen(self) -> None:
        for number, caption in enumerate(self.found.captions):
            try:
                heard = self._hear(number, caption)
            except NotReadableError as cause:
                self.unreadable[number] = str(cause)
                continue
            if caption.entry.kind != "caption":
                self.heard[number] = heard
            for index, statement in heard.about.items():
                self.statements[index] = (*self.statements.get(index, ()), statement)
        for index, statements in self.statements.items():
            chosen = _choose(statements)
            if chosen is not None and self._told(index) is None:
                self.chosen[index] = chosen

    def _hear(self, number: int, caption: Caption) -> Heard:
        return hear(number, Sidecar(caption.entry.path, caption.text, caption.encoding), self.offered)

    def _told(self, index: int) -> str | None:
        """The caption a layout gives, which goes before any file."""
        if index >= len(self.pictures):
            return None
        described = self.described.get(self.pictures[index].entry.path)
        return described.caption if described else None

    def _speaker(self, index: int) -> int | None:
        """The file whose caption the picture has; None when it has none or a layout gave it."""
        return self.chosen[index].file if index in self.chosen else None

    def _has_caption(self, index: int) -> bool:
        told = self._told(index)
        text = told if told is not None else self.chosen[index].caption if index in self.chosen else None
        return bool(text and text.strip())

    # --- which pictures are items ---

    def _already_there(self) -> dict[int, str]:
        """The item that a picture is already, by index."""
        by_bytes: dict[tuple[str, tuple[str, ...]], str] = {}
        by_pixels: dict[tuple[str, tuple[str, ...]], str] = {}
        for item in self.present.values():
            by_bytes.setdefault((item.original, item.references), item.name)
            if isinstance(pixels := item.provenance.get("pixels"), str):
                by_pixels.setdefault((pixels, item.references), item.name)
        found: dict[int, str] = {}
        for index, picture in enumerate(self.pictures):
            pair = tuple(reference.image.sha256 for reference in self._references_of(picture))
            name = by_bytes.get((picture.original.sha256, pair)) or by_pixels.get((picture.prepared.pixels, pair))
            if name is not None:
                found[index] = name
        return found

    def _keep_one_of_each(self, old: Mapping[int, str]) -> dict[int, int]:
        """For each picture the one kept of its like: the first with a caption, else the first; -1: an old one."""
        best: dict[tuple[str, ...], int] = {}
        alike = [
            (picture.prepared.pixels, *(reference.prepared.pixels for reference in self._references_of(picture)))
            for picture in self.pictures
        ]
        for index, pixels in enumerate(alike):
            if index not in old and (pixels not in best or self._says_more(index, best[pixels])):
                best[pixels] = index
        return {i: -1 if i in old else best[pixels] for i, pixels in enumerate(alike)}

    def _says_more(self, index: int, than: int) -> bool:
        return self._has_caption(index) and not self._has_caption(than)

    def _take(self, index: int) -> Item:
        picture = self.pictures[index]
        path = picture.entry.path
        if not self.names:
            self._taken.update(collision_key(name) for name in self.present)
            self._roots = _common_roots(
                [*(p.entry for p in self.pictures), *(c.entry for c in self.found.captions)],
            )
        below = _below(self._roots[picture.entry.label], picture.entry)
        name = self.names[index] = make_unique(safe_item_name(_with_suffix(below, picture)), self._taken)
        sentences: list[str] = []
        described = self.described.get(path) or _from_folder(path, sentences)
        mask = self._mask_of(picture, described, name, sentences)
        references = self._references_of(picture)
        self._account_references(references, described, name, sentences)
        item = self._item(index, name, described, mask)
        self.notes.hear(item, picture.prepared, [reference.prepared for reference in references])
        self.fates.append(_picture_fate(picture, name, sentences))
        files = (picture.original, picture.image, mask, *(one for r in references for one in (r.original, r.image)))
        self.staged.update({s.sha256: s for s in files if s is not None})
        return item

    def _references_of(self, picture: Picture) -> tuple[Picture, ...]:
        """What a picture is made from: all that was named, or nothing, since their order has a meaning."""
        described = self.described.get(picture.entry.path)
        found = [self.found.references.get(path) for path in described.references] if described else []
        return tuple(one for one in found if one is not None) if None not in found else ()

    def _account_references(
        self, references: Sequence[Picture], described: Described, name: str, sentences: list[str]
    ) -> None:
        if len(references) < len(described.references):
            missing = [path for path in described.references if path not in self.found.references]
            sentences.append(f"Its reference {missing[0]} cannot be used, so it has none.")
        for number, reference in enumerate(references, start=1):
            path = reference.entry.path
            if path in self.used_references or path in self.described:
                continue
            self.used_references.add(path)
            fate: Any = "converted" if reference.converted else "taken"
            which = f"is reference {number} of {name}." if len(references) > 1 else f"is the reference of {name}."
            detail = " ".join([which, *reference.prepared.sentences])
            self.fates.append(Fate(path=path, fate=fate, rule="reference", detail=detail, item=name))

    def _item(self, index: int, name: str, described: Described, mask: Staged | None) -> Item:
        picture = self.pictures[index]
        provenance: dict[str, Any] = {"source": picture.entry.path, "transforms": list(picture.prepared.transforms)}
        provenance |= {"format": picture.prepared.format, "pixels": picture.prepared.pixels}
        for statement in sorted(self.statements.get(index, ()), key=lambda s: -s.rank):
            provenance |= {key: value for key, value in statement.provenance.items() if key not in ("source",)}
        provenance |= {key: value for key, value in described.provenance.items() if key not in ("source",)}
        if self.found.origin is not None:
            provenance |= self.found.origin.of(picture.entry.path, provenance)
        references = self._references_of(picture)
        if references:
            provenance["references"] = [reference.entry.path for reference in references]
        hashes = tuple(reference.image.sha256 for reference in references)
        came = {one.image.sha256: of_prepared(one.original.sha256, one.prepared) for one in references}
        provenance = telling(provenance, hashes, came)  # and nothing that a file of the source says of it
        caption = described.caption
        if caption is not None and self.found.reading is not None:
            provenance["caption"] = f"layout {self.found.reading.layout}"
        elif index in self.chosen:
            caption = self.chosen[index].caption
            provenance["caption"] = self.found.captions[self.chosen[index].file].entry.path
        return Item(
            name=name,
            image=picture.image.sha256,
            original=picture.original.sha256,
            width=picture.prepared.width,
            height=picture.prepared.height,
            caption=caption or "",
            mask=mask.sha256 if mask else None,
            references=hashes,
            role=described.role,
            repeats=described.repeats,
            concept=described.concept,
            clip=picture.clip,
            provenance=provenance,
        )

    def _mask_of(self, picture: Picture, described: Described, name: str, sentences: list[str]) -> Staged | None:
        """The mask a layout names, if it fits; else the picture's own alpha where that was asked for."""
        mask = self.found.masks.get(described.mask) if described.mask else None
        if mask is None:
            if described.mask and described.mask != picture.entry.path:
                sentences.append(f"Its mask {described.mask} cannot be used.")
            return picture.mask
        self.used_masks.add(mask.entry.path)
        if (mask.width, mask.height) != (picture.prepared.width, picture.prepared.height):
            sizes = f"{mask.width} x {mask.height} pixels and {picture.entry.path} {picture.prepared.width} x "
            detail = f"has {sizes}{picture.prepared.height}; a mask must have its picture's size."
            self.fates.append(left_out(mask.entry.path, "mask_size", detail, name))
            sentences.append(f"Its mask {mask.entry.path} has another size and was not used.")
            return picture.mask
        detail = f"is the mask of {name}."
        self.fates.append(Fate(path=mask.entry.path, fate="taken", rule="mask", detail=detail, item=name))
        return mask.staged

    def _leave_duplicate(self, index: int, other: int) -> None:
        picture = self.pictures[index]
        if other < 0:
            item = self.old[index]
            same = "bytes" if self.present[item].original == picture.original.sha256 else "pixels"
            detail = f"has the same {same} as {item}, which is in the dataset already."
        else:
            item, kept = self.names[other], self.pictures[other]
            same = "bytes" if picture.original.sha256 == kept.original.sha256 else "pixels"
            detail = f"has the same {same} as {kept.entry.path}, which is kept."
        self.fates.append(left_out(picture.entry.path, "duplicate", detail, item))

    # --- what became of the other files ---

    def _caption_fates(self) -> Iterator[Fate]:
        for number, caption in enumerate(self.found.captions):
            if number in self.unreadable:
                detail = f"cannot be read: {self.unreadable[number]}."
                yield left_out(caption.entry.path, "unreadable_caption", detail)
            else:
                yield self._caption_fate(number, caption, self.heard.get(number) or self._hear(number, caption))

    def _caption_fate(self, number: int, caption: Caption, heard: Heard) -> Fate:
        path = caption.entry.path
        kept = [i for i in sorted(heard.about) if i in self.names and self._speaker(i) == number]
        told = [i for i in sorted(heard.about) if i in self.names and heard.about[i].provenance]
        if kept:
            return _used_fate(caption, heard, [self.names[i] for i in kept], self._seconds(number, heard))
        if told:
            sentences = [f"is {heard.form} of {_some([self.names[i] for i in told])}; it gave no caption."]
            return Fate(path=path, fate="taken", rule="metadata", detail=" ".join(sentences), item=self.names[told[0]])
        if heard.about:
            return self._unused_fate(path, heard)
        if heard.remarks:
            return left_out(path, "orphan_caption", f"holds captions, but {heard.remarks[0]}.")
        if caption.entry.kind == "sidecar":
            return left_out(path, "unknown_sidecar", "holds no captions in a form that is read.")
        dotted = "." in PurePosixPath(path).stem  # x.jpg.txt, as some downloaders write
        hint = " (name it like the picture, with .txt in place of its suffix)" if dotted else ""
        return left_out(path, "orphan_caption", f"has no picture of the same name beside it{hint}.")

    def _seconds(self, number: int, heard: Heard) -> list[str]:
        """Pictures this file speaks of in vain, since another file speaks first."""
        return [
            self.pictures[i].entry.path
            for i in heard.about
            if i in self.names and self._speaker(i) != number and (i in self.chosen or self._told(i) is not None)
        ]

    def _unused_fate(self, path: str, heard: Heard) -> Fate:
        first = next(iter(heard.about))
        picture = self.offered.paths[first]
        if first >= len(self.pictures):
            return left_out(path, "orphan_caption", f"belongs to {picture}, which was left out.")
        if first in self.names:
            return self._second_fate(path, first)
        if first in self.old:
            item = self.old[first]
            detail = f"belongs to {picture}, which is in the dataset already as {item}; its caption was not touched."
            return left_out(path, "kept_caption", detail, item)
        return left_out(path, "orphan_caption", f"belongs to {picture}, which was left out as a duplicate.")

    def _second_fate(self, path: str, index: int) -> Fate:
        picture, item = self.pictures[index].entry.path, self.names[index]
        if self._told(index) is None and index not in self.chosen:
            detail = f"is called like {picture} but for its case, and so is another file; neither was used."
            return left_out(path, "orphan_caption", detail)
        speaker = self._speaker(index)
        by = "the layout" if speaker is None else self.found.captions[speaker].entry.path
        detail = f"is a second caption of the same picture {picture}; {by} goes before it."
        return left_out(path, "duplicate_caption", detail, item)

    def _layout_fates(self) -> Iterator[Fate]:
        for path in self.found.masks:
            if path not in self.used_masks:
                yield left_out(path, "orphan_mask", "is the mask of a picture that was not taken.")
        for path in self.found.references:
            if path not in self.used_references and path not in self.described:
                yield left_out(path, "orphan_reference", "is the reference of a picture that was not taken.")
        for path in self.found.used:
            sentence = self.found.reading.used[path] if self.found.reading else ""
            yield Fate(path=path, fate="taken", rule="layout", detail=sentence)


def _choose(statements: Sequence[Statement]) -> Statement | None:
    """The caption of a picture: by rank, the same spelling first, one with text before an empty one.

    Two files of one kind whose names differ from the picture's in case only are as good as each other: neither.
    """
    usable: list[Statement] = []
    for rank in sorted({s.rank for s in statements if s.caption is not None}):
        level = [s for s in statements if s.rank == rank and s.caption is not None]
        exact = [s for s in level if s.exact]
        if exact or len(level) == 1:
            usable.append((exact or level)[0])
    return next((s for s in usable if s.caption and s.caption.strip()), usable[0] if usable else None)


def _was_image(fate: Fate) -> bool:
    return PurePosixPath(fate.path.replace("\\", "/")).suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES


def _common_roots(entries: Sequence[Entry]) -> dict[str, str]:
    """The one folder that everything of a source lies in, or nothing; ``10_cat`` stays, for it says the repeats."""
    by_label: dict[str, list[list[str]]] = {}
    for entry in entries:
        by_label.setdefault(entry.label, []).append(_inside(entry).split("/"))
    roots: dict[str, str] = {}
    for label, paths in by_label.items():
        firsts = {parts[0] for parts in paths}
        nested = all(len(parts) > 1 for parts in paths) and len(firsts) == 1
        (root,) = firsts if nested else ("",)
        roots[label] = "" if _REPEATS_FOLDER.match(root) else root
    return roots


def _inside(entry: Entry) -> str:
    flat = entry.path.replace("\\", "/")
    return flat[len(entry.label) + 1 :] if entry.label else flat


def _below(root: str, entry: Entry) -> str:
    inside = _inside(entry)
    below = inside[len(root) + 1 :] if root else inside
    return f"{entry.label}/{below}" if entry.label else below


def _with_suffix(path: str, picture: Picture) -> str:
    """The path with the suffix of its format when it has none of a picture: a name without one is lost on trainers."""
    if PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
        return path
    return path.rstrip(". ") + _SUFFIXES[picture.prepared.format][0]


def _from_folder(path: str, sentences: list[str]) -> Described:
    """Repeats and concept from the innermost folder called ``10_cat``."""
    for part in reversed(path.replace("\\", "/").split("/")[:-1]):
        found = _REPEATS_FOLDER.fullmatch(part)
        if found is None:
            continue
        repeats, concept = int(found[1][:9]), found[2].strip()
        if 1 <= repeats <= _MOST_REPEATS:
            sentences.append(f"Its folder {part} asks for {repeats} repeats{f' of {concept}' if concept else ''}.")
            return Described(repeats=repeats, concept=concept)
        sentences.append(f"The number of its folder {part} is no number of repeats (1 to {_MOST_REPEATS}).")
    return Described()


def _picture_fate(picture: Picture, name: str, more: Sequence[str]) -> Fate:
    path, prepared = picture.entry.path, picture.prepared
    repaired = "repaired:end_mark" in prepared.transforms
    whole = picture.clip is not None or picture.converted is None
    first = "is repaired." if repaired else "is taken as it came." if whole else "is converted."
    sentences = [first, *prepared.sentences]
    suffix = PurePosixPath(path.replace("\\", "/")).suffix.lower()
    if suffix not in _SUFFIXES[prepared.format]:
        named = suffix in IMAGE_SUFFIXES | VIDEO_SUFFIXES
        says = "whatever its name says" if named else "by its bytes; its name does not say so"
        sentences.append(f"It is a {prepared.format} {says}.")
    if PurePosixPath(name).name != PurePosixPath(path.replace("\\", "/")).name:
        sentences.append(f"It is called {name} here, for its own name is taken or not safe everywhere.")
    if picture.mask is not None:
        sentences.append("Its transparency became its mask.")
    sentences.extend(more)
    if picture.entry.note:
        sentences.append(picture.entry.note)
    fate: Any = "taken" if whole else "converted"
    rule = "repaired" if repaired else "image"
    return Fate(path=path, fate=fate, rule=rule, detail=" ".join(sentences), item=name)


def _used_fate(caption: Caption, heard: Heard, items: Sequence[str], seconds: Sequence[str]) -> Fate:
    what = "is the caption" if heard.form == "caption" else f"is {heard.form}: the caption"
    sentences = [f"{what}{'s' if heard.form.startswith('a table') and len(items) > 1 else ''} of {_some(items)}."]
    if caption.encoding:
        sentences.append(f"It was read as {caption.encoding}.")
    if caption.entry.kind == "caption" and not caption.text.strip():
        sentences.append("It is empty.")
    if seconds:
        sentences.append(f"For {_some(seconds)} another file goes before it.")
    sentences.extend(heard.remarks)
    fate: Any = "converted" if caption.encoding == "Windows-1252" else "taken"
    return Fate(path=caption.entry.path, fate=fate, rule="caption", detail=" ".join(sentences), item=items[0])


def _some(names: Sequence[str]) -> str:
    """All of up to three names, else the number and the first."""
    return " and ".join(names) if len(names) <= 3 else f"{len(names):,} pictures ({names[0]}, ...)"
