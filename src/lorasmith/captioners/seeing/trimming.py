"""Answers that were cut because they reached their longest length: they end with what is whole.

Decided so: the last whole sentence ends the answer; an answer without one, such as a list of tags, ends with its last
whole tag; one that has neither keeps its words but the last, which may be half. That it was cut is always said.
"""

from __future__ import annotations

import re
from typing import Final

_END: Final = re.compile(r"[.!?\u2026\u3002\uff01\uff1f]+[\"'\u201d\u2019)\]]*(?=\s|$)|[\u3002\uff01\uff1f]+")
_ABBREVIATION: Final = re.compile(
    r"(?:^|[\s(])(?:[A-Za-z]|Mr|Mrs|Ms|Dr|St|vs|etc|e\.g|i\.e|approx|No)\.$", re.IGNORECASE
)
_LEAST: Final = 0.25  # of the text that has to be left, or the sentence is no measure of it


def end_whole(text: str) -> tuple[str, str]:
    """A cut text, ended where something is whole, and how it ends: ``sentence``, ``tag`` or ``word``.

    The text may come out empty when it was one half word.
    """
    text = text.rstrip()
    ends = [found.end() for found in _END.finditer(text) if not _ABBREVIATION.search(text[: found.end()])]
    if ends and ends[-1] >= _LEAST * len(text):
        return text[: ends[-1]], "sentence"
    tag, comma, _ = text.rpartition(",")
    if comma and len(tag) >= _LEAST * len(text) and (not ends or text.count(",") > len(ends)):
        return tag.rstrip(" ,"), "tag"
    if ends:
        return text[: ends[-1]], "sentence"
    return text.rpartition(" ")[0].rstrip(), "word"
