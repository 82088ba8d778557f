"""A picture as a model was trained to see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

Triple = tuple[float, float, float]
WHITE: Final = (255, 255, 255)


@dataclass(frozen=True)
class Sight:
    """How a model wants its pixels: a square of ``side``."""

    side: int
    channels_first: bool
    bgr: bool = True
    padding: tuple[int, int, int] | None = WHITE
    """Colour that fills up to the square; None stretches the picture in place of filling."""
    mean: Triple | None = None
    """Of each channel after division by 255, taken off; None leaves 0 to 255."""
    deviation: Triple = (1.0, 1.0, 1.0)
    """Of each channel, divided by."""

    @property
    def longest_side(self) -> int:
        """Pixels that a picture may be reduced to beforehand; stretching needs more of the longer side."""
        return self.side if self.padding is not None else 2 * self.side


def prepare(image: Image.Image, sight: Sight) -> NDArray[np.float32]:
    """(side, side, 3) or (3, side, side), as the model wants it.

    Scaled before it is padded: the same pixels as the other way round, at a third of the cost on large pictures.
    """
    side = sight.side
    image = image if image.mode == "RGB" else image.convert("RGB")
    if sight.padding is None:
        square = image.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=3.0)
    else:
        scale = side / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        small = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0) if size != image.size else image
        square = Image.new("RGB", (side, side), sight.padding)
        square.paste(small, ((side - size[0]) // 2, (side - size[1]) // 2))
    pixels = np.asarray(square, dtype=np.float32)
    if sight.bgr:
        pixels = pixels[:, :, ::-1]
    if sight.mean is not None:
        mean, deviation = (np.asarray(each, np.float32)[:: -1 if sight.bgr else 1] * 255 for each in
                           (sight.mean, sight.deviation))  # fmt: skip
        pixels = (pixels - mean) / deviation
    return np.ascontiguousarray(pixels.transpose(2, 0, 1) if sight.channels_first else pixels, dtype=np.float32)
