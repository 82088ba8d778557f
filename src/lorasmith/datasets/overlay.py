"""A watermark, logo or date that lies at the same place of many pictures, found without any model.

Pictures of a set have little in common at one pixel; an overlay has its edges there in each of them. So the gradients
of all pictures are averaged, each limited to a few levels, by which no picture weighs more than another, and the square
of the mean is set against what chance leaves of it (variance over number, as in a t-test): what points elsewhere in
every picture cancels, what many share adds up, however faint. That is smoothed, and compared with its own spread over
the picture (a robust z).

Over sets of unrelated photographs and drawings the largest z is 2 to 8; faint text (alpha 60 of 255) on all of
8 / 15 / 40 pictures stands at 16-25 / 21-103 / 153, on half of 40 at 25. On a quarter it is lost in the mean, so the
pictures are then compared two by two, block by block of the frame: those with a mark are alike where it lies, and what
they share must go on beside the block, be no straight edge, and not lie a little aside in the other pictures, as the
eyes of a face do. The median of gradients, the usual choice, fails on flat drawings, where it is 0 nearly everywhere.
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
PART_THRESHOLD: Final = 22.0
"""The z from which something beside the block is an overlay of a part of the pictures."""
_BLOCK: Final = (16, 32)
"""Rows and columns in which pictures are compared two by two: a word of small text."""
_COMPARED: Final = 120
"""Pictures that are compared two by two, which takes the square of their number."""
_ALIKE: Final = 0.25
"""Correlation of two pictures within a block from which they are alike there."""
_FLAT: Final = 12.0
"""Length of a block's gradients, in levels, below which there is next to nothing in it."""
_LEAST_SHARE: Final = 0.15
_MOST_SHARE: Final = 0.6
"""Shares of the pictures that are looked for as a part; more of them are found by their mean."""
_CANDIDATES: Final = 24
_BESIDE: Final = 24
"""Pixels around the block in which the mark has to go on."""
_ASIDE: Final = 16
"""Pixels to each side where the others are searched for what a part has in common."""
_SEEN_ASIDE: Final = 0.35
_MANY_ASIDE: Final = 0.15
"""Correlation from which another picture has it there, and the share of others above which it is the subject."""
_STRAIGHT: Final = 0.85
"""Text has 0.5 to 0.75."""
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
    return _on_all(gradients) or _on_some(gradients)


def _on_all(gradients: Gradients) -> Overlay | None:
    """What the pictures have in common on average, which needs about half of them to have it."""
    z = _standing_out(gradients)
    top = float(z.max())
    if top < THRESHOLD:
        return None
    region = _region(z, min(THRESHOLD, top / 2))
    if _straightness(gradients[:, :, region]) > _STRAIGHT:
        return None
    return _overlay(gradients, region, top, _having(gradients, region))


def _on_some(gradients: Gradients) -> Overlay | None:
    """What a part of the pictures has in common, found by those that are alike in one block of the frame.

    The part was chosen for being alike in that block, so what it has in common there proves nothing; a mark must go on
    beside the block, where nothing was chosen, and be more than a straight edge, which horizons and walls leave too.
    """
    best: Overlay | None = None
    for place, part in _alike_somewhere(gradients):
        z = _standing_out(gradients[part])
        z[place] = 0.0
        top = float(z.max())
        rows, columns = (slice(max(0, s.start - _BESIDE), s.stop + _BESIDE) for s in place)
        near = np.zeros_like(z)
        near[rows, columns] = z[rows, columns]
        beside = float(near.max())
        if beside < PART_THRESHOLD or beside < top / 2 or (best is not None and beside <= best.z):
            continue
        region = _region(near, beside / 2)
        region[place] = True
        if _straightness(gradients[part][:, :, region]) > _STRAIGHT:
            continue
        if _is_of_the_subject(gradients, region, part):
            continue
        found = _overlay(gradients, region, beside, _having(gradients, region, part))
        if found is not None and found.share >= _LEAST_SHARE:
            best = found
    return best


def _alike_somewhere(gradients: Gradients) -> list[tuple[tuple[slice, slice], NDArray[np.intp]]]:
    """Blocks of the frame in which many pictures are alike, most of them first, and which pictures those are."""
    some = gradients[:_COMPARED]
    least = max(_FEWEST, round(_LEAST_SHARE * len(some)))
    found: list[tuple[float, tuple[slice, slice], NDArray[np.intp]]] = []
    for top in range(_MARGIN, _SIDE - _MARGIN - _BLOCK[0], _BLOCK[0] // 2):
        for left in range(_MARGIN, _SIDE - _MARGIN - _BLOCK[1], _BLOCK[1] // 2):
            place = (slice(top, top + _BLOCK[0]), slice(left, left + _BLOCK[1]))
            block = some[:, :, place[0], place[1]].reshape(len(some), -1).astype(np.float32)
            length = np.linalg.norm(block, axis=1)
            block /= np.maximum(length, _STEPS * _FLAT)[:, None]
            likeness = block @ block.T
            np.fill_diagonal(likeness, 0.0)
            alike = likeness >= _ALIKE
            middle = int(alike.sum(axis=1).argmax())
            part = np.flatnonzero(alike[middle])
            if least <= part.size + 1 <= _MOST_SHARE * len(some):
                part = np.append(part, middle)
                if _straightness(block[part].reshape(part.size, 2, -1)) > _STRAIGHT:
                    continue
                found.append((float(likeness[np.ix_(part, part)].sum()) / part.size, place, part))
    found.sort(key=lambda one: -one[0])
    return [(place, part) for _, place, part in found[:_CANDIDATES]]


def _is_of_the_subject(gradients: Gradients, region: NDArray[np.bool_], part: NDArray[np.intp]) -> bool:
    """Whether many of the other pictures have it a little aside: eyes of a face that is placed alike, and no mark."""
    others = np.setdiff1d(np.arange(len(gradients)), part)[:_COMPARED]
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    pattern = (
        gradients[part][:, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32).mean(axis=0)
    )
    high, wide = pattern.shape[1:]
    best = np.zeros(others.size, np.float32)
    for top in range(max(0, rows[0] - _ASIDE), min(_SIDE - high, rows[0] + _ASIDE) + 1, 2):
        for left in range(max(0, columns[0] - _ASIDE), min(_SIDE - wide, columns[0] + _ASIDE) + 1, 2):
            there = gradients[others, :, top : top + high, left : left + wide].astype(np.float32)
            length = np.linalg.norm(there.reshape(others.size, -1), axis=1) * np.linalg.norm(pattern)
            alike = np.tensordot(there, pattern, axes=3) / np.maximum(length, 1.0)
            best = np.maximum(best, alike)
    return float((best > _SEEN_ASIDE).mean()) > _MANY_ASIDE if others.size else False


def _overlay(gradients: Gradients, region: NDArray[np.bool_], z: float, having: tuple[int, ...]) -> Overlay | None:
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    box = (columns[0] / _SIDE, rows[0] / _SIDE, (columns[-1] + 1) / _SIDE, (rows[-1] + 1) / _SIDE)
    if len(having) < _FEWEST or (box[2] - box[0]) * (box[3] - box[1]) > _LARGEST:
        return None
    return Overlay(
        box=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
        z=z,
        share=len(having) / len(gradients),
        having=having,
        looked_at=len(gradients),
    )


def _straightness(gradients: NDArray[np.int8] | Map) -> float:
    """How much of what pictures have in common points along one line: 0.5 for none, 1 for a straight edge.

    Only products of different pictures count (a U-statistic), in which what each has of its own cancels.

    Args:
        gradients: shape (n, 2, pixels).
    """
    vectors = gradients.astype(np.float32)
    total = vectors.sum(axis=0)
    shared = total @ total.T - np.einsum("nik,njk->ij", vectors, vectors, optimize=True)
    low, high = np.maximum(np.linalg.eigvalsh(shared), 0.0)
    return float(high / max(float(low + high), 1e-9))


def _standing_out(gradients: Gradients) -> Map:
    """Robust z of what the gradients agree on, everywhere within the frame."""
    strength = _smoothed(_agreement(gradients))
    inner = strength[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    middle = float(np.median(inner))
    spread = 1.4826 * float(np.median(np.abs(inner - middle))) + _FLOOR
    z = np.zeros_like(strength)
    z[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] = (inner - middle) / spread
    return z


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


def _having(gradients: Gradients, region: NDArray[np.bool_], part: NDArray[np.intp] | None = None) -> tuple[int, ...]:
    """Pictures whose gradients agree with the mean of the others there, or with that of a part of the pictures."""
    parts = gradients[:, :, region].reshape(len(gradients), -1).astype(np.float32)
    others = np.broadcast_to((parts if part is None else parts[part]).sum(axis=0), parts.shape).copy()
    others[slice(None) if part is None else part] -= parts if part is None else parts[part]
    lengths = np.linalg.norm(parts, axis=1) * np.linalg.norm(others, axis=1)
    correlation = (parts * others).sum(axis=1) / np.maximum(lengths, 1e-6)
    return tuple(int(i) for i in np.flatnonzero(correlation > _CORRELATED))
