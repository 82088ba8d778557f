"""Many small values that a page shows a few of at a time, kept small between two looks at them."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

One = TypeVar("One")
_BLOCK: Final = 64  # values that are packed, and taken out, together
_LEVEL: Final = 1  # of zlib: a third larger than at its best, and five times as quick


class Packed(Generic[One]):
    """Values in their order, packed in blocks; what is taken out is made anew each time.

    Ten thousand pictures as one trainer sees them are 15 MB as objects, and less than one so. They are pickled here
    and read here alone, in memory, so nobody else's bytes are ever unpickled.
    """

    def __init__(self, values: Sequence[One]) -> None:
        self._count = len(values)
        self._blocks = [
            zlib.compress(pickle.dumps(list(values[at : at + _BLOCK]), pickle.HIGHEST_PROTOCOL), _LEVEL)
            for at in range(0, len(values), _BLOCK)
        ]

    def __len__(self) -> int:
        return self._count

    def at(self, places: Sequence[int]) -> list[One]:
        """The values at these places, in this order; places that follow each other are quick."""
        number, block, found = -1, list[One](), []
        for place in places:
            if place // _BLOCK != number:
                number = place // _BLOCK
                block = pickle.loads(zlib.decompress(self._blocks[number]))  # noqa: S301  packed above
            found.append(block[place % _BLOCK])
        return found

    @property
    def bytes(self) -> int:
        """How much memory they take."""
        return sum(map(len, self._blocks))
