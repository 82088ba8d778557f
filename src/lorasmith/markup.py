"""HTML by construction: every text and attribute is escaped unless it was built here.

Captions and file names come from strangers, so there is no other way to put text into the page.
"""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL.Image import Image

_VOID: Final = frozenset({"img", "input", "meta", "link", "br", "hr", "line", "rect", "circle", "path", "polyline"})
_DIRECTIONS: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Markup(str):
    """Text that is already HTML. Only this module makes it."""

    __slots__ = ()

    def __html__(self) -> str:
        """What templates ask for, so that they do not escape it once more."""
        return str(self)


Child = str | None


def element(name: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """``<name ...>children</name>``; plain strings are escaped, None is nothing.

    Attribute names lose a trailing underscore and have dashes for underscores (``class_``, ``aria_label``);
    an attribute that is None is left out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{written}/>")  # inside SVG nothing is void by itself
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: Child) -> Markup:
    """Children one after the other."""
    return Markup("".join(child if isinstance(child, Markup) else escape(child) for child in children if child))


def escape(text: str) -> Markup:
    """Text as HTML, made ``visible`` first."""
    return Markup(html.escape(visible(text)))


def visible(text: str) -> str:
    """Text that is what it looks like: control characters, and those that turn the direction of writing, become U+FFFD,
    and halves of surrogate pairs ``?``."""
    shown = "".join("\ufffd" if (c < " " and c not in "\n\t") or c in _DIRECTIONS else c for c in text)
    return shown.encode("utf-8", "replace").decode("utf-8")


def verbatim(stylesheet: str) -> Markup:
    """Our own stylesheet as it is. Nothing from outside may come here."""
    return Markup(stylesheet)


def picture(image: Image, alt: str, *, side: int | None = None, class_: str | None = None) -> Markup:
    """An image element that carries its picture inside; ``side`` bounds the longer side in pixels."""
    if side is not None and max(image.size) > side:
        image = image.copy()
        image.thumbnail((side, side))
    stream = io.BytesIO()
    image.convert("RGB").save(stream, format="WEBP", quality=86, method=4)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return element(
        "img",
        src=f"data:image/webp;base64,{data}",
        alt=alt,
        width=image.width,
        height=image.height,
        class_=class_,
    )


def _number(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
