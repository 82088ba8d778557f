"""The memory of a step with references, from that of a step without them.

What a transformer keeps of a step grows with the tokens it sees, and nothing else does: the figures of FLUX.1 at 512
and at 1024 pixels lie on one line (1,536 and 4,608 tokens). So the line is drawn through the known case and what a step
takes with no tokens at all: weights in bf16, and what libraries, adapter and optimizer take. Computed, like the figures
it starts from, and not measured on a card.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_BYTES: Final = 2  # of a parameter in bf16
_SPARE: Final = 1.05  # an allocator cannot use all it holds
_REST: Final = 1.1  # GiB of libraries, adapter and optimizer


def with_references(
    known: tuple[float, float], *, billions: float, tokens: int, further: Mapping[str, int]
) -> Mapping[str, tuple[float, float]]:
    """GiB without and with gradient checkpointing, by case.

    Args:
        known: of the case without references.
        billions: parameters of the denoiser.
        tokens: that it sees in the known case.
        further: tokens that references add, by case.
    """
    fixed = _SPARE * billions * 1e9 * _BYTES / 2**30 + _REST
    plain, checkpointed = known

    def grown(needed: float, more: int) -> float:
        return round(fixed + (needed - fixed) * (tokens + more) / tokens, 1)

    return MappingProxyType({case: (grown(plain, more), grown(checkpointed, more)) for case, more in further.items()})


def picture_tokens(side: int) -> int:
    """Tokens of a square picture whose latents of 8 pixels are packed two by two."""
    return (side // 16) ** 2


def seen_tokens(side: int) -> int:
    """Tokens that Qwen2.5-VL makes of a square picture, which its prompt then holds: 28 pixels to one."""
    return round(side / 28) ** 2
