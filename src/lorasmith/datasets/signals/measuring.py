"""Takes every signal of a picture from one decode."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lorasmith.datasets.colours import colours_of
from lorasmith.datasets.phash import frequencies, turned
from lorasmith.datasets.signals.borders import find_borders
from lorasmith.datasets.signals.traces import blockiness, jpeg_quality, upscale_evidence
from lorasmith.datasets.signals.values import SIDE, Signals
from lorasmith.errors import DatasetError

_END: Final = 5
"""Levels at either end of the scale that count as clipped."""
_RAMP: Final = 12
"""Levels next to an end. Light that was cut off has come through them; a white or black ground has not."""
_RAMP_SHARE: Final = 0.03
"""Pixels in the ramp for one at the end: about 0 beside a plain white ground, 0.1 and more in a burnt-out sky."""
_GROUND: Final = 9
"""Levels that a plain ground may spread over."""
_GRAY_CHROMA: Final = 24
_GRAY_MEAN_CHROMA: Final = 3.0
"""Chroma (largest minus smallest channel) that compression leaves in a gray picture: 99.9th percentile and mean."""
_WHOLE_PIXELS: Final = 100_000_000
"""Above this a JPEG is decoded at a fraction of its size, to bound memory; its ``pixel_hash`` is then empty."""
_STRONGEST: Final = 0.005
"""Share of steps between neighbours that count as the picture's strongest edges."""
_LEAST_STEP: Final = 8
"""Levels; smaller steps are noise."""
_EDGE_REACH: Final = 4
"""Pixels on either side of a step that belong to its edge."""
_PATCH: Final = 256
_PATCHES: Final = 3
_SIXTEEN_BITS: Final = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_DECODING: Final = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, RuntimeError, AttributeError,
    struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
# Pillow's decoders raise all of these on damaged bytes; which one depends on where the damage lies.

Pixels = NDArray[np.uint8]
Gray = NDArray[np.float32]


def measure(path: Path) -> Signals:
    """Measure the picture at ``path``, whatever its mode and size.

    Raises:
        DatasetError: it is missing, damaged or no picture.
    """
    try:
        with Image.open(path) as image:
            size = image.size
            whole = image.width * image.height <= _WHOLE_PIXELS
            if not whole:
                scale = min(1.0, 4 * SIDE / max(size))
                image.draft("RGB", (max(1, int(size[0] * scale)), max(1, int(size[1] * scale))))
            image.load()
            quality = jpeg_quality(_tables(image))
            return _measured(_plain(image), size, quality, whole=whole or image.size == size)
    except FileNotFoundError as cause:
        raise DatasetError(f"The picture {path} is missing.", "Import its source again.") from cause
    except _DECODING as cause:
        reason = " ".join(str(cause).split()).rstrip(".") or type(cause).__name__
        raise DatasetError(f"The picture {path} cannot be read: {reason}.", "Import its source again.") from cause


def jpeg_quality_of(path: Path) -> int | None:
    """The quality of the JPEG at ``path``, from its header alone; None when it is of another format.

    Raises:
        DatasetError: it is missing, damaged or no picture.
    """
    try:
        with Image.open(path) as image:
            return jpeg_quality(_tables(image))
    except _DECODING as cause:
        raise DatasetError(f"The picture {path} cannot be read.", "Import its source again.") from cause


def _tables(image: Image.Image) -> Mapping[int, Sequence[int]]:
    tables: Mapping[int, Sequence[int]] = getattr(image, "quantization", None) or {}
    return tables


def _plain(image: Image.Image) -> Image.Image:
    """As RGB: 16 bits scaled, transparent parts on white. Pictures of a version are RGB already."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in _SIXTEEN_BITS:
        values = np.clip(np.asarray(image).astype(np.float64), 0, 65535)
        return Image.fromarray(np.rint(values / 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image).astype(np.float64), nan=0.0, posinf=1.0, neginf=0.0)
        return Image.fromarray(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        ground = Image.new("RGB", image.size, (255, 255, 255))
        ground.paste(rgba.convert("RGB"), mask=rgba.getchannel("A"))
        return ground
    return image.convert("RGB")


def _measured(image: Image.Image, size: tuple[int, int], quality: int | None, *, whole: bool) -> Signals:
    pixels = np.asarray(image)
    small = _shrunk(image, SIDE)
    gray_image = small.convert("L")
    gray = np.asarray(gray_image)
    levels = np.bincount(gray.ravel(), minlength=256) / gray.size
    lowest = frequencies(gray_image)
    hashes = turned(lowest)
    lap = _laplacian(gray)
    patches = _patches(image, gray)
    return Signals(
        width=size[0],
        height=size[1],
        sharpness=float(lap.var()),
        crispness=_crispness(gray),
        brightness=float(levels @ np.arange(256)),
        dark_clip=_clipped(levels),
        bright_clip=_clipped(levels[::-1]),
        span=_span(np.asarray(small)),
        ground=float(np.convolve(levels, np.ones(_GROUND)).max()),
        contrast=float(_percentile(levels, 0.95) - _percentile(levels, 0.05)),
        entropy=_entropy(levels),
        is_gray=_is_gray(np.asarray(small)),
        borders=_borders(pixels, np.asarray(small), size),
        jpeg_quality=quality,
        blockiness=blockiness(patches[0]) if patches else 0.0,
        upscale_evidence=upscale_evidence(patches),
        structure=_structure(lowest),
        pixel_hash=_pixel_hash(pixels) if whole else "",
        phash=hashes[0],
        phash_orientations=hashes,
        colours=colours_of(small),
    )


def _pixel_hash(pixels: Pixels) -> str:
    """The same number that an import tells pixel-identical files by."""
    digest = hashlib.sha256(f"{pixels.shape[1]}x{pixels.shape[0]};".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _shrunk(image: Image.Image, side: int) -> Image.Image:
    """With its longer side at ``side`` pixels, never enlarged."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


# --- sharpness ---------------------------------------------------------------------------------------------------


def _laplacian(gray: Pixels) -> Gray:
    """Of four neighbours, the picture continued by its outermost pixels; same shape as the picture."""
    wide = np.pad(gray.astype(np.float32), 1, mode="edge")
    inner = wide[1:-1, 1:-1]
    around: Gray = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]
    return around - 4 * inner


def _crispness(gray: Pixels) -> float:
    """Median, over the strongest steps along rows and columns, of step over rise; 0 when there are none."""
    values = gray.astype(np.int16)
    found = [_steepness(lines) for lines in (values, values.T) if lines.shape[1] > 2 * _EDGE_REACH]
    steps, rises = (np.concatenate(column) for column in zip(*found, strict=True)) if found else (np.zeros(0),) * 2
    return float(np.median(steps / rises)) if steps.size else 0.0


def _steepness(lines: NDArray[np.int16]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """The strongest steps along each line and the range of the pixels around them."""
    step = np.abs(np.diff(lines, axis=1))[:, _EDGE_REACH - 1 : -(_EDGE_REACH - 1)]
    number = max(1, round(step.size * _STRONGEST))
    least = max(_LEAST_STEP, int(np.partition(step.ravel(), -number)[-number]))
    row, column = np.nonzero(step >= least)
    around = lines[row[:, None], column[:, None] + np.arange(2 * _EDGE_REACH)[None, :]]
    return step[row, column], around.max(axis=1) - around.min(axis=1)


# --- light -------------------------------------------------------------------------------------------------------


def _percentile(levels: NDArray[np.float64], share: float) -> int:
    return int(np.searchsorted(np.cumsum(levels), share - 1e-9))


def _span(pixels: Pixels) -> float:
    channels = (np.bincount(pixels[..., c].ravel(), minlength=256) / pixels[..., c].size for c in range(3))
    return float(max(_percentile(levels, 0.995) - _percentile(levels, 0.005) for levels in channels))


def _entropy(levels: NDArray[np.float64]) -> float:
    some = levels[levels > 0]
    return float(max(0.0, -(some * np.log2(some)).sum()))


def _clipped(levels: NDArray[np.float64]) -> float:
    """Share of pixels at the lower end of the levels, 0 when it is a plain ground."""
    clipped = float(levels[:_END].sum())
    ramp = float(levels[_END : _END + _RAMP].sum())
    return clipped if ramp >= _RAMP_SHARE * clipped else 0.0


def _is_gray(pixels: Pixels) -> bool:
    red, green, blue = (pixels[..., c] for c in range(3))  # over planes: ten times as fast as along the last axis
    chroma = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    levels = np.bincount(chroma.ravel(), minlength=256) / chroma.size
    mean = float(levels @ np.arange(256))
    return mean <= _GRAY_MEAN_CHROMA and _percentile(levels, 0.999) <= _GRAY_CHROMA


def _structure(lowest: NDArray[np.float64]) -> float:
    """Root mean square, in gray levels, of the low frequencies without the mean, as a share of 32 x 32 pixels."""
    side = 32
    weight = np.where(np.arange(lowest.shape[0]) == 0, 0.5, 1.0)
    amplitude = lowest * np.outer(weight, weight) / side**2  # of the cosine waves that make up the picture
    power = amplitude**2 * np.outer(np.where(weight < 1, 1, 0.5), np.where(weight < 1, 1, 0.5))
    return float(np.sqrt(power.sum() - power[0, 0]))


# --- what needs the full picture ---------------------------------------------------------------------------------


def _borders(pixels: Pixels, small: Pixels, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """In pixels of the picture as it is in its file. Only where the small one shows bars the large one is searched."""
    if not any(find_borders(small)):
        return 0, 0, 0, 0
    left, top, right, bottom = find_borders(pixels)
    across, down = size[0] / pixels.shape[1], size[1] / pixels.shape[0]  # over 1 only after a decode at a fraction
    return round(left * across), round(top * down), round(right * across), round(bottom * down)


def _patches(image: Image.Image, small: Pixels) -> list[Gray]:
    """Squares of the full picture where the small one has most detail, most of it first."""
    side = min(_PATCH, *image.size)
    detail = np.abs(np.diff(small.astype(np.float32), axis=0))[:, : small.shape[1] - 1]
    if not detail.size:
        return []
    detail = detail + np.abs(np.diff(small.astype(np.float32), axis=1))[: small.shape[0] - 1]
    places = []
    for top in _starts(image.height, side):
        for left in _starts(image.width, side):
            rows = slice(top * small.shape[0] // image.height, (top + side) * small.shape[0] // image.height + 1)
            columns = slice(left * small.shape[1] // image.width, (left + side) * small.shape[1] // image.width + 1)
            places.append((-float(detail[rows, columns].mean()), top, left))
    boxes = [(left, top, left + side, top + side) for _, top, left in sorted(places)[:_PATCHES]]
    return [np.asarray(image.crop(box).convert("L"), np.float32) for box in boxes]


def _starts(length: int, side: int) -> list[int]:
    """Where squares begin that cover a length, at most 12 of them, each at a block of 8 pixels as JPEG has them."""
    number = min(12, -(-length // side))
    return sorted({round(k * (length - side) / max(1, number - 1)) // 8 * 8 for k in range(number)})
