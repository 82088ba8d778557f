"""A watermark, logo or date that lies at the same place of many pictures, found without any model.

Pictures of a set have little in common at one pixel; an overlay has its edges there in each of them. So the gradients
of all pictures are averaged, each limited to a few levels, by which no picture weighs more than another, and the square
of the mean is set against what chance leaves of it (variance over number, as in a t-test): what points elsewhere in
every picture cancels, what many share adds up, however faint. That is smoothed, and compared with its own spread over
the picture (a robust z).

Over sets of unrelated photographs and drawings the largest z is 2 to 8; faint text (alpha 60 of 255) on all of
8 / 15 / 40 pictures stands at 16-25 / 21-103 / 153, on half of 40 at 25; on a quarter it is lost. The median of
gradients, the usual choice, fails on flat drawings, where it is 0 nearly everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

THRESHOLD: Final = 12.0
"""The z from which something is an overlay."""
LEAST: Final = 8
"""Pictures below which agreement may be chance."""
MOST: Final = 200
"""Pictures looked at; more make the answer surer, not different."""

_SIDE: Final = 256
_SMOOTH: Final = 9
_LIMIT: Final = 8.0
"""Levels a pixel to which a gradient counts; faint text has 5 to 20 at its edges."""
_STEPS: Final = 15.0
"""Stored steps for one level: gradients are kept in 8 bits, 26 MB for 200 pictures."""
_MARGIN: Final = 6
"""Pixels beside the frame that are left out: bars and resizing make edges there."""
_FLOOR: Final = 0.02
"""Spread assumed at least; sets of flat drawings have none."""
_NOISE: Final = 0.25
"""Variance, in levels squared, assumed at least: rounding alone makes about that."""
_FEWEST: Final = 7
"""Pictures that must have it: a few can be of one burst, or show the subject at the same place."""
_CORRELATED: Final = 0.25
"""Correlation of a picture's gradients with those of all others, within the box, from which it has the overlay."""
_LARGEST: Final = 0.25
"""Share of the picture's area above which it is the subject, always placed alike, and nothing laid over it."""

Map = NDArray[np.float32]
Gradients = NDArray[np.int8]
"""(2, side, side): along x and y, limited."""


@dataclass(frozen=True)
class Overlay:
    """Something that many pictures have in common at one place."""

    box: tuple[float, float, float, float]
    """Left, top, right and bottom as shares of width and height, 0 to 1."""
    z: float
    """How far it stands out of what the pictures have in common elsewhere, in robust standard deviations."""
    share: float
    """About what share of the pictures looked at has it, 0 to 1."""
    having: tuple[int, ...]
    """Which of the pictures have it, by their place in what was given."""
    looked_at: int

    def box_in(self, width: int, height: int) -> tuple[int, int, int, int]:
        """The box in pixels of a picture of that size."""
        left, top, right, bottom = self.box
        return round(left * width), round(top * height), round(right * width), round(bottom * height)


def common_overlay(images: Iterable[Image.Image], *, most: int = MOST) -> Overlay | None:
    """What lies at the same place of many pictures, places being shares of width and height; None when nothing does.

    Args:
        images: of any size and mode; read one by one and not kept, so a generator that opens files needs little
            memory. Only the first ``most`` are looked at: give a large set in mixed order, duplicates once.
        most: how many to look at.

    Returns:
        The strongest overlay, or None; also None for fewer than ``LEAST`` pictures.
    """
    seen = [_gradients(image) for image in islice(images, most)]
    if len(seen) < LEAST:
        return None
    gradients = np.stack(seen)  # (n, 2, side, side)
    strength = _smoothed(_agreement(gradients))
    inner = strength[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    middle = float(np.median(inner))
    spread = 1.4826 * float(np.median(np.abs(inner - middle))) + _FLOOR
    z = np.zeros_like(strength)
    z[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] = (inner - middle) / spread
    top = float(z.max())
    if top < THRESHOLD:
        return None
    region = _region(z, min(THRESHOLD, top / 2))
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    box = (columns[0] / _SIDE, rows[0] / _SIDE, (columns[-1] + 1) / _SIDE, (rows[-1] + 1) / _SIDE)
    having = _having(gradients, region)
    if len(having) < _FEWEST or (box[2] - box[0]) * (box[3] - box[1]) > _LARGEST:
        return None
    return Overlay(
        box=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
        z=top,
        share=len(having) / len(seen),
        having=having,
        looked_at=len(seen),
    )


def _gradients(image: Image.Image) -> Gradients:
    image.draft("L", (_SIDE, _SIDE))  # of use on a JPEG that is not decoded yet, of no effect otherwise
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(ground, rgba)
    gray = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    down, across = np.gradient(np.asarray(gray, np.float32))
    limited = np.clip(np.stack([across, down]), -_LIMIT, _LIMIT)
    return np.asarray(np.rint(limited * _STEPS), np.int8)


def _agreement(gradients: NDArray[np.int8]) -> Map:
    """Square of the mean gradient over the square that chance would leave, about 1 where nothing agrees."""
    number = len(gradients)
    total = np.zeros(gradients.shape[1:], np.float64)
    squares = np.zeros(gradients.shape[1:], np.float64)
    for one in gradients:  # one by one: as floats all of them would need half a gigabyte
        total += one
        squares += one.astype(np.int16) ** 2
    mean = total / number / _STEPS
    variance = squares / number / _STEPS**2 - mean**2
    return np.asarray(number * (mean**2).sum(axis=0) / (variance.sum(axis=0) + _NOISE), np.float32)


def _smoothed(values: Map) -> Map:
    """Mean over a box, along either axis by a running sum."""
    half = _SMOOTH // 2
    for axis in (0, 1):
        width = [(0, 0), (0, 0)]
        width[axis] = (half + 1, half)
        total = np.cumsum(np.pad(values, width, mode="edge"), axis=axis)
        ends = np.arange(_SMOOTH, total.shape[axis])
        values = np.take(total, ends, axis) - np.take(total, ends - _SMOOTH, axis)
    return np.asarray(values / _SMOOTH**2, np.float32)


def _region(z: Map, level: float) -> NDArray[np.bool_]:
    """What hangs together with the highest place above a level; gaps as wide as between words are bridged."""
    above = z >= level
    region = np.zeros_like(above)
    region[np.unravel_index(int(np.argmax(z)), z.shape)] = True
    reach = _SMOOTH // 2
    while True:
        wide = region.copy()
        for axis in (0, 1):
            grown = wide.copy()
            for step in range(1, reach + 1):
                grown |= np.roll(wide, step, axis) | np.roll(wide, -step, axis)
            wide = grown
        wide &= above
        wide |= region
        if (wide == region).all():
            return region
        region = wide


def _having(gradients: Gradients, region: NDArray[np.bool_]) -> tuple[int, ...]:
    """Pictures whose gradients agree with the mean of the others there."""
    parts = gradients[:, :, region].reshape(len(gradients), -1).astype(np.float32)
    others = parts.sum(axis=0)[None, :] - parts
    lengths = np.linalg.norm(parts, axis=1) * np.linalg.norm(others, axis=1)
    correlation = (parts * others).sum(axis=1) / np.maximum(lengths, 1e-6)
    return tuple(int(i) for i in np.flatnonzero(correlation > _CORRELATED))
