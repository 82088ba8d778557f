"""The caption in a chat completion: without the thinking, and never what is no caption."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from lorasmith.captioners import Answer, Failure
from lorasmith.captioners.seeing.trimming import end_whole

_THOUGHT: Final = re.compile(
    r"<(think|thinking|reasoning|analysis)>.*?(</\1>|\Z)|\[THINK\].*?(\[/THINK\]|\Z)", re.DOTALL | re.IGNORECASE
)
# Chat templates may open the thought themselves, so that only its end arrives.
_THOUGHT_END: Final = re.compile(
    r"\A.*</(think|thinking|reasoning|analysis)>|\A.*\[/THINK\]", re.DOTALL | re.IGNORECASE
)
_ANSWER: Final = re.compile(r"\A\s*<answer>(.*?)(</answer>\s*|\Z)", re.DOTALL | re.IGNORECASE)
_TOKENS: Final = re.compile(r"<\|[a-z0-9_]{1,40}\|>|</s>|<end_of_turn>", re.IGNORECASE)
_QUOTED: Final = 120


def read_completion(document: Mapping[str, Any], max_tokens: int | None) -> Answer | Failure | None:
    """The answer that a completion holds; None when it is no completion at all.

    Args:
        document: JSON that a server sent.
        max_tokens: what it was allowed, for the sentence.
    """
    choices = document.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, Mapping) or not isinstance(choice.get("message"), Mapping):
        return None
    message, finish = choice["message"], choice.get("finish_reason")
    refusal = message.get("refusal")
    if finish == "content_filter" or (isinstance(refusal, str) and refusal.strip()):
        why = f"The model refuses: “{_short(refusal)}”" if refusal else "The server's filter took the answer away."
        return Failure(f"{why} Caption this picture with another model.")
    whole = text_of(message.get("content"))
    caption = without_thinking(whole)
    thought = bool(whole.strip()) or any(text_of(message.get(key)) for key in ("reasoning_content", "reasoning"))
    if finish == "length":
        return _cut_off(caption, max_tokens)
    if finish == "error":
        return Failure(f"The server failed while it answered: “{_short(caption)}” Look into its log.")
    what = "thoughts and no answer" if thought else "nothing"
    return (
        Answer(caption)
        if caption
        else Failure(f"The model said {what}. Change the prompt, or give it more max_tokens.")
    )


def _cut_off(caption: str, max_tokens: int | None) -> Answer | Failure:
    """An answer that reached its longest length, ended where something is whole."""
    allowed = "its limit" if max_tokens is None else f"{max_tokens} tokens"
    if not caption:
        return Failure(
            f"The model was still thinking when {allowed} were used up. Give it more with max_tokens, or turn its "
            "thinking off (for Qwen on vLLM: extra_body={'chat_template_kwargs': {'enable_thinking': false}})."
        )
    whole, ends = end_whole(caption)
    if ends == "word":
        return Failure(
            f"The answer was cut off after {allowed}: “{_short(caption)}” Make max_tokens larger, or ask for less."
        )
    note = f"The answer was cut at {allowed} and ends with its last whole {ends}; raise max_tokens."
    return Answer(whole, note=note)


def text_of(content: Any) -> str:
    """A message's content as text: a text, or a list of parts of which those for people count."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping) and part.get("type", "text") in ("text", "output_text"):
            texts.append(str(part.get("text") or ""))
    return "".join(texts)


def without_thinking(text: str) -> str:
    """The answer alone, stripped, without what a model said to itself and without tokens that slipped through."""
    text = _THOUGHT_END.sub("", _THOUGHT.sub("", text))
    wrapped = _ANSWER.match(text)
    return _TOKENS.sub("", wrapped[1] if wrapped else text).strip()


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _QUOTED else f"{line[: _QUOTED - 3]}..."
