"""An import: every file of a source becomes an item, a caption, or a line that says why not.

Reading is sequential, decoding runs in a few threads, and the outcome does not depend on which is faster. All
files are written into a staging folder; the store moves them in place when the whole import has succeeded.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final

from PIL import Image

from lorasmith.datasets.captions import decode_caption
from lorasmith.datasets.images import Prepared, png_bytes_to, prepare
from lorasmith.datasets.ledger import Caption, Imported, Picture, Staged, account, no_images
from lorasmith.datasets.manifest import Fate
from lorasmith.datasets.names import natural_key
from lorasmith.datasets.source import Entry, RefusedError, Source, disk_errors, in_words, left_out
from lorasmith.errors import InputError, OutOfDisk

Progress = Callable[[int, int, str], None]
Color = tuple[int, int, int]  # RGB, 0-255

_THREADS: Final = max(1, min(4, os.cpu_count() or 1))
_AHEAD: Final = 2 * _THREADS  # pictures read before the oldest is decoded: bounds memory and staged files


def run_import(source: Source, staging: Path, *, background: Color, progress: Progress | None = None) -> Imported:
    """Read the whole source into ``staging`` and account for every file.

    Raises:
        DatasetError: no picture could be taken; the message counts what was found instead.
        InputError: the source is larger than its limits.
        OutOfDisk: it would not fit.
    """
    Image.init()  # registers all decoders now, so that threads need not
    entries, fates = source.scan()
    entries.sort(key=lambda entry: natural_key(entry.path))
    _refuse_oversize(source, entries, staging)
    captions: list[Caption] = []
    for entry in entries:
        if entry.kind == "caption":
            outcome = _read_caption(source, entry)
            if isinstance(outcome, Caption):
                captions.append(outcome)
            else:
                fates.append(outcome)
    pictures: list[Picture] = []
    wanted = [entry for entry in entries if entry.kind == "image"]
    with closing(_decode_all(source, wanted, staging, background)) as outcomes:  # whatever happens, its threads end
        for done, found in enumerate(outcomes, start=1):
            if isinstance(found, Picture):
                pictures.append(found)
            else:
                fates.append(found)
            if progress is not None:
                progress(done, len(wanted), wanted[done - 1].path)
    if not pictures:
        raise no_images(source, fates, len(captions))
    return account(pictures, captions, fates)


def _refuse_oversize(source: Source, entries: Sequence[Entry], staging: Path) -> None:
    declared = sum(entry.size for entry in entries)
    if declared > source.limits.total_bytes:
        raise InputError(
            f"{source.path.name} unpacks to {in_words(declared)}, more than {in_words(source.limits.total_bytes)}.",
            "Split it into several datasets.",
        )
    free = shutil.disk_usage(staging).free
    if declared > free * source.limits.free_disk_share:
        raise OutOfDisk(
            f"{source.path.name} needs {in_words(declared)}; the disk of {staging.parent} has {in_words(free)} free.",
            "Free some space, or choose a home on another disk.",
        )


def _read_caption(source: Source, entry: Entry) -> Caption | Fate:
    try:
        text, encoding = decode_caption(b"".join(source.chunks(entry)))
    except RefusedError as refusal:
        return left_out(entry.path, refusal.rule, refusal.detail)
    except ValueError as cause:
        return left_out(entry.path, "unreadable_caption", f"cannot be read as a caption: {cause}.")
    return Caption(entry, text, encoding)


def _decode_all(
    source: Source, entries: Sequence[Entry], staging: Path, background: Color
) -> Generator[Picture | Fate, None, None]:
    """Decode in order, a few at a time."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="decode") as pool:
        waiting: deque[Future[Picture] | tuple[Entry, RefusedError]] = deque()
        ahead: deque[Entry] = deque()

        def oldest() -> Picture | Fate:
            entry, result = ahead.popleft(), waiting.popleft()
            try:
                if isinstance(result, Future):
                    return result.result()
                raise result[1]
            except RefusedError as refusal:
                return left_out(entry.path, refusal.rule, refusal.detail)

        try:
            for number, entry in enumerate(entries):
                try:
                    original = _stage(source, entry, staging / f"{number}.original")
                    waiting.append(pool.submit(_decode, entry, original, background, source.limits.pixels))
                except RefusedError as refusal:
                    waiting.append((entry, refusal))
                ahead.append(entry)
                if len(ahead) > _AHEAD:
                    yield oldest()
            while ahead:
                yield oldest()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _stage(source: Source, entry: Entry, path: Path) -> Staged:
    digest = hashlib.sha256()
    try:
        with disk_errors(path), path.open("wb") as stream:
            for chunk in source.chunks(entry):
                digest.update(chunk)
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
    except RefusedError:
        path.unlink()
        raise
    return Staged(path, digest.hexdigest())


def _decode(entry: Entry, original: Staged, background: Color, pixel_limit: int) -> Picture:
    """In a thread: decode one staged picture and write its PNG if its pixels had to change."""
    try:
        prepared = prepare(original.path, background=background, pixel_limit=pixel_limit)
    except RefusedError:
        original.path.unlink()
        raise
    if prepared.image is None:
        return Picture(entry, prepared, original, None)
    path = original.path.with_suffix(".png")
    with disk_errors(path):
        png_bytes_to(path, prepared.image)
        with path.open("r+b") as stream:
            os.fsync(stream.fileno())
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    light = Prepared(**{**vars(prepared), "image": None})
    return Picture(entry, light, original, Staged(path, digest))
