"""The very pixels that a trainer would train, drawn, so that people can look instead of reading."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from lorasmith.datasets.eyes.fitting import Fit
from lorasmith.datasets.eyes.picture_file import MEANT, decode
from lorasmith.datasets.eyes.seen import Seen
from lorasmith.datasets.masked_area import averaged
from lorasmith.errors import DatasetError, InputError

_DARK: Final = 0.25  # of the light is left where a mask keeps out
_PICKED: Final = 4
_GAP: Final = 8  # pixels between frames
_GROUND: Final = (128, 128, 128)


def render(seen: Seen, *, meant: bool = False) -> Image.Image:
    """The pixels that would be trained: decoded, cropped and scaled by the trainer's rules, darkened where a mask keeps
    them out.

    Args:
        seen: what ``look`` gave.
        meant: decode as it is meant (upright, sRGB, on white) and show the whole picture at that scale, to be put
            beside it.

    Raises:
        DatasetError: the trainer never trains this picture.
        InputError: the file is damaged.
    """
    if seen.reading is None or seen.fit is None:
        reason = seen.differences[0].sentence if seen.differences else "It is not read."
        raise DatasetError(f"There is nothing to draw of '{seen.item}': {reason}", "Look at its differences.")
    if not meant:
        trained = seen.fit.apply(decode(seen.path, seen.reading, seen.item))
        return trained if seen.mask is None else _darkened(trained, _mask(seen.mask, seen.item), seen.fit)
    whole = decode(seen.path, MEANT, seen.item)
    scale = min(1.0, seen.fit.scale)
    return whole.resize((max(1, round(whole.width * scale)), max(1, round(whole.height * scale))))


def picks(seen: Seen) -> list[int]:
    """A few frames of the first window of a clip, its first and last among them."""
    window = sorted(seen.frames[0])
    count = min(_PICKED, len(window))
    return [window[number * (len(window) - 1) // max(1, count - 1)] for number in range(count)]


def strip(seen: Seen, frames: Iterable[Image.Image]) -> Image.Image:
    """Frames of a clip (of ``picks``) as they would be trained, two in a row.

    Raises:
        DatasetError: the trainer never trains it.
    """
    if seen.fit is None:
        return render(seen)  # which says why there is nothing
    trained = [seen.fit.apply(frame) for frame in frames]
    width, height = (side + _GAP for side in seen.fit.target)
    across = min(2, len(trained))
    sheet = Image.new("RGB", (across * width - _GAP, math.ceil(len(trained) / across) * height - _GAP), _GROUND)
    for number, frame in enumerate(trained):
        sheet.paste(frame, (number % across * width, number // across * height))
    return sheet


def _mask(path: Path, item: str) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("L")
    except (OSError, SyntaxError, ValueError) as cause:
        raise InputError(f"The mask of '{item}' cannot be read: {cause}.", "Make it again.") from cause


def _darkened(trained: Image.Image, mask: Image.Image, fit: Fit) -> Image.Image:
    """The training picture, dark where the mask is black."""
    light = averaged(mask, fit.box, *trained.size)[..., None] * (1 - _DARK) + _DARK
    return Image.fromarray((np.asarray(trained) * light).round().astype(np.uint8))
