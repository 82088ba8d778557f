"""Captions as people write them: tags, prose or both. Editing touches what it names and nothing else.

A tag is a stretch between commas; a comma inside escaped parentheses (``artist \\(a, b\\)``) belongs to its tag.
Lines are kept apart. Functions return the caption itself, byte for byte, when there is nothing to do.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Sequence
from typing import Final

from lorasmith.errors import ConfigError

_ERROR_TEXTS: Final = re.compile(
    r"^\W*(error generating caption|caption(ing)? (generation )?failed|traceback \(most recent call last\)"
    r"|i'?m sorry|i am sorry|i cannot|i can'?t (assist|help|describe)|as an ai\b|cuda out of memory)",
    re.IGNORECASE,
)
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


def split_tags(caption: str) -> list[str]:
    """The tags of a caption in order, without surrounding space; empty stretches are dropped."""
    return [tag for line in caption.splitlines() for part in _parts(line) if (tag := part.strip())]


def join_tags(tags: Iterable[str]) -> str:
    """Tags as one line; the inverse of ``split_tags`` for tags without bare commas."""
    return ", ".join(tags)


def remove_tags(caption: str, tags: Sequence[str]) -> str:
    """The caption without the tags that equal one of ``tags`` exactly; all others keep their spelling and spacing.

    A line that held nothing else goes with its last tag.
    """
    unwanted = {tag.strip() for tag in tags} - {""}
    lines: list[str] = []
    for line in caption.splitlines(keepends=True):
        body = line.rstrip("\r\n")
        parts = _parts(body)
        kept = [part for part in parts if part.strip() not in unwanted]
        if len(kept) == len(parts):
            lines.append(line)
        elif any(part.strip() for part in kept):
            if kept[0] is not parts[0]:
                kept[0] = kept[0].lstrip()
            lines.append(",".join(kept) + line[len(body) :])
    edited = "".join(lines)
    ends_as_before = caption.endswith(("\n", "\r")) or not lines or lines[-1] == caption.splitlines(keepends=True)[-1]
    return edited if ends_as_before else edited.rstrip("\r\n")


def has_word(caption: str, word: str) -> bool:
    """Whether the word stands in the caption as a word of its own, in a tag or in prose, in any case."""
    return count_word(caption, word) > 0


def count_word(caption: str, word: str) -> int:
    """How often ``has_word`` is true of it: ``zib`` stands in ``a zib, left`` and not in ``zibra``."""
    wanted = word.strip()
    if not wanted:
        return 0
    return len(re.findall(rf"(?<!\w){re.escape(wanted)}(?!\w)", caption, re.IGNORECASE))


def add_trigger_word(caption: str, word: str) -> str:
    """The caption with the trigger word in front, or unchanged when it already holds the word.

    Raises:
        ConfigError: the word is empty or has more than one line.
    """
    wanted = word.strip()
    if not wanted or len(wanted.splitlines()) > 1:
        raise ConfigError("A trigger word is one or more words on one line.", "Give a rare word such as 'ohwx'.")
    if has_word(caption, wanted):
        return caption
    return f"{wanted}, {caption}" if caption.strip() else wanted


def looks_like_error(caption: str) -> bool:
    """Whether a program's excuse was saved in place of a caption ("Error generating caption ...")."""
    return _ERROR_TEXTS.search(caption) is not None


def _parts(line: str) -> list[str]:
    """A line cut at commas outside of ``\\(...\\)``; joined with commas it is the line again."""
    parts: list[str] = []
    start = position = 0
    while position < len(line):
        if line.startswith("\\(", position):
            closing = line.find("\\)", position + 2)
            position = closing + 2 if closing >= 0 else position + 2
        elif line[position] == ",":
            parts.append(line[start:position])
            start = position = position + 1
        else:
            position += 1
    parts.append(line[start:])
    return parts
