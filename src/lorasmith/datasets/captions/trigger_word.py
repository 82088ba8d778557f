"""The trigger word as captions hold it: a word of its own, in a tag or in prose."""

from __future__ import annotations

import re
from collections.abc import Callable

from lorasmith.errors import ConfigError


def has_word(caption: str, word: str) -> bool:
    """Whether the word stands in the caption as a word of its own, in a tag or in prose, in any case."""
    return count_word(caption, word) > 0


def count_word(caption: str, word: str) -> int:
    """How often ``has_word`` is true of it: ``zib`` stands in ``a zib, left`` and not in ``zibra``."""
    wanted = word.strip()
    if not wanted:
        return 0
    return len(re.findall(rf"(?<!\w){re.escape(wanted)}(?!\w)", caption, re.IGNORECASE))


def word_finder(word: str) -> Callable[[str], bool]:
    """``has_word`` for one word and many captions; it must not be empty."""
    wanted = word.strip()
    found = re.compile(rf"(?<!\w){re.escape(wanted)}(?!\w)", re.IGNORECASE).search
    lower = wanted.lower()
    if not wanted.isascii():
        return lambda caption: found(caption) is not None

    def finds(caption: str) -> bool:
        if caption.isascii() and lower not in caption.lower():  # elsewhere capitals are more than lower() knows
            return False
        return found(caption) is not None

    return finds


def check_trigger_word(word: str) -> str:
    """The word without surrounding blanks.

    Raises:
        ConfigError: it is empty or has more than one line.
    """
    wanted = word.strip()
    if not wanted or len(wanted.splitlines()) > 1:
        raise ConfigError("A trigger word is one or more words on one line.", "Give a rare word such as 'ohwx'.")
    return wanted
