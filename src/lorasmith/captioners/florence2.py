"""Captions, tags, regions and texts by Florence-2 (Xiao et al., "Florence-2", 2023), in transformers' own architecture.

The repositories of microsoft hold programs for older versions of transformers; the conversions of florence-community
are what is opened here. A task is its prompt. Tasks that only mark places have no words for a caption and are refused;
those that name what they mark become a list or a sentence.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from lorasmith.captioners import Answer, Failure, Known
from lorasmith.captioners.prompts import fields_of, fill
from lorasmith.captioners.seeing import SeeingCaptioner, SeeingOptions, whole_answer
from lorasmith.captioners.seeing.folders import KnownModel
from lorasmith.captioners.seeing.opening import Opened, Said, Search

if TYPE_CHECKING:
    from PIL.Image import Image

Task = Literal[
    "caption", "detailed_caption", "more_detailed_caption", "ocr", "ocr_with_region", "od", "dense_region_caption",
    "caption_to_phrase_grounding", "open_vocabulary_detection", "region_to_category", "region_to_description",
    "region_to_ocr", "generate_tags", "mixed_caption", "mixed_caption_plus", "analyze",
    "region_proposal", "referring_expression_segmentation", "region_to_segmentation",
]  # fmt: skip
_PLACES_ONLY: Final = frozenset({"region_proposal", "referring_expression_segmentation", "region_to_segmentation"})
_WITH_INPUT: Final = frozenset(
    {"caption_to_phrase_grounding", "open_vocabulary_detection", "region_to_category", "region_to_description",
     "region_to_ocr"}
)  # fmt: skip
_NAMED: Final = frozenset(
    {"od", "dense_region_caption", "caption_to_phrase_grounding", "open_vocabulary_detection", "ocr_with_region"}
)


_PLACES: Final = re.compile(r"((?:<loc_\d+>)+)")
_SIGN: Final = re.compile(r"</?\w+>")
_CORNERS: Final = 4  # numbers of a box; a text that was read has eight, once


class Florence2(SeeingCaptioner):
    """What a task of Florence-2 says."""

    name = "florence2"
    title = "Florence-2 (captions, objects, text in pictures)"
    kinds = frozenset({"florence2"})
    models = (
        KnownModel("florence-community/Florence-2-large", ("florence-2-large",), "MIT"),
        KnownModel("florence-community/Florence-2-base", ("florence-2-base",), "MIT"),
        KnownModel("florence-community/Florence-2-large-ft", ("florence-2-large-ft",), "MIT"),
        KnownModel("florence-community/Florence-2-base-ft", ("florence-2-base-ft",), "MIT"),
    )

    class Options(SeeingOptions):
        """Which task, and how it writes."""

        model: Annotated[str, Field(min_length=1)] = "florence-2-large"
        """florence-2-base, florence-2-large, those with -ft, a repository, or a folder with such a model."""
        task: Task = "more_detailed_caption"
        """caption, detailed_caption or more_detailed_caption; od and dense_region_caption name objects; ocr reads text.
        generate_tags, mixed_caption, mixed_caption_plus and analyze need a model that was tuned for them."""
        input: Annotated[str, Field(max_length=1000)] = ""
        """What a task asks about: phrases, an object, or a region as <loc_52><loc_339><loc_924><loc_886>; may hold
        {tags} and {filename}."""
        num_beams: Annotated[int, Field(ge=1, le=16)] = 3
        """Sentences that are followed at the same time, 1 to 16; 1 takes one likely word after the other."""
        max_new_tokens: Annotated[int, Field(ge=1, le=1024)] = 1024
        """The longest answer in tokens, 1 to 1024."""
        temperature: Annotated[float, Field(ge=0, le=5)] = 0
        """How much chance is in the words, 0 to 5; above 0 counts with one beam only."""

        @model_validator(mode="after")
        def _fits(self) -> Florence2.Options:
            if self.task in _PLACES_ONLY:
                raise ValueError(f"the task {self.task} only marks places, which are no caption; take another task")
            if self.task in _WITH_INPUT and not self.input.strip():
                raise ValueError(f"the task {self.task} has to know what it is asked about: set 'input'")
            if self.task not in _WITH_INPUT and self.input.strip():
                raise ValueError(f"the task {self.task} takes no 'input'; leave it out")
            if "trigger_word" in fields_of(self.input):
                raise ValueError("the model does not know a trigger word, so 'input' cannot hold it")
            return self

    def reads(self) -> frozenset[str]:
        """What the input asks for."""
        return fields_of(self.options(Florence2.Options).input)

    def prompt(self, known: Known) -> str:
        """What the task is asked about."""
        return fill(self.options(Florence2.Options).input, trigger_word="", known=known)

    def disarmed(self, opened: Opened) -> list[str]:
        """All signs but places, which an input may name."""
        return [token for token in opened.tokenizer.all_special_tokens if not token.startswith("<loc_")]

    def look(self, opened: Opened, images: Sequence[Image], prompts: Sequence[str]) -> Any:
        """Squares, and the task's prompt."""
        return opened.encode(images, [self._task() + prompt for prompt in prompts])

    def search(self) -> Search:
        """Beams."""
        own = self.options(Florence2.Options)
        return Search(own.max_new_tokens, own.num_beams, own.repetition_penalty, 0, own.temperature, own.top_p)

    def read(self, opened: Opened, said: Said, image: Image) -> Answer | Failure:
        """The words of an answer; of objects and regions, their names."""
        own = self.options(Florence2.Options)
        if own.task not in _NAMED:
            return whole_answer(said, own.max_new_tokens)
        del image
        text = opened.tokenizer.decode(list(said.tokens), skip_special_tokens=False)
        caption = in_words(text, as_text=own.task == "ocr_with_region")
        if not caption:
            return Failure(f"The task {own.task} found nothing in this picture that it could name.")
        note = f"The answer was cut at {own.max_new_tokens} tokens; some objects may be missing." if said.cut else ""
        return Answer(caption, note=note)

    def _task(self) -> str:
        return f"<{self.options(Florence2.Options).task.upper()}>"


def in_words(text: str, *, as_text: bool) -> str:
    """Names with places behind them as a caption: each name once, with how many places it has if they are several;
    texts that were read keep their order."""
    counts: Counter[str] = Counter()
    pieces = _PLACES.split(text)
    for name, places in zip(pieces[::2], pieces[1::2], strict=False):  # what stands behind the last place was cut
        clean = " ".join(_SIGN.sub(" ", name).split())
        if clean:
            counts[clean] += max(1, places.count("<loc_") // _CORNERS)
    if as_text:
        return " / ".join(counts)
    return ", ".join(f"{count} x {name}" if count > 1 else name for name, count in counts.items())


plugin = Florence2()
