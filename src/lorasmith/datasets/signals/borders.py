"""Plain bars around a picture: letterboxes, pillarboxes and frames of one colour, not the ground a subject stands on.

A bar is a run of rows (or columns) of one colour that ends in a straight line: right behind it most of the line has
another colour, and not a single one. A white ground behind a product ends where the product begins, in a few pixels
only, and the sky above a plain wall ends in another plain surface; neither is a bar.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""(height, width, 3) RGB."""

_SAME: Final = 20
"""Levels that JPEG may move a channel of a bar, ringing beside its edge included."""
_ALIKE: Final = 0.985
"""Share of a line that has to have the bar's colour."""
_STRAIGHT: Final = 0.45
"""Share of the first line behind a bar that has to have another colour; dark scenes keep some of a black bar's."""
_PLAIN: Final = 7
"""Levels within which a plain surface stays."""
_MOSTLY: Final = 0.8
"""Share of what lies behind a bar from which it is itself plain; the rest is the softened ends of a shape's edge."""
_SOFT: Final = 2
"""Lines between bar and picture that are neither, from resizing and compression."""
_LONGEST: Final = 0.49
"""Share of a side that one bar can take."""


def find_borders(pixels: Pixels) -> tuple[int, int, int, int]:
    """Width in pixels of the bars at left, top, right and bottom; all 0 when there are none.

    Bars at opposite sides are told apart from each other, so that a frame with a wide lower edge is measured right.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < 16:
        return 0, 0, 0, 0
    top, bottom = _bar(pixels), _bar(pixels[::-1])
    inner = pixels[top : height - bottom]
    left, right = _bar(inner.swapaxes(0, 1)), _bar(inner.swapaxes(0, 1)[::-1])
    if not top and not bottom and (left or right):  # a pillarbox hides bars above that span the picture only
        core = pixels[:, left : width - right]
        top, bottom = _bar(core), _bar(core[::-1])
    return left, top, right, bottom


def _bar(pixels: Pixels) -> int:
    """Rows of the bar at the top."""
    most = int(pixels.shape[0] * _LONGEST)
    color = np.median(pixels[0].astype(np.int16), axis=0)
    if not _alike(pixels[:1], color)[0]:
        return 0
    rows = _run(pixels[:most], color)
    if rows == 0 or rows >= most:
        return 0
    if not _is_picture(pixels[rows + _SOFT + 1], color):  # a shape's softened edge varies, the shape behind it does not
        return 0
    for soft in range(_SOFT + 1):
        behind = pixels[rows + soft]
        if _is_picture(behind, color):
            return rows + soft
    return 0


def _run(pixels: Pixels, color: NDArray[np.float64]) -> int:
    """How many rows from the top on have the colour, looked at in pieces since most pictures have none."""
    for at in range(0, pixels.shape[0], 64):
        alike = _alike(pixels[at : at + 64], color)
        if not alike.all():
            return at + int(np.argmin(alike))
    return int(pixels.shape[0])


def _alike(rows: Pixels, color: NDArray[np.float64]) -> NDArray[np.bool_]:
    same = (np.abs(rows.astype(np.int16) - color) <= _SAME).all(axis=2)
    alike: NDArray[np.bool_] = same.mean(axis=1) >= _ALIKE
    return alike


def _is_picture(row: Pixels, color: NDArray[np.float64]) -> bool:
    other = (np.abs(row.astype(np.int16) - color) > _SAME).any(axis=1)
    if other.mean() < _STRAIGHT:
        return False
    beyond = row[other].astype(np.int16)
    plain = (np.abs(beyond - np.median(beyond, axis=0)) <= _PLAIN).all(axis=1)
    return bool(plain.mean() < _MOSTLY)
