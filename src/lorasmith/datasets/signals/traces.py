"""Traces that saving and enlarging leave: quantisation tables, edges of 8 x 8 blocks, missing high frequencies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.float32]
"""(height, width), 0 to 255."""

# ITU-T T.81, Annex K, tables K.1 (luminance) and K.2 (chrominance), in natural order.
_LUMINANCE: Final = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMINANCE: Final = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *(99,) * 32,
)  # fmt: skip

_BLOCK: Final = 8
_LEVEL: Final = 0.05
"""Levels added to both sides of a ratio of steps: plain surfaces have none to compare."""
_LEAST_SIDE: Final = 64
_PATCH: Final = 256
_MIDDLE: Final = (0.15, 0.30)
_HIGHEST: Final = (0.75, 1.0)
"""Bands of spatial frequency; 1 is the highest that the pixels can hold (Nyquist)."""
_NATURAL_DB: Final = 12.0
"""Decibels between the two bands where power falls with the square of frequency, as in most pictures (Field 1987)."""
_BLOCK_LOW: Final = (0.2, 0.4)
_BLOCK_HIGH: Final = (0.7, 1.0)
"""Bands within blocks, on the same scale: what was enlarged to twice its size is empty above a half."""
_RICHEST: Final = 20
_LEAST_BLOCKS: Final = 8
"""One block in twenty, and at least eight, are looked at: where there is no low detail there is no high one."""
_NATURAL_IN_BLOCKS_DB: Final = 9.5
"""Decibels between them that photographs lack of themselves, less what ``values.UPSCALED`` asks for on top."""
_NOTHING_IN_BLOCKS: Final = 0.02
_NOTHING: Final = 1e-3
"""Power below which a band holds less than the rounding of pixels to 8 bits."""


def jpeg_quality(tables: Mapping[int, Sequence[int]]) -> int | None:
    """The quality, 1 to 100, at which libjpeg would write these quantisation tables; None when there are none.

    Exact for the tables of libjpeg, its successors and all that scale Annex K as it does. For other encoders
    (cameras, Photoshop, mozjpeg) it is the quality whose tables are nearest, by the mean ratio of their entries.

    Args:
        tables: by number, 64 entries each in natural order, as ``Image.quantization`` has them.
    """
    candidates: list[NDArray[np.float64]] = []
    for number, known in ((0, _LUMINANCE), (1, _CHROMINANCE)):
        table = np.asarray(tables.get(number, ()), np.float64)
        if table.size == 64 and table.min() > 0:
            candidates.append(np.abs(np.log(table / _scaled(known))).mean(axis=1))
    if not candidates:
        return None
    distance = np.sum(candidates, axis=0)
    # Qualities near 1 share a table once its entries stop at 255, and so do none else: the highest is the one meant.
    return int(np.flatnonzero(distance <= distance.min() + 1e-9)[-1]) + 1


@cache
def _scaled(table: tuple[int, ...]) -> NDArray[np.float64]:
    """The table at quality 1 to 100, shape (100, 64), as libjpeg's jpeg_quality_scaling does it."""
    quality = np.arange(1, 101)
    percent = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    scaled: NDArray[np.float64] = np.clip((np.outer(percent, table) + 50) // 100, 1, 255).astype(np.float64)
    return scaled


def blockiness(gray: Gray) -> float:
    """Steps at the edges of 8 x 8 blocks over steps elsewhere; 1 without blocks, 0 for a picture too small to say.

    The grid may begin anywhere, as it does in a cropped picture; of the eight places the most conspicuous counts, so
    pictures without blocks come out a little over 1.
    """
    if min(gray.shape) < _LEAST_SIDE:
        return 0.0
    return max(_steps(gray), _steps(gray.T))


def _steps(gray: Gray) -> float:
    """Step between neighbouring columns by phase, the largest of eight over the second largest.

    A step counts by how far it exceeds those beside it, so that slopes and textures cancel; of all blocks the median
    counts, so that a straight edge in the picture does not. The second largest and not the mean, because enlarging
    leaves steps of a period of its own, such as 2, which make several phases large.
    """
    step = np.abs(np.diff(gray, axis=1))
    excess = np.maximum(step[:, 1:-1] - (step[:, :-2] + step[:, 2:]) / 2, 0).mean(axis=0)
    phases = np.median(excess[: excess.size // _BLOCK * _BLOCK].reshape(-1, _BLOCK), axis=0)
    second, top = np.sort(phases)[-2:]
    return float((top + _LEVEL) / (second + _LEVEL))


def upscale_evidence(patches: Sequence[Gray]) -> float:
    """How many decibels the highest frequencies lack, of the patch that lacks least.

    Interpolation adds pixels and no detail: whatever the filter, there is next to nothing above the old limit. JPEG
    then puts edges of blocks there, which fill the spectrum of the patch; inside a block of its grid they are not. So
    the patch with most detail is also taken block by block, and what its richest blocks lack counts as far as it
    exceeds what photographs lack of themselves.

    Args:
        patches: square cutouts of the full picture with as much detail as it has, of equal or different size, most
            of it first, which begin where blocks of 8 x 8 pixels do.
    """
    large = [patch for patch in patches if min(patch.shape) >= _LEAST_SIDE]
    if not large:
        return 0.0
    in_blocks = _missing_in_blocks(large[0]) - _NATURAL_IN_BLOCKS_DB
    return max(0.0, in_blocks, min(_missing(patch) for patch in large))


def _missing_in_blocks(patch: Gray) -> float:
    """Decibels between low and high frequencies of the blocks of 8 x 8 pixels that have most of the low ones."""
    high, wide = (side // _BLOCK * _BLOCK for side in patch.shape)
    blocks = patch[:high, :wide].reshape(high // _BLOCK, _BLOCK, wide // _BLOCK, _BLOCK).swapaxes(1, 2)
    cosines = _block_cosines()
    power = ((cosines @ blocks.reshape(-1, _BLOCK, _BLOCK) @ cosines.T) ** 2).reshape(-1, _BLOCK**2)
    radius = np.hypot(np.arange(_BLOCK)[:, None], np.arange(_BLOCK)[None, :]).ravel() / _BLOCK
    low, top = (power[:, (radius >= start) & (radius <= stop)] for start, stop in (_BLOCK_LOW, _BLOCK_HIGH))
    number = max(_LEAST_BLOCKS, len(power) // _RICHEST)
    richest = np.argpartition(low.sum(axis=1), -min(number, len(power)))[-number:]
    return 10 * float(np.log10((low[richest].mean() + 1.0) / (top[richest].sum(axis=1).mean() + _NOTHING_IN_BLOCKS)))


@cache
def _block_cosines() -> Gray:
    """The orthonormal DCT-II of 8 points, rows by frequency."""
    k, n = np.arange(_BLOCK)[:, None], np.arange(_BLOCK)[None, :]
    cosines = np.sqrt(2 / _BLOCK) * np.cos(np.pi * k * (2 * n + 1) / (2 * _BLOCK))
    cosines[0] /= np.sqrt(2)
    return np.asarray(cosines, np.float32)


def _missing(patch: Gray) -> float:
    side = min(*patch.shape, _PATCH)
    square = patch[:side, :side] - patch[:side, :side].mean()
    window = np.hanning(side).astype(np.float32)
    power = np.abs(np.fft.rfft2(square * window[:, None] * window[None, :])) ** 2 / side**2
    radius = 2 * np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    middle, highest = (float(power[(radius >= low) & (radius <= high)].mean()) for low, high in (_MIDDLE, _HIGHEST))
    if middle <= _NOTHING:
        return 0.0
    return 10 * float(np.log10(middle / max(highest, _NOTHING))) - _NATURAL_DB
