"""Probabilities packed small: of each picture those above ``FLOOR``, four bytes for the tag and two for the number.

A picture has some hundred tags above the floor of the ten thousand that a model knows, so ten thousand pictures take a
few megabytes and are read at once as arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLOOR: Final = 0.02
"""Less probable tags are not kept; no threshold below it can be met."""
_STEPS: Final = 65535  # of a probability from 0 to 1


def pack(probabilities: NDArray[np.float32], always: NDArray[np.bool_]) -> bytes:
    """One picture's probabilities, (tags,). ``always`` marks tags that are kept however improbable: the ratings."""
    (indices,) = np.nonzero((probabilities >= FLOOR) | always)
    numbers = np.rint(probabilities[indices].astype(np.float64) * _STEPS)
    return indices.astype("<u4").tobytes() + numbers.astype("<u2").tobytes()


@dataclass(frozen=True)
class Rows:
    """The probabilities of several pictures, those of each together, by index of the tag."""

    row: NDArray[np.int64]
    """Which picture, ascending."""
    index: NDArray[np.int64]
    """Which tag; ascending within a picture."""
    value: NDArray[np.float32]
    count: int
    """Of pictures."""


def unpack(packed: Sequence[bytes]) -> Rows:
    """Several pictures at once.

    Raises:
        ValueError: these are no packed probabilities.
    """
    lengths = np.fromiter((len(one) for one in packed), np.int64, len(packed))
    if (lengths % 6).any():
        raise ValueError("packed probabilities are cut short")
    counts = lengths // 6
    index = np.frombuffer(b"".join(one[: len(one) // 6 * 4] for one in packed), "<u4")
    value = np.frombuffer(b"".join(one[len(one) // 6 * 4 :] for one in packed), "<u2")
    return Rows(
        row=np.repeat(np.arange(len(packed)), counts),
        index=index.astype(np.int64),
        value=value.astype(np.float32) / np.float32(_STEPS),
        count=len(packed),
    )
