"""An import: every file of a source becomes an item, a caption, or a line that says why not.

Files are read one after another; hashing, decoding and writing run in a few threads, and the outcome does not depend
on which is faster. All files are written into a staging folder; the store moves them in place when the whole import
has succeeded, so that stopping at any moment leaves the old state.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from PIL import Image

from lorasmith.datasets.accounting import Caption, Found, Mask, Picture
from lorasmith.datasets.captions import decode_caption
from lorasmith.datasets.emptiness import no_images
from lorasmith.datasets.images import quiet_pillow
from lorasmith.datasets.ledger import Staged
from lorasmith.datasets.manifest import Fate
from lorasmith.datasets.names import natural_key
from lorasmith.datasets.origins import Origin
from lorasmith.datasets.recognition import recognise
from lorasmith.datasets.sorting import beyond, read_pairs, references_in, sniffed, sort_out
from lorasmith.datasets.source import (
    Entry,
    RefusedError,
    Source,
    disk_errors,
    foreign,
    left_out,
    shown_name,
)
from lorasmith.datasets.staging import Settings, Task, decode_all, settings_of
from lorasmith.errors import InputError, OutOfDisk, Stopped
from lorasmith.files import bytes_in_words

Progress = Callable[[int, int, str], None]
Cancel = Callable[[], bool] | threading.Event

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
    entries = [sniffed(source, entry, settings.clips) for entry in entries]
    reading, said = recognise(source, entries, settings.layout)
    reading = read_pairs(source, entries, reading, settings.references, settings.reference_suffix)
    sorted_out = sort_out(entries, reading)
    fates.extend(sorted_out.fates)
    fates.extend(beyond(sorted_out, settings.limit))
    captions = _captions(source, sorted_out.beside, fates)
    wanted = sorted_out.pictures
    report = _Reporter(len(wanted), progress, watch, cancel)
    taken = _Taken(references_in(reading), {id(entry) for entry in sorted_out.references}, fates)
    masks = {id(entry) for entry in sorted_out.masks}
    own_alpha = {path for path, told in reading.described.items() if told.mask == path} if reading else set()
    tasks = (Task(e, id(e) in masks, settings_of(e, own_alpha, settings)) for e in wanted)
    with closing(decode_all(source, tasks, staging)) as outcomes:  # whatever happens, its threads end
        report.stop_if_asked()
        for done, found in enumerate(outcomes, start=1):
            taken.take(found)
            report(done, wanted[done - 1].path)
    if not taken.pictures:
        raise no_images(source, fates, len(captions))
    return Found(
        source=shown_name(source.name),
        pictures=tuple(taken.pictures),
        captions=tuple(captions),
        fates=tuple(fates),
        masks=taken.masks,
        references=taken.references,
        reading=reading,
        used=tuple(entry.path for entry in sorted_out.used),
        said=(*(origin.said if origin is not None else ()), *said),
        origin=origin,
    )


@dataclass
class _Taken:
    """What came out of the decoding, each where it belongs."""

    named: Collection[str]
    """Paths of everything that is a reference of something."""
    beside: Collection[int]
    """Entries, by their identity, that are nothing but references."""
    fates: list[Fate]
    pictures: list[Picture] = field(default_factory=list)
    masks: dict[str, Mask] = field(default_factory=dict)
    references: dict[str, Picture] = field(default_factory=dict)

    def take(self, found: Picture | Mask | Fate) -> None:
        """A picture may be a reference of others and be trained itself."""
        if isinstance(found, Mask):
            self.masks[found.entry.path] = found
        elif isinstance(found, Fate):
            self.fates.append(found)
        else:
            if found.entry.path in self.named:
                self.references.setdefault(found.entry.path, found)
            if id(found.entry) not in self.beside:
                self.pictures.append(found)


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


def _captions(source: Source, entries: Iterable[Entry], fates: list[Fate]) -> list[Caption]:
    """The captions among what lies beside pictures; all else is a fate."""
    captions: list[Caption] = []
    for entry in entries:
        outcome = foreign(entry.path) if entry.kind == "other" else _read_caption(source, entry)
        if isinstance(outcome, Caption):
            captions.append(outcome)
        else:
            fates.append(outcome)
    return captions


def _read_caption(source: Source, entry: Entry) -> Caption | Fate:
    try:
        text, encoding = decode_caption(b"".join(source.chunks(entry)))
    except RefusedError as refusal:
        return left_out(entry.path, refusal.rule, refusal.detail)
    except ValueError as cause:
        return left_out(entry.path, "unreadable_caption", f"cannot be read as a caption: {cause}.")
    return Caption(entry, text, encoding)
