"""From the bytes of a caption file to its text."""

from __future__ import annotations

import codecs
from typing import Final

_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8 with a byte order mark"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)


def decode_caption(content: bytes) -> tuple[str, str]:
    """The text of a caption file without its last newlines, and in words its encoding when that is not plain UTF-8.

    Raises:
        ValueError: the bytes are no text.
    """
    encoding, said = "utf-8", ""
    for mark, name, words in _BOMS:
        if content.startswith(mark):
            encoding, said = name, words
            break
    else:
        order = _unmarked_utf16(content)
        if order:
            encoding, said = order, "UTF-16 without a byte order mark"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as cause:
        if encoding != "utf-8":
            raise ValueError(f"it is not valid {said}") from cause
        try:
            text, said = content.decode("cp1252"), "Windows-1252"
        except UnicodeDecodeError:
            raise ValueError("it is neither UTF-8, UTF-16 nor Windows-1252 text") from cause
    if "\x00" in text:
        raise ValueError("it holds NUL characters, as no text does")
    return text.rstrip("\r\n"), said


def _unmarked_utf16(content: bytes) -> str:
    """Which UTF-16 it is when every second byte is zero, as in Western text; empty when it is not."""
    if len(content) % 2 or len(content) < 4:
        return ""
    even, odd = content[0::2].count(0), content[1::2].count(0)
    enough = 0.6 * len(content) / 2
    if odd > enough and not even:
        return "utf-16-le"
    return "utf-16-be" if even > enough and not odd else ""
