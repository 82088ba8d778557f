"""Sizes, crops and turns. A mask goes every way that its picture goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, Self

from PIL import Image
from pydantic import Field, field_validator, model_validator

from lorasmith.datasets.buckets import nearest_shape, table_of
from lorasmith.datasets.images import parse_background
from lorasmith.datasets.pictures.contract import Box, Frame, PictureTool, ToolError, Window
from lorasmith.datasets.pictures.faces import around, faces
from lorasmith.datasets.pictures.saliency import best_window
from lorasmith.errors import ConfigError

_LONGEST: Final = 32_768
Side = Annotated[int, Field(ge=1, le=_LONGEST)]
_SURE: Final = 0.7  # of a face, 0 to 1
_BY_SIDE: Final = ("short_side", "long_side")


class Resize(PictureTool):
    """Make pictures larger or smaller."""

    name: ClassVar[str] = "resize"
    on_references: ClassVar[Literal["leave", "along", "cut", "refuse"]] = "cut"
    mode: Literal["fit", "fill", "pad", "short_side", "long_side"] = "fit"
    """fit: inside width x height, nothing cut; fill: exactly that size, the rest cut around the centre; pad: exactly
    that size, the rest filled with ``background``; short_side, long_side: that side becomes ``size``."""
    width: Side | None = None
    """Pixels, for fit, fill and pad."""
    height: Side | None = None
    """Pixels, for fit, fill and pad."""
    size: Side | None = None
    """Pixels, for short_side and long_side."""
    upscale: bool = False
    """Enlarge pictures that are smaller. Enlarging invents no detail, so it has to be asked for."""
    background: str = "white"
    """What pad fills with: a CSS colour or #rrggbb. Padding is never trained where the picture has a mask."""

    @field_validator("background")
    @classmethod
    def _is_a_color(cls, value: str) -> str:
        _color(value)
        return value

    @model_validator(mode="after")
    def _has_its_sizes(self) -> Self:
        if self.mode in _BY_SIDE:
            if self.size is None or self.width is not None or self.height is not None:
                raise ValueError(f"{self.mode} needs size, and neither width nor height")
        elif self.width is None or self.height is None or self.size is not None:
            raise ValueError(f"{self.mode} needs width and height, and no size")
        return self

    def same_on_every_frame(self) -> bool:
        return True

    def describe(self) -> str:
        target = f"{self.size} pixels" if self.mode in _BY_SIDE else f"{self.width} x {self.height} pixels"
        ways = {
            "fit": f"Scale pictures to fit inside {target}",
            "fill": f"Scale and crop pictures to exactly {target}",
            "pad": f"Scale pictures to fit {target} and fill the rest with {self.background}",
            "short_side": f"Scale pictures until their short side has {target}",
            "long_side": f"Scale pictures until their long side has {target}",
        }
        return ways[self.mode] + ("." if self.upscale else "; smaller ones are not enlarged.")

    def _scale(self, width: int, height: int) -> float:
        if self.mode in _BY_SIDE:
            assert self.size is not None
            factor = self.size / (min(width, height) if self.mode == "short_side" else max(width, height))
        else:
            assert self.width is not None and self.height is not None
            ratios = (self.width / width, self.height / height)
            factor = max(ratios) if self.mode == "fill" else min(ratios)
        return factor if self.upscale else min(1.0, factor)

    def size_after(self, width: int, height: int) -> tuple[int, int]:
        if self.mode in ("pad", "fill"):
            assert self.width is not None and self.height is not None
            cover = max(self.width / width, self.height / height)
            if self.mode == "pad" or cover <= 1 or self.upscale:
                return self.width, self.height
            # Too small to fill it without being enlarged: only the shape is made right.
            return max(1, round(self.width / cover)), max(1, round(self.height / cover))
        factor = self._scale(width, height)
        return max(1, round(width * factor)), max(1, round(height * factor))

    def work(self, frame: Frame) -> Sequence[Frame]:
        width, height = frame.image.size
        target = self.size_after(width, height)
        if target == (width, height):
            return (frame,)
        note = f"resize:{target[0]}x{target[1]}"
        if self.mode == "pad":
            return (padded(scaled(frame, self._scale(width, height)), target, _color(self.background), note),)
        if self.mode == "fill":
            return (covered(frame, target, (0.5, 0.5), note),)
        return (_resized(frame, target, note),)


class ToBucket(PictureTool):
    """Crop and scale pictures to the bucket that training would put them in, so that nothing is cut later."""

    name: ClassVar[str] = "to_bucket"
    on_references: ClassVar[Literal["leave", "along", "cut", "refuse"]] = "cut"
    resolution: Annotated[int, Field(ge=64, le=8192)] = 1024
    """Side in pixels of the square whose area buckets keep."""
    multiple: Annotated[int, Field(ge=8, le=256)] = 64
    """Sides of buckets are multiples of this; the family's."""
    window: Literal["salient", "center"] = "salient"
    """Where to crop: around what stands out (spectral residual, Hou and Zhang 2007), or the centre."""
    protect: Box | None = None
    """A box (left, top, right, bottom as shares of the picture, 0 to 1) that the crop keeps wherever it fits."""
    faces: Path | None = None
    """The .onnx file of YuNet, your own download: the faces it finds are kept too; needs OpenCV."""
    upscale: bool = False
    """Enlarge pictures that are smaller than their bucket."""

    @field_validator("protect")
    @classmethod
    def _is_a_box(cls, value: Box | None) -> Box | None:
        return value if value is None else _box(value)

    def same_on_every_frame(self) -> bool:
        return self.window == "center" and self.faces is None

    def describe(self) -> str:
        where = "around what stands out" if self.window == "salient" else "around the centre"
        return f"Crop pictures {where} to their buckets at {self.resolution} pixels."

    def size_after(self, width: int, height: int) -> tuple[int, int]:
        table = table_of(self.resolution, self.multiple)
        bucket = nearest_shape(width, height, table)
        factor = max(bucket[0] / width, bucket[1] / height)
        if factor <= 1 or self.upscale:
            return bucket
        return max(1, round(bucket[0] / factor)), max(1, round(bucket[1] / factor))

    def work(self, frame: Frame) -> Sequence[Frame]:
        target = self.size_after(*frame.image.size)
        if target == frame.image.size:
            return (frame,)
        anchor = (0.5, 0.5)
        protect = self._protected(frame)
        if self.window == "salient" or protect is not None:
            flat = self.window == "center"
            anchor = best_window(frame.image, target[0] / target[1], protect=protect, ignore_content=flat)
        return (covered(frame, target, anchor, f"bucket:{target[0]}x{target[1]}"),)

    def _protected(self, frame: Frame) -> Box | None:
        if self.faces is None:
            return self.protect
        found = faces(frame.image, self.faces, _SURE)
        return around([*found, self.protect] if self.protect is not None else found)


class Crop(PictureTool):
    """Keep one box of every picture."""

    name: ClassVar[str] = "crop"
    on_references: ClassVar[Literal["leave", "along", "cut", "refuse"]] = "cut"
    box: Box
    """Left, top, right, bottom: shares of width and height, 0 to 1."""

    @field_validator("box")
    @classmethod
    def _is_a_box(cls, value: Box) -> Box:
        return _box(value)

    def same_on_every_frame(self) -> bool:
        return True

    def describe(self) -> str:
        left, top, right, bottom = self.box
        return f"Keep the part from {left:.0%} to {right:.0%} of the width and {top:.0%} to {bottom:.0%} of the height."

    def _pixels(self, width: int, height: int) -> tuple[int, int, int, int]:
        left, top, right, bottom = self.box
        x0, y0 = min(width - 1, int(left * width)), min(height - 1, int(top * height))
        return x0, y0, max(x0 + 1, round(right * width)), max(y0 + 1, round(bottom * height))

    def size_after(self, width: int, height: int) -> tuple[int, int]:
        x0, y0, x1, y1 = self._pixels(width, height)
        return x1 - x0, y1 - y0

    def work(self, frame: Frame) -> Sequence[Frame]:
        box = self._pixels(*frame.image.size)
        if box == (0, 0, *frame.image.size):
            return (frame,)
        return (cropped(frame, box, f"crop:{','.join(map(str, box))}"),)


class Rotate(PictureTool):
    """Turn pictures by quarter turns."""

    name: ClassVar[str] = "rotate"
    on_references: ClassVar[Literal["leave", "along", "cut", "refuse"]] = "along"
    degrees: Literal[90, 180, 270]
    """Clockwise."""

    def same_on_every_frame(self) -> bool:
        return True

    def describe(self) -> str:
        return f"Turn pictures clockwise by {self.degrees} degrees."

    def size_after(self, width: int, height: int) -> tuple[int, int]:
        return (width, height) if self.degrees == 180 else (height, width)

    def work(self, frame: Frame) -> Sequence[Frame]:
        turn = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}
        return (_turned(frame, turn[self.degrees], f"rotate:{self.degrees}"),)


class Flip(PictureTool):
    """Mirror pictures. Writing and everything that has a side is mirrored too."""

    name: ClassVar[str] = "flip"
    on_references: ClassVar[Literal["leave", "along", "cut", "refuse"]] = "along"
    direction: Literal["horizontal", "vertical"] = "horizontal"
    """horizontal swaps left and right, vertical top and bottom."""

    def same_on_every_frame(self) -> bool:
        return True

    def describe(self) -> str:
        sides = "left and right" if self.direction == "horizontal" else "top and bottom"
        return f"Swap {sides} in pictures."

    def size_after(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def work(self, frame: Frame) -> Sequence[Frame]:
        horizontal = self.direction == "horizontal"
        turn = Image.Transpose.FLIP_LEFT_RIGHT if horizontal else Image.Transpose.FLIP_TOP_BOTTOM
        return (_turned(frame, turn, f"flip:{self.direction}"),)


class SplitStrips(PictureTool):
    """Cut very long pictures, such as webtoon pages and panoramas, into pieces that a bucket can hold."""

    name: ClassVar[str] = "split_strips"
    on_references: ClassVar[Literal["leave", "along", "cut", "refuse"]] = "cut"
    longest: Annotated[float, Field(gt=1, le=100)] = 2.0
    """Pictures whose long side is more than this many times the short one are cut."""
    overlap: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Share of a piece that it has in common with the next one, at least."""

    def describe(self) -> str:
        return f"Cut pictures more than {self.longest:g} times as long as wide into pieces; captions are copied."

    def work(self, frame: Frame) -> Sequence[Frame]:
        width, height = frame.image.size
        short, long = min(width, height), max(width, height)
        if long <= short * self.longest:
            return (frame,)
        length = min(long, round(short * self.longest))
        stride = max(1, int(length * (1 - self.overlap)))
        count = -(-(long - length) // stride) + 1
        pieces = []
        for number in range(count):
            start = round(number * (long - length) / max(1, count - 1))
            box = (0, start, width, start + length) if height > width else (start, 0, start + length, height)
            piece = cropped(frame, box, f"strip:{number + 1}/{count}")
            pieces.append(replace(piece, part=number + 1))
        return tuple(pieces)


# --- what they share -----------------------------------------------------------------------------------------


def scaled(frame: Frame, factor: float) -> Frame:
    """The frame with both sides multiplied, at least one pixel each."""
    width, height = frame.image.size
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return _resized(frame, size, "") if size != (width, height) else frame


def cropped(frame: Frame, box: tuple[int, int, int, int], note: str) -> Frame:
    """The frame cut to a box in pixels."""
    mask = frame.mask.crop(box) if frame.mask is not None else None
    window = _window(box, frame.image.size)
    return replace(frame, image=frame.image.crop(box), mask=mask, notes=_noted(frame, note), window=window)


def covered(frame: Frame, target: tuple[int, int], anchor: tuple[float, float], note: str) -> Frame:
    """The frame scaled to cover ``target`` and cut to it, the cut lying at ``anchor`` of what is over (0 to 1)."""
    width, height = frame.image.size
    factor = max(target[0] / width, target[1] / height)
    spare_x, spare_y = width - target[0] / factor, height - target[1] / factor
    left, top = max(0.0, spare_x * anchor[0]), max(0.0, spare_y * anchor[1])
    box = (left, top, min(width, left + target[0] / factor), min(height, top + target[1] / factor))
    image = frame.image.resize(target, Image.Resampling.LANCZOS, box=box)
    mask = frame.mask.resize(target, Image.Resampling.BILINEAR, box=box) if frame.mask is not None else None
    window = _window(box, frame.image.size)
    return replace(frame, image=image, mask=mask, notes=_noted(frame, note), window=window)


def padded(frame: Frame, target: tuple[int, int], color: tuple[int, int, int], note: str) -> Frame:
    """The frame in the middle of a canvas of one colour; what was added is black in its mask."""
    at = ((target[0] - frame.image.width) // 2, (target[1] - frame.image.height) // 2)
    if min(at) < 0:
        raise ToolError(f"is larger than {target[0]} x {target[1]} pixels")
    canvas = Image.new("RGB", target, color)
    canvas.paste(frame.image, at)
    mask = None
    if frame.mask is not None:
        mask = Image.new("L", target, 0)
        mask.paste(frame.mask, at)
    width, height = frame.image.size
    window = _window((-at[0], -at[1], target[0] - at[0], target[1] - at[1]), (width, height), color)
    return replace(frame, image=canvas, mask=mask, notes=_noted(frame, note), window=window)


def seen_through(image: Image.Image, window: Window, size: tuple[int, int]) -> Image.Image:
    """Another picture of the same shape through the window of one, brought to ``size``."""
    left, top, right, bottom = (share * side for share, side in zip(window.box, image.size * 2, strict=True))
    inside = (max(0.0, left), max(0.0, top), min(float(image.width), right), min(float(image.height), bottom))
    across, down = size[0] / (right - left), size[1] / (bottom - top)
    at = (round((inside[0] - left) * across), round((inside[1] - top) * down))
    part = (
        min(size[0] - at[0], max(1, round((inside[2] - inside[0]) * across))),
        min(size[1] - at[1], max(1, round((inside[3] - inside[1]) * down))),
    )
    whole = tuple(round(edge) for edge in inside)
    if part == (whole[2] - whole[0], whole[3] - whole[1]):  # not scaled, so not resampled either
        seen = image.crop((whole[0], whole[1], whole[2], whole[3]))
    else:
        seen = image.resize(part, Image.Resampling.LANCZOS, box=inside)
    if part == size:
        return seen
    canvas = Image.new("RGB", size, window.fill)
    canvas.paste(seen, at)
    return canvas


def _window(
    box: tuple[float, float, float, float], size: tuple[int, int], fill: tuple[int, int, int] = (255, 255, 255)
) -> Window:
    """A box in pixels as shares."""
    width, height = size
    return Window((box[0] / width, box[1] / height, box[2] / width, box[3] / height), fill)


def _resized(frame: Frame, size: tuple[int, int], note: str) -> Frame:
    mask = frame.mask.resize(size, Image.Resampling.BILINEAR) if frame.mask is not None else None
    image = frame.image.resize(size, Image.Resampling.LANCZOS)
    return replace(frame, image=image, mask=mask, notes=_noted(frame, note))


def _turned(frame: Frame, turn: Image.Transpose, note: str) -> Frame:
    mask = frame.mask.transpose(turn) if frame.mask is not None else None
    return replace(frame, image=frame.image.transpose(turn), mask=mask, notes=_noted(frame, note))


def _noted(frame: Frame, note: str) -> tuple[str, ...]:
    return (*frame.notes, note) if note else frame.notes


def _box(value: Box) -> Box:
    left, top, right, bottom = value
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError("needs left < right and top < bottom, each a share from 0 to 1")
    return value


def _color(value: str) -> tuple[int, int, int]:
    try:
        return parse_background(value)
    except ConfigError as cause:
        raise ValueError(cause.message) from cause
