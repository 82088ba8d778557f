"""Tells tags from prose, cell by cell; a cell is what stands between two commas.

A cell is a *clause* when any of these holds:

* it has nine words or more, or a sentence ends inside it;
* it has four words or more, and an article, pronoun or form of *to be* or *to have* among them;
* it has three words or more, and begins with an article or ends a sentence;
* it holds the full stop of Chinese or Japanese.

The *prose* of a line reaches from its first clause to its last. It takes in the cells before when the line opens
like a sentence ("In the field, a woman stands"), and those behind when the line ends like one ("..., smiling.").
A lone clause of at most six words that has no verb, among three or more tags, is a long tag
("the legend of zelda"). A line without prose is tags, one without anything else is prose, the others are mixed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal

Style = Literal["empty", "tags", "prose", "mixed"]

_ARTICLES: Final = frozenset(["a", "an", "the", "une", "des", "les", "der", "die", "das", "ein", "eine", "una"])
_VERBS: Final = frozenset(
    [
        "is",
        "are",
        "was",
        "were",
        "has",
        "have",
        "he",
        "she",
        "they",
        "it",
        "its",
        "his",
        "her",
        "their",
        "there",
        "this",
        "that",
        "these",
        "those",
        "est",
        "und",
        "ist",
        "está",
    ]
)
_BINDING: Final = frozenset(
    ["in", "on", "at", "with", "of", "from", "to", "by", "under", "over", "near", "and", "as", "while"]
)
_OF_CLAUSES: Final = _ARTICLES | _VERBS
_OF_SENTENCES: Final = _OF_CLAUSES | _BINDING
_WORD: Final = re.compile(r"[^\W_]+(?:['’_-][^\W_]+)*")
_ENDS: Final = re.compile(r"""[^\W_]["'”’)\]]?(?:[.!?…][.!?…"'”’)\]]*)\Z""")
_ENDS_INSIDE: Final = re.compile(r"[^\W\d_]{2}[.!?]['\"”]? +[^\W\d_a-z]")
_CJK_STOP: Final = re.compile(r"[。！？]")
_LONG, _SHORT_PROSE, _TAGS_AROUND = 9, 6, 3


def is_clause(cell: str) -> bool:
    """Whether a cell reads as (part of) a sentence rather than as a tag."""
    if not cell.isascii() and _CJK_STOP.search(cell):
        return True
    if cell.count(" ") < 2:  # nothing below is true of one or two words
        return False
    if cell.isascii() and cell.replace(" ", "").isalnum():  # words alone, the most frequent case, told faster
        words = cell.lower().split()
        long = len(words) >= 4 and not _OF_CLAUSES.isdisjoint(words)
        return long or len(words) >= _LONG or (len(words) >= 3 and words[0] in _ARTICLES)
    words = _words(cell)
    if len(words) >= _LONG or _ENDS_INSIDE.search(cell):
        return True
    if len(words) >= 4 and not _OF_CLAUSES.isdisjoint(words):
        return True
    return len(words) >= 3 and (words[0] in _ARTICLES or ends_sentence(cell))


def ends_sentence(cell: str) -> bool:
    """Whether a full stop, question or exclamation mark after a word ends the cell."""
    return bool(_ENDS.search(cell.rstrip()[-12:]))


def opens_sentence(cell: str) -> bool:
    """Whether a cell begins as sentences do: a capital, two words or more, and a word that binds words."""
    if not cell.lstrip()[:1].isupper():
        return False
    words = _words(cell[:200])
    return len(words) > 1 and not _OF_SENTENCES.isdisjoint(words)


def prose_stretch(cells: Sequence[str]) -> tuple[int, int] | None:
    """From which cell to which, the last included, a line is prose; None when it is tags or nothing."""
    clauses = [place for place, cell in enumerate(cells) if is_clause(cell)]
    return stretch_around(clauses, [place for place, cell in enumerate(cells) if cell.strip()], cells)


def stretch_around(clauses: Sequence[int], filled: Sequence[int], cells: Sequence[str]) -> tuple[int, int] | None:
    """``prose_stretch`` for who knows which of the cells are clauses, and which are not blank."""
    if not filled:
        return None
    ends = ends_sentence(cells[filled[-1]])
    if not clauses:
        return (filled[0], filled[-1]) if ends and opens_sentence(cells[filled[0]]) else None
    first, last = clauses[0], clauses[-1]
    alone = first == last and len(filled) > _TAGS_AROUND and not ends
    if alone and _is_long_tag(cells[first]):
        return None
    return (filled[0] if opens_sentence(cells[filled[0]]) else first), (filled[-1] if ends else last)


def _is_long_tag(cell: str) -> bool:
    words = _words(cell)
    return len(words) <= _SHORT_PROSE and _VERBS.isdisjoint(words) and not _CJK_STOP.search(cell)


def _words(cell: str) -> list[str]:
    return _WORD.findall(cell.lower())
