"""Many small values that a page shows a few of at a time, kept small between two looks at them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

from pydantic import ConfigDict, RootModel

One = TypeVar("One")
_BLOCK: Final = 64  # values that are packed, and taken out, together
_LEVEL: Final = 1  # of zlib: a tenth larger than at its best, and more than twice as quick


class _Block(RootModel[list[One]], Generic[One]):
    """What is packed together, as JSON that only becomes values of one kind again."""

    model_config = ConfigDict(ser_json_inf_nan="constants")


class Packed(Generic[One]):
    """Values of one dataclass in their order, packed in blocks; what is taken out is made anew each time.

    Ten thousand pictures as one trainer sees them are 17 MB as objects and 1 MB so (``bench/looks.py``).
    """

    def __init__(self, kind: type[One], values: Sequence[One]) -> None:
        self._count = len(values)
        self._kind = _Block[kind]  # type: ignore[valid-type]  # a model of just this kind
        self._blocks = [self._pack(values[at : at + _BLOCK]) for at in range(0, len(values), _BLOCK)]

    def _pack(self, values: Sequence[One]) -> bytes:
        return zlib.compress(self._kind.model_construct(list(values)).model_dump_json().encode(), _LEVEL)

    def __len__(self) -> int:
        return self._count

    def at(self, places: Sequence[int]) -> list[One]:
        """The values at these places, in this order; places that follow each other are quick."""
        number, block, found = -1, list[One](), []
        for place in places:
            if place // _BLOCK != number:
                number = place // _BLOCK
                block = self._kind.model_validate_json(zlib.decompress(self._blocks[number])).root
            found.append(block[place % _BLOCK])
        return found

    @property
    def bytes(self) -> int:
        """How much memory they take."""
        return sum(map(len, self._blocks))
