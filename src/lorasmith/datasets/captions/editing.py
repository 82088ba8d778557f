"""The edits that need no description: split, join, remove, add the trigger word.

They return the caption itself, byte for byte, when there is nothing to do. Commas of sentences separate here, as
they do for every trainer; ``operations`` know prose from tags.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from lorasmith.datasets.captions.grammar import parse, read_sections, tags_of
from lorasmith.datasets.captions.rewriting import CaptionContext, EachTag, rewrite
from lorasmith.errors import ConfigError


def split_tags(caption: str) -> list[str]:
    """The tags of a caption in order, without surrounding space; empty stretches are dropped."""
    return [
        tag for variant in parse(caption).variants for tag in tags_of(read_sections(variant.text, split_prose=True))
    ]


def join_tags(tags: Iterable[str]) -> str:
    """Tags as one line; the inverse of ``split_tags`` for tags without bare commas."""
    return ", ".join(tags)


def remove_tags(caption: str, tags: Sequence[str]) -> str:
    """The caption without the tags that equal one of ``tags`` exactly; all others keep their spelling and spacing.

    A line that held nothing else goes with its last tag.
    """
    unwanted = {tag.strip() for tag in tags} - {""}
    edit = EachTag(lambda present, _: [None if tag in unwanted else tag for tag in present], split_prose=True)
    return rewrite(edit, caption, CaptionContext())


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
    wanted = check_trigger_word(word)
    if has_word(caption, wanted):
        return caption
    return f"{wanted}, {caption}" if caption.strip() else wanted


def check_trigger_word(word: str) -> str:
    """The word without surrounding blanks.

    Raises:
        ConfigError: it is empty or has more than one line.
    """
    wanted = word.strip()
    if not wanted or len(wanted.splitlines()) > 1:
        raise ConfigError("A trigger word is one or more words on one line.", "Give a rare word such as 'ohwx'.")
    return wanted
