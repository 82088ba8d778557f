"""As much of a caption as the text encoder reads."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar, Final

from pydantic import Field

from lorasmith.datasets.captions.grammar import Variant, parse, write_sections
from lorasmith.datasets.captions.operations.contract import CaptionOperation
from lorasmith.datasets.captions.reading import ReadLine, lines_of
from lorasmith.datasets.captions.rewriting import CaptionContext, Corpus, Edit, Foreseen, Tags, TokenCount, WholeText
from lorasmith.datasets.captions.spelling import remember
from lorasmith.errors import DatasetError

_WORD_END: Final = re.compile(r"\S(?=\s|\Z)")
_CHARACTERS_A_TOKEN: Final = (
    40  # no tokenizer makes fewer tokens of ordinary text; longer lines are cut before counting
)


class LimitTokens(CaptionOperation):
    """Cut every line to what the text encoder reads: behind a whole tag, in prose behind a whole word."""

    name: ClassVar[str] = "limit_tokens"

    limit: Annotated[int, Field(ge=1, le=100_000)]
    """How many tokens stay at most, without the marks of begin and end; 75 for CLIP."""

    def describe(self) -> str:
        return f"Cut every line to {self.limit:,} tokens"

    def edit(self, corpus: Corpus) -> Edit:
        counter = _needed(corpus)
        fast = _tag_by_tag(counter, self.limit) if getattr(counter, "separable", False) else None
        return WholeText(
            lambda text, _: self._text(text, counter),
            on_tags=fast,
            named=False,
            foresee=None if fast is None else self._foresight(counter, fast),
        )

    def cut(self, caption: str, corpus: Corpus) -> list[tuple[str, str]]:
        """For every line what stays and what is cut away; together they are the line, but for the comma between."""
        counter = _needed(corpus)
        pairs = []
        for variant in parse(caption).variants:
            kept = self._line(variant, counter)
            pairs.append((kept, variant.text[len(kept) :]))
        return pairs

    def _foresight(
        self, counter: TokenCount, fast: Callable[[Tags, CaptionContext], Tags]
    ) -> Callable[[str, Sequence[ReadLine], CaptionContext], Foreseen | None]:
        """Which tags are left, where a line begins with them as they are usually written."""

        has_room = remember(lambda word: self._fits(word, counter))

        def foresee(text: str, lines: Sequence[ReadLine], context: CaptionContext) -> Foreseen | None:
            tags: list[str] = []
            changes = False
            for line, words in zip(lines, lines_of(text), strict=True):
                if self._fits(words, counter):
                    tags += line.tags
                    continue
                kept = fast(line.tags, context)
                if line.tags:
                    certain = kept and words.startswith(", ".join(line.tags))
                else:
                    certain = has_room(words.split(maxsplit=1)[0])
                if not certain:
                    return None
                changes = True
                tags += kept
            return Foreseen(changes, tags)

        return foresee

    def _fits(self, line: str, counter: TokenCount) -> bool:
        return len(line) <= self.limit * _CHARACTERS_A_TOKEN and counter.count(line) <= self.limit

    def _text(self, text: str, counter: TokenCount) -> str:
        return "".join(self._line(variant, counter) + variant.ending for variant in parse(text).variants)

    def _line(self, variant: Variant, counter: TokenCount) -> str:
        line = variant.text
        if self._fits(line, counter):
            return line
        ends = _ends(variant)
        fits = _most(ends, lambda end: counter.count(line[:end]) <= self.limit, self.limit * _CHARACTERS_A_TOKEN)
        return line[:fits].rstrip()


def _ends(variant: Variant) -> list[int]:
    """Where a line may be cut, ascending: behind tags, and behind the words of prose."""
    ends: list[int] = []
    for number, section in enumerate(variant.sections):
        before = [*variant.sections[:number]]
        start = len(write_sections([*before, ()])) if before else 0
        for unit in section:
            text = str(unit)
            if unit.is_prose:
                ends += [start + match.end() for match in _WORD_END.finditer(text)]
            elif text.strip():
                ends.append(start + len(text.rstrip()))
            start += len(text) + 1
    return ends


def _most(ends: Sequence[int], fits: Callable[[int], bool], longest: int) -> int:
    """The last end that fits, 0 when none does; counts grow with the text, so halving finds it."""
    low, high = 0, bisect_right(ends, longest)
    while low < high:
        middle = (low + high + 1) // 2
        if fits(ends[middle - 1]):
            low = middle
        else:
            high = middle - 1
    return ends[low - 1] if low else 0


def _tag_by_tag(counter: TokenCount, limit: int) -> Callable[[Tags, CaptionContext], Tags]:
    """The cut of a plain line from what each of its tags counts; for counters that are separable at blanks."""
    nothing = counter.count("")
    inner = remember(lambda tag: counter.count(f"{tag},") - nothing)
    last = remember(lambda tag: counter.count(tag) - nothing)

    def cut(tags: Tags, context: CaptionContext) -> Tags:
        if nothing + sum(map(inner, tags)) <= limit:  # a comma too many counted, and still it fits
            return tags
        total, kept = nothing, 0
        for number, tag in enumerate(tags, start=1):
            if total + last(tag) <= limit:
                kept = number
            total += inner(tag)
            if total > limit:
                break
        return tags if kept == len(tags) else tags[:kept]

    return cut


def _needed(corpus: Corpus) -> TokenCount:
    if corpus.counter is None:
        raise DatasetError("To limit captions by tokens, a tokenizer must be chosen.", "Name the family of the base.")
    return corpus.counter
