"""What the sections of the page are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lorasmith.demo.record import Shown
from lorasmith.markup import Child, Markup, element, join, picture


def section(name: str, title: str, words: str, *children: Child) -> Markup:
    """A part of the page with its heading and a sentence or two."""
    heading = element("h2", title, id=f"{name}-title")
    return element(
        "section", heading, element("p", words, class_="words"), *children, id=name, aria_labelledby=f"{name}-title"
    )


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Child]], *, scroll: bool = False) -> Markup:
    """A table; with ``scroll`` one that can be wider than the page and is moved with the keyboard, too."""
    head = element("tr", *(element("th", column, scope="col") if column else element("td") for column in columns))
    body = [element("tr", *(element("td", cell) for cell in row)) for row in rows]
    whole = element("table", element("caption", caption), element("thead", head), element("tbody", *body))
    inside = {"tabindex": "0", "role": "region", "aria_label": caption} if scroll else {}
    return element("div", whole, class_="scroll", **inside)


def facts(pairs: Iterable[tuple[str, Child]]) -> Markup:
    """Names with their values."""
    return element("dl", *(join(element("dt", name), element("dd", value)) for name, value in pairs), class_="facts")


def pill(words: str, tone: str) -> Markup:
    """A word or two that can be seen from afar; the words say all that the colour does."""
    return element("span", words, class_=f"pill {tone}")


def strip(pictures: Sequence[Shown], *, side: int = 64) -> Markup | None:
    """A row of small pictures; their names are told to who cannot see them."""
    if not pictures:
        return None
    shown = [element("li", picture(one.picture, one.name, side=side, class_="thumb")) for one in pictures]
    return element("ul", *shown, class_="strip")
