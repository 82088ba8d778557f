"""Two ways of OpenCV to change a picture's size that Pillow does not have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def shrink(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Each target pixel is the mean of the area it covers, pixels in part counted in part: OpenCV's INTER_AREA.

    Pillow's box filter counts a pixel whole or not at all, which differs by up to a sixth of the range in fine detail.
    """
    values = np.asarray(image).astype(np.float64)
    values = _mean_along(values, size[1])
    values = _mean_along(values.swapaxes(0, 1), size[0]).swapaxes(0, 1)
    return Image.fromarray(np.rint(values).clip(0, 255).astype(np.uint8))


def _mean_along(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """(n, ...) to (length, ...), by differences of running sums at the edges of target pixels."""
    edges = np.linspace(0, len(values), length + 1)
    whole = np.minimum(edges.astype(int), len(values) - 1)
    sums = np.concatenate([np.zeros_like(values[:1]), values.cumsum(axis=0)])
    part = (edges - whole).reshape(-1, *[1] * (values.ndim - 1))
    at_edges = sums[whole] + part * values[whole]
    found: NDArray[np.float64] = np.diff(at_edges, axis=0) * (length / len(values))
    return found


def interpolate(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Each target pixel from the four pixels around its centre, and from no others: OpenCV's INTER_LINEAR.

    A picture that is reduced to less than half loses whole pixels that way, and fine detail turns into patterns.
    """
    values = np.asarray(image).astype(np.float64)
    values = _between_neighbours(values, size[1])
    values = _between_neighbours(values.swapaxes(0, 1), size[0]).swapaxes(0, 1)
    return Image.fromarray(np.rint(values).clip(0, 255).astype(np.uint8))


def _between_neighbours(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """(n, ...) to (length, ...); beyond the first and the last centre the edge goes on."""
    last = len(values) - 1
    centres = ((np.arange(length) + 0.5) * len(values) / length - 0.5).clip(0, last)
    below = centres.astype(int)
    part = (centres - below).reshape(-1, *[1] * (values.ndim - 1))
    found: NDArray[np.float64] = values[below] * (1 - part) + values[np.minimum(below + 1, last)] * part
    return found
