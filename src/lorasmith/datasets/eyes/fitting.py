"""From a picture to a training picture: scale, then crop (or crop, then scale), and what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from PIL import Image

from lorasmith.datasets.eyes.resampling import interpolate, shrink

Filter = Literal["area", "linear", "bilinear", "bicubic", "lanczos"]
"""``area`` and ``linear`` as in ``resampling``; the others are Pillow's, which smooth what they reduce."""
Size = tuple[int, int]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

_RESAMPLING: Final = {
    "area": Image.Resampling.BOX,  # these two for sizes that are too large for exactness only
    "linear": Image.Resampling.BILINEAR,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


_TOO_LARGE: Final = 200_000_000  # pixels: a strip of 1 x 20000 scaled whole would not fit in memory


@dataclass(frozen=True)
class Fit:
    """How a decoded picture of ``read`` pixels becomes a training picture of ``target`` pixels (width, height)."""

    read: Size
    target: Size
    box: Box
    """What remains of the picture, in its own pixels."""
    filter: Filter
    scaled: Size | None = None
    """The whole picture is first scaled to this size, then ``target`` is cut at ``offset``; None: the box is cut
    first and scaled."""
    offset: Size = (0, 0)
    random: bool = False
    """The place of the crop is drawn; ``box`` shows the middle one."""

    @property
    def scale(self) -> float:
        """By how much the picture is enlarged (above 1) or reduced, the larger of both sides."""
        left, top, right, bottom = self.box
        return max(self.target[0] / (right - left), self.target[1] / (bottom - top))

    @property
    def crop_loss(self) -> float:
        """Share of the picture's area that is cut away, 0 to below 1."""
        left, top, right, bottom = self.box
        return max(0.0, 1 - (right - left) * (bottom - top) / (self.read[0] * self.read[1]))

    def apply(self, image: Image.Image) -> Image.Image:
        """The training picture, RGB."""
        resampling = _RESAMPLING[self.filter]
        if self.scaled is None or self.scaled[0] * self.scaled[1] > _TOO_LARGE:
            return image.resize(self.target, resampling, box=self.box)
        if self.scaled != image.size:
            exact = {"area": shrink, "linear": interpolate}.get(self.filter)
            image = exact(image, self.scaled) if exact else image.resize(self.scaled, resampling)
        left, top = self.offset
        return image.crop((left, top, left + self.target[0], top + self.target[1]))


def scaled_then_cut(
    read: Size, scaled: Size, target: Size, filter: Filter, *, offset: Size | None = None, random: bool = False
) -> Fit:
    """The fit of trainers that scale the whole picture and cut the target from its middle, or from ``offset``."""
    left, top = offset or ((scaled[0] - target[0]) // 2, (scaled[1] - target[1]) // 2)
    across, down = read[0] / scaled[0], read[1] / scaled[1]
    box = (left * across, top * down, (left + target[0]) * across, (top + target[1]) * down)
    return Fit(read, target, box, filter, scaled, (left, top), random)


def nearest_ratio(ratio: float, table: tuple[Size, ...]) -> Size:
    """The shape whose width / height is nearest by difference, the first of equals."""
    return min(table, key=lambda shape: abs(shape[0] / shape[1] - ratio))


def cut_down(value: int, step: int) -> int:
    """The largest multiple of ``step`` that is not above the value."""
    return value - value % step
