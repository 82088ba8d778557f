"""Whether two pictures that a perceptual hash takes for one another have the same colours, too.

The hash sees where a picture is lighter than its median and nothing else, so a white star on green and one on red are
one picture to it. Here a picture is the mean colours of 6 x 6 fields, 108 bytes. Two of them are compared after one was
made as light as the other, which brightening a copy does not undo; then the mean difference of levels tells, and the
largest difference in hue of any field, which a small figure in another colour cannot hide from.

Measured on generated photographs and drawings (``bench/datasets/signals.py``): copies saved as JPEG 30, made smaller,
darker or marked with text differ by 3 levels at most and in no field by more than 7 in hue; of drawings with one shape
and other colours 2 in 520 come that close.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from lorasmith.datasets.signals.values import Signals

SIDE: Final = 6
_PIECE: Final = 8192
"""Pairs compared in one go: 108 floats each."""
_LIGHTER: Final = (0.75, 1.33)
"""How far the light of two copies may differ; what is farther apart is another exposure, not a copy."""
SAME: Final = (5.0, 12.0)
"""Levels of 255: the mean over fields and channels, and the largest difference in hue, up to which colours are the
same."""
ALIKE: Final = (10.0, 18.0)
"""The same up to which they are alike, as in the frames of a burst, or in a copy with stronger colours."""
_HUE: Final = np.array([[-0.168736, 0.5], [-0.331264, -0.418688], [0.5, -0.081312]], np.float32)
"""Cb and Cr of ITU-R BT.601, as in JPEG."""
_LIGHT: Final = np.array([0.299, 0.587, 0.114], np.float32)

Fields = NDArray[np.uint8]
"""(n, 6, 6, 3)"""


def colours_of(image: Image.Image) -> bytes:
    """The mean colours of 6 x 6 fields of an RGB picture, row by row: 108 bytes."""
    return image.resize((SIDE, SIDE), Image.Resampling.BOX).tobytes()


class Colours:
    """The colours of many pictures, in a fixed order; places in that order stand for them."""

    def __init__(self, signals: Sequence[Signals]) -> None:
        self._fields = np.frombuffer(b"".join(one.colours for one in signals), np.uint8).reshape(-1, SIDE, SIDE, 3)
        self._gray = np.array([one.is_gray for one in signals], np.bool_)

    def same(self, i: NDArray[np.intp], j: NDArray[np.intp], *, turn: int = 0) -> NDArray[np.bool_]:
        """Whether the pictures of each pair have the same colours, the second one turned."""
        return self._within(i, j, SAME, turn)

    def alike(self, i: NDArray[np.intp], j: NDArray[np.intp], *, turn: int = 0) -> NDArray[np.bool_]:
        """Whether they are alike in colour, or one is gray and as light everywhere as the other."""
        return self._within(i, j, ALIKE, turn) | self._gray_copy(i, j, turn)

    def _within(
        self, i: NDArray[np.intp], j: NDArray[np.intp], limits: tuple[float, float], turn: int
    ) -> NDArray[np.bool_]:
        verdicts = np.zeros(i.size, np.bool_)
        for at in range(0, i.size, _PIECE):
            part = slice(at, at + _PIECE)
            apart = self._apart(i[part], j[part], turn)
            hue = np.hypot(*np.moveaxis(apart @ _HUE, -1, 0)).max(axis=(1, 2))
            verdicts[part] = (np.abs(apart).mean(axis=(1, 2, 3)) <= limits[0]) & (hue <= limits[1])
        return verdicts

    def _gray_copy(self, i: NDArray[np.intp], j: NDArray[np.intp], turn: int) -> NDArray[np.bool_]:
        verdicts: NDArray[np.bool_] = self._gray[i] != self._gray[j]
        some = np.flatnonzero(verdicts)
        for at in range(0, some.size, _PIECE):
            part = some[at : at + _PIECE]
            verdicts[part] = np.abs(self._apart(i[part], j[part], turn) @ _LIGHT).mean(axis=(1, 2)) <= SAME[0]
        return verdicts

    def _apart(self, i: NDArray[np.intp], j: NDArray[np.intp], turn: int) -> NDArray[np.float32]:
        """Differences of pairs, shape (pairs, 6, 6, 3), the first made as light as the second."""
        one = self._fields[i].astype(np.float32)
        other = turned(self._fields[j], turn).astype(np.float32)
        lights = [(fields @ _LIGHT).mean(axis=(1, 2)) + 1 for fields in (one, other)]
        gain = np.clip(lights[1] / lights[0], *_LIGHTER)[:, None, None, None]
        apart: NDArray[np.float32] = one * gain - other
        return apart


def turned(fields: Fields, turn: int) -> Fields:
    """Fields of pictures turned as ``phash.orientations`` counts: 0 as they are, 1 mirrored, ... 7 a quarter left."""
    across = (0, 2, 1, 3)
    ways = (
        fields, fields[:, :, ::-1], fields[:, ::-1, ::-1], fields[:, ::-1],
        fields.transpose(across), fields[:, ::-1].transpose(across),
        fields[:, ::-1, ::-1].transpose(across), fields[:, :, ::-1].transpose(across),
    )  # fmt: skip
    return ways[turn]
