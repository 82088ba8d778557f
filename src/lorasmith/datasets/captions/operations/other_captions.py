"""Captions from elsewhere: of another version, of another captioner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from lorasmith.datasets.captions.grammar import is_plain_tag, parse
from lorasmith.datasets.captions.operations.contract import CaptionOperation, Line, plural
from lorasmith.datasets.captions.reading import ReadLine
from lorasmith.datasets.captions.rewriting import CaptionContext, Corpus, Edit, Foreseen, Tags, WholeText
from lorasmith.datasets.captions.spelling import remember, same_spelling
from lorasmith.errors import DatasetError

_HOW: Final = {
    "append": "behind each",
    "prepend": "before each",
    "replace": "in place of each",
    "fill_empty": "where there is none",
}


class _FromElsewhere(CaptionOperation):
    """Where the captions are taken from: exactly one of ``version`` and ``captions``."""

    version: Annotated[str, Field(max_length=300)] = ""
    """The version whose captions are taken, such as ``cats@3``."""
    captions: dict[str, str] | None = None
    """Captions by the name of the picture, in place of a version."""

    @model_validator(mode="after")
    def _has_one_origin(self) -> Self:
        if bool(self.version) == (self.captions is not None):
            raise ValueError("give either the version to take captions from, or captions by picture")
        return self

    def _origin(self) -> str:
        return self.version or f"a list of {plural(len(self.captions or {}), 'caption')}"

    def _others(self, corpus: Corpus) -> Mapping[str, str]:
        if self.captions is not None:
            return self.captions
        if self.version not in corpus.captions:
            raise DatasetError(f"The captions of {self.version} are not at hand.", "Load that version first.")
        return corpus.captions[self.version]

    def warnings(self, corpus: Corpus, items: int) -> list[str]:
        blank = sum(not caption.strip() for caption in self._others(corpus).values())
        return (
            [f"{plural(blank, 'caption')} in {self._origin()} {'is' if blank == 1 else 'are'} empty."] if blank else []
        )


class AppendCaptions(_FromElsewhere):
    """Join two captions of each picture, such as tags of one captioner and sentences of another."""

    name: ClassVar[str] = "append_captions"

    how: Literal["append", "prepend"] = "append"
    """Whether the other caption comes behind or before."""
    separator: Line = ", "
    """What stands between them."""
    as_line: bool = False
    """Whether the other caption becomes a line of its own, a further variant, in place of the separator."""
    skip_present: bool = True
    """Whether tags that are there already are left out of the other caption."""

    def describe(self) -> str:
        return f"Put the caption of {self._origin()} {_HOW[self.how]}{' as a line of its own' if self.as_line else ''}"

    def edit(self, corpus: Corpus) -> Edit:
        others = self._others(corpus)
        spell, plain = remember(same_spelling), remember(is_plain_tag)
        joins_tags = not self.as_line and self.skip_present and self.separator == ", "
        behind = self.how == "append"

        def missing(name: str, tags: Tags) -> Tags | None:
            """What the other caption would add; None when it is more than a list of tags."""
            theirs = others.get(name, "").split(", ")
            if not all(map(plain, theirs)):
                return None
            present = set(map(spell, tags))
            return [tag for tag in theirs if spell(tag) not in present]

        def on_tags(tags: tuple[str, ...], context: CaptionContext) -> Tags | None:
            new = missing(context.name, tags)
            if not new:
                return None if new is None else tags
            return [*tags, *new] if behind else [*new, *tags]

        def foresee(text: str, lines: Sequence[ReadLine], context: CaptionContext) -> Foreseen | None:
            tags = lines[0].tags if len(lines) == 1 else [tag for line in lines for tag in line.tags]
            new = missing(context.name, tags)
            return None if new is None else Foreseen(bool(new), [*tags, *new])

        return WholeText(
            lambda caption, context: self._joined(caption, others.get(context.name, "")),
            on_tags=on_tags if joins_tags else None,
            foresee=foresee if self.skip_present and not self.as_line else None,
        )

    def _joined(self, caption: str, other: str) -> str:
        other = other.strip("\r\n")
        if not other.strip():
            return caption
        if not caption.strip():
            return other
        if self.as_line:
            lines = [variant.text for variant in parse(caption).variants]
            if other in lines or other == caption:
                return caption
            ending = parse(caption).variants[0].ending or "\n"
            body, tail = _without_end(caption)
            return f"{body}{ending}{other}{tail}" if self.how == "append" else f"{other}{ending}{caption}"
        added = self._missing(caption, other) if self.skip_present else other
        if not added:
            return caption
        body, tail = _without_end(caption)
        return f"{body}{self.separator}{added}{tail}" if self.how == "append" else f"{added}{self.separator}{caption}"

    def _missing(self, caption: str, other: str) -> str:
        """The other caption without tags that are there; empty when it is there as a whole."""
        theirs = parse(other)
        if len(theirs.variants) > 1 or theirs.style != "tags":
            return "" if other.strip() in caption else other
        present = {same_spelling(tag) for tag in parse(caption).tags}
        missing = [tag for tag in theirs.tags if same_spelling(tag) not in present]
        return other if len(missing) == len(theirs.tags) else ", ".join(missing)


class CopyCaptions(_FromElsewhere):
    """Take captions over from another version or list; pictures that it does not caption keep theirs."""

    name: ClassVar[str] = "copy_captions"

    how: Literal["replace", "fill_empty"] = "replace"
    """replace: all that it captions; fill_empty: only where there is no caption now."""

    def describe(self) -> str:
        return f"Take the captions of {self._origin()} {_HOW[self.how]}"

    def edit(self, corpus: Corpus) -> Edit:
        others = self._others(corpus)

        def copied(caption: str, context: CaptionContext) -> str:
            other = others.get(context.name, "")
            if not other.strip() or (self.how == "fill_empty" and caption.strip()):
                return caption
            return other

        return WholeText(copied)


def _without_end(caption: str) -> tuple[str, str]:
    body = caption.rstrip("\r\n")
    return body, caption[len(body) :]
