"""When two tags count as the same, and which tags a wildcard names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import TypeVar

from lorasmith.datasets.captions.kaomoji import is_kaomoji

T = TypeVar("T")


class _Memory(dict[str, T]):
    def __init__(self, function: Callable[[str], T]) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, key: str) -> T:
        value = self[key] = self._function(key)
        return value


def remember(function: Callable[[str], T]) -> Callable[[str], T]:
    """The function with a memory of its own: datasets repeat their tags. For pure functions of a tag."""
    return _Memory(function).__getitem__


def fold(text: str) -> str:
    """Text as it is compared: without regard to case, and to how its accents are encoded."""
    return text.casefold() if text.isascii() else unicodedata.normalize("NFC", text.casefold())


def same_spelling(tag: str) -> str:
    r"""What the variants of a tag have in common: case, blanks, underscores and escapes of parentheses do not count.

    ``Poster_\(object\)`` and ``poster (object)`` are one tag. Faces are told apart by all of their signs.
    """
    if is_kaomoji(tag):
        return tag
    if "\\" in tag:
        tag = tag.replace("\\(", "(").replace("\\)", ")")
    return " ".join(fold(tag.replace("_", " ")).split())


def one_of(tags: Iterable[str], *, loosely: bool) -> Callable[[str], bool]:
    """Whether a tag is one of ``tags``; ``loosely``: in any spelling of it."""
    if not loosely:
        return frozenset(tags).__contains__
    wanted = {same_spelling(tag) for tag in tags}
    return remember(lambda tag: same_spelling(tag) in wanted)


def matcher(patterns: Iterable[str], *, loosely: bool) -> Callable[[str], bool]:
    """Whether a tag is one of the patterns, in which ``*`` stands for any text and ``?`` for one sign.

    Args:
        patterns: tags; one that names itself exactly is found even when it holds a ``*`` or ``?``.
        loosely: whether case, blanks and underscores do not count.
    """
    spell = same_spelling if loosely else str
    exact = {spell(pattern) for pattern in patterns}
    wild = [_wildcard(pattern) for pattern in sorted(exact) if "*" in pattern or "?" in pattern]
    return remember(lambda tag: spell(tag) in exact or any(w.fullmatch(spell(tag)) for w in wild))


def _wildcard(pattern: str) -> re.Pattern[str]:
    """Linear matching: each stretch between two stars is taken where it first fits, and never given back."""
    stretches = ["".join("." if sign == "?" else re.escape(sign) for sign in part) for part in pattern.split("*")]
    if len(stretches) == 1:
        return re.compile(stretches[0], re.DOTALL)
    first, *between, last = stretches
    middle = "".join(f"(?>.*?{part})" for part in between if part)
    return re.compile(f"{first}{middle}.*{last}", re.DOTALL)
