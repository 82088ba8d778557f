"""Captions by JoyCaption (fancyfeast), a Llava that was trained to caption for diffusion models.

It was trained on requests that name a kind of caption and a length, with wishes behind them; ``request`` puts such a
one together. A ``prompt`` of one's own takes their place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator, model_validator

from lorasmith.captioners.seeing.chat import ChatCaptioner, ChatOptions
from lorasmith.captioners.seeing.folders import KnownModel

Kind = Literal[
    "descriptive", "descriptive_casual", "straightforward", "stable_diffusion_prompt", "midjourney",
    "danbooru_tags", "e621_tags", "rule34_tags", "booru_like_tags", "art_critic", "product_listing",
    "social_media_post",
]  # fmt: skip
Wish = Literal[
    "name", "no_unchangeable", "lighting", "camera_angle", "watermark", "jpeg_artifacts", "camera_details", "pg",
    "no_resolution", "quality", "composition", "no_text", "depth_of_field", "light_sources", "no_ambiguity",
    "safety_rating", "essentials_only", "no_art_terms", "no_artist", "shot_kind", "vantage", "orientation",
    "plain_words", "no_mood", "ages", "no_opening_phrase",
]  # fmt: skip
_LENGTHS: Final = ("any", "very short", "short", "medium-length", "long", "very long")
_KINDS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "descriptive": ("descriptive caption", "for this image in a formal tone"),
        "descriptive_casual": ("descriptive caption", "for this image in a casual tone"),
        "straightforward": (
            "straightforward caption",
            "for this image: main subject and medium first, then what can be seen for certain, without guesses",
        ),
        "stable_diffusion_prompt": ("stable diffusion prompt", "for this image"),
        "midjourney": ("MidJourney prompt", "for this image"),
        "danbooru_tags": ("list of Danbooru tags", "for this image, separated by commas"),
        "e621_tags": ("list of e621 tags", "for this image, separated by commas"),
        "rule34_tags": ("list of rule34 tags", "for this image, separated by commas"),
        "booru_like_tags": ("list of Booru-like tags", "for this image"),
        "art_critic": ("analysis as of an art critic", "of this image: composition, style, symbols, colour and light"),
        "product_listing": ("caption", "for this image as though it were a product listing"),
        "social_media_post": ("caption", "for this image as if it were used for a social media post"),
    }
)
_BETA_ONLY: Final = frozenset({"straightforward", "danbooru_tags", "e621_tags", "rule34_tags"})
_WISHES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "name": "Call the person or character in the image {name}.",
        "no_unchangeable": "Leave out what cannot be changed about people, such as ethnicity or gender, but describe "
        "what can, such as hair.",
        "lighting": "Say how the image is lit.",
        "camera_angle": "Say from which angle it is taken.",
        "watermark": "Say whether there is a watermark.",
        "jpeg_artifacts": "Say whether there are JPEG artifacts.",
        "camera_details": "If it is a photo, say which camera and settings it was likely taken with.",
        "pg": "Keep it suitable for all ages.",
        "no_resolution": "Do not mention the resolution.",
        "quality": "Say how good the image looks, from low to very high.",
        "composition": "Say how it is composed: thirds, leading lines, symmetry and the like.",
        "no_text": "Do not mention any text that is in the image.",
        "depth_of_field": "Say how deep the focus is, and whether the background is blurred.",
        "light_sources": "Say whether the light is artificial or natural, where that can be told.",
        "no_ambiguity": "Use no words that leave things open.",
        "safety_rating": "Say whether it is sfw, suggestive or nsfw.",
        "essentials_only": "Describe only what matters most.",
        "no_art_terms": "Do not name the artist, the title or the style.",
        "no_artist": "Do not name the artist.",
        "shot_kind": "Say which kind of shot it is, from extreme close-up to extreme wide shot.",
        "vantage": "Say from which height it is seen, such as eye level, bird's-eye or worm's-eye.",
        "orientation": "Say whether it is upright or wide, and about which ratio.",
        "plain_words": "Use plain, even coarse words instead of euphemisms.",
        "no_mood": "Do not write about mood or feeling.",
        "ages": "Say how old people look.",
        "no_opening_phrase": "Do not begin with words such as 'This image shows'.",
    }
)


class JoyCaption(ChatCaptioner):
    """Whatever JoyCaption answers."""

    name = "joycaption"
    title = "JoyCaption (descriptions for diffusion models)"
    kinds = frozenset({"llava"})
    models = (
        KnownModel(
            "fancyfeast/llama-joycaption-beta-one-hf-llava",
            ("joycaption-beta-one",),
            "Llama 3.1 Community License (of its language model)",
            17_000_000_000,
        ),
        KnownModel(
            "fancyfeast/llama-joycaption-alpha-two-hf-llava",
            ("joycaption-alpha-two",),
            "Llama 3.1 Community License (of its language model)",
            17_800_000_000,
        ),
        KnownModel(
            "fancyfeast/llama-joycaption-alpha-two-vqa-test-1",
            ("joycaption-alpha-two-vqa",),
            "Llama 3.1 Community License (of its language model)",
        ),
    )

    class Options(ChatOptions):
        """Which model, which kind of caption, how long, and how it writes."""

        model: Annotated[str, Field(min_length=1)] = "joycaption-beta-one"
        """joycaption-beta-one, joycaption-alpha-two, joycaption-alpha-two-vqa, a repository or a folder."""
        caption_type: Kind = "descriptive"
        """descriptive, descriptive_casual, straightforward, stable_diffusion_prompt, midjourney, danbooru_tags,
        e621_tags, rule34_tags, booru_like_tags, art_critic, product_listing or social_media_post."""
        caption_length: str = "long"
        """any, very short, short, medium-length, long, very long, or a number of words, 20 to 260 in steps of 10."""
        extra: tuple[Wish, ...] = ()
        """Wishes: lighting, camera_angle, no_text, composition, shot_kind, name and others."""
        character_name: Annotated[str, Field(max_length=200)] = ""
        """How the wish 'name' calls the person or character."""
        prompt: Annotated[str, Field(max_length=4000)] = ""
        """Asked in place of type, length and wishes: a name such as detailed, or a text of your own with {tags},
        {filename} and {trigger_word}."""
        system_prompt: Annotated[str, Field(max_length=4000)] = "You are a helpful image captioner."
        """What the model is told about itself before; it was trained with this."""

        @field_validator("caption_length", mode="before")
        @classmethod
        def _is_a_length(cls, length: object) -> str:
            text = str(length).strip().replace("_", " ").replace("medium length", "medium-length")
            number = int(text) if text.isdecimal() else 0
            if text not in _LENGTHS and not (20 <= number <= 260 and number % 10 == 0):
                raise ValueError(f"it is one of {', '.join(_LENGTHS)}, or 20 to 260 words in steps of 10")
            return text

        @field_validator("extra", mode="before")
        @classmethod
        def _may_be_one_line(cls, extra: object) -> object:
            return tuple(filter(None, map(str.strip, extra.split(",")))) if isinstance(extra, str) else extra

        @model_validator(mode="after")
        def _fits(self) -> JoyCaption.Options:
            if "name" in self.extra and not self.character_name.strip():
                raise ValueError("the wish 'name' has to know the name: set 'character_name'")
            if "alpha-two" in self.model.casefold() and self.caption_type in _BETA_ONLY and not self.prompt:
                raise ValueError(f"caption_type {self.caption_type} came with joycaption-beta-one; take that model")
            return self

        def template(self) -> str:
            """The prompt, else a request for the type and length with all wishes."""
            if self.prompt:
                return super().template()
            return request(self.caption_type, self.caption_length, self.extra, self.character_name)


def request(kind: str, length: str, wishes: Sequence[str] = (), name: str = "") -> str:
    """A request as the model was trained on: what, how long, and what else; ready as a template."""
    what, rest = _KINDS[kind]
    if length in _LENGTHS[1:]:
        what = f"{length} {what}"
    within = f" within {length} words" if length.isdecimal() else ""
    article = "an" if what[0] in "aeiou" else "a"
    safe = name.strip().replace("{", "{{").replace("}", "}}")
    said = [_WISHES[wish].replace("{name}", safe) for wish in dict.fromkeys(wishes)]
    return " ".join([f"Write {article} {what} {rest}{within}.", *said])


plugin = JoyCaption()
