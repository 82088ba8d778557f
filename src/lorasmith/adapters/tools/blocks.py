"""Choosing by block: ``{"mid_block*": 4, "*attn2*": 0.5}`` over the names of layers, and grouping layers for people."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from lorasmith.adapters.dialects.stems import DENOISER
from lorasmith.errors import AdapterError

T = TypeVar("T", int, float)

_BLOCK = re.compile(r"^((?:\w+\.)*?\w*(?:blocks|layers|refiner)\.\d+)(?:\.|$)")
_LARGEST = 1e6
"""Of a weight; useful ones are near 1."""
_UNET = re.compile(r"^((?:down_blocks|up_blocks)\.\d+|mid_block)\.")


def block_of(part: str, name: str) -> str:
    """The block a layer belongs to: ``transformer_blocks.3``, ``down_blocks.1``, ``text_encoder``, else ``outside``."""
    if part != DENOISER:
        return part
    found = _UNET.match(name) or _BLOCK.match(name)
    return found[1] if found else "outside"


def chosen(part: str, name: str, by_block: Mapping[str, T], otherwise: T) -> T:
    """The value of the last pattern that fits a layer's name, its part and name, or its block."""
    value = otherwise
    for pattern, given in by_block.items():
        names = (name, f"{part}.{name}", block_of(part, name), part)
        if any(fnmatch.fnmatchcase(text, pattern) for text in names):
            value = given
    return value


def refuse_beyond_measure(values: Iterable[float], what: str = "weight") -> None:
    """Refuse a weight or a factor that no LoRA has: fp32 cannot hold what it would make.

    Raises:
        AdapterError: one is not finite, or beyond all measure.
    """
    for value in values:
        if not abs(value) <= _LARGEST:
            raise AdapterError(f"{value:g} is no {what}.", "Give a number, often between 0 and 1.")


def refuse_idle(by_block: Mapping[str, T], layers: list[tuple[str, str]]) -> None:
    """Refuse a pattern that fits no layer, which is a slip of the pen.

    Raises:
        AdapterError: one does not.
    """
    for pattern in by_block:
        one: dict[str, int] = {pattern: 1}
        if not any(chosen(part, name, one, 0) for part, name in layers):
            blocks = list(dict.fromkeys(block_of(*layer) for layer in layers))
            raise AdapterError(
                f"No layer is called '{pattern}'.", f"There are {', '.join(blocks[:6])}{' ...' if blocks[6:] else ''}."
            )
