"""Which of several pictures of the same thing to keep, and why in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from lorasmith.datasets.manifest import Item
from lorasmith.datasets.signals.values import SIDE, Signals

_AS_SHARP: Final = 1.15
"""Ratio of sharpness up to which two pictures count as equally sharp: about what saving again changes."""


def choose_keeper(candidates: Sequence[int], items: Sequence[Item], signals: Mapping[str, Signals]) -> tuple[int, str]:
    """The best of some items, as its index, and the reason: what told it from the last ones that it was up against.

    In this order: large enough for sharpness to be compared, sharpest, not enlarged, most pixels, longest caption,
    sharpest by little, first in the version. Without signals the first three are left out.
    """
    left = list(candidates)
    if all(items[i].image in signals for i in left):
        measured = {i: signals[items[i].image] for i in left}
        steps: list[Callable[[list[int]], tuple[list[int], str]]] = [
            lambda some: _large_enough(some, items),
            lambda some: _sharpest(some, measured),
            lambda some: _not_enlarged(some, measured),
        ]
    else:
        steps = []
    steps += [lambda some: _largest(some, items), lambda some: _captioned(some, items)]
    for step in steps:
        remaining, reason = step(left)
        if len(remaining) == 1 < len(left):
            return remaining[0], reason
        left = remaining
    best = min(left, key=lambda i: (-signals[items[i].image].sharpness if items[i].image in signals else 0.0, i))
    return best, "as good as any of them" if len(candidates) > 1 else "the only one"


def best_first(indices: Sequence[int], items: Sequence[Item], signals: Mapping[str, Signals]) -> list[int]:
    """The same preferences as one order, in which groups are begun: by sharpness alone where it can be compared."""

    def preference(i: int) -> tuple[bool, float, int, int, int]:
        item, measured = items[i], signals[items[i].image]
        return (
            max(item.width, item.height) < SIDE,
            -measured.sharpness,
            -item.width * item.height,
            -len(item.caption.strip()),
            i,
        )

    return sorted(indices, key=preference)


def _large_enough(left: list[int], items: Sequence[Item]) -> tuple[list[int], str]:
    """A picture under 512 pixels is measured at its own size, where it looks sharper than it is."""
    large = [i for i in left if max(items[i].width, items[i].height) >= SIDE]
    if not large:
        return left, ""
    return large, f"the only one of {SIDE} pixels or more"


def _sharpest(left: list[int], measured: Mapping[int, Signals]) -> tuple[list[int], str]:
    top = max(measured[i].sharpness for i in left)
    sharp = [i for i in left if measured[i].sharpness * _AS_SHARP >= top]
    next_best = max((m for i in left if (m := measured[i].sharpness) * _AS_SHARP < top), default=0.0)
    return sharp, f"the sharpest ({top:.0f} to {next_best:.0f})"


def _not_enlarged(left: list[int], measured: Mapping[int, Signals]) -> tuple[list[int], str]:
    own = [i for i in left if not measured[i].is_upscaled]
    return own or left, "the only one that is not enlarged"


def _largest(left: list[int], items: Sequence[Item]) -> tuple[list[int], str]:
    most = max(items[i].width * items[i].height for i in left)
    large = [i for i in left if items[i].width * items[i].height == most]
    return large, f"the largest ({items[large[0]].width} x {items[large[0]].height})"


def _captioned(left: list[int], items: Sequence[Item]) -> tuple[list[int], str]:
    longest = max(len(items[i].caption.strip()) for i in left)
    some = [i for i in left if len(items[i].caption.strip()) == longest]
    alone = not any(0 < len(items[i].caption.strip()) < longest for i in left)
    return some, "the only one with a caption" if alone else "the longest caption"
