"""Figures as pictures: bars and histograms as SVG for reports.

Each names itself and says in words what it shows, for those who do not see it; every bar says its own figure. Colours
are CSS variables, so that a page is light or dark as a whole; without any of a page, ``CHART_STYLE`` sets both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

from lorasmith.datasets.distributions import Histogram
from lorasmith.markup import Markup, element, verbatim

CHART_STYLE: Final = verbatim(
    ".chart{--chart-ink:var(--ink,#1b1f24);--chart-quiet:var(--quiet,#59636e);--chart-bar:var(--accent,#0969da);"
    "--chart-line:var(--line,#d1d9e0);max-width:100%;height:auto;font:12px system-ui,sans-serif}"
    "@media (prefers-color-scheme:dark){.chart{--chart-ink:var(--ink,#f0f6fc);--chart-quiet:var(--quiet,#9198a1);"
    "--chart-bar:var(--accent,#4493f8);--chart-line:var(--line,#3d444d)}}"
    ".chart text{fill:var(--chart-ink)}.chart .quiet{fill:var(--chart-quiet)}"
    ".chart rect{fill:var(--chart-bar)}.chart line{stroke:var(--chart-line)}"
)
"""Once per page, inside ``<style>``."""

_WIDTH: Final = 640
_ROW: Final = 22  # pixels from one bar to the next
_LABEL: Final = 200  # pixels for the names of bars
_NUMBER: Final = 60
_HEIGHT: Final = 220
_SHOWN_LETTERS: Final = 30
_TOP: Final = 22
_BOTTOM: Final = 24


def bar_chart(title: str, bars: Sequence[tuple[str, float]], *, unit: str = "pictures") -> Markup:
    """Horizontal bars with their names, one under the other, in the order given.

    Args:
        title: what is shown, e.g. "Most frequent tags".
        bars: name and figure, at least 0.
        unit: what the figures count.
    """
    height = max(_ROW, _ROW * len(bars))
    longest = max((figure for _, figure in bars), default=0.0) or 1.0
    room = _WIDTH - _LABEL - _NUMBER
    drawn: list[Markup] = []
    for index, (name, figure) in enumerate(bars):
        top = index * _ROW
        width = room * figure / longest
        drawn.append(
            element(
                "g",
                element("title", f"{name}: {_said(figure)} {unit}"),
                element("text", _short(name), x=_LABEL - 8, y=top + 15, text_anchor="end"),
                element("rect", x=_LABEL, y=top + 4, width=width, height=_ROW - 8, rx=2),
                element("text", _said(figure), x=_LABEL + width + 6, y=top + 15, class_="quiet"),
            )
        )
    listed = ", ".join(f"{name} {_said(figure)}" for name, figure in bars[:10])
    more = f", and {len(bars) - 10} more" if len(bars) > 10 else ""
    return _svg(title, f"In {unit}: {listed}{more}." if bars else "Nothing to show.", height, drawn)


def histogram_chart(
    title: str,
    histogram: Histogram,
    *,
    unit: str = "pictures",
    edge: Callable[[float], str] | None = None,
) -> Markup:
    """Upright bars, one per bin, with its edges under it.

    Args:
        title: what is shown, e.g. "Words per caption".
        histogram: bins of any width; all are drawn equally wide.
        unit: what is counted.
        edge: how an edge is written; left out, as a number of at most four digits.
    """
    write = edge or _said
    counts = histogram.counts
    tallest = max(counts, default=0) or 1
    wide = _WIDTH / max(1, len(counts))
    floor = _HEIGHT - _BOTTOM
    every = 1 + len(counts) // 12  # so that edges do not write over each other
    drawn: list[Markup] = [element("line", x1=0, y1=floor, x2=_WIDTH, y2=floor)]
    for index, count in enumerate(counts):
        tall = (floor - _TOP) * count / tallest
        left = index * wide
        drawn.append(
            element(
                "g",
                element("title", f"{_bin(histogram, index, write)}: {count} {unit}"),
                element("rect", x=left + 1, y=floor - tall, width=max(1.0, wide - 2), height=tall),
                element("text", f"{count}", x=left + wide / 2, y=floor - tall - 5, text_anchor="middle", class_="quiet")
                if count
                else None,
            )
        )
        low = histogram.edges[index]
        if index % every == 0 and low is not None:
            drawn.append(element("text", write(low), x=left + 1, y=_HEIGHT - 8))
    return _svg(title, _summary(histogram, unit, write), _HEIGHT, drawn)


def _svg(title: str, description: str, height: float, drawn: Sequence[Markup]) -> Markup:
    key = hashlib.sha256(f"{title}\0{description}".encode("utf-8", "replace")).hexdigest()[:12]
    return element(
        "svg",
        element("title", title, id=f"chart-{key}-title"),
        element("desc", description, id=f"chart-{key}-desc"),
        *drawn,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_WIDTH} {height:g}",
        width=_WIDTH,
        height=height,
        class_="chart",
        role="img",
        aria_labelledby=f"chart-{key}-title chart-{key}-desc",
    )


def _summary(histogram: Histogram, unit: str, write: Callable[[float], str]) -> str:
    total = sum(histogram.counts)
    if not total:
        return "Nothing to show."
    most = max(range(len(histogram.counts)), key=histogram.counts.__getitem__)
    return (
        f"{total} {unit} in {len(histogram.counts)} bins. "
        f"Most, {histogram.counts[most]}, are {_bin(histogram, most, write)}."
    )


def _bin(histogram: Histogram, index: int, write: Callable[[float], str]) -> str:
    low, high = histogram.edges[index], histogram.edges[index + 1]
    assert low is not None, "only the last edge is open"
    return f"{write(low)} or more" if high is None else f"from {write(low)} to below {write(high)}"


def _said(number: float) -> str:
    return f"{number:.0f}" if number == int(number) else f"{number:.4g}"


def _short(name: str) -> str:
    return name if len(name) <= _SHOWN_LETTERS else f"{name[: _SHOWN_LETTERS - 1]}…"
