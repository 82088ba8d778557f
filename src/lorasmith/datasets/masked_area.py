"""What a mask lets through of the part of a picture that is trained."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Box = tuple[float, float, float, float]
_LEAST: Final = 1 / 255


def lets_nothing_through(cells: NDArray[np.float32]) -> bool:
    """Whether no cell of ``averaged`` lets even one step of a mask's 256 through: there is nothing to learn from."""
    return bool(cells.max() < _LEAST)


def averaged(mask: Image.Image, box: Box, columns: int, rows: int) -> NDArray[np.float32]:
    """The mean of the mask over each cell of a grid, (rows, columns), 0 (black) to 1 (white).

    Exact where a cell ends inside a pixel, which Pillow's box filter is not: a pixel counts with the share of it that
    lies in the cell. So what is white stays 1, what is black stays 0, and a mirrored mask gives the mirrored grid.

    Args:
        mask: L.
        box: left, top, right, bottom in pixels of the mask: what the grid covers.
        columns: cells across.
        rows: cells down.
    """
    left, top, right, bottom = box
    values = np.asarray(mask, dtype=np.uint8)
    cells = _means(_means(values, top, bottom, rows).T, left, right, columns).T
    return np.ascontiguousarray((cells / 255).clip(0, 1).astype(np.float32))


def _means(values: NDArray[np.generic], start: float, stop: float, count: int) -> NDArray[np.float64]:
    """The means over ``count`` equal parts of start..stop along the first axis."""
    edges = np.linspace(start, stop, count + 1)
    whole = np.minimum(edges.astype(np.int64), len(values) - 1)
    between = np.add.reduceat(values, whole[:-1], axis=0, dtype=np.float64)  # of whole pixels, from edge to edge
    between[np.diff(whole) == 0] = 0.0  # where reduceat gives the pixel itself
    between[-1] = values[whole[-2] : whole[-1]].sum(axis=0, dtype=np.float64)  # and the last sum runs to the end
    parts = (edges - whole)[:, None] * values[whole].astype(np.float64)
    means: NDArray[np.float64] = (between + np.diff(parts, axis=0)) / ((stop - start) / count)
    return means
