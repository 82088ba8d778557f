"""The growth plot: seconds and megabytes against the number of items, both axes logarithmic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from lorasmith.markup import Markup, element, verbatim

Series = Mapping[str, Sequence[tuple[int, float]]]
"""By name: pairs of items and what they took, ascending."""

WIDTH: Final = 900
LEFT: Final = 70
RIGHT: Final = 640  # behind it the names of the lines
SECONDS: Final = (64, 424)  # top and floor of a panel, pixels
MEMORY: Final = (490, 640)
HEIGHT: Final = 690
LINE_APART: Final = 17  # pixels between two names
LIGHT: Final = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#bf3989", "#8a5d00", "#0b7285", "#57606a")
DARK: Final = ("#4493f8", "#f0883e", "#3fb950", "#a371f7", "#f778ba", "#d29922", "#39c5cf", "#9da7b1")
STYLE: Final = verbatim(
    "svg{--ground:#fff;--ink:#1b1f24;--quiet:#59636e;--line:#d1d9e0;font:13px system-ui,sans-serif;"
    + "".join(f"--c{n}:{color};" for n, color in enumerate(LIGHT))
    + "}@media (prefers-color-scheme:dark){svg{--ground:#0d1117;--ink:#f0f6fc;--quiet:#9198a1;--line:#3d444d;"
    + "".join(f"--c{n}:{color};" for n, color in enumerate(DARK))
    + "}}text{fill:var(--ink)}.quiet{fill:var(--quiet)}.title{font-size:16px;font-weight:600}"
    ".ground{fill:var(--ground)}.grid{stroke:var(--line)}.fair{stroke:var(--quiet);stroke-dasharray:3 5}"
    "polyline{fill:none;stroke-width:2}"
    + "".join(
        f".c{n}{{stroke:var(--c{n})}}text.c{n},circle.c{n}{{fill:var(--c{n});stroke:none}}" for n in range(len(LIGHT))
    )
)


def growth_chart(seconds: Series, megabytes: Series, note: str) -> Markup:
    """One SVG that is legible on a light and on a dark ground.

    Args:
        seconds: of processor time, by operation; at most eight.
        megabytes: above the base, by what is measured.
        note: where and when it was measured.
    """
    described = "; ".join(
        f"{name}: " + ", ".join(f"{figure:.3g} {unit} at {count:,}" for count, figure in points)
        for group, unit in ((seconds, "s"), (megabytes, "MB"))
        for name, points in group.items()
    )
    return element(
        "svg",
        element("title", "How a dataset's operations grow with its items", id="title"),
        element("desc", f"{described}.", id="desc"),
        element("style", STYLE),
        element("rect", width=WIDTH, height=HEIGHT, class_="ground"),
        element("text", "How it grows: processor seconds, by number of items", x=LEFT, y=26, class_="title"),
        element("text", "dashed: in proportion to the items", x=LEFT, y=46, class_="quiet"),
        *_panel(seconds, SECONDS, "s"),
        element("text", "Memory above the base, megabytes", x=LEFT, y=MEMORY[0] - 16, class_="title"),
        *_panel(megabytes, MEMORY, "MB"),
        element("text", note, x=LEFT, y=HEIGHT - 10, class_="quiet", font_size=11),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        width=WIDTH,
        height=HEIGHT,
        role="img",
        aria_labelledby="title desc",
    )


def _panel(series: Series, place: tuple[int, int], unit: str) -> list[Markup]:
    top, floor = place
    counts = sorted({count for points in series.values() for count, _ in points})
    figures = [max(figure, 1e-4) for points in series.values() for _, figure in points]
    low, high = math.floor(math.log10(min(figures))), math.ceil(math.log10(max(figures)))
    high = max(high, low + 1)
    first, last = math.log10(counts[0]), math.log10(counts[-1])

    def x(count: float) -> float:
        return LEFT + (RIGHT - LEFT) * ((math.log10(count) - first) / (last - first) if last > first else 0.5)

    def y(figure: float) -> float:
        return floor - (floor - top) * (math.log10(max(figure, 1e-4)) - low) / (high - low)

    drawn: list[Markup] = []
    for power in range(low, high + 1):
        level = y(10.0**power)
        drawn.append(element("line", x1=LEFT, y1=level, x2=RIGHT, y2=level, class_="grid"))
        said = f"{10.0**power:g} {unit}"
        drawn.append(element("text", said, x=LEFT - 8, y=level + 4, text_anchor="end", class_="quiet"))
    for count in counts:
        drawn.append(element("line", x1=x(count), y1=top, x2=x(count), y2=floor, class_="grid"))
        drawn.append(element("text", f"{count:,}", x=x(count), y=floor + 20, text_anchor="middle", class_="quiet"))
    steps = min(high - low, last - first)  # decades that a line in proportion crosses before it leaves the panel
    drawn.append(element("line", x1=x(counts[0]), y1=y(10.0**low), x2=x(10 ** (first + steps)),
                         y2=y(10 ** (low + steps)), class_="fair"))  # fmt: skip
    ends: list[tuple[float, str, int]] = []
    for number, (name, points) in enumerate(series.items()):
        class_ = f"c{number % len(LIGHT)}"
        line = " ".join(f"{x(count):.1f},{y(figure):.1f}" for count, figure in points)
        drawn.append(element("polyline", points=line, class_=class_))
        drawn += [element("circle", cx=x(count), cy=y(figure), r=3, class_=class_) for count, figure in points]
        ends.append((y(points[-1][1]), f"{name} {points[-1][1]:.3g} {unit}", number))
    drawn += _names(ends, floor)
    return drawn


def _names(ends: Sequence[tuple[float, str, int]], floor: float) -> list[Markup]:
    """The name of each line at its end; moved apart where lines end close to each other."""
    ordered = sorted(ends, reverse=True)
    levels: list[float] = []
    for level, _, _ in ordered:
        levels.append(min(level, levels[-1] - LINE_APART) if levels else min(level, floor))
    return [
        element("text", said, x=RIGHT + 12, y=level + 4, class_=f"c{number % len(LIGHT)}")
        for level, (_, said, number) in zip(levels, ordered, strict=True)
    ]
