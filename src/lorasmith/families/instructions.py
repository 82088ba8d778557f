"""What instructions written around a prompt leave of the tokens that a text encoder reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

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
