"""Short captions of photographs by BLIP (Li et al., "BLIP: Bootstrapping Language-Image Pre-training", 2022)."""

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


class Blip(SeeingCaptioner):
    """One sentence by BLIP."""

    name = "blip"
    title = "BLIP (short sentences)"
    kinds = frozenset({"blip"})
    models = (
        KnownModel("Salesforce/blip-image-captioning-large", ("blip-large",), "BSD-3-Clause", 1_880_000_000),
        KnownModel("Salesforce/blip-image-captioning-base", ("blip-base",), "BSD-3-Clause", 990_000_000),
    )

    class Options(SeeingOptions):
        """How BLIP writes; the defaults suit photographs."""

        model: Annotated[str, Field(min_length=1)] = "blip-large"
        """blip-large, blip-base, a repository, or a folder with such a model."""
        prefix: Annotated[str, Field(max_length=200)] = ""
        """How the sentence begins, such as "a photograph of"; it is not part of the caption."""
        num_beams: Annotated[int, Field(ge=1, le=16)] = 4
        """Sentences that are followed at the same time, 1 to 16; 1 takes one likely word after the other."""
        min_new_tokens: Annotated[int, Field(ge=0, le=256)] = 5
        """The shortest answer in tokens, 0 to 256."""
        max_new_tokens: Annotated[int, Field(ge=1, le=256)] = 75
        """The longest answer in tokens, 1 to 256."""
        temperature: Annotated[float, Field(ge=0, le=5)] = 0
        """How much chance is in the words, 0 to 5; above 0 counts with one beam only."""
        repetition_penalty: Annotated[float, Field(ge=0.5, le=3)] | None = 1.3
        """Above 1 makes words that were said less likely, 0.5 to 3."""

    def prompt(self, known: Known) -> str:
        """The beginning of the sentence."""
        del known
        return self.options(Blip.Options).prefix.strip()

    def look(self, opened: Opened, images: Sequence[Image], prompts: Sequence[str]) -> Any:
        """Squares, as the model was trained."""
        return opened.encode(images, list(prompts) if prompts[0] else None)

    def search(self) -> Search:
        """Beams."""
        own = self.options(Blip.Options)
        return Search(
            own.max_new_tokens, own.num_beams, own.repetition_penalty, own.min_new_tokens, own.temperature, own.top_p
        )


plugin = Blip()
