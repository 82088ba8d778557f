"""An import: every file of a source becomes an item, a caption, or a line that says why not.

Files are read one after another; hashing, decoding and writing run in a few threads, and the outcome does not depend
on which is faster. All files are written into a staging folder; the store moves them in place when the whole import
has succeeded, so that stopping at any moment leaves the old state.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Final, get_args

from PIL import Image

from lorasmith.datasets.accounting import Caption, Found, Mask, Picture
from lorasmith.datasets.captions import decode_caption
from lorasmith.datasets.clips.reading import WHITE, frames_of, may_move, measure
from lorasmith.datasets.decoding_ahead import work_ahead
from lorasmith.datasets.emptiness import no_images
from lorasmith.datasets.images import Alpha, Prepared, png_bytes_to, prepare, prepare_mask, quiet_pillow
from lorasmith.datasets.layouts import Reading
from lorasmith.datasets.layouts.reading import SourceFiles
from lorasmith.datasets.ledger import Staged
from lorasmith.datasets.magic import PEEK, moving_format, picture_format
from lorasmith.datasets.manifest import Clip, Fate
from lorasmith.datasets.names import natural_key
from lorasmith.datasets.origins import Origin
from lorasmith.datasets.pairing import suffixes, with_pairs
from lorasmith.datasets.recognition import recognise
from lorasmith.datasets.source import (
    VIDEO_SUFFIXES,
    Entry,
    RefusedError,
    Source,
    disk_errors,
    foreign,
    left_out,
    may_be_picture,
    shown_name,
)
from lorasmith.errors import ConfigError, InputError, OutOfDisk, Stopped
from lorasmith.files import bytes_in_words, file_digest

Progress = Callable[[int, int, str], None]
Cancel = Callable[[], bool] | threading.Event
Color = tuple[int, int, int]  # RGB, 0-255

_IN_MEMORY: Final = 16_000_000  # bytes of one file; a larger one goes to disk while it is read
_FLUSHERS: Final = 16  # a journaling file system commits what waits together, so waiting side by side is quicker
_FLUSHED_AT_ONCE: Final = 64 * _FLUSHERS  # what waits for a thread takes two kilobytes
_SAID: Final = 200  # sentences that a version keeps; a table may name ten thousand files that are not there
_EVERY: Final = 0.25  # seconds between two calls of a watch


@dataclass(frozen=True)
class Pace:
    """How far an import is."""

    done: int
    """Pictures."""
    total: int
    path: str
    """Of the last one."""
    seconds_left: float | None
    """At the speed so far; None until there is one."""


Watch = Callable[[Pace], None]


@dataclass(frozen=True)
class Settings:
    """What is asked of an import besides its source."""

    background: Color = (255, 255, 255)
    alpha: Alpha = "fill"
    max_side: int | None = None
    """Pixels; longer pictures are reduced to it. None: they keep their size."""
    layout: str | None = None
    """Name of a layout, ``plain`` for none; None: whichever recognises the source."""
    limit: int | None = None
    """How many pictures are read at most, the first by name; None: all."""
    clips: bool = False
    """Take videos and animated pictures as clips; without, of an animated picture the first frame."""
    references: str | None = None
    """Names of folders of reference pictures, commas between."""
    reference_suffix: str | None = None
    """What names of references end in; see ``pairing.suffixes``."""

    def __post_init__(self) -> None:
        if self.alpha not in get_args(Alpha):
            raise ConfigError(f"'{self.alpha}' says nothing of transparency.", "Choose fill, mask or both.")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"{self.limit} pictures are none.", "Give a number from 1 on.")
        if self.max_side is not None and self.max_side < 1:
            raise ConfigError(f"{self.max_side} pixels are no size.", "Give the longer side, such as 1024.")
        if self.reference_suffix:
            suffixes(self.reference_suffix)


def gather(
    source: Source,
    staging: Path,
    settings: Settings,
    *,
    origin: Origin | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
    cancel: Cancel | None = None,
) -> Found:
    """Read the whole source into ``staging``; what becomes of it is decided by ``accounting.account``.

    Args:
        source: open; stays open.
        staging: an empty folder.
        settings: how pictures are prepared, and in which layout they lie.
        origin: where it was brought from; files that did not come are fates too.
        progress: called after every picture with pictures done, pictures in all and the path of the last one.
        watch: called a few times a second, with an estimate of the time that is left.
        cancel: set, or true when called: the import stops after the pictures under way.

    Raises:
        DatasetError: no picture could be taken; the message counts what was found instead.
        InputError: the source is larger than its limits.
        OutOfDisk: it would not fit.
        Stopped: ``cancel`` said so.
    """
    Image.init()  # registers all decoders now, so that threads need not
    quiet_pillow()
    entries, fates = source.scan()
    fates.extend(origin.missed if origin is not None else ())
    entries.sort(key=lambda entry: natural_key(entry.path))
    _refuse_oversize(source, entries, staging)
    entries = [_sniffed(source, entry, settings.clips) for entry in entries]
    reading, said = recognise(source, entries, settings.layout)
    reading = _with_pairs(source, entries, reading, settings)
    sorted_out = _sort_out(entries, reading)
    fates.extend(sorted_out.fates)
    fates.extend(_beyond(sorted_out, settings.limit))
    captions: list[Caption] = []
    for entry in sorted_out.beside:
        outcome = foreign(entry.path) if entry.kind == "other" else _read_caption(source, entry)
        if isinstance(outcome, Caption):
            captions.append(outcome)
        else:
            fates.append(outcome)
    wanted = sorted_out.pictures
    report = _Reporter(len(wanted), progress, watch, cancel)
    pictures: list[Picture] = []
    found_masks: dict[str, Mask] = {}
    references: dict[str, Picture] = {}
    named = _references_in(reading)
    masks = {id(entry) for entry in sorted_out.masks}
    beside = {id(entry) for entry in sorted_out.references}
    own_alpha = {path for path, told in reading.described.items() if told.mask == path} if reading else set()
    tasks = (_Task(e, id(e) in masks, _settings_of(e, own_alpha, settings)) for e in wanted)
    with closing(_decode_all(source, tasks, staging)) as outcomes:  # whatever happens, its threads end
        report.stop_if_asked()
        for done, found in enumerate(outcomes, start=1):
            if isinstance(found, Picture):
                if found.entry.path in named:
                    references.setdefault(found.entry.path, found)
                if id(found.entry) not in beside:
                    pictures.append(found)
            elif isinstance(found, Mask):
                found_masks[found.entry.path] = found
            else:
                fates.append(found)
            report(done, wanted[done - 1].path)
    if not pictures:
        raise no_images(source, fates, len(captions))
    return Found(
        source=shown_name(source.name),
        pictures=tuple(pictures),
        captions=tuple(captions),
        fates=tuple(fates),
        masks=found_masks,
        references=references,
        reading=reading,
        used=tuple(entry.path for entry in sorted_out.used),
        said=(*(origin.said if origin is not None else ()), *said),
        origin=origin,
    )


@dataclass
class _SortedOut:
    """The entries of a source by what is to be done with them."""

    pictures: list[Entry] = field(default_factory=list)
    """Masks among them."""
    masks: list[Entry] = field(default_factory=list)
    references: list[Entry] = field(default_factory=list)
    """Pictures that are nothing but references of others; they stand among ``pictures`` too."""
    used: list[Entry] = field(default_factory=list)
    beside: list[Entry] = field(default_factory=list)
    fates: list[Fate] = field(default_factory=list)


def _with_pairs(
    source: Source, entries: Sequence[Entry], reading: Reading | None, settings: Settings
) -> Reading | None:
    """The reading with the references that the settings ask for."""
    if not settings.references and not settings.reference_suffix:
        return reading
    by_path = {entry.path: entry for entry in reversed(entries)}
    files = SourceFiles([e.path for e in entries], lambda path: b"".join(source.chunks(by_path[path])))
    before = source.read_bytes
    found = with_pairs(reading, files, settings.references, settings.reference_suffix)
    source.read_bytes = before  # captions of pairs are read once more
    return found


def _references_in(reading: Reading | None) -> set[str]:
    """Paths of everything that is a reference of something."""
    return {path for told in reading.described.values() for path in told.references} if reading else set()


def _sort_out(entries: Sequence[Entry], reading: Reading | None) -> _SortedOut:
    """A path that a ZIP holds twice is what the layout says the first time, and itself the second."""
    masks = {told.mask for path, told in reading.described.items() if told.mask != path} if reading else set()
    references = {path for path in _references_in(reading) if reading and path not in reading.described}
    used = {path for path in reading.used if path not in masks | references} if reading else set()
    orphans = dict(reading.orphans) if reading else {}
    result = _SortedOut()
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


def _beyond(sorted_out: _SortedOut, limit: int | None) -> list[Fate]:
    """Take the pictures beyond the limit out of what will be read; their fates."""
    if limit is None:
        return []
    masks = {id(entry) for entry in (*sorted_out.masks, *sorted_out.references)}
    pictures = [entry for entry in sorted_out.pictures if id(entry) not in masks]
    beyond = {id(entry) for entry in pictures[limit:]}
    sorted_out.pictures = [entry for entry in sorted_out.pictures if id(entry) not in beyond]
    detail = f"is beyond the {limit} pictures that were asked for."
    return [left_out(entry.path, "not_wanted", detail) for entry in pictures[limit:]]


def describe_import(sources: Sequence[Path], background: str, settings: Settings, found: Found) -> dict[str, Any]:
    """The arguments of the operation that an import is, for the version's history."""
    names = [path.absolute().name for path in sources]
    arguments: dict[str, Any] = {"source": names[0] if len(names) == 1 else names, "background": background}
    if settings.alpha != "fill":
        arguments["alpha"] = settings.alpha
    if settings.max_side is not None:
        arguments["max_side"] = settings.max_side
    if settings.limit is not None:
        arguments["limit"] = settings.limit
    for name in ("clips", "references", "reference_suffix"):
        if getattr(settings, name):
            arguments[name] = getattr(settings, name)
    if found.reading is not None:
        arguments["layout"] = found.reading.layout
    if found.origin is not None:
        arguments |= found.origin.arguments()
    return arguments


def said_in(said: Sequence[str]) -> dict[str, Any]:
    """What was said of an import, as arguments of its operation."""
    more = f"And {len(said) - _SAID:,} sentences more of that kind."
    return {"said": [*said[:_SAID], *([more] if len(said) > _SAID else [])]} if said else {}


def flush(staged: Iterable[Staged], cancel: Cancel | None = None) -> None:
    """Wait until the disk holds these files. All together, since each alone would wait for a commit of its own.

    Raises:
        OutOfDisk: it does not fit after all.
        Stopped: ``cancel`` said so.
    """
    remaining = iter(staged)
    with ThreadPoolExecutor(_FLUSHERS, thread_name_prefix="flush") as pool:
        try:
            while some := list(islice(remaining, _FLUSHED_AT_ONCE)):
                for future in [pool.submit(_flush, file.path) for file in some]:
                    future.result()
                    _stop_if(cancel)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _flush(path: Path) -> None:
    with disk_errors(path), path.open("r+b") as stream:
        os.fsync(stream.fileno())


class _Reporter:
    """Tells how far an import is, and ends it when asked to."""

    def __init__(self, total: int, progress: Progress | None, watch: Watch | None, cancel: Cancel | None) -> None:
        self._total, self._progress, self._watch, self._cancel = total, progress, watch, cancel
        self._start = time.monotonic()
        self._said = -_EVERY

    def __call__(self, done: int, path: str) -> None:
        self.stop_if_asked()
        if self._progress is not None:
            self._progress(done, self._total, path)
        elapsed = time.monotonic() - self._start
        if self._watch is None or (done < self._total and elapsed - self._said < _EVERY):
            return
        self._said = elapsed
        self._watch(Pace(done, self._total, path, elapsed / done * (self._total - done) if elapsed > 0 else None))

    def stop_if_asked(self) -> None:
        _stop_if(self._cancel)


def _stop_if(cancel: Cancel | None) -> None:
    if cancel is not None and (cancel.is_set() if isinstance(cancel, threading.Event) else cancel()):
        raise Stopped("The import was stopped; no dataset was changed.", "Start it again when you like.")


def _refuse_oversize(source: Source, entries: Sequence[Entry], staging: Path) -> None:
    declared = sum(entry.size for entry in entries)
    if declared > source.limits.total_bytes:
        raise InputError(
            f"{source.name} unpacks to {bytes_in_words(declared)}, "
            f"more than {bytes_in_words(source.limits.total_bytes)}.",
            "Split it into several datasets.",
        )
    free = shutil.disk_usage(staging).free
    if declared > free * source.limits.free_disk_share:
        raise OutOfDisk(
            f"{source.name} needs {bytes_in_words(declared)}; "
            f"the disk of {staging.parent} has {bytes_in_words(free)} free.",
            "Free some space, or choose a home on another disk.",
        )


def _sniffed(source: Source, entry: Entry, clips: bool) -> Entry:
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


def _read_caption(source: Source, entry: Entry) -> Caption | Fate:
    try:
        text, encoding = decode_caption(b"".join(source.chunks(entry)))
    except RefusedError as refusal:
        return left_out(entry.path, refusal.rule, refusal.detail)
    except ValueError as cause:
        return left_out(entry.path, "unreadable_caption", f"cannot be read as a caption: {cause}.")
    return Caption(entry, text, encoding)


@dataclass(frozen=True)
class _Task:
    entry: Entry
    is_mask: bool
    settings: Settings


def _settings_of(entry: Entry, own_alpha: set[str], settings: Settings) -> Settings:
    """A layout may say of a picture that its own alpha is its mask; its colours then count as they are stored."""
    return replace(settings, alpha="mask") if entry.path in own_alpha else settings


def _decode_all(source: Source, tasks: Iterable[_Task], staging: Path) -> Generator[Picture | Mask | Fate, None, None]:
    """Decode in order, a few at a time."""

    def staged_at(task: tuple[int, _Task]) -> Path:
        return staging / f"{task[0]}.original"

    def read(task: tuple[int, _Task]) -> bytes | Staged:
        return _read(source, task[1].entry, staged_at(task))

    def work(task: tuple[int, _Task], content: bytes | Staged) -> Picture | Mask:
        decode: Callable[..., Picture | Mask] = _decode_mask if task[1].is_mask else _decode
        return decode(task[1].entry, content, staged_at(task), task[1].settings, source.limits.pixels)

    with closing(work_ahead(enumerate(tasks), read, work)) as outcomes:
        for (_, task), outcome in outcomes:
            if isinstance(outcome, RefusedError):
                yield left_out(task.entry.path, outcome.rule, outcome.detail)
            else:
                yield outcome


def _read(source: Source, entry: Entry, path: Path) -> bytes | Staged:
    """A file's bytes; of a large one, the staged copy."""
    held: list[bytes] = []
    size = 0
    chunks = source.chunks(entry)
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size > _IN_MEMORY:
            break
    else:
        return b"".join(held)
    digest = hashlib.sha256()
    try:
        with disk_errors(path), path.open("wb") as stream:
            for chunk in _one_after_the_other(held, chunks):
                digest.update(chunk)
                stream.write(chunk)
    except RefusedError:
        path.unlink()
        raise
    return Staged(str(path), digest.hexdigest())


def _one_after_the_other(held: list[bytes], chunks: Iterable[bytes]) -> Generator[bytes, None, None]:
    while held:
        yield held.pop(0)
    yield from chunks


def _decode(entry: Entry, content: bytes | Staged, path: Path, settings: Settings, pixel_limit: int) -> Picture:
    """In a thread: stage one picture, and a PNG of it if its pixels had to change; or a clip where those are wanted."""
    try:
        if settings.clips and may_move(content if isinstance(content, bytes) else content.path):
            original = content if isinstance(content, Staged) else _write(path, content)
            return _clip(entry, original, settings, pixel_limit)
        prepared = prepare(
            content if isinstance(content, bytes) else content.path,
            background=settings.background,
            pixel_limit=pixel_limit,
            alpha=settings.alpha,
            max_side=settings.max_side,
        )
    except RefusedError:
        path.unlink(missing_ok=True)
        raise
    if not settings.clips and any(word.startswith("first_frame:") for word in prepared.transforms):
        told = (*prepared.sentences, "With the option clips it is taken as a clip.")
        prepared = replace(prepared, sentences=told)
    original = content if isinstance(content, Staged) else _write(path, content)
    converted = _write_png(path.with_suffix(".png"), prepared.image) if prepared.image is not None else None
    mask = _write_png(path.with_suffix(".mask.png"), prepared.alpha) if prepared.alpha is not None else None
    return Picture(entry, replace(prepared, image=None, alpha=None), original, converted, mask)


def _clip(entry: Entry, original: Staged, settings: Settings, pixel_limit: int) -> Picture:
    """In a thread: decode a staged video or animated picture from end to end, and stage its first frame."""
    measured = measure(original.path, pixel_limit=pixel_limit)
    clip = Clip(
        video=original.sha256, frames=measured.frames, fps=measured.fps, width=measured.width, height=measured.height
    )
    background = "#{:02x}{:02x}{:02x}".format(*settings.background)
    hdr = next((word.partition(":")[2] for word in measured.transforms if word.startswith("hdr:")), "")
    first = next(frames_of(original.path, clip, [0], background, hdr))
    transforms = (*measured.transforms, *([] if background == WHITE else [f"background:{background}"]))
    seconds = f"{measured.frames} frames, {measured.fps:.4g} a second"
    sentence = (
        f"It is a clip of {seconds}." if measured.frames > 1 else "It holds one frame, and is taken as a picture."
    )
    prepared = Prepared(
        measured.width, measured.height, pixels=measured.pixels, format=measured.format, image=None,
        transforms=transforms,
        sentences=(sentence, *measured.sentences),
    )  # fmt: skip
    converted = _write_png(original.path.with_suffix(".png"), first)
    return Picture(entry, prepared, original, converted, clip=clip if measured.frames > 1 else None)


def _decode_mask(entry: Entry, content: bytes | Staged, path: Path, settings: Settings, pixel_limit: int) -> Mask:
    """In a thread: stage a picture that is the mask of another."""
    image = prepare_mask(content if isinstance(content, bytes) else content.path, pixel_limit=pixel_limit)
    path.unlink(missing_ok=True)
    return Mask(entry, _write_png(path.with_suffix(".png"), image), image.width, image.height)


def _write(path: Path, content: bytes) -> Staged:
    with disk_errors(path):
        path.write_bytes(content)
    return Staged(str(path), hashlib.sha256(content).hexdigest())


def _write_png(path: Path, image: Image.Image) -> Staged:
    with disk_errors(path):
        png_bytes_to(path, image)
        return Staged(str(path), file_digest(path))
