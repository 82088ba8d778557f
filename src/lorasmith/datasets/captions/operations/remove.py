"""Taking tags out: named ones, listed ones, doubles, and those behind the first few."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from lorasmith.datasets.captions.operations.contract import CaptionOperation, Tag, TagList, plural, quoted
from lorasmith.datasets.captions.rewriting import CaptionContext, Corpus, EachTag, Edit, MapTags, Tags
from lorasmith.datasets.captions.spelling import matcher, one_of, remember, same_spelling

_WHICH: Final = {"all": "", "first": "the first occurrence of ", "last": "the last occurrence of "}


class RemoveTags(CaptionOperation):
    """Remove tags that equal one of a list exactly, or that fit a pattern; ``solo`` is not ``solo focus``."""

    name: ClassVar[str] = "remove_tags"

    tags: Annotated[tuple[Tag, ...], Field(max_length=100_000)] = ()
    """Tags to remove, exactly as they are written."""
    pattern: Annotated[str, Field(max_length=1_000)] = ""
    """Remove tags that fit it, too: ``*`` stands for any text, ``?`` for one sign; ``* hair`` fits ``blue hair``."""
    occurrences: Literal["all", "first", "last"] = "all"
    """Which of several equal tags of a line go."""
    ignore_case: bool = False
    """Whether capitals, underscores and blanks make no difference."""
    split_prose: bool = False
    """Whether commas of sentences separate tags too."""

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.tags and not self.pattern.strip():
            raise ValueError("name a tag to remove, or give a pattern")
        return self

    def describe(self) -> str:
        what = [f"tags {quoted(self.tags)}" if len(self.tags) > 1 else f"tag {quoted(self.tags)}"] if self.tags else []
        what += [f"tags like '{self.pattern}'"] if self.pattern.strip() else []
        return f"Remove {_WHICH[self.occurrences]}the {' and the '.join(what)}"

    def edit(self, corpus: Corpus) -> Edit:
        named = one_of(self.tags, loosely=self.ignore_case)
        patterns = [self.pattern.strip()] if self.pattern.strip() else []
        fits = matcher(patterns, loosely=self.ignore_case)
        unwanted = remember(lambda tag: named(tag) or fits(tag))

        if self.occurrences == "all":
            return MapTags(lambda tag: None if unwanted(tag) else tag, split_prose=self.split_prose)

        def change(tags: Tags, context: CaptionContext) -> list[str | None]:
            fates: list[str | None] = list(tags)
            order = range(len(tags)) if self.occurrences == "first" else range(len(tags) - 1, -1, -1)
            gone: set[str] = set()
            for place in order:
                tag = tags[place]
                if unwanted(tag) and tag not in gone:
                    gone.add(tag)
                    fates[place] = None
            return fates

        return EachTag(change, touches=unwanted, split_prose=self.split_prose)


class ApplyBlacklist(CaptionOperation):
    """Remove every tag of a list, in any spelling; the blanks inside other tags stay."""

    name: ClassVar[str] = "apply_blacklist"

    tags: TagList
    """What no caption should hold. ``*`` stands for any text and ``?`` for one sign; case and underscores do not
    count."""
    split_prose: bool = False
    """Whether commas of sentences separate tags too."""

    def describe(self) -> str:
        return f"Remove what is on a blacklist of {plural(len(self.tags), 'entry', 'entries')} ({quoted(self.tags)})"

    def edit(self, corpus: Corpus) -> Edit:
        listed = matcher(self.tags, loosely=True)
        return MapTags(lambda tag: None if listed(tag) else tag, split_prose=self.split_prose)


class RemoveDuplicates(CaptionOperation):
    """Keep the first of equal tags of a line."""

    name: ClassVar[str] = "remove_duplicates"

    variants: bool = True
    """Whether tags that differ only in case, underscores and blanks are equal."""
    split_prose: bool = False
    """Whether commas of sentences separate tags too."""

    def describe(self) -> str:
        return f"Remove duplicate tags{', spelling variants among them' if self.variants else ''}"

    def edit(self, corpus: Corpus) -> Edit:
        spell = remember(same_spelling if self.variants else str)

        def change(tags: Tags, context: CaptionContext) -> Sequence[str | None]:
            spellings = list(map(spell, tags))
            if len(set(spellings)) == len(spellings):
                return tags
            seen: set[str] = set()
            fates: list[str | None] = []
            for tag, spelling in zip(tags, spellings, strict=True):
                fates.append(None if spelling in seen else tag)
                seen.add(spelling)
            return fates

        return EachTag(change, split_prose=self.split_prose)


class KeepFirst(CaptionOperation):
    """Keep the first tags of every line and drop the others."""

    name: ClassVar[str] = "keep_first"

    count: Annotated[int, Field(ge=1, le=10_000)]
    """How many tags stay, 1 to 10000."""
    split_prose: bool = False
    """Whether commas of sentences separate tags too."""

    def describe(self) -> str:
        return f"Keep the first {plural(self.count, 'tag')} of every line"

    def edit(self, corpus: Corpus) -> Edit:
        def change(tags: Tags, context: CaptionContext) -> Sequence[str | None]:
            if len(tags) <= self.count:
                return tags
            return [*tags[: self.count], *([None] * (len(tags) - self.count))]

        return EachTag(change, split_prose=self.split_prose)
