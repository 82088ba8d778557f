"""The files of a source, read one after another and decoded a few at a time, into a staging folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, get_args

from PIL import Image

from lorasmith.datasets.accounting import Mask, Picture
from lorasmith.datasets.clips.reading import WHITE, frames_of, may_move, measure
from lorasmith.datasets.decoding_ahead import work_ahead
from lorasmith.datasets.images import Alpha, Prepared, png_bytes_to, prepare, prepare_mask
from lorasmith.datasets.ledger import Staged
from lorasmith.datasets.manifest import Clip, Fate
from lorasmith.datasets.pairing import suffixes
from lorasmith.datasets.source import Entry, RefusedError, Source, disk_errors, left_out
from lorasmith.errors import ConfigError
from lorasmith.files import file_digest

Color = tuple[int, int, int]  # RGB, 0-255

_IN_MEMORY: Final = 16_000_000  # bytes of one file; a larger one goes to disk while it is read


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


@dataclass(frozen=True)
class Task:
    entry: Entry
    is_mask: bool
    settings: Settings


def settings_of(entry: Entry, own_alpha: set[str], settings: Settings) -> Settings:
    """A layout may say of a picture that its own alpha is its mask; its colours then count as they are stored."""
    return replace(settings, alpha="mask") if entry.path in own_alpha else settings


def decode_all(source: Source, tasks: Iterable[Task], staging: Path) -> Generator[Picture | Mask | Fate, None, None]:
    """Decode in order, a few at a time."""

    def staged_at(task: tuple[int, Task]) -> Path:
        return staging / f"{task[0]}.original"

    def read(task: tuple[int, Task]) -> bytes | Staged:
        return _read(source, task[1].entry, staged_at(task))

    def work(task: tuple[int, Task], content: bytes | Staged) -> Picture | Mask:
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
