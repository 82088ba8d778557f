"""Masks: what of a picture is trained. White counts, black does not, gray counts in part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Final, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import field_validator

from lorasmith.datasets.pictures.contract import Box, Frame, PictureTool, ToolError, masked
from lorasmith.datasets.pictures.geometry import _box
from lorasmith.errors import ConfigError, EnvironmentProblem

_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_TURNS_ASPECT: Final = 0.02  # how far a painted mask's aspect ratio may be from its picture's


class MaskFromAlpha(PictureTool):
    """Take the mask from the transparency of the picture as it came."""

    name: ClassVar[str] = "mask_from_alpha"
    masks_only: ClassVar[bool] = True

    def describe(self) -> str:
        return "Take masks from the transparency of the original files: opaque parts are trained."

    def work(self, frame: Frame) -> Sequence[Frame]:
        if frame.original is None:
            raise ToolError("has no original file to take transparency from")
        if frame.item.provenance.get("tools"):
            raise ToolError("was worked on since it came, so that its transparency no longer fits; mask it first")
        with Image.open(frame.original) as image:
            image.load()
            if "A" not in image.getbands() and "transparency" not in image.info:
                raise ToolError("came without transparency")
            alpha = ImageOps.exif_transpose(image).convert("RGBA").getchannel("A")
        if alpha.size != frame.image.size:
            raise ToolError(f"is {_size(frame.image)} while its transparency is {_size(alpha)}")
        return masked(frame, alpha, "mask:alpha")


class MaskFromFiles(PictureTool):
    """Take masks from painted files."""

    name: ClassVar[str] = "mask_from_files"
    masks_only: ClassVar[bool] = True
    folder: Path
    """A folder that holds the masks, each named like its picture, with or without ``suffix``."""
    suffix: str = "-masklabel"
    """What a mask's name may have behind the picture's, as OneTrainer writes it."""
    invert: bool = False
    """Black is what was painted: white and black change places."""

    def describe(self) -> str:
        return f"Take masks from the files in {self.folder}."

    def work(self, frame: Frame) -> Sequence[Frame]:
        stem = PurePosixPath(frame.item.name).with_suffix("")
        for name in (f"{stem}{self.suffix}", str(stem), f"{stem.name}{self.suffix}", stem.name):
            for ending in _SUFFIXES:
                path = self.folder / f"{name}{ending}"
                if path.is_file():
                    return masked(frame, self._read(path, frame.image), f"mask:file:{path.name}")
        raise ToolError(f"has no mask in {self.folder}")

    def _read(self, path: Path, picture: Image.Image) -> Image.Image:
        try:
            with Image.open(path) as image:
                image.load()
                mask = image.getchannel("A") if image.mode == "RGBA" and _painted_alpha(image) else image.convert("L")
        except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as cause:
            raise ToolError(f"has a mask {path.name} that cannot be read ({cause})") from cause
        if abs(np.log(mask.width * picture.height / (mask.height * picture.width))) > _TURNS_ASPECT:
            raise ToolError(f"is {_size(picture)} while its mask {path.name} is {_size(mask)}")
        if mask.size != picture.size:
            mask = mask.resize(picture.size, Image.Resampling.BILINEAR)
        return Image.eval(mask, lambda value: 255 - value) if self.invert else mask


class MaskRectangle(PictureTool):
    """A rectangle as mask, the same on every picture."""

    name: ClassVar[str] = "mask_rectangle"
    masks_only: ClassVar[bool] = True
    box: Box
    """Left, top, right, bottom: shares of width and height, 0 to 1."""
    invert: bool = False
    """Everything but the box is trained, as over a watermark that is always at one place."""
    combine: Literal["replace", "both"] = "replace"
    """replace the mask that is there, or train only what both allow."""

    @field_validator("box")
    @classmethod
    def _is_a_box(cls, value: Box) -> Box:
        return _box(value)

    def describe(self) -> str:
        left, top, right, bottom = self.box
        where = f"from {left:.0%} to {right:.0%} of the width and {top:.0%} to {bottom:.0%} of the height"
        return f"Train everything but the part {where}." if self.invert else f"Train only the part {where}."

    def work(self, frame: Frame) -> Sequence[Frame]:
        width, height = frame.image.size
        left, top, right, bottom = self.box
        inside, outside = (0, 255) if self.invert else (255, 0)
        mask = Image.new("L", frame.image.size, outside)
        mask.paste(inside, (int(left * width), int(top * height), round(right * width), round(bottom * height)))
        if self.combine == "both" and frame.mask is not None:
            mask = Image.fromarray(np.minimum(np.asarray(mask), np.asarray(frame.mask)))
        return masked(frame, mask, "mask:rectangle")


class MaskSubject(PictureTool):
    """Find the subject with rembg, a program of its own, and a model that you have downloaded."""

    name: ClassVar[str] = "mask_subject"
    masks_only: ClassVar[bool] = True
    model: Path
    """The .onnx file of a model that rembg knows (u2net, isnet-general-use, birefnet ...); nothing is downloaded."""

    def describe(self) -> str:
        return f"Find the subject of each picture with rembg and {self.model.name}; the rest is not trained."

    def work(self, frame: Frame) -> Sequence[Frame]:
        mask = _subject(frame.image, self.model)
        return masked(frame, mask, f"mask:subject:{self.model.stem}")


class RemoveMask(PictureTool):
    """Train the whole picture again."""

    name: ClassVar[str] = "remove_mask"
    masks_only: ClassVar[bool] = True

    def describe(self) -> str:
        return "Remove masks: whole pictures are trained."

    def work(self, frame: Frame) -> Sequence[Frame]:
        return (frame,) if frame.mask is None else (replace(frame, mask=None, notes=(*frame.notes, "mask:none")),)


def _subject(image: Image.Image, model: Path) -> Image.Image:
    if find_spec("rembg") is None:
        message = "Finding subjects needs rembg, which is not installed."
        raise EnvironmentProblem(message, "Run `python -m pip install rembg[cpu]`.")
    if not model.is_file():
        raise ConfigError(
            f"There is no model at {model}.", "Download an .onnx model that rembg lists, and give its path."
        )
    rembg: Any = import_module("rembg")
    session = _session(rembg, model)
    mask: Image.Image = rembg.remove(image, session=session, only_mask=True)
    return mask.convert("L")


def _session(rembg: Any, model: Path) -> Any:
    """rembg's session over a local file: its way for custom models."""
    custom = "u2net_custom" if "u2net" in model.stem else "dis_custom"
    return rembg.new_session(custom, model_path=str(model))


def _painted_alpha(image: Image.Image) -> bool:
    """Whether a file's transparency tells more than its colours do."""
    low, high = image.getchannel("A").getextrema()
    return low != high


def _size(image: Image.Image) -> str:
    return f"{image.width} x {image.height} pixels"
