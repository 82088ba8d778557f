"""How much of a prompt is read: what instructions written around it leave of the tokens that a text encoder reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from lorasmith.families import Base, Family

_PROMPT: Final = "PROMPT"


def left_by_chat(tokenizer: Any, messages: Sequence[Mapping[str, Any]], tokens: int, **settings: Any) -> int:
    """Of ``tokens``, those left for a prompt that is the last message of a chat; ``settings`` are the template's."""
    *before, last = messages
    content = last["content"]
    marked = [{**content[0], "text": _PROMPT}] if isinstance(content, list) else _PROMPT
    text = tokenizer.apply_chat_template([*before, {**last, "content": marked}], tokenize=False, **settings)
    return left_by(tokenizer, str(text).partition(_PROMPT)[0], tokens)


def left_by(tokenizer: Any, before: str, tokens: int) -> int:
    """Of ``tokens``, those left behind this text."""
    return tokens - len(tokenizer(before, add_special_tokens=False).input_ids)


def unread(
    family: Family, base: Base, pipeline: Any, tokenizers: Mapping[str, Any], prompts: Iterable[str]
) -> dict[str, tuple[int, int]]:
    """Prompts longer than their longest reader reads: how many tokens each has, and how many are not read.

    Args:
        family: whose prompts.
        base: the weights.
        pipeline: of the base, as far as it is loaded; None for families that work without one.
        tokenizers: by diffusers' names.
        prompts: each is looked at once.
    """
    read = family.tokens_read(base, pipeline)
    if read is None:
        return {}
    tokenizer = tokenizers[family.longest_reader]
    limit = min(tokenizer.model_max_length, read)
    lengths = {prompt: len(tokenizer(prompt).input_ids) for prompt in dict.fromkeys(prompts)}
    return {prompt: (length, length - limit) for prompt, length in lengths.items() if length > limit}
