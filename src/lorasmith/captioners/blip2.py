"""Captions by BLIP-2 (Li et al., "BLIP-2: Bootstrapping Language-Image Pre-training", 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from lorasmith.captioners import Known
from lorasmith.captioners.seeing import SeeingCaptioner, SeeingOptions
from lorasmith.captioners.seeing.folders import KnownModel
from lorasmith.captioners.seeing.opening import Opened, Search

if TYPE_CHECKING:
    from PIL.Image import Image


class Blip2(SeeingCaptioner):
    """One sentence, or an answer to a question, by BLIP-2."""

    name = "blip2"
    title = "BLIP-2 (sentences)"
    kinds = frozenset({"blip-2"})
    models = (
        KnownModel("Salesforce/blip2-opt-2.7b", ("blip2-opt-2.7b",), "MIT", 15_000_000_000),
        KnownModel("Salesforce/blip2-opt-6.7b", ("blip2-opt-6.7b",), "MIT"),
        KnownModel("Salesforce/blip2-opt-6.7b-coco", ("blip2-opt-6.7b-coco",), "MIT"),
        KnownModel("Salesforce/blip2-flan-t5-xl", ("blip2-flan-t5-xl",), "MIT"),
        KnownModel("Salesforce/blip2-flan-t5-xxl", ("blip2-flan-t5-xxl",), "MIT"),
    )

    class Options(SeeingOptions):
        """How BLIP-2 writes."""

        model: Annotated[str, Field(min_length=1)] = "blip2-opt-2.7b"
        """blip2-opt-2.7b, blip2-flan-t5-xl and their like, a repository, or a folder with such a model."""
        prefix: Annotated[str, Field(max_length=500)] = ""
        """What the text begins with ("a photo of"), or a question ("Question: what is worn? Answer:"); not in the
        caption."""
        num_beams: Annotated[int, Field(ge=1, le=16)] = 5
        """Sentences that are followed at the same time, 1 to 16; 1 takes one likely word after the other."""
        min_new_tokens: Annotated[int, Field(ge=0, le=256)] = 5
        """The shortest answer in tokens, 0 to 256."""
        max_new_tokens: Annotated[int, Field(ge=1, le=512)] = 75
        """The longest answer in tokens, 1 to 512."""
        temperature: Annotated[float, Field(ge=0, le=5)] = 0
        """How much chance is in the words, 0 to 5; above 0 counts with one beam only."""
        repetition_penalty: Annotated[float, Field(ge=0.5, le=3)] | None = 1.3
        """Above 1 makes words that were said less likely, 0.5 to 3."""

    def prompt(self, known: Known) -> str:
        """The beginning of the text."""
        del known
        return self.options(Blip2.Options).prefix.strip()

    def look(self, opened: Opened, images: Sequence[Image], prompts: Sequence[str]) -> Any:
        """Squares; places for what is seen stand before the text."""
        if opened.processor.num_query_tokens is None:  # older repositories leave it to the model
            opened.processor.num_query_tokens = opened.model.config.num_query_tokens
        if isinstance(opened.processor.image_token, str):  # as newer tokenizers name it, and the processor cannot take
            from transformers import AddedToken

            opened.processor.image_token = AddedToken(opened.processor.image_token, normalized=False, special=True)
        return opened.encode(images, list(prompts) if prompts[0] else None)

    def search(self) -> Search:
        """Beams."""
        own = self.options(Blip2.Options)
        return Search(
            own.max_new_tokens, own.num_beams, own.repetition_penalty, own.min_new_tokens, own.temperature, own.top_p
        )


plugin = Blip2()
