"""Find and replace: whole tags, words inside tags, phrases, or a bounded regular expression."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from lorasmith.datasets.captions.operations.contract import CaptionOperation, Line, Tag
from lorasmith.datasets.captions.operations.patterns import BoundedPattern, bounded
from lorasmith.datasets.captions.rewriting import CaptionContext, Corpus, EachTag, Edit, Tags, WholeText
from lorasmith.datasets.captions.spelling import one_of, remember
from lorasmith.errors import DatasetError

_IN: Final = {
    "tag": "whole tags equal to",
    "word": "the word",
    "phrase": "the phrase",
    "regex": "matches of the pattern",
}
_MOST_GROWTH: Final = 50_000_000  # characters; a replacement of many empty matches could fill the memory


class FindAndReplace(CaptionOperation):
    """Replace what is found, where ``scope`` says."""

    name: ClassVar[str] = "find_and_replace"

    find: Annotated[Line, Field(min_length=1)]
    """What to look for; never longer than one line."""
    replace: Line = ""
    """What takes its place; empty takes it out. With a regex, ``\\1`` and ``\\g<name>`` are what a group matched."""
    scope: Literal["tag", "word", "phrase", "regex"] = "tag"
    """tag: tags that equal it; word: whole words inside tags; phrase: whole words anywhere, in sentences and across
    commas too; regex: a regular expression, line by line."""
    ignore_case: bool = False
    """Whether capitals count as small letters."""
    split_prose: bool = False
    """Whether commas of sentences separate tags too; for the scopes tag and word."""

    @model_validator(mode="after")
    def _can_run(self) -> Self:
        if not self.find.strip():
            raise ValueError("there is nothing to find in blanks")
        if self.scope == "regex":
            try:
                self._pattern.pattern.sub(self.replace, "")
            except (re.error, IndexError) as cause:
                raise ValueError(f"the replacement does not fit the pattern: {cause}") from cause
        return self

    def describe(self) -> str:
        what = f"{_IN[self.scope]} '{self.find}'"
        return f"Replace {what} by '{self.replace}'" if self.replace else f"Take out {what}"

    def edit(self, corpus: Corpus) -> Edit:
        if self.scope == "regex":
            pattern = self._pattern
            return WholeText(
                self._by_pattern,
                may_change=lambda text: _finds(pattern, text),
                touches=_in_a_tag(pattern.pattern) if pattern.within_cells else None,
            )
        if self.scope == "phrase":
            return self._phrase_edit()
        become = remember(self._tag if self.scope == "tag" else self._word_in)

        def change(tags: Tags, context: CaptionContext) -> list[str | None]:
            return _without_new_twins(tags, [become(tag) or None for tag in tags])

        return EachTag(change, touches=lambda tag: become(tag) != tag, split_prose=self.split_prose)

    def warnings(self, corpus: Corpus, items: int) -> list[str]:
        if self.scope != "regex" or self._pattern.longest >= 100_000:
            return []
        return [
            f"Lines of more than {self._pattern.longest:,} characters are left alone: the pattern could take minutes "
            "on them."
        ]

    @cached_property
    def _pattern(self) -> BoundedPattern:
        return bounded(self.find, ignore_case=self.ignore_case)

    def _tag(self, tag: str) -> str:
        same = tag.casefold() == self.find.strip().casefold() if self.ignore_case else tag == self.find.strip()
        return self.replace.strip() if same else tag

    def _word_in(self, tag: str) -> str:
        edited = _phrase(self.find.strip(), self.ignore_case, with_blank=not self.replace).sub(
            lambda _: self.replace, tag
        )
        return edited if edited == tag else edited.strip()

    def _phrase_edit(self) -> Edit:
        find, replacement = self.find, self.replace
        phrase = _phrase(find, self.ignore_case, with_blank=not replacement)
        touches = None if "," in find else _in_a_tag(phrase)
        if not self.ignore_case:
            if not replacement:
                return WholeText(lambda text, _: phrase.sub("", text), lambda text: find in text, touches, named=False)
            return WholeText(
                lambda text, _: _replace_words(text, text, find, replacement),
                lambda text: find in text,
                touches,
                named=False,
            )
        lower = find.lower() if find.isascii() else ""  # elsewhere capitals are more than lower() knows

        def may_change(text: str) -> bool:
            return not (lower and text.isascii()) or lower in text.lower()

        def change(text: str, _: CaptionContext) -> str:
            if lower and replacement and text.isascii():
                return _replace_words(text, text.lower(), lower, replacement)
            return phrase.sub(lambda _match: replacement, text)

        return WholeText(change, may_change, touches, named=False)

    def _by_pattern(self, text: str, context: CaptionContext) -> str:
        pattern = self._pattern
        if "\n" not in text and "\r" not in text:
            return self._line(pattern, text, context)
        return "".join(
            piece if piece in ("\n", "\r", "\r\n") else self._line(pattern, piece, context)
            for piece in re.split(r"(\r\n|\n|\r)", text)
        )

    def _line(self, pattern: BoundedPattern, line: str, context: CaptionContext) -> str:
        if len(line) > pattern.longest or not pattern.pattern.search(line):
            return line
        if len(line) * max(1, len(self.replace)) > _MOST_GROWTH:
            raise DatasetError(
                f"The caption of '{context.name}' could grow beyond all measure by this.", "Use a shorter replacement."
            )
        return pattern.pattern.sub(self.replace, line)


class RenameTag(CaptionOperation):
    """Rename a tag everywhere; where the new name stands already, only the first of the two stays."""

    name: ClassVar[str] = "rename_tag"

    tag: Tag
    """The tag as it is now."""
    to: Tag
    """Its new name; several with commas between make several tags of it."""
    loosely: bool = False
    """Whether variants of the tag (case, underscores, blanks) are renamed too."""
    split_prose: bool = False
    """Whether commas of sentences separate tags too."""

    def describe(self) -> str:
        variants = " and its spelling variants" if self.loosely else ""
        return f"Rename the tag '{self.tag}'{variants} to '{self.to}'"

    def edit(self, corpus: Corpus) -> Edit:
        matches = one_of([self.tag], loosely=self.loosely)

        def change(tags: Tags, context: CaptionContext) -> list[str | None]:
            return _without_new_twins(tags, [self.to if matches(tag) else tag for tag in tags])

        return EachTag(change, touches=lambda tag: matches(tag) and tag != self.to, split_prose=self.split_prose)


def _without_new_twins(before: Tags, after: list[str | None]) -> list[str | None]:
    """Of tags that an edit made equal to another, the first stays; those that were twins before are left alone."""
    if len(set(after)) == len(after):
        return after
    made = {new for old, new in zip(before, after, strict=True) if new is not None and new != old}
    seen: set[str] = set()
    kept: list[str | None] = []
    for new in after:
        kept.append(None if new in made and new in seen else new)
        if new is not None:
            seen.add(new)
    return kept


def _in_a_tag(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    """Whether a pattern that reads no comma may be found in a tag as it stands in a line, with the blank before it."""
    search = pattern.search
    return lambda tag: search(tag) is not None or search(f" {tag}") is not None


def _finds(pattern: BoundedPattern, text: str) -> bool:
    if pattern.required not in text:
        return False
    lines = [text] if "\n" not in text and "\r" not in text else re.split(r"[\r\n]+", text)
    return any(len(line) <= pattern.longest and pattern.pattern.search(line) for line in lines)


def _replace_words(text: str, searched: str, find: str, replacement: str) -> str:
    """As ``_phrase`` replaces, but several times as fast: the text is searched for the words before their ends.

    ``searched`` is the text, sign by sign as ``find`` is written.
    """
    whole_left, whole_right = _is_word(find[0]), _is_word(find[-1])
    pieces: list[str] = []
    done = at = 0
    while (at := searched.find(find, at)) >= 0:
        end = at + len(find)
        if (whole_left and at and _is_word(text[at - 1])) or (whole_right and end < len(text) and _is_word(text[end])):
            at += 1
            continue
        pieces += [text[done:at], replacement]
        done = at = end
    return "".join([*pieces, text[done:]]) if pieces else text


def _is_word(sign: str) -> bool:
    return sign.isalnum() or sign == "_"


def _phrase(text: str, ignore_case: bool, *, with_blank: bool) -> re.Pattern[str]:
    """The text as whole words; when it is taken out, one blank beside it goes too."""
    left = r"(?<!\w)" if _is_word(text[0]) else ""
    right = r"(?!\w)" if _is_word(text[-1]) else ""
    found = f"{left}{re.escape(text)}{right}"
    if with_blank:
        found = rf"^{found}[ ]?|[ ]?{found}"
    return re.compile(found, re.MULTILINE | (re.IGNORECASE if ignore_case else re.NOFLAG))
