"""Aspect buckets: every picture keeps nearly its own shape, every bucket nearly the same area.

Pictures of one bucket share one latent shape and can stand in one batch. For families of clips a bucket has a third
dimension, the number of frames, and a picture is a clip of one frame. Nothing here is random.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lorasmith.datasets.manifest import Clip, Item

LONGEST_SIDE = 2  # in units of the resolution; the shortest side is the resolution divided by it
Cut = Literal["head", "uniform", "chunks"]
"""Which part of a long clip is shown. ``head``: its beginning. ``chunks``: one window after the other, without the rest
at the end. ``uniform``: as few windows as cover all of it, evenly spread, so that they overlap."""


@dataclass(frozen=True)
class Placed:
    """A picture in its bucket: enlarged by ``scale`` to cover width x height pixels, then cropped around its centre."""

    item: str
    width: int
    height: int
    scale: float
    crop_loss: float
    """Share of the picture's area that the crop cuts away, 0 to below 1."""
    repeats: int = 1
    """How often a pass shows it, before the run's own repeats."""
    frames: int = 1
    """How many frames are shown; 1 for a picture."""
    start: int = 0
    """The first of them, counted at ``fps``."""
    fps: float = 0.0
    """Frames a second that are shown; 0 where the family takes pictures alone."""

    @property
    def key(self) -> str:
        """What tells it from other windows of the same clip; of a picture, and of a clip's beginning, the item's name
        (which holds no colon)."""
        return f"{self.item}:{self.start}" if self.start else self.item

    def numbers(self, clip: Clip) -> list[int]:
        """The clip's frames that are shown, from 0: of each moment the one that is there then."""
        return [min(clip.frames - 1, int((self.start + n) * clip.fps / self.fps + 1e-6)) for n in range(self.frames)]


@dataclass(frozen=True)
class Bucket:
    """All pictures of one shape."""

    width: int
    height: int
    placed: tuple[Placed, ...]
    frames: int = 1

    @property
    def title(self) -> str:
        """``512 x 512``, and ``512 x 512 x 33`` for clips."""
        size = f"{self.width} x {self.height}"
        return f"{size} x {self.frames}" if self.frames > 1 else size


@dataclass(frozen=True)
class Frames:
    """How clips become windows of frames. A window has ``step`` * n + 1 frames, ``most`` at most."""

    step: int
    most: int
    fps: float
    cut: Cut = "head"
    least: int = 1
    """Windows of fewer frames teach nothing and are left out, pictures among them where it is more than 1."""

    def available(self, clip: Clip) -> int:
        """How many frames a clip has at ``fps``."""
        return max(1, int(clip.frames * self.fps / clip.fps + 1e-6))

    def window(self, available: int) -> int:
        """The longest window that so many frames can fill."""
        return (min(available, self.most) - 1) // self.step * self.step + 1

    def starts(self, clip: Clip) -> tuple[int, ...]:
        """Where the windows of a clip begin."""
        available = self.available(clip)
        window = self.window(available)
        if self.cut == "head":
            return (0,)
        if self.cut == "chunks":
            return tuple(range(0, available - window + 1, window))
        count = math.ceil(available / window)
        return tuple(round(n * (available - window) / max(1, count - 1)) for n in range(count))


@dataclass(frozen=True)
class LeftOut:
    """A picture that will not be trained, and the sentence that says why."""

    item: str
    reason: str


@dataclass(frozen=True)
class Arrangement:
    """Every picture is in exactly one bucket or left out."""

    buckets: tuple[Bucket, ...]
    left_out: tuple[LeftOut, ...]


def side_multiple(resolution: int, bucket_multiple: int) -> int:
    """The step of bucket sides in pixels: the family's, or a quarter of a small resolution (in steps of 8).

    A step of 64 at 128 pixels would leave nothing between a square and a strip twice as long as wide.
    """
    return min(bucket_multiple, max(8, resolution // 4 // 8 * 8))


def shapes(resolution: int, multiple: int) -> tuple[tuple[int, int], ...]:
    """All bucket shapes (width, height): sides in steps of ``multiple``, area as near below resolution² as they allow.

    The square of the resolution itself is always among them.
    """
    longest, shortest = resolution * LONGEST_SIDE, resolution // LONGEST_SIDE
    found = {(resolution, resolution)}
    for width in range(multiple, resolution + 1, multiple):
        height = min(longest, resolution * resolution // width) // multiple * multiple
        if width >= shortest and height >= width:
            found |= {(width, height), (height, width)}
    return tuple(sorted(found))


def table_of(resolution: int, bucket_multiple: int, *, buckets: bool = True) -> tuple[tuple[int, int], ...]:
    """The bucket shapes (width, height) of a run; without ``buckets`` the square is the only one."""
    return shapes(resolution, side_multiple(resolution, bucket_multiple)) if buckets else ((resolution, resolution),)


def nearest_shape(width: int, height: int, table: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The bucket of the nearest aspect ratio; of two equally near ones the larger."""

    def distance(shape: tuple[int, int]) -> tuple[float, int]:
        return abs(math.log(width * shape[1] / (height * shape[0]))), -shape[0] * shape[1]

    return min(table, key=distance)


def place(item: Item, table: Sequence[tuple[int, int]]) -> Placed:
    """The picture in the bucket of the nearest aspect ratio; of two equally near ones in the larger."""
    return place_in(item, nearest_shape(item.width, item.height, table))


def place_in(item: Item, shape: tuple[int, int]) -> Placed:
    """The picture in the bucket of that shape (width, height)."""
    width, height = shape
    scale = max(width / item.width, height / item.height)
    kept = width * height / (item.width * item.height * scale * scale)
    return Placed(item.name, width, height, scale, max(0.0, 1.0 - kept), item.repeats)


def crop_box(width: int, height: int, placed: Placed) -> tuple[float, float, float, float]:
    """What is trained of a picture of width x height pixels: (left, top, right, bottom) in its pixels, centred."""
    kept_width, kept_height = placed.width / placed.scale, placed.height / placed.scale
    left, top = (width - kept_width) / 2, (height - kept_height) / 2
    return max(0.0, left), max(0.0, top), min(width, left + kept_width), min(height, top + kept_height)


def arrange(
    items: Sequence[Item],
    *,
    resolution: int,
    bucket_multiple: int,
    buckets: bool = True,
    upscale: bool = True,
    frames: Frames | None = None,
) -> Arrangement:
    """Sort pictures into buckets.

    Args:
        items: pictures, in the order they keep inside a bucket.
        resolution: side in pixels of the square whose area buckets keep.
        bucket_multiple: the family's; see ``side_multiple``.
        buckets: without, the square is the only bucket.
        upscale: without, pictures smaller than their bucket are left out.
        frames: how clips are shown; None: as pictures of their first frame.
    """
    table = table_of(resolution, bucket_multiple, buckets=buckets)
    known: dict[tuple[int, int], tuple[int, int]] = {}  # most sets repeat a few sizes
    sorted_in: dict[tuple[int, int, int], list[Placed]] = {}
    left_out: list[LeftOut] = []
    for item in items:
        size = (item.width, item.height)
        if size not in known:
            known[size] = nearest_shape(*size, table)
        placed = place_in(item, known[size])
        if (reason := too_short(item, frames)) is not None:
            left_out.append(LeftOut(item.name, reason))
        elif placed.scale > 1 and not upscale:
            reason = (
                f"{item.width}x{item.height} is smaller than its bucket of {placed.width}x{placed.height}, "
                "and data.upscale is off"
            )
            left_out.append(LeftOut(item.name, reason))
        else:
            for shown in windows_of(item, placed, frames):
                sorted_in.setdefault((shown.width, shown.height, shown.frames), []).append(shown)
    return Arrangement(
        tuple(
            Bucket(width, height, tuple(placed), long) for (width, height, long), placed in sorted(sorted_in.items())
        ),
        tuple(left_out),
    )


def too_short(item: Item, frames: Frames | None) -> str | None:
    """The sentence that says why nothing can be learned of an item; None where something can."""
    if frames is None or frames.least == 1:
        return None
    if item.clip is None:
        return f"it is a picture, and what is learned is how clips of {frames.least} frames or more go on"
    available = frames.available(item.clip)
    if frames.window(available) >= frames.least:
        return None
    return f"at {frames.fps:g} frames a second it has {available}, and {frames.least} are the fewest that are learned"


def windows_of(item: Item, placed: Placed, frames: Frames | None) -> list[Placed]:
    """What is shown of an item that has its place: itself, or the windows of a clip."""
    if frames is None:
        return [placed]
    if item.clip is None:
        return [replace(placed, fps=frames.fps)]
    long = frames.window(frames.available(item.clip))
    return [replace(placed, frames=long, start=start, fps=frames.fps) for start in frames.starts(item.clip)]


def divide(items: Sequence[Item], fraction: float, key: str) -> tuple[list[Item], list[Item]]:
    """Split into (trained, held out) by role, each in the order of ``items``.

    Pictures whose role is validation are always held out, and ``fraction`` of those whose role is train besides
    them; regularisation pictures are trained.
    """
    _, drawn = hold_out([item for item in items if item.role == "train"], fraction, key)
    aside = {item.name for item in drawn} | {item.name for item in items if item.role == "validation"}
    return [i for i in items if i.name not in aside], [i for i in items if i.name in aside]


def held_out_of(pictures: int, fraction: float) -> int:
    """How many of so many pictures are held out: at least one where the fraction is above 0, never the only one."""
    return max(1, round(pictures * fraction)) if fraction > 0 and pictures > 1 else 0


def hold_out(items: Sequence[Item], fraction: float, key: str) -> tuple[list[Item], list[Item]]:
    """Split into (training, held out): about ``fraction`` of the pictures, at least one when it is above 0.

    The choice follows the hash of ``key`` and the pixels, so that adding a picture moves no other to the other side
    more than the count demands.
    """
    count = held_out_of(len(items), fraction)
    order = sorted(items, key=lambda item: hashlib.sha256(f"{key}/{item.image}/{item.name}".encode()).digest())
    chosen = {item.name for item in order[:count]}
    return [i for i in items if i.name not in chosen], [i for i in items if i.name in chosen]
