"""Tags that say what another tag says already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from lorasmith.datasets.captions.operations.contract import CaptionOperation, Tag, plural
from lorasmith.datasets.captions.rewriting import CaptionContext, Corpus, EachTag, Edit, InsertTags, Tags
from lorasmith.datasets.captions.spelling import remember, same_spelling


class MergeGeneral(CaptionOperation):
    """Drop a general tag where a specific one ends in it: ``shirt`` where ``white shirt`` is there.

    ``hair`` goes for ``long hair`` and stays beside ``hair ribbon``: the last words of a tag say what it is.
    """

    name: ClassVar[str] = "merge_general"

    keep: Annotated[tuple[Tag, ...], Field(max_length=100_000)] = ()
    """General tags that stay in any case."""

    def describe(self) -> str:
        return "Drop general tags where a specific one says them too"

    def edit(self, corpus: Corpus) -> Edit:
        kept = {same_spelling(tag) for tag in self.keep}
        spell = remember(same_spelling)

        def general(tag: str) -> tuple[str, ...]:
            words = spell(tag).split()
            return tuple(end for start in range(1, len(words)) if (end := " ".join(words[start:])) not in kept)

        ends = remember(general)

        def change(tags: Tags, context: CaptionContext) -> Sequence[str | None]:
            said = set().union(*map(ends, tags))
            if not said or said.isdisjoint(map(spell, tags)):
                return tags
            return [None if spell(tag) in said else tag for tag in tags]

        return EachTag(change)


class ApplyImplications(CaptionOperation):
    """Use a table of what tags imply: drop what is implied, or add it."""

    name: ClassVar[str] = "apply_implications"

    implications: Annotated[dict[Tag, tuple[Tag, ...]], Field(min_length=1, max_length=1_000_000)]
    """For a specific tag the general ones that it implies, e.g. ``{"cat ears": ["animal ears"]}``; followed on."""
    how: Literal["drop", "add"] = "drop"
    """drop: implied tags go where the specific one is there, unless both imply each other; add: they are put behind it
    where they are missing."""

    @field_validator("implications", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        return {tag: (implied,) if isinstance(implied, str) else implied for tag, implied in value.items()}

    def describe(self) -> str:
        table = f"a table of {plural(len(self.implications), 'implication')}"
        return f"Drop tags that others imply, by {table}" if self.how == "drop" else f"Add implied tags, by {table}"

    def edit(self, corpus: Corpus) -> Edit:
        table = {same_spelling(tag): implied for tag, implied in self.implications.items()}
        spell = remember(same_spelling)
        follow = remember(lambda tag: _followed(spell(tag), table))

        closure = remember(lambda tag: frozenset(map(spell, follow(tag))))

        def drop(tags: Tags, context: CaptionContext) -> Sequence[str | None]:
            if set().union(*map(closure, tags)).isdisjoint(map(spell, tags)):
                return tags
            implied = [(spell(tag), closure(tag)) for tag in tags if closure(tag)]
            said = frozenset().union(*(general for _, general in implied))
            return [
                None
                if spell(tag) in said
                and any(spell(tag) in general and who not in closure(tag) for who, general in implied)
                else tag
                for tag in tags
            ]

        def add(tags: Tags, context: CaptionContext) -> list[tuple[int, str]]:
            implied = list(map(follow, tags))
            if not any(implied):
                return []
            present = set(map(spell, tags))
            places: list[tuple[int, str]] = []
            for place, generals in enumerate(implied, start=1):
                for general in generals:
                    if spell(general) not in present:
                        present.add(spell(general))
                        places.append((place, general))
            return places

        implies = remember(lambda tag: bool(follow(tag)))
        return EachTag(drop, touches=implies) if self.how == "drop" else InsertTags(add, touches=implies)


def _followed(spelling: str, table: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """All that a tag implies, at any distance, nearest first; never the tag itself."""
    found: dict[str, str] = {}
    waiting = [spelling]
    while waiting:
        for general in table.get(waiting.pop(0), ()):
            key = same_spelling(general)
            if key not in found and key != spelling:
                found[key] = general
                waiting.append(key)
    return tuple(found.values())
