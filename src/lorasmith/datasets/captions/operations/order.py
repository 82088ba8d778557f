"""Where tags stand: sort, insert, move. Prose is never touched, and what ``|||`` protects stays where it is."""

from __future__ import annotations

from itertools import compress
from operator import not_
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, field_validator

from lorasmith.datasets.captions.grammar import UNIT_SEPARATOR
from lorasmith.datasets.captions.operations.contract import CaptionOperation, Line, Tag, plural
from lorasmith.datasets.captions.rewriting import CaptionContext, Corpus, Edit, InsertTags, ReorderTags, Tags
from lorasmith.datasets.captions.spelling import one_of, remember, same_spelling
from lorasmith.datasets.captions.trigger_word import has_word

_BY: Final = {"alphabet": "alphabetically", "frequency": "by how often they occur, most frequent first"}
_LATER: Final = 2**40  # behind everything that is listed


class SortTags(CaptionOperation):
    """Put the tags of every line in order. Units bound by ``;;;`` go with their first tag."""

    name: ClassVar[str] = "sort_tags"

    by: Literal["alphabet", "frequency"] = "alphabet"
    """alphabet: case does not count; frequency: how often a tag occurs in the whole dataset, most frequent first."""
    first: Annotated[tuple[Tag, ...], Field(max_length=100_000)] = ()
    """Tags that come first, in this order; the others follow."""
    keep_tokens: Annotated[int, Field(ge=0, le=100)] = 0
    """How many leading tags stay in place, as in training; 0 to 100."""
    trigger_word: Line = ""
    """Tags that hold this word stay in place."""

    def describe(self) -> str:
        listed = f", {plural(len(self.first), 'listed tag')} first" if self.first else ""
        kept = f"; the first {plural(self.keep_tokens, 'stays', 'stay')} in place" if self.keep_tokens else ""
        return f"Sort tags {_BY[self.by]}{listed}{kept}"

    def edit(self, corpus: Corpus) -> Edit:
        listed = {same_spelling(tag): place for place, tag in reversed(list(enumerate(self.first)))}

        def rank(unit: str) -> tuple[int, int, str, str]:
            tag = unit.partition(UNIT_SEPARATOR)[0].strip()
            often = -corpus.frequencies.get(tag, 0) if self.by == "frequency" else 0
            return listed.get(same_spelling(tag), _LATER), often, tag.casefold(), tag

        key = remember(rank)
        is_trigger = remember(lambda unit: has_word(unit, self.trigger_word))
        holds_trigger = bool(self.trigger_word.strip())

        def order(units: Tags, context: CaptionContext) -> list[str]:
            kept = self.keep_tokens
            rest = units[kept:]
            fixed = list(map(is_trigger, rest)) if holds_trigger else []
            if not any(fixed):
                return [*units[:kept], *sorted(rest, key=key)]
            free = sorted(compress(rest, map(not_, fixed)), key=key)
            for place in compress(range(len(fixed)), fixed):
                free.insert(place, rest[place])
            return [*units[:kept], *free]

        return ReorderTags(order)


def _position(value: int) -> int:
    if value == 0:
        raise ValueError("count places from 1, or from -1 for the last")
    return value


class InsertTag(CaptionOperation):
    """Insert a tag at a place of every line that does not hold it yet; lines of prose stay as they are."""

    name: ClassVar[str] = "insert_tag"

    tag: Tag
    """What is inserted; several with commas between go in together."""
    position: Annotated[int, Field(ge=-10_000, le=10_000)] = 1
    """The place it gets: 1 is the first, 2 the second; -1 the last, -2 the one before. Short lines take it at their
    end."""
    again: bool = False
    """Whether lines that hold it already get it once more."""

    _nonzero = field_validator("position")(_position)

    def describe(self) -> str:
        where = f"place {self.position}" if self.position > 0 else f"place {-self.position} from the end"
        return f"Insert '{self.tag}' at {where}{'' if self.again else ' where it is missing'}"

    def edit(self, corpus: Corpus) -> Edit:
        same = one_of([self.tag], loosely=True)

        def places(tags: Tags, context: CaptionContext) -> list[tuple[int, str]]:
            return [(_place(self.position, len(tags) + 1), self.tag)]

        return InsertTags(places, unless=None if self.again else same, into_empty=lambda _: self.tag)


class MoveTag(CaptionOperation):
    """Move a tag to another place of its line, where it is there."""

    name: ClassVar[str] = "move_tag"

    tag: Tag
    """The tag to move, exactly as it is written."""
    position: Annotated[int, Field(ge=-10_000, le=10_000)] = 1
    """Its new place: 1 is the first, -1 the last."""

    _nonzero = field_validator("position")(_position)

    def describe(self) -> str:
        where = f"place {self.position}" if self.position > 0 else f"place {-self.position} from the end"
        return f"Move the tag '{self.tag}' to {where}"

    def edit(self, corpus: Corpus) -> Edit:
        def order(units: Tags, context: CaptionContext) -> Tags:
            if self.tag not in units:
                return units
            others = list(units)
            others.remove(self.tag)
            others.insert(_place(self.position, len(units)), self.tag)
            return others

        return ReorderTags(order, touches=lambda tag: tag == self.tag, kept_part_too=True)


def _place(position: int, places: int) -> int:
    """From a place counted from 1 or -1 to one from 0 to below ``places``."""
    return min(position - 1, places - 1) if position > 0 else max(0, places + position)
