"""What the sections of the page have in common: headings, tables, meters, pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from lorasmith.datasets.report.record import Severity, Thumbnail
from lorasmith.markup import Markup, element

WORDS: Final[Mapping[Severity, str]] = {"error": "error", "warning": "warning", "info": "note"}
"""A severity as people say it."""


def section(key: str, title: str, said: str, *content: Markup | None) -> Markup:
    """A part of the page, reached by ``#key``."""
    return element(
        "section",
        element("h2", title, id=f"{key}-title"),
        element("p", said, class_="lede"),
        *content,
        id=key,
        aria_labelledby=f"{key}-title",
    )


def counted(number: int, one: str, several: str = "") -> str:
    """A number with the word that agrees with it."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def pill(severity: Severity, words: str = "") -> Markup:
    """A severity as a coloured word; the word says it, not the colour alone."""
    return element("span", words or WORDS[severity], class_=f"pill {severity}")


def tile(name: str, value: str, note: str) -> Markup:
    """A figure that is seen from afar."""
    return element(
        "div", element("dt", name), element("dd", value, class_="value"), element("dd", note, class_="muted")
    )


def meter(share: float, *, tone: str = "") -> Markup:
    """A bar from 0 to 1, for the eye only: the figure stands beside it in words."""
    drawn = element("rect", width=100 * min(1.0, max(0.0, share)), height=8, class_=f"fill {tone}".strip())
    return element(
        "svg",
        element("rect", width=100, height=8, class_="track"),
        drawn if share > 0 else None,
        viewBox="0 0 100 8",
        preserveAspectRatio="none",
        class_="meter",
        aria_hidden="true",
    )


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str | Markup]], *, numbers: bool = True) -> Markup:
    """A table that scrolls by itself where it is too wide.

    Args:
        title: its caption.
        head: names of the columns.
        rows: their cells, the first of which names the row.
        numbers: whether the other columns are numbers.
    """
    kind = "number" if numbers else None
    names = [
        element("th", name, scope="col", class_=kind if index else None) if name else element("td")
        for index, name in enumerate(head)
    ]
    body = [
        element("tr", element("th", row[0], scope="row"), *(element("td", cell, class_=kind) for cell in row[1:]))
        for row in rows
    ]
    drawn = element(
        "table", element("caption", title), element("thead", element("tr", *names)), element("tbody", *body)
    )
    return element("div", drawn, class_="scroll", tabindex="0", role="region", aria_label=title)


def thumbnail_image(thumbnail: Thumbnail, alt: str, *, lazy: bool = True) -> Markup:
    """A thumbnail as an image element; an empty ``alt`` where the name stands beside it."""
    return element(
        "img",
        src=f"data:image/webp;base64,{thumbnail.data}",
        alt=alt,
        width=thumbnail.width,
        height=thumbnail.height,
        loading="lazy" if lazy else None,
        decoding="async",
    )
