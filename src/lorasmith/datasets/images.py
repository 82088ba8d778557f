"""One picture's way from foreign bytes to what is trained: upright, sRGB, 8 bits, no alpha.

Every picture is decoded whole. A decoder that stops early means a damaged picture, never a picture half gray. A JPEG
that is asked for much smaller than it is decodes at a half, a quarter or an eighth of its size, which libjpeg does in
a fraction of the time; all of its bytes are read even so.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.util
import io
import logging
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import numpy as np
from PIL import Image, ImageCms, ImageColor, ImageFile, UnidentifiedImageError, _imaging

from lorasmith.datasets.damage import DECODING, complete_jpeg, how_far
from lorasmith.datasets.magic import PEEK, picture_format
from lorasmith.datasets.source import RefusedError
from lorasmith.errors import ConfigError, EnvironmentProblem

FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
"""What is read without an extra; HEIF is read with the extra ``heif``."""

Alpha = Literal["fill", "mask", "both"]
"""What becomes of transparency. ``fill``: it is laid on the background. ``mask``: the colours stay as they are and it
becomes the mask. ``both``: laid on the background, and kept as the mask."""
_ORIENTATION_TAG: Final = 0x0112
_BITS_TAG: Final = 258
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIXTEEN_BITS: Final = ("I;16", "I;16B", "I;16L", "I;16N")
_ALPHA_MODES: Final = ("RGBA", "LA", "PA", "La", "RGBa")
_SHARP_REDUCTION: Final = 1.9  # pixels left per pixel wanted for the last step, which alone is LANCZOS: keeps 45 dB
_SAME_COLOR: Final = 2  # of 255: a profile that moves no colour further is sRGB under another name


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture that is ready.

    ``transforms`` are stable words for the manifest (``orientation:6``), ``sentences`` say the same to people.
    ``image`` is None when the bytes as they came already show these pixels.
    """

    width: int
    height: int
    pixels: str
    """SHA-256 of size and RGB pixels: equal for the same picture in another container."""
    format: str
    image: Image.Image | None
    transforms: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    alpha: Image.Image | None = None
    """What was opaque, L, white where it was; only when asked for and when anything was transparent."""


@dataclass
class _Work:
    """A picture under way."""

    image: Image.Image
    format: str
    info: dict[Any, Any]
    exif_orientation: object
    full_size: tuple[int, int]
    """As the file says, before a JPEG was decoded at a reduced size."""
    alpha: Image.Image | None = None
    changed: bool = False
    transforms: list[str] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)

    def note(self, transform: str, sentence: str, *, changed: bool = True) -> None:
        self.transforms.append(transform)
        self.sentences.append(sentence)
        self.changed = self.changed or changed


def parse_background(color: str) -> tuple[int, int, int]:
    """A CSS colour name or ``#rrggbb`` as RGB, 0-255 each.

    Raises:
        ConfigError: no such colour.
    """
    try:
        red, green, blue = ImageColor.getrgb(color)[:3]
    except ValueError as cause:
        raise ConfigError(f"'{color}' is not a colour.", "Use a CSS name such as 'white', or '#f0f0f0'.") from cause
    return red, green, blue


def prepare(
    content: Path | bytes,
    *,
    background: tuple[int, int, int],
    pixel_limit: int,
    alpha: Alpha = "fill",
    max_side: int | None = None,
) -> Prepared:
    """Decode a picture and bring its pixels into the one form that is trained.

    Args:
        content: the file, or its bytes.
        background: RGB, 0-255, what shows through transparent parts.
        pixel_limit: width x height that is not exceeded.
        alpha: what becomes of transparency.
        max_side: pixels; a longer picture is reduced to it, as ``open_reduced`` does. None keeps the size.

    Raises:
        RefusedError: it is no picture, damaged, too large, or holds values without a known scale.
        EnvironmentProblem: another library told Pillow to accept truncated pictures.
    """
    work = _upright(content, background, pixel_limit, alpha, max_side)
    pixels = hashlib.sha256(f"{work.image.width}x{work.image.height};".encode())
    pixels.update(work.image.tobytes())
    if work.alpha is not None:
        pixels.update(work.alpha.tobytes())
    return Prepared(
        width=work.image.width,
        height=work.image.height,
        pixels=pixels.hexdigest(),
        format="JPEG" if work.format == "MPO" else work.format,
        image=work.image if work.changed else None,
        transforms=tuple(work.transforms),
        sentences=tuple(work.sentences),
        alpha=work.alpha,
    )


def prepare_mask(content: Path | bytes, *, pixel_limit: int) -> Image.Image:
    """A picture that is a mask, upright, as L: white is trained.

    Raises:
        RefusedError, EnvironmentProblem: as ``prepare``.
    """
    return _upright(content, (0, 0, 0), pixel_limit, "fill", None).image.convert("L")


def open_reduced(
    content: Path | bytes,
    max_side: int,
    *,
    background: tuple[int, int, int] = (255, 255, 255),
    pixel_limit: int = 89_000_000,
) -> Image.Image:
    """The picture, RGB, upright, sRGB, its longer side at most ``max_side`` pixels; never enlarged.

    A JPEG is decoded at the smallest of its own reduced sizes that leaves LANCZOS nearly twice the pixels wanted:
    three times as fast as decoding it whole, and at least 45 dB of it (measured in ``bench/datasets/ingest.py``).

    Raises:
        RefusedError, EnvironmentProblem: as ``prepare``.
    """
    return _upright(content, background, pixel_limit, "fill", max_side).image


def quiet_pillow() -> None:
    """Keep warnings about odd files from stderr: what they say that matters is in the ledger.

    One filter for Pillow's modules, put in front once more by every call. (``warnings.catch_warnings`` would be undone
    in the wrong order by two imports at once.) libtiff prints by itself unless its handler is taken away, which a
    Pillow that has it built in does not let one do; what fails is told by return values all the same.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)
    logger = logging.getLogger("PIL")
    if not logger.handlers:  # or Python prints what nobody listens to
        logger.addHandler(logging.NullHandler())


def _upright(
    content: Path | bytes, background: tuple[int, int, int], pixel_limit: int, alpha: Alpha, max_side: int | None
) -> _Work:
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise EnvironmentProblem(
            "Pillow is set to accept truncated pictures, so damaged ones would pass.",
            "Remove ImageFile.LOAD_TRUNCATED_IMAGES = True from your program.",
        )
    if max_side is not None and max_side < 1:
        raise ConfigError(f"{max_side} pixels are no size.", "Give the longer side in pixels, such as 1024.")
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as stream:
        beginning = stream.read(1024)
        _refuse_non_pictures(beginning)
        stream.seek(0)
        work = _decode(stream, pixel_limit, max_side, _formats(beginning))
    orientation = _orientation(work)
    _narrow(work)
    _to_rgb(work, background, alpha)
    if max_side is not None:
        _reduce(work, max_side)
    if orientation != 1:
        work.image = work.image.transpose(_TURNS[orientation])
        work.alpha = work.alpha.transpose(_TURNS[orientation]) if work.alpha is not None else None
        work.note(f"orientation:{orientation}", "Turned upright as its EXIF data says.")
    return work


def _formats(beginning: bytes) -> tuple[str, ...]:
    """The decoders to try. HEIF's is loaded for the first picture that needs it."""
    if picture_format(beginning[:PEEK]) != "HEIF":
        return FORMATS
    if importlib.util.find_spec("pi_heif") is None:
        raise RefusedError("needs_extra", "is a HEIC; to read it, install the extra: pip install 'lorasmith[heif]'.")
    import pi_heif

    pi_heif.register_heif_opener(thumbnails=False)
    return ("HEIF",)


def _reduce(work: _Work, max_side: int) -> None:
    full, image = work.full_size, work.image
    longest = max(full)
    if longest <= max_side:
        return
    size = (max(1, round(full[0] * max_side / longest)), max(1, round(full[1] * max_side / longest)))
    work.image = image.resize(size, Image.Resampling.LANCZOS)
    if work.alpha is not None:
        work.alpha = work.alpha.resize(size, Image.Resampling.LANCZOS)
    shown = f"{full[0]}x{full[1]}"
    work.note(f"reduced:{shown}", f"Reduced from {full[0]} x {full[1]} to {size[0]} x {size[1]} pixels.")


def _refuse_non_pictures(beginning: bytes) -> None:
    text = beginning.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not beginning:
        raise RefusedError("empty_file", "is empty (0 bytes).")
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<svg", b"{")):
        raise RefusedError("not_an_image", "holds text (a web page or an error message), not a picture.")


def _decode(stream: BinaryIO, pixel_limit: int, max_side: int | None, formats: tuple[str, ...]) -> _Work:
    """The first frame, decoded whole; a JPEG that lacks its end mark only is decoded with one."""
    image: Image.Image | None = None
    try:
        image = Image.open(stream, formats=formats)
        if image.width * image.height > pixel_limit:
            size = f"{image.width} x {image.height}"
            raise RefusedError("too_many_pixels", f"has {size} pixels, more than {pixel_limit / 1e6:.0f} million.")
        frames = int(getattr(image, "n_frames", 1)) if image.format not in ("MPO", "HEIF") else 1
        full_size = image.size
        if max_side is not None and image.format in ("JPEG", "MPO"):
            _ask_for_less(image, max_side)
        image.load()
        work = _Work(image, str(image.format), dict(image.info), _read_orientation(image), full_size)
    except UnidentifiedImageError as cause:
        raise RefusedError("damaged", "holds nothing that can be read as a picture.") from cause
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as cause:
        raise RefusedError("too_many_pixels", f"has more than {pixel_limit / 1e6:.0f} million pixels.") from cause
    except DECODING as cause:
        stream.seek(0)
        mended = complete_jpeg(stream.read()) if image is not None and image.format == "JPEG" else None
        if mended is None:
            raise RefusedError("damaged", _what_is_damaged(image, cause)) from cause
        work = _decode(io.BytesIO(mended), pixel_limit, max_side, formats)
        work.note("repaired:end_mark", "It lacked only the mark of its end; no pixel is lost.")
        return work
    if work.format == "HEIF":
        work.note("format:HEIF", "Converted from HEIC, which trainers do not read.")
    if frames > 1:
        work.note(f"first_frame:{frames}", f"Only the first of {frames} frames is used.")
    return work


def _ask_for_less(image: Image.Image, max_side: int) -> None:
    """Let libjpeg decode at a half, a quarter or an eighth, if enough pixels stay for the last step to be sharp."""
    for scale in (8, 4, 2):
        if max(image.size) >= scale * max_side * _SHARP_REDUCTION:
            image.draft(None, (image.width // scale, image.height // scale))
            return


def _what_is_damaged(image: Image.Image | None, cause: BaseException) -> str:
    reason = " ".join(str(cause).split()).rstrip(".") or type(cause).__name__
    percent = how_far(image) if image is not None else None
    return f"is damaged: it stops at {percent} % ({reason})." if percent is not None else f"is damaged: {reason}."


def _read_orientation(image: Image.Image) -> object:
    """The EXIF orientation as it stands in the file, 1 when there is none; None when the EXIF data is damaged."""
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except DECODING:
        return None


def _orientation(work: _Work) -> int:
    """EXIF orientation 1 to 8; damaged EXIF is said, and counts as upright."""
    if work.exif_orientation is None:
        work.note("exif_unreadable", "Its EXIF data is damaged and was ignored.", changed=False)
    value = work.exif_orientation
    return value if isinstance(value, int) and value in _TURNS else 1


def _narrow(work: _Work) -> None:
    """More than 8 bits a channel become 8, scaled. (Pillow's own conversion clips, which turns pictures white.)"""
    mode = work.image.mode
    if mode in _SIXTEEN_BITS or (mode == "I" and _says_sixteen_bits(work.image)):
        values = np.asarray(work.image).astype(np.float64)
        if mode == "I" and (values.min() < 0 or values.max() > 65535):
            raise RefusedError("unsupported_pixels", "holds numbers outside of 16 bits; save it with 8 bits a channel.")
        narrow = np.rint(values / 257).astype(np.uint8)
        work.note("depth:16", "Its 16-bit values were scaled to 8 bits.")
    elif mode == "F":
        values = np.asarray(work.image)
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise RefusedError("unsupported_pixels", "holds decimals outside of 0 to 1; save it with 8 bits a channel.")
        narrow = np.rint(values * 255).astype(np.uint8)
        work.note("depth:float", "Its decimal values were scaled to 8 bits.")
    elif mode == "I":
        raise RefusedError(
            "unsupported_pixels", "holds whole numbers without a known scale; save it with 8 bits a channel."
        )
    else:
        return
    work.image = Image.fromarray(narrow)


def _says_sixteen_bits(image: Image.Image) -> bool:
    if image.format == "PNG":
        return True
    bits = getattr(image, "tag_v2", {}).get(_BITS_TAG, (0,))
    return set(bits if isinstance(bits, tuple) else (bits,)) == {16}


def _to_rgb(work: _Work, background: tuple[int, int, int], wanted: Alpha) -> None:
    """Alpha onto the background or aside, colours to sRGB, any mode to RGB."""
    image, alpha = work.image, None
    if image.mode in _ALPHA_MODES or ("transparency" in work.info and image.mode in ("1", "L", "P", "RGB")):
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        image = image.convert("RGB")
    elif image.mode == "P":
        image = image.convert("RGB")
    image = _to_srgb(work, image)
    if image.mode != "RGB":
        if image.mode not in ("1", "L"):
            work.note(f"mode:{image.mode}", f"Converted from {image.mode} to RGB.")
        try:
            image = image.convert("RGB")
        except ValueError as cause:  # LAB and the like without a profile that says what they mean
            raise RefusedError("unsupported_pixels", f"is in {image.mode} colours; save it as RGB.") from cause
    work.image = image
    if alpha is not None:
        _settle_alpha(work, alpha, background, wanted)


def _settle_alpha(work: _Work, alpha: Image.Image, background: tuple[int, int, int], wanted: Alpha) -> None:
    if wanted != "fill" and alpha.getextrema() != (255, 255):
        work.alpha = alpha
    if wanted == "mask":
        work.note("alpha:mask", "Its transparency was taken off its colours.")
        return
    canvas = Image.new("RGB", work.image.size, background)
    canvas.paste(work.image, mask=alpha)
    work.image = canvas
    color = "#{:02x}{:02x}{:02x}".format(*background)
    work.note(f"alpha:{color}", f"Its transparent parts were laid on {color}.")


def _to_srgb(work: _Work, image: Image.Image) -> Image.Image:
    """Apply the embedded colour profile, if it says anything else than sRGB."""
    embedded = work.info.get("icc_profile")
    if not isinstance(embedded, bytes) or not embedded:
        return image
    srgb = ImageCms.createProfile("sRGB")
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(embedded))
        if image.mode == "RGB" and _is_srgb(profile, srgb):
            return image
        converted = ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        work.note("icc_unreadable", "Its colour profile cannot be used; its colours were taken as sRGB.", changed=False)
        return image
    assert converted is not None  # only inPlace returns None
    name = " ".join((ImageCms.getProfileDescription(profile) or "unnamed").split()) or "unnamed"
    work.note(f"icc:{name}", f"Its colours were converted from {name} to sRGB.")
    return converted


def _is_srgb(profile: ImageCms.ImageCmsProfile, srgb: Any) -> bool:
    """Judged by what the profile does to a lattice of colours, since names and versions of sRGB abound."""
    steps = np.linspace(0, 255, 6).astype(np.uint8)
    lattice = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(6, 36, 3)
    moved = ImageCms.profileToProfile(Image.fromarray(lattice), profile, srgb, outputMode="RGB")
    return moved is not None and int(np.abs(np.asarray(moved).astype(int) - lattice.astype(int)).max()) <= _SAME_COLOR


def png_bytes_to(path: Path, image: Image.Image) -> None:
    """Write an RGB or L image as PNG without metadata.

    Level 1, for level 6 costs five times the time and saves a tenth.
    """
    plain = Image.new(image.mode, image.size)
    plain.paste(image)
    with path.open("wb") as stream:
        plain.save(stream, format="PNG", compress_level=1)
