"""The trigger word, at the beginning, at the end or in a place of its own in every caption."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator

from lorasmith.datasets.captions.grammar import PLACEHOLDER
from lorasmith.datasets.captions.operations.contract import CaptionOperation, Line, Seed, draw
from lorasmith.datasets.captions.rewriting import (
    CaptionContext,
    Corpus,
    Edit,
    InsertTags,
    Tags,
    WholeText,
    put_before,
    put_behind,
)
from lorasmith.datasets.captions.spelling import remember
from lorasmith.datasets.captions.trigger_word import check_trigger_word, word_finder
from lorasmith.errors import ConfigError

_BETWEEN_SENTENCES: Final = re.compile(r"""(?<=[.!?…])(?<=[^\W_].)["'”’)]? +(?=[^\W\d_a-z])""")
_WORDS: Final = {"beginning": "at the beginning", "end": "at the end", "random": "at a random place"}


def _trigger(word: str) -> str:
    try:
        return check_trigger_word(word)
    except ConfigError as cause:
        raise ValueError(str(cause)) from cause


class AddTriggerWord(CaptionOperation):
    """Add the trigger word to every caption that lacks it, each line of it; to sentences too."""

    name: ClassVar[str] = "add_trigger_word"

    word: Annotated[Line, AfterValidator(_trigger)]
    """The rare word or words that shall call up the subject, on one line."""
    position: Literal["beginning", "end", "random"] = "beginning"
    """Where it goes. At random it stands between tags or sentences, never inside one."""
    seed: Seed = 0
    """Of the random place, from 0; the same seed gives every picture the same place again."""

    def describe(self) -> str:
        return f"Add the trigger word '{self.word}' {_WORDS[self.position]} where it is missing"

    def edit(self, corpus: Corpus) -> Edit:
        has_it = word_finder(self.word)

        def is_held(line: str) -> bool:
            return has_it(line) or PLACEHOLDER in line.lower()

        holds = remember(is_held)
        alone = "," not in self.word  # else no single tag can hold it

        def places(tags: Tags, context: CaptionContext) -> list[tuple[int, str]]:
            if not alone and has_it(", ".join(tags)):
                return []
            return [(self._place(len(tags), context), self.word)]

        return InsertTags(
            places,
            unless=holds,
            named=self.position == "random",
            into_prose=self._into_prose,
            holds=is_held,
            into_empty=lambda _: self.word,
        )

    def warnings(self, corpus: Corpus, items: int) -> list[str]:
        held = sum(count for tag, count in corpus.frequencies.items() if PLACEHOLDER in tag.lower())
        if not held:
            return []
        return [
            f"{PLACEHOLDER} stands in {held:,} tags and counts as the trigger word; fill_placeholder writes it out."
        ]

    def _place(self, places: int, context: CaptionContext) -> int:
        if self.position == "random":
            return draw(self.seed, context.name, places + 1)
        return 0 if self.position == "beginning" else places

    def _into_prose(self, line: str, context: CaptionContext) -> str:
        sentences = [match.end() for match in _BETWEEN_SENTENCES.finditer(line)]
        place = self._place(len(sentences) + 1, context)
        if place == 0:
            return put_before(line, self.word)
        if place > len(sentences):
            return put_behind(line, self.word)
        at = sentences[place - 1]
        return f"{line[:at]}{self.word}, {line[at:]}"


class FillPlaceholder(CaptionOperation):
    """Put the trigger word where captions say ``[trigger]``, as ai-toolkit would do while it trains."""

    name: ClassVar[str] = "fill_placeholder"

    word: Annotated[Line, AfterValidator(_trigger)]
    """What takes the place of ``[trigger]``."""

    def describe(self) -> str:
        return f"Put '{self.word}' in place of {PLACEHOLDER}"

    def edit(self, corpus: Corpus) -> Edit:
        placeholder = re.compile(re.escape(PLACEHOLDER), re.IGNORECASE)
        return WholeText(
            lambda caption, _: placeholder.sub(lambda _match: self.word, caption),
            may_change=lambda caption: placeholder.search(caption) is not None,
        )
