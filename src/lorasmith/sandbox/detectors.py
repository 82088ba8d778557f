"""Judges that are not networks: what a picture of the world shows, read from its pixels.

The background is the median of the border, the figure the largest connected region that differs from it, its
colour the nearest of the palette, its shape the outline with the best overlap (intersection over union) after
both are scaled to one box. ``bench/sandbox.py`` measures these judges on true renders and on the VAE's round
trip of them: that is the ceiling for anything they judge.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from lorasmith.sandbox import world

Mask = NDArray[np.bool_]
Pixels = NDArray[np.float32]

_BOX: Final = 48  # shapes are compared in a box of this side
_LEAST_AREA: Final = 150  # pixels; anything smaller is a speck
_DIFFERENT: Final = 55.0  # Euclidean distance in RGB from the background


@dataclass(frozen=True)
class Found:
    """The largest figure of a picture. ``overlap`` (0 to 1) says how well the shape fits."""

    shape: str
    color: str
    background: str
    overlap: float
    x: float
    y: float
    area: int


def find_figure(image: Image.Image) -> Found | None:
    """What the largest figure is; None when nothing stands out from the background."""
    pixels = _pixels(image)
    background = _border_color(pixels)
    region = _largest_region(_distance(pixels, background) > _DIFFERENT)
    if region is None:
        return None
    inner = ndimage.binary_erosion(region, iterations=3)
    color = np.median(pixels[inner if inner.sum() > 30 else region], axis=0)
    filled = ndimage.binary_fill_holes(region)
    shape, overlap = _best_shape(filled)
    y, x = ndimage.center_of_mass(filled)
    if shape == "circle" and _has_eye(pixels, color, float(y), float(x)):
        shape = world.CHARACTER
    return Found(
        shape,
        _nearest(color, world.COLORS),
        _nearest(background, world.BACKGROUNDS),
        overlap,
        float(x),
        float(y),
        int(region.sum()),
    )


def shows_mascot(image: Image.Image) -> bool:
    """Whether the largest figure is a disc whose left half is orange and whose right half is blue."""
    pixels = _pixels(image)
    # Where orange meets blue the mixed colour is the gray of a background: the seam must not cut the disc in two.
    region = _largest_region(_distance(pixels, _border_color(pixels)) > _DIFFERENT, bridge=3)
    if region is None:
        return False
    region = ndimage.binary_fill_holes(region)
    shape, overlap = _best_shape(region)
    if shape != "circle" or overlap < 0.80:
        return False
    inner = ndimage.binary_erosion(region, iterations=3)
    columns = np.flatnonzero(region.any(axis=0))
    middle = (columns[0] + columns[-1]) / 2
    x = np.arange(region.shape[1])
    left, right = inner & (x < middle - 3), inner & (x > middle + 3)
    return _share(pixels[left], "orange") >= 0.75 and _share(pixels[right], "blue") >= 0.75


def shows_style(image: Image.Image) -> bool:
    """Whether the ground is indigo and the figure has a white outline and a coloured inside."""
    pixels = _pixels(image)
    ground = _border_color(pixels)
    if np.linalg.norm(ground - np.array(world.STYLE_GROUND)) > 60:
        return False
    region = _largest_region(_distance(pixels, ground) > _DIFFERENT)
    if region is None:
        return False
    region = ndimage.binary_fill_holes(region)
    white = pixels.min(axis=2) > 170
    rim = region & ~ndimage.binary_erosion(region, iterations=5, border_value=1)
    inside = ndimage.binary_erosion(region, iterations=10)
    if inside.sum() < 20:
        inside = ndimage.binary_erosion(region, iterations=7)
    return bool(white[rim].mean() >= 0.55 and inside.any() and white[inside].mean() <= 0.5)


def _has_eye(pixels: Pixels, color: Pixels, y: float, x: float) -> bool:
    """Whether the middle of a figure is near white while the figure is not."""
    eye = np.median(pixels[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4].reshape(-1, 3), axis=0)
    return bool(eye.min() > 180 and color.min() < 150)


# --- how it sees -------------------------------------------------------------------------------------------


def _pixels(image: Image.Image) -> Pixels:
    if image.size != (world.SIZE, world.SIZE):
        image = image.resize((world.SIZE, world.SIZE), Image.Resampling.LANCZOS)
    pixels: Pixels = np.asarray(image.convert("RGB"), np.float32)
    return pixels


def _border_color(pixels: Pixels) -> Pixels:
    frame = np.concatenate([pixels[:3].reshape(-1, 3), pixels[-3:].reshape(-1, 3)])
    sides = np.concatenate([pixels[:, :3].reshape(-1, 3), pixels[:, -3:].reshape(-1, 3)])
    color: Pixels = np.median(np.concatenate([frame, sides]), axis=0).astype(np.float32)
    return color


def _distance(pixels: Pixels, color: Pixels) -> Pixels:
    distance: Pixels = np.linalg.norm(pixels - color, axis=2).astype(np.float32)
    return distance


def _largest_region(mask: Mask, *, bridge: int = 0) -> Mask | None:
    """The largest connected part, after specks are opened away; ``bridge`` pixels of a seam are closed first."""
    if bridge:
        padded = np.pad(mask, bridge)
        mask = ndimage.binary_closing(padded, iterations=bridge)[bridge:-bridge, bridge:-bridge]
    opened = ndimage.binary_opening(mask, iterations=1)
    labels, count = ndimage.label(opened)
    if count == 0:
        return None
    sizes = np.bincount(labels.ravel())[1:]
    if sizes.max() < _LEAST_AREA:
        return None
    region: Mask = labels == 1 + int(sizes.argmax())
    return region


def _nearest(color: Pixels, palette: dict[str, world.Color]) -> str:
    distances = {name: float(np.linalg.norm(color - np.array(value))) for name, value in palette.items()}
    return min(distances, key=distances.__getitem__)


def _share(colors: Pixels, name: str) -> float:
    """Share of pixels (N, 3) whose nearest palette colour is ``name``."""
    if len(colors) == 0:
        return 0.0
    table = np.array(list(world.COLORS.values()), np.float32)
    nearest = np.linalg.norm(colors[:, None] - table, axis=2).argmin(axis=1)
    return float((nearest == list(world.COLORS).index(name)).mean())


def _boxed(region: Mask) -> Mask:
    """The region scaled to fill the comparison box, keeping its aspect ratio (centred)."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    crop = region[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = max(crop.shape)
    square = np.zeros((side, side), np.uint8)
    top, left = (side - crop.shape[0]) // 2, (side - crop.shape[1]) // 2
    square[top : top + crop.shape[0], left : left + crop.shape[1]] = crop * np.uint8(255)
    scaled = Image.fromarray(square).resize((_BOX, _BOX), Image.Resampling.BILINEAR)
    return np.asarray(scaled) > 127


@functools.cache
def _templates() -> dict[str, tuple[Mask, ...]]:
    """Every shape, turned by a few degrees either way, in the comparison box."""
    drawn: dict[str, tuple[Mask, ...]] = {}
    for shape in world.SHAPES:
        turned = []
        for angle in (-10, -5, 0, 5, 10):
            canvas = Image.new("L", (240, 240))
            ImageDraw.Draw(canvas).polygon(world.outline(shape, 120, 120, 90, angle), fill=255)
            turned.append(_boxed(np.asarray(canvas) > 127))
        drawn[shape] = tuple(turned)
    return drawn


def _best_shape(region: Mask) -> tuple[str, float]:
    box = _boxed(region)
    scores = {
        shape: max(float((box & t).sum() / (box | t).sum()) for t in turned) for shape, turned in _templates().items()
    }
    best = max(scores, key=scores.__getitem__)
    return best, scores[best]
