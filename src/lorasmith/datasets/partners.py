"""References for pictures that are in a dataset already: found by name in a folder, or given one by one.

Looking and giving are one piece of work: ``propose`` opens every file, says what fits what and what does not, and
stores nothing; ``take`` stores what was proposed and gives the items. A picture whose references cannot all be used
gets none of them, for the others would stand in the wrong places.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from PIL import Image

from lorasmith.datasets.archive import open_source
from lorasmith.datasets.as_came import AsCame, of_prepared, of_references, telling
from lorasmith.datasets.decoding_ahead import work_ahead
from lorasmith.datasets.images import Prepared, prepare, quiet_pillow
from lorasmith.datasets.layouts.reading import stem
from lorasmith.datasets.magic import PEEK, picture_format
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.datasets.pairing import by_stem, suffixes
from lorasmith.datasets.pictures.work import put_bytes
from lorasmith.datasets.source import Entry, Limits, RefusedError, Source, may_be_picture
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import DatasetError, InputError, Stopped

MOST_REFERENCES: Final = 16
"""Of one picture; no family takes nearly as many."""
_WHITE: Final = (255, 255, 255)

Progress = Callable[[int, int, str], None]
Cancel = Callable[[], bool] | threading.Event
Mode = Literal["replace", "append"]


@dataclass(frozen=True)
class Proposal:
    """What a folder would give to the pictures of a version."""

    matched: Mapping[str, tuple[str, ...]]
    """Names of items with the paths of their references, in order."""
    replaced: tuple[str, ...]
    """Of those, items that have references now, which go."""
    unmatched: tuple[str, ...]
    """Items for which the folder holds nothing."""
    left_out: Mapping[str, str]
    """Files that are nobody's reference, each with the rest of a sentence ("is ...")."""
    mode: Mode = "replace"

    @property
    def in_words(self) -> str:
        """One line for the history."""
        return f"references for {len(self.matched)} picture{'s' if len(self.matched) != 1 else ''}"


@dataclass(frozen=True)
class _Found:
    """One picture of the folder, once it is stored."""

    sha256: str
    came: AsCame


@dataclass
class _Looked:
    left_out: dict[str, str] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)


def propose(
    version: DatasetVersion,
    store: DatasetStore,
    source: Path | Sequence[Path],
    *,
    suffix: str = "",
    mode: Mode = "replace",
    names: Sequence[str] | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Proposal:
    """What the pictures of a folder or ZIP would be references of. Nothing is stored; arguments as for ``take``."""
    proposal, _ = _carry_out(version, store, source, suffix, mode, names, limits, progress, cancel, keep=False)
    return proposal


def take(
    version: DatasetVersion,
    store: DatasetStore,
    source: Path | Sequence[Path],
    *,
    suffix: str = "",
    mode: Mode = "replace",
    names: Sequence[str] | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> tuple[Proposal, list[Item]]:
    """Give the pictures of a version the references that a folder holds for them.

    Args:
        version: whose pictures.
        store: where the references go; name them in a commit of this very store.
        source: a folder, a ZIP or pictures. ``cat.png`` is the reference of the item ``cat.jpg``; ``cat_0.png`` and
            ``cat_1.png`` are two of it. Folders count where several items are called alike.
        suffix: what names of references end in, of ``_control`` or ``_start:_end``; files that do not are left out.
        mode: whether a picture's references are replaced, or these stand behind them.
        names: items that may be given some; None for all.
        limits: how large the source may be.
        progress: called with files done, files in all and a path; what it raises ends the work.
        cancel: asked at every file; an event that is set, or a function that gives true, ends the work.

    Returns:
        What was found, and all items as they are then.

    Raises:
        ConfigError: the suffix is none.
        DatasetError: nothing fits any picture, or every pair is unusable; the message names the first reason.
        InputError: the source is missing or too large.
        OutOfDisk: it does not fit.
        Stopped: ``cancel`` said so; nothing is changed.
    """
    return _carry_out(version, store, source, suffix, mode, names, limits, progress, cancel, keep=True)


def _carry_out(
    version: DatasetVersion,
    store: DatasetStore,
    source: Path | Sequence[Path],
    suffix: str,
    mode: Mode,
    names: Sequence[str] | None,
    limits: Limits | None,
    progress: Progress | None,
    cancel: Cancel | None,
    *,
    keep: bool,
) -> tuple[Proposal, list[Item]]:
    quiet_pillow()
    wanted = None if names is None else frozenset(names)
    items = {item.name: item for item in version.items if wanted is None or item.name in wanted}
    with closing(open_source(source, limits or Limits())) as opened:
        looked = _look(opened)
        pairs = _matched(list(items), list(looked.entries), suffix, looked.left_out)
        refused = {name: why for name, paths in pairs.items() if (why := _refused(items[name], paths, mode))}
        wanted_files = [(items[name], path) for name, paths in pairs.items() if name not in refused for path in paths]
        decoded: dict[str, _Found | None] = {}
        with closing(_decoded(opened, looked.entries, wanted_files, store, keep=keep)) as outcomes:
            _stop_if(cancel)
            for done, (item, path, outcome) in enumerate(outcomes, start=1):
                if isinstance(outcome, str):
                    refused.setdefault(item.name, outcome if len(pairs[item.name]) == 1 else f"{path} {outcome}")
                else:
                    decoded[path] = outcome
                _stop_if(cancel)
                if progress is not None:
                    progress(done, len(wanted_files), path)
        usable = {name: paths for name, paths in pairs.items() if name not in refused}
        for name, why in refused.items():
            looked.left_out |= _all_left_out(pairs[name], name, why)
        where = opened.name
    if not usable:
        raise _nothing_fits(version, where, looked)
    proposal = Proposal(
        matched=usable,
        replaced=tuple(name for name in usable if items[name].references and mode == "replace"),
        unmatched=tuple(name for name in items if name not in usable),
        left_out=dict(sorted(looked.left_out.items())),
        mode=mode,
    )
    if not keep:
        return proposal, list(version.items)
    found = {path: one for path, one in decoded.items() if one is not None}
    return proposal, [
        _with(item, [found[path] for path in usable[item.name]], list(usable[item.name]), mode)
        if item.name in usable
        else item
        for item in version.items
    ]


def _stop_if(cancel: Cancel | None) -> None:
    """End the work where somebody wants that."""
    if cancel is not None and (cancel.is_set() if isinstance(cancel, threading.Event) else cancel()):
        raise Stopped("Giving references was stopped; the dataset was not changed.", "Start it again when you like.")


def _all_left_out(paths: Sequence[str], name: str, why: str) -> dict[str, str]:
    if len(paths) == 1:
        return {paths[0]: f"is for {name}, and {why}." if why.startswith("it ") else f"{why}."}
    return dict.fromkeys(paths, f"is for {name}, which gets none: {why}.")


def _look(source: Source) -> _Looked:
    """The pictures of a source, and a sentence about everything else."""
    looked = _Looked()
    entries, fates = source.scan()
    looked.left_out |= {fate.path: fate.detail for fate in fates}
    for entry in sorted(entries, key=lambda one: one.path):
        if entry.kind == "image" or _is_picture(source, entry):
            looked.entries.setdefault(entry.path, entry)
        elif entry.kind in ("caption", "sidecar"):
            looked.left_out[entry.path] = "is a text; the captions of the dataset stay as they are."
        else:
            looked.left_out[entry.path] = "is no picture."
    return looked


def _is_picture(source: Source, entry: Entry) -> bool:
    """A file whose name says nothing, by its first bytes."""
    if entry.kind != "other":
        return False
    try:
        with source.open(entry) as stream:
            name = picture_format(stream.read(PEEK))
    except source.reading():
        return False
    return bool(name) and may_be_picture(entry, str(name))


def _matched(
    names: Sequence[str], paths: Sequence[str], suffix: str, left_out: dict[str, str]
) -> dict[str, tuple[str, ...]]:
    """Paths by the name of their item, in order; the rest goes to ``left_out``."""
    if not suffix:
        pairs = by_stem(names, paths)
        left_out |= pairs.orphans
        return {name: pairs.references[name] for name in names if name in pairs.references}
    start, end = suffixes(suffix)
    own = {_without(name, end) or name: name for name in names}
    bare: dict[str, str] = {}
    for path in paths:
        shorter = _without(path, start)
        if shorter is None:
            left_out[path] = f"is not called NAME{start}."
        else:
            bare[shorter] = path
    pairs = by_stem(list(own), list(bare))
    left_out |= {bare[path]: why for path, why in pairs.orphans.items()}
    return {own[name]: tuple(bare[path] for path in those) for name, those in pairs.references.items()}


def _without(path: str, suffix: str) -> str | None:
    """``a/cat_start.png`` without ``_start``; ``a/cat_start2.png`` becomes ``a/cat_2.png``. None where it has none."""
    pure = PurePosixPath(path)
    root, digits = stem(path), ""
    while root and root[-1].isdigit() and root[-1].isascii() and not root.lower().endswith(suffix):
        root, digits = root[:-1], root[-1] + digits
    root = root.removesuffix("_") if digits and not root.lower().endswith(suffix) else root
    if not suffix or not root.lower().endswith(suffix) or len(root) == len(suffix):
        return None
    shorter = root[: -len(suffix)] + (f"_{digits}" if digits else "")
    return str(pure.with_name(shorter + pure.suffix))


def _refused(item: Item, paths: Sequence[str], mode: Mode) -> str | None:
    """Why a picture can have none of these; None where it can."""
    if item.clip is not None:
        return "it is a clip, and families that edit take pictures"
    count = len(paths) + (len(item.references) if mode == "append" else 0)
    if count > MOST_REFERENCES:
        return f"it would have {count} references, more than {MOST_REFERENCES}"
    return None


def _decoded(
    source: Source, entries: Mapping[str, Entry], wanted: Sequence[tuple[Item, str]], store: DatasetStore, *, keep: bool
) -> Generator[tuple[Item, str, _Found | str | None], None, None]:
    """Pictures of the folder in order, a few decoded ahead, and stored if they shall be kept; or why one cannot be
    used."""

    def read(task: tuple[Item, str]) -> bytes:
        return b"".join(source.chunks(entries[task[1]]))

    def work(task: tuple[Item, str], content: bytes) -> _Found | str | None:
        prepared = prepare(content, background=_WHITE, pixel_limit=source.limits.pixels)
        if is_same_picture(task[0], prepared, store):
            return "it is the same picture, which teaches to change nothing"
        return _Found(*stored(content, prepared, store)) if keep else None

    with closing(work_ahead(wanted, read, work)) as outcomes:
        for (item, path), outcome in outcomes:
            yield item, path, outcome.detail.rstrip(".") if isinstance(outcome, RefusedError) else outcome


def stored(content: bytes | Path, prepared: Prepared, store: DatasetStore) -> tuple[str, AsCame]:
    """The SHA-256 under which a prepared picture lies in the store from now on, and how it came, in the store too."""
    original = store.put_file(content) if isinstance(content, Path) else put_bytes(store, content)
    sha256 = store.put_image(prepared.image, "RGB") if prepared.image is not None else original
    return sha256, of_prepared(original, prepared)


def is_same_picture(item: Item, prepared: Prepared, store: DatasetStore) -> bool:
    """Whether a reference shows, pixel for pixel, what its picture shows."""
    if (item.width, item.height) != (prepared.width, prepared.height):
        return False
    return pixel_hash(store.open_image(item)) == prepared.pixels


def pixel_hash(image: Image.Image) -> str:
    """As ``Prepared.pixels`` of a picture without transparency."""
    pixels = hashlib.sha256(f"{image.width}x{image.height};".encode())
    pixels.update(image.tobytes())
    return pixels.hexdigest()


def _with(item: Item, found: Sequence[_Found], paths: list[str], mode: Mode) -> Item:
    before = item.references if mode == "append" else ()
    told = list(item.provenance.get("references", ())) if mode == "append" else []
    told = told if len(told) == len(before) else [f"reference {number + 1}" for number in range(len(before))]
    references = (*before, *(one.sha256 for one in found))
    came = of_references(item) | {one.sha256: one.came for one in found}
    provenance = {**item.provenance, "references": [*told, *paths]}
    return replace(item, references=references, provenance=telling(provenance, references, came))


def _nothing_fits(version: DatasetVersion, where: str, looked: _Looked) -> DatasetError | InputError:
    reasons = [f"{path} {why}" for path, why in looked.left_out.items() if path in looked.entries]
    if not looked.entries:
        return InputError(f"There is no picture in {where}.", "Choose the folder with the references.")
    said = f" ({reasons[0].rstrip('.')})" if reasons else ""
    return DatasetError(
        f"Nothing in {where} is a reference of a picture of {version.reference}{said}.",
        f"Name references like their pictures, such as '{stem(version.items[0].name)}', "
        "or say what their names end in.",
    )
