"""What stands out in a picture, and where a crop should lie so as not to lose it.

Spectral residual saliency (Hou and Zhang 2007, "Saliency Detection: A Spectral Residual Approach"): what is left of
the log amplitude of a picture's spectrum when its local average is taken away, turned back into space.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lorasmith.datasets.pictures.contract import Box

_SIDE: Final = 64  # pixels: the size at which the paper looks
_CENTER_PULL: Final = 0.15  # share of the whole that being central is worth; breaks ties on flat pictures
Map = NDArray[np.float64]


def saliency(image: Image.Image) -> Map:
    """How much each place stands out: (64, 64), 0 to 1 in sum 1; even where nothing does."""
    gray = np.asarray(image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX), dtype=np.float64) / 255
    spectrum = np.fft.fft2(gray)
    log_amplitude = np.log(np.abs(spectrum) + 1e-8)
    residual = log_amplitude - _box_mean(log_amplitude, 3)
    found = np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2
    smooth = _box_mean(_box_mean(found, 5), 5)
    total = float(smooth.sum())
    if float(gray.std()) < 1e-3 or not np.isfinite(total) or total <= 0:
        return np.full((_SIDE, _SIDE), 1 / _SIDE**2)
    return np.asarray(smooth / total)


def best_window(
    image: Image.Image, aspect: float, *, protect: Box | None = None, ignore_content: bool = False
) -> tuple[float, float]:
    """Where to cut a picture to another aspect ratio: the share of the spare width and height that lies before the cut.

    Args:
        image: RGB.
        aspect: width over height of what is kept; as large as the picture allows.
        protect: a box that is kept whole where it fits, else as much of it as does, around its middle.
        ignore_content: look at ``protect`` and the centre only.

    Returns:
        (x, y), 0 to 1 each; 0.5 is the centre.
    """
    width, height = image.size
    keep_x, keep_y = min(1.0, aspect * height / width), min(1.0, width / (aspect * height))
    stands_out = np.zeros((_SIDE, _SIDE)) if ignore_content else saliency(image)
    x = _best_start(stands_out.sum(axis=0), keep_x, None if protect is None else (protect[0], protect[2]))
    y = _best_start(stands_out.sum(axis=1), keep_y, None if protect is None else (protect[1], protect[3]))
    return x, y


def _best_start(profile: Map, keep: float, protect: tuple[float, float] | None) -> float:
    """Along one axis: the share of the spare length before the window that keeps most, held to the protected part."""
    spare = 1 - keep
    if spare <= 1e-9:
        return 0.5
    starts = np.linspace(0, spare, 129)
    edges = np.concatenate([[0.0], np.cumsum(profile)])
    places = np.arange(len(profile) + 1) / len(profile)
    held = np.interp(starts + keep, places, edges) - np.interp(starts, places, edges)
    score = held - _CENTER_PULL * np.abs(starts / spare - 0.5)
    if protect is not None:
        low, high = protect
        if high - low <= keep:
            fits = (starts <= low + 1e-9) & (starts + keep >= high - 1e-9)
            score = np.where(fits, score, -np.inf) if fits.any() else -np.abs(starts + keep / 2 - (low + high) / 2)
        else:
            score = -np.abs(starts + keep / 2 - (low + high) / 2)
    return float(starts[int(np.argmax(score))] / spare)


def _box_mean(values: NDArray[Any], size: int) -> NDArray[Any]:
    """The mean over size x size neighbours, the edge continued."""
    around = size // 2
    wide = np.pad(values, around, mode="edge")
    total = np.zeros_like(values)
    for dy in range(size):
        for dx in range(size):
            total = total + wide[dy : dy + values.shape[0], dx : dx + values.shape[1]]
    return np.asarray(total / size**2)
