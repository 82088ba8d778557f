"""A picture file as it lies: what its header says, and its pixels under the rules of a reader."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from PIL import Image, ImageCms, ImageOps

from lorasmith.errors import InputError

if TYPE_CHECKING:
    from lorasmith.datasets.eyes import Note

_DECODING: Final = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, RuntimeError,
    struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip
# What Pillow's decoders raise on damaged bytes, depending on where the damage lies.
_ORIENTATION: Final = 0x0112
_TURNED: Final = ("", "mirrored", "upside down", "mirrored upside down", "mirrored and sideways", "sideways",
                  "mirrored and sideways", "sideways")  # fmt: skip
_DEEP: Final = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
_ALPHA: Final = ("RGBA", "LA", "PA", "La", "RGBa")
_VISIBLE: Final = 8  # of 255: what a hidden colour must differ by to count
_PNG_BITS_AT: Final = 24
_SAME_COLOR: Final = 2  # of 255: a profile that moves no colour further is sRGB under another name


@dataclass(frozen=True)
class Reading:
    """By which rules a trainer decodes pixels."""

    orientation: bool
    """EXIF orientation is applied."""
    profile: bool
    """An embedded colour profile is converted to sRGB."""
    alpha: Literal["dropped", "white"]
    """``dropped``: what lies hidden under transparent pixels appears."""
    deep: Literal["clipped", "scaled", "overflows"]
    """Gray of 16 bits: clipped at 255 (nearly all turns white), scaled to 8 bits, or left 257 times too bright."""


MEANT: Final = Reading(orientation=True, profile=True, alpha="white", deep="scaled")
"""What a person who looks at the file means, and what our import does."""


@dataclass(frozen=True)
class PictureFile:
    """What the header of a picture says."""

    name: str
    size: tuple[int, int]
    """Width and height as stored, before any turning."""
    orientation: int
    """EXIF orientation, 1 to 8."""
    mode: str
    format: str
    frames: int
    profile: str
    """Name of an embedded profile that is not sRGB; empty otherwise."""
    hidden: float
    """Share of the picture whose colours appear only when alpha is dropped, 0 to 1."""
    bits: int = 8
    """Bits per channel of a PNG as its header says, 8 for anything else; Pillow reads colour of 16 bits as 8."""

    @property
    def deep(self) -> bool:
        """Whether its values do not fit in 8 bits."""
        return self.mode in _DEEP

    def upright(self, reading: Reading) -> tuple[int, int]:
        """Width and height as a reader under these rules gets them."""
        width, height = self.size
        return (height, width) if reading.orientation and self.orientation >= 5 else (width, height)

    def differences(self, reading: Reading) -> tuple[Note, ...]:
        """What the reader's rules make of this file that nobody means."""
        from lorasmith.datasets.eyes import Note

        notes: list[Note] = []
        if self.orientation != 1 and not reading.orientation:
            turned = _TURNED[self.orientation - 1]
            sentence = f"Its EXIF orientation ({self.orientation}) is ignored: it is trained {turned}."
            notes.append(Note("orientation", "error", sentence))
        if self.profile and not reading.profile:
            sentence = f"Its colour profile ({self.profile}) is ignored: colours come out wrong, mostly paler."
            notes.append(Note("profile", "warning", sentence))
        if self.hidden and reading.alpha == "dropped":
            sentence = f"Transparency is dropped: hidden colours appear on {self.hidden:.0%} of it."
            notes.append(Note("alpha", "error", sentence))
        if self.deep and reading.deep == "clipped":
            sentence = f"Its {_depth(self.mode)} values are cut off at 255: nearly all of it turns white."
            notes.append(Note("depth", "error", sentence))
        if self.bits > 8 and reading.deep == "overflows":
            sentence = "Its 16-bit values are divided by 255 and not by 65535: it is up to 257 times too bright."
            notes.append(Note("depth", "error", sentence))
        if self.frames > 1:
            notes.append(Note("frames", "info", f"Only the first of its {self.frames} frames is trained."))
        return tuple(notes)


def examine(source: Path | bytes, name: str = "") -> PictureFile:
    """Read the header of a picture; only one with transparency is decoded whole.

    Args:
        source: the file, or its bytes.
        name: with suffix; left out, the path's.

    Raises:
        InputError: it is no picture, or damaged where it is read.
    """
    name = name or (source.name if isinstance(source, Path) else "")
    try:
        with Image.open(source if isinstance(source, Path) else io.BytesIO(source)) as image:
            orientation = image.getexif().get(_ORIENTATION, 1)
            transparent = image.mode in _ALPHA or "transparency" in image.info
            return PictureFile(
                name=name,
                size=image.size,
                orientation=orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1,
                mode=image.mode,
                format=image.format or "",
                frames=int(getattr(image, "n_frames", 1)),
                profile=_profile_name(image),
                hidden=_hidden_share(image) if transparent else 0.0,
                bits=_png_bits(source) if image.format == "PNG" else 8,
            )
    except _DECODING as cause:
        reason = " ".join(str(cause).split()).rstrip(".") or type(cause).__name__
        raise InputError(f"'{name}' cannot be read as a picture: {reason}.", "Replace or remove it.") from cause


def decode(source: Path | bytes, reading: Reading, name: str = "") -> Image.Image:
    """The pixels a reader under these rules gets, RGB.

    Raises:
        InputError: it is no picture, or damaged.
    """
    try:
        with Image.open(source if isinstance(source, Path) else io.BytesIO(source)) as opened:
            opened.load()
            image: Image.Image = opened
            profile = opened.info.get("icc_profile")
            if reading.orientation:
                image = ImageOps.exif_transpose(image)
            image = _to_rgb(image, reading)
            return _to_srgb(image, profile) if reading.profile and isinstance(profile, bytes) else image
    except _DECODING as cause:
        reason = " ".join(str(cause).split()).rstrip(".") or type(cause).__name__
        raise InputError(f"'{name}' cannot be read as a picture: {reason}.", "Replace or remove it.") from cause


def _to_rgb(image: Image.Image, reading: Reading) -> Image.Image:
    if image.mode in _DEEP and reading.deep == "scaled":
        values = np.asarray(image).astype(np.float64)
        top = 1.0 if image.mode == "F" else 65535.0
        return Image.fromarray(np.rint(np.clip(values / top, 0, 1) * 255).astype(np.uint8)).convert("RGB")
    if reading.deep == "overflows" and image.mode not in _DEEP:  # colour of 16 bits, narrowed by Pillow: undone
        return image.convert("RGB").point(lambda value: min(255, value * 257))
    if image.mode in _DEEP:
        return Image.fromarray(np.clip(np.asarray(image), 0, 255).astype(np.uint8)).convert("RGB")
    if reading.alpha == "white" and (image.mode in _ALPHA or "transparency" in image.info):
        with_alpha = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(with_alpha)
        return canvas.convert("RGB")
    return image.convert("RGB")


def _png_bits(source: Path | bytes) -> int:
    """Bits per channel, the 25th byte of a PNG; palettes and bitmaps of fewer bits count as 8."""
    if isinstance(source, bytes):
        return max(8, source[_PNG_BITS_AT])
    with source.open("rb") as stream:
        return max(8, stream.read(_PNG_BITS_AT + 1)[-1])


def _hidden_share(image: Image.Image) -> float:
    """How much of the picture looks otherwise without its alpha channel than on white."""
    dropped = np.asarray(image.convert("RGBA"))[..., :3].astype(int)
    meant = np.asarray(_to_rgb(image, MEANT)).astype(int)
    return float((np.abs(dropped - meant).max(axis=-1) > _VISIBLE).mean())


def _profile_name(image: Image.Image) -> str:
    embedded = image.info.get("icc_profile")
    if not isinstance(embedded, bytes) or not embedded:
        return ""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(embedded))
        if image.mode in ("RGB", "RGBA", "P") and _is_srgb(profile):
            return ""
        return " ".join((ImageCms.getProfileDescription(profile) or "").split()) or "unnamed"
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return ""  # nobody can use it


def _is_srgb(profile: ImageCms.ImageCmsProfile) -> bool:
    """Judged by what the profile does to a lattice of colours, since names and versions of sRGB abound."""
    steps = np.linspace(0, 255, 6).astype(np.uint8)
    lattice = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(6, 36, 3)
    moved = ImageCms.profileToProfile(Image.fromarray(lattice), profile, ImageCms.createProfile("sRGB"))
    return moved is not None and int(np.abs(np.asarray(moved).astype(int) - lattice.astype(int)).max()) <= _SAME_COLOR


def _to_srgb(image: Image.Image, embedded: bytes) -> Image.Image:
    try:
        profile: Any = ImageCms.ImageCmsProfile(io.BytesIO(embedded))
        moved = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image  # a profile of other colours than the pixels have: nobody can apply it
    return image if moved is None else moved


def _depth(mode: str) -> str:
    return {"F": "decimal", "I": "32-bit"}.get(mode, "16-bit")
