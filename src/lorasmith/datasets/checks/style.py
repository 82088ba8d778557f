"""Whether a caption is tags or prose, told only when it is clear; short captions may be either."""

from __future__ import annotations

import re
from typing import Final, Literal

from lorasmith.datasets.captions import split_tags

Style = Literal["empty", "tags", "prose", "unclear"]

_JOINING: Final = """
a an the is are was were has have with of in on at and or to from by for this that there he she it they his her its
their who which while as into over under behind beside near between wearing holding
"""
_FUNCTION_WORDS: Final = frozenset(_JOINING.split())
_WORD: Final = re.compile(r"[^\W\d_][\w'’-]*")
_SENTENCE_END: Final = re.compile(r"[a-z)\"'][.!?](\s|$)|[。！？]")


def style_of(caption: str) -> Style:
    """How a caption is written.

    Prose runs on: it has eight words or more, five in each stretch between commas on average, or sentences end in it;
    and articles, prepositions and the like are an eighth of its words. Tags are two or more stretches of at most three
    words on average. Everything else, such as ``red car``, is unclear.
    """
    tags = split_tags(caption)
    if not tags:
        return "empty"
    words = _WORD.findall(caption.casefold())
    if not words:
        return "tags" if len(tags) > 1 else "unclear"
    per_tag = len(words) / len(tags)
    joining = sum(word in _FUNCTION_WORDS for word in words) / len(words)
    ends = _SENTENCE_END.search(caption) is not None
    runs_on = (per_tag >= 5 and len(words) >= 8) or (ends and per_tag > 3)
    if len(words) >= 5 and joining >= 0.125 and runs_on:
        return "prose"
    return "tags" if len(tags) > 1 and per_tag <= 3 else "unclear"
