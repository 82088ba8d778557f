"""Models that are talked to: a system prompt, a question about a picture, their own chat template around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator, model_validator

from lorasmith.captioners import Known
from lorasmith.captioners.prompts import OF_PAIRS, OF_PICTURES, disarm, fields_of, fill, template_of
from lorasmith.captioners.seeing import SeeingCaptioner, SeeingOptions
from lorasmith.captioners.seeing.opening import Opened
from lorasmith.errors import EnvironmentProblem

if TYPE_CHECKING:
    from PIL.Image import Image


class ChatOptions(SeeingOptions):
    """What all models that are talked to have in common."""

    prompt: Annotated[str, Field(min_length=1, max_length=4000)] = "detailed"
    """What is asked: detailed, portrait, short, tags, from_tags or subject, or a text of your own, in which
    {trigger_word}, {tags} and {filename} are filled for each picture."""
    system_prompt: Annotated[str, Field(max_length=4000)] = ""
    """What the model is told about itself before; empty for nothing."""
    trigger_word: Annotated[str, Field(max_length=200)] = ""
    """What {trigger_word} in the prompt stands for."""

    @field_validator("prompt")
    @classmethod
    def _has_words(cls, prompt: str) -> str:
        if prompt and not prompt.strip():
            raise ValueError("it is empty; ask something")
        if prompt.strip() in OF_PAIRS:
            raise ValueError("it is about a picture and its references, and this model looks at one picture at a time")
        fields_of(template_of(prompt))
        return prompt

    @model_validator(mode="after")
    def _has_a_trigger_word(self) -> ChatOptions:
        if "trigger_word" in fields_of(self.template()) and not self.trigger_word.strip():
            raise ValueError("the prompt has {trigger_word}: set 'trigger_word' to what it stands for")
        return self

    def template(self) -> str:
        """The template that is asked."""
        return template_of(self.prompt)


class ChatCaptioner(SeeingCaptioner):
    """A captioner that is talked to."""

    mixes_prompts = True

    class Options(ChatOptions):
        """What it is asked, and how it writes."""

    def reads(self) -> frozenset[str]:
        """What the prompt asks for."""
        return fields_of(self.options(ChatOptions).template()) & OF_PICTURES

    def says(self) -> Mapping[str, Any]:
        """The prompt's own text, since a name may stand for another one day."""
        return {"prompt": self.options(ChatOptions).template()}

    def prompt(self, known: Known) -> str:
        """The filled prompt."""
        own = self.options(ChatOptions)
        return fill(own.template(), trigger_word=own.trigger_word, known=known)

    def look(self, opened: Opened, images: Sequence[Image], prompts: Sequence[str]) -> Any:
        """Each picture in a chat of its own, padded on the left so that all answers begin at the same place."""
        system = disarm(self.options(ChatOptions).system_prompt.strip(), opened.tokenizer.all_special_tokens)
        texts = [in_chat(opened, prompt, system) for prompt in prompts]
        first = opened.tokenizer.bos_token
        framed = bool(first) and texts[0].startswith(first)  # two beginnings are one too many
        return opened.encode(
            images, texts, padding=True, padding_side="left", **({"add_special_tokens": False} if framed else {})
        )


def in_chat(opened: Opened, prompt: str, system: str) -> str:
    """The prompt with a picture as the model's chat template writes it, ready for the answer.

    Raises:
        EnvironmentProblem: there is no template, or it cannot be rendered.
    """
    from jinja2 import TemplateError

    template = getattr(opened.processor, "chat_template", None) or opened.tokenizer.chat_template
    if not template:
        raise EnvironmentProblem(
            f"{opened.folder.name} has no chat template, so it is not known how it is talked to.",
            "Download it again with its chat_template.json or .jinja, or take another model.",
        )
    if isinstance(template, dict):
        template = template.get("default") or next(iter(template.values()))
    cause: Exception | None = None
    for messages in _messages(opened, prompt, system):
        try:
            text = str(
                opened.tokenizer.apply_chat_template(
                    messages,
                    chat_template=template,
                    tokenize=False,
                    add_generation_prompt=True,
                    enable_thinking=False,
                )
            )
        except (TemplateError, TypeError) as refusal:
            cause = cause or refusal
            continue
        if _says_all(opened, text, prompt, system):
            return text
    raise EnvironmentProblem(
        f"The chat template of {opened.folder.name} cannot be used: {cause or 'it leaves picture or prompt out'}.",
        "Take another model" + (", or leave system_prompt empty." if system else "."),
    )


def _messages(opened: Opened, prompt: str, system: str) -> Iterator[list[dict[str, Any]]]:
    """The same chat as templates want it: in parts, as text with a picture that they add, or with its sign in it."""
    said = [{"role": "system", "content": [{"type": "text", "text": system}]}] if system else []
    plain = [{"role": "system", "content": system}] if system else []
    parts = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]
    yield [*said, *parts]
    yield [*plain, *parts]
    yield [*plain, {"role": "user", "content": prompt}]
    if sign := _sign(opened):
        yield [*plain, {"role": "user", "content": f"{sign}\n{prompt}"}]


def _says_all(opened: Opened, text: str, prompt: str, system: str) -> bool:
    """Whether a template wrote picture, prompts and system as they are: some write lists as Python shows them."""
    sign = _sign(opened)
    whole = prompt in text and system in text and "'type'" not in text
    return whole and (not sign or text.count(sign) == 1)


def _sign(opened: Opened) -> str:
    """What stands for a picture in a text; empty where the processor does not tell."""
    return str(getattr(opened.processor, "image_token", "") or "")
