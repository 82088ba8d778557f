"""Uniform bars around a picture: found to the pixel, and cut off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from lorasmith.datasets.pictures.contract import Frame, PictureTool
from lorasmith.datasets.pictures.geometry import cropped

_LEAST_LEFT: Final = 0.2  # of either side: what would leave less is a plain picture, and no bar


class TrimBorders(PictureTool):
    """Cut off letterbox bars and plain frames."""

    name: ClassVar[str] = "trim_borders"
    on_references: ClassVar[Literal["leave", "along", "cut", "refuse"]] = "cut"
    tolerance: Annotated[int, Field(ge=0, le=64)] = 16
    """How far from the bar's colour a value of a pixel may be, 0 to 64 of 255."""
    least: Annotated[float, Field(ge=0, le=0.5)] = 0.01
    """Bars thinner than this share of the side are left alone."""

    def describe(self) -> str:
        return f"Cut off plain bars at the edges that take more than {self.least:.0%} of a side."

    def work(self, frame: Frame) -> Sequence[Frame]:
        box = content_box(frame.image, self.tolerance, self.least)
        if box == (0, 0, *frame.image.size):
            return (frame,)
        return (cropped(frame, box, f"trim:{','.join(map(str, box))}"),)


def content_box(image: Image.Image, tolerance: int, least: float) -> tuple[int, int, int, int]:
    """The box (left, top, right, bottom in pixels) without the plain bars; the whole picture when there are none.

    A bar is a run of whole rows or columns from the edge inwards, all within ``tolerance`` of the edge's median
    colour but for a hundredth of their pixels, which noise may take.
    """
    pixels = np.asarray(image, dtype=np.int16)  # (H, W, 3)
    height, width = pixels.shape[:2]
    top = _bar(pixels, tolerance)
    bottom = _bar(pixels[::-1], tolerance)
    if top == height:  # one colour all over
        return 0, 0, width, height
    middle = pixels[top : height - bottom].transpose(1, 0, 2)
    left, right = _bar(middle, tolerance), _bar(middle[::-1], tolerance)
    top, bottom = (bar if bar > least * height else 0 for bar in (top, bottom))
    left, right = (bar if bar > least * width else 0 for bar in (left, right))
    if height - top - bottom < _LEAST_LEFT * height or width - left - right < _LEAST_LEFT * width:
        return 0, 0, width, height
    return left, top, width - right, height - bottom


def _bar(rows: NDArray[Any], tolerance: int) -> int:
    """How many rows from the first on are of its colour."""
    if not len(rows):
        return 0
    color = np.median(rows[0], axis=0)
    far = (np.abs(rows - color) > tolerance).any(axis=2).mean(axis=1) > 0.01  # (rows,)
    return int(np.argmax(far)) if far.any() else len(rows)
