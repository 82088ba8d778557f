"""What an import does with each entry of a source: a picture, a mask, a reference, words beside them, or none of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from lorasmith.datasets.layouts import Reading
from lorasmith.datasets.layouts.reading import SourceFiles
from lorasmith.datasets.magic import PEEK, moving_format, picture_format
from lorasmith.datasets.manifest import Fate
from lorasmith.datasets.pairing import with_pairs
from lorasmith.datasets.source import VIDEO_SUFFIXES, Entry, Source, left_out, may_be_picture


@dataclass
class SortedOut:
    """The entries of a source by what is to be done with them."""

    pictures: list[Entry] = field(default_factory=list)
    """Masks among them."""
    masks: list[Entry] = field(default_factory=list)
    references: list[Entry] = field(default_factory=list)
    """Pictures that are nothing but references of others; they stand among ``pictures`` too."""
    used: list[Entry] = field(default_factory=list)
    beside: list[Entry] = field(default_factory=list)
    fates: list[Fate] = field(default_factory=list)


def sniffed(source: Source, entry: Entry, clips: bool) -> Entry:
    """A file whose name says nothing is a picture when its first bytes do, or a video where those are wanted; one that
    is called a video is looked at as if it were."""
    if entry.kind != "other":
        return entry
    if clips and PurePosixPath(entry.path).suffix.lower() in VIDEO_SUFFIXES:
        return replace(entry, kind="image")
    try:
        with source.open(entry) as stream:
            beginning = stream.read(PEEK)
    except source.reading():
        return entry
    name = picture_format(beginning)
    video = clips and moving_format(beginning) is not None
    return replace(entry, kind="image") if video or (name and may_be_picture(entry, name)) else entry


def read_pairs(
    source: Source, entries: Sequence[Entry], reading: Reading | None, folders: str | None, suffix: str | None
) -> Reading | None:
    """The reading with the references that lie in folders of those names, or end in that suffix."""
    if not folders and not suffix:
        return reading
    by_path = {entry.path: entry for entry in reversed(entries)}
    files = SourceFiles([e.path for e in entries], lambda path: b"".join(source.chunks(by_path[path])))
    before = source.read_bytes
    found = with_pairs(reading, files, folders, suffix)
    source.read_bytes = before  # captions of pairs are read once more
    return found


def references_in(reading: Reading | None) -> set[str]:
    """Paths of everything that is a reference of something."""
    return {path for told in reading.described.values() for path in told.references} if reading else set()


def sort_out(entries: Sequence[Entry], reading: Reading | None) -> SortedOut:
    """A path that a ZIP holds twice is what the layout says the first time, and itself the second."""
    masks = {told.mask for path, told in reading.described.items() if told.mask != path} if reading else set()
    references = {path for path in references_in(reading) if reading and path not in reading.described}
    used = {path for path in reading.used if path not in masks | references} if reading else set()
    orphans = dict(reading.orphans) if reading else {}
    result = SortedOut()
    for entry in entries:
        if entry.path in references:
            references.discard(entry.path)
            result.references.append(entry)
            result.pictures.append(entry)
        elif entry.path in orphans:
            result.fates.append(left_out(entry.path, "orphan_reference", orphans.pop(entry.path)))
        elif entry.path in masks:
            masks.discard(entry.path)
            result.masks.append(entry)
            result.pictures.append(entry)
        elif entry.path in used:
            used.discard(entry.path)
            result.used.append(entry)
        else:
            (result.pictures if entry.kind == "image" else result.beside).append(entry)
    return result


def beyond(sorted_out: SortedOut, limit: int | None) -> list[Fate]:
    """Take the pictures beyond the limit out of what will be read; their fates."""
    if limit is None:
        return []
    masks = {id(entry) for entry in (*sorted_out.masks, *sorted_out.references)}
    pictures = [entry for entry in sorted_out.pictures if id(entry) not in masks]
    beyond = {id(entry) for entry in pictures[limit:]}
    sorted_out.pictures = [entry for entry in sorted_out.pictures if id(entry) not in beyond]
    detail = f"is beyond the {limit} pictures that were asked for."
    return [left_out(entry.path, "not_wanted", detail) for entry in pictures[limit:]]
