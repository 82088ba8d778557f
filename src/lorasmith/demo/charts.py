"""The loss curve, drawn as SVG by hand: axes, labels, and marks where something happened."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from lorasmith.demo.record import Curves
from lorasmith.markup import Markup, element, join

_WIDTH: Final = 760.0
_HEIGHT: Final = 320.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 54.0, 16.0, 34.0, 44.0
Point = tuple[int, float]


def loss_chart(curves: Curves) -> Markup:
    """Training loss (as measured, and smoothed), validation loss, and a line at every mark.

    The loss axis is logarithmic when the values span more than a factor of eight.
    """
    points = [*curves.loss, *curves.validation]
    if not points:
        return element("p", "No loss was recorded.", class_="muted")
    axes = _Axes(points)
    smooth = smoothed(curves.loss)
    last = f"It ends at {smooth[-1][1]:.3f} (smoothed)." if smooth else ""
    held_out = f" Validation loss ends at {curves.validation[-1][1]:.3f}." if curves.validation else ""
    return element(
        "svg",
        element("title", "Loss during training"),
        element("desc", f"Training loss over {axes.last} steps. {last}{held_out}"),
        axes.draw(),
        *(_mark(axes, step, words, row) for row, (step, words) in enumerate(curves.marks)),
        element("polyline", points=axes.path(curves.loss), class_="line raw"),
        element("polyline", points=axes.path(smooth), class_="line smooth"),
        element("polyline", points=axes.path(curves.validation), class_="line validation"),
        *(element("circle", cx=axes.x(s), cy=axes.y(v), r=3.5, class_="dot") for s, v in curves.validation),
        viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}",
        role="img",
        class_="chart",
    )


def smoothed(points: Sequence[Point], share: float = 0.06) -> list[Point]:
    """Running mean over a window of ``share`` of the points: single steps draw very different timesteps."""
    window = max(1, round(len(points) * share))
    answer: list[Point] = []
    for index, (step, _) in enumerate(points):
        values = [value for _, value in points[max(0, index - window) : index + window + 1]]
        answer.append((step, sum(values) / len(values)))
    return answer


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers between two ends."""
    if high <= low:
        return [low]
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


class _Axes:
    """Where values lie on the paper."""

    def __init__(self, points: Sequence[Point]) -> None:
        values = [value for _, value in points]
        self.last = max(1, *(step for step, _ in points))
        low, high = min(values), max(values)
        self._log = low > 0 and high / low > 8
        self._low = low / 1.15 if self._log else min(0.0, low)
        self._high = (high * 1.15 if self._log else high * 1.05) or 1.0

    def x(self, step: float) -> float:
        return _LEFT + step / self.last * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        if self._log:
            share = math.log(value / self._low) / math.log(self._high / self._low)
        else:
            share = (value - self._low) / (self._high - self._low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def path(self, points: Sequence[Point]) -> str:
        return " ".join(f"{self.x(step):.1f},{self.y(value):.1f}" for step, value in points)

    def draw(self) -> Markup:
        parts: list[Markup] = []
        for value in self._value_ticks():
            y = self.y(value)
            parts.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="rule"))
            parts.append(element("text", f"{value:.3g}", x=_LEFT - 8, y=y + 4, class_="tick", text_anchor="end"))
        for step in ticks(0, self.last, 6):
            x = self.x(step)
            parts.append(
                element("text", f"{step:,.0f}", x=x, y=_HEIGHT - _BOTTOM + 18, class_="tick", text_anchor="middle")
            )
        middle = _LEFT + (_WIDTH - _LEFT - _RIGHT) / 2
        parts.append(element("text", "optimizer steps", x=middle, y=_HEIGHT - 6, class_="tick", text_anchor="middle"))
        label = "loss (logarithmic)" if self._log else "loss"
        parts.append(element("text", label, x=8, y=16, class_="tick"))
        return join(*parts)

    def _value_ticks(self) -> list[float]:
        if not self._log:
            return ticks(self._low, self._high)
        first, last = math.floor(math.log10(self._low)), math.ceil(math.log10(self._high))
        values = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
        return [value for value in values if self._low <= value <= self._high]


def _mark(axes: _Axes, step: int, words: str, row: int) -> Markup:
    x = axes.x(step)
    side = "end" if x > _WIDTH * 0.62 else "start"
    offset = -7 if side == "end" else 7
    return join(
        element("line", x1=x, x2=x, y1=_TOP - 12, y2=_HEIGHT - _BOTTOM, class_="mark"),
        element("text", words, x=x + offset, y=_TOP - 2 + 16 * row, class_="mark-words", text_anchor=side),
    )
