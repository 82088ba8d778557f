"""How a caption is read by search and statistics: its tags, when two tags are one, and its style.

The one place of these rules: what stands here is what ``tag:``, ``tags:``, ``style:`` and every tag count mean.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final, Literal

from lorasmith.datasets.captions import split_tags

Style = Literal["empty", "tags", "prose", "mixed"]

_SENTENCE: Final = re.compile(r"[.!?](\s|$)")
_LONG_TAG: Final = 4  # words; a longer stretch between commas is part of a sentence


def tags_of(caption: str) -> list[str]:
    """The tags of a caption in order, as written."""
    if "\\" not in caption and "\n" not in caption and "\r" not in caption:
        parts = caption.split(",")  # the plain case, many times faster
        if len(caption.splitlines()) <= 1:
            return [tag for part in parts if (tag := part.strip())]
    return split_tags(caption)


def fold(text: str) -> str:
    """Text as it is compared: without regard to case, and to how its accents are encoded."""
    return text.casefold() if text.isascii() else unicodedata.normalize("NFC", text.casefold())


def tag_key(tag: str) -> str:
    r"""The same for tags that differ in case, underscores, spaces or escaped parentheses only."""
    return " ".join(fold(tag.replace("\\(", "(").replace("\\)", ")").replace("_", " ")).split())


def style_of(caption: str) -> Style:
    """Whether a caption is a list of tags, sentences, or both.

    A stretch between commas is a tag when it has at most four words and ends no sentence. Up to a fifth of other
    stretches leave a list a list; one of up to a fifth tags is prose.
    """
    stretches = tags_of(caption)
    if not stretches:
        return "empty"
    tags = sum(len(stretch.split()) <= _LONG_TAG and not _SENTENCE.search(stretch) for stretch in stretches)
    share = tags / len(stretches)
    if share >= 0.8:
        return "tags"
    if share <= 0.2 or (len(stretches) <= 6 and _SENTENCE.search(caption.rstrip()[-1:])):
        return "prose"
    return "mixed"
