"""The prompt grammar: ``<lora:name:0.8>`` inside a prompt calls up an adapter, as people know it from A1111.

Several may stand in one prompt, the weight defaults to 1. What looks like such a mention and is not one is an
error that names the column: text that silently reached the text encoder would change the picture instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lorasmith.errors import ConfigError

WEIGHT_LIMIT: Final = 4.0  # beyond it every adapter known to us turns pictures into noise
_MENTION = re.compile(r"<\s*(lora|lyco|hypernet)\s*(?::([^<>]*))?(>?)", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)")


@dataclass(frozen=True)
class AdapterMention:
    """An adapter named in a prompt. ``column`` counts from 1."""

    name: str
    weight: float
    column: int


@dataclass(frozen=True)
class ParsedPrompt:
    """What the text encoder reads, and the adapters that were mentioned."""

    text: str
    adapters: tuple[AdapterMention, ...]


def parse_prompt(prompt: str) -> ParsedPrompt:
    """Take the adapter mentions out of a prompt.

    A prompt without mentions comes back unchanged. Where a mention is taken out, a comma or blank that it leaves
    behind twice is left once.

    Raises:
        ConfigError: a mention without a name or closing bracket, a weight that is no number or beyond 4, the same
            adapter twice, or a kind of network that is not an adapter. The message names the column.
    """
    mentions: list[AdapterMention] = []
    text, end = "", 0
    for match in _MENTION.finditer(prompt):
        mentions.append(_mention(match, mentions))
        text = _join(text, prompt[end : match.start()])
        end = match.end()
    if not mentions:
        return ParsedPrompt(prompt, ())
    return ParsedPrompt(_join(text, prompt[end:]).strip(), tuple(mentions))


def write_mention(name: str, weight: float) -> str:
    """The mention that ``parse_prompt`` reads back as this adapter and weight."""
    number = f"{weight:.6f}".rstrip("0").rstrip(".")
    return f"<lora:{name}:{number}>"


def _mention(match: re.Match[str], before: list[AdapterMention]) -> AdapterMention:
    kind, body, closed = match.group(1).lower(), match.group(2), match.group(3)
    column = match.start() + 1
    if kind != "lora":
        raise ConfigError(f"'<{kind}:' at column {column} of the prompt is not supported.", "Write <lora:name:weight>.")
    if not closed:
        raise ConfigError(f"The '<lora' at column {column} of the prompt is never closed.", "Write <lora:name:weight>.")
    name, colon, number = (body or "").partition(":")
    name, number = name.strip(), number.strip()
    if not name:
        raise ConfigError(f"The '<lora' at column {column} of the prompt has no name.", "Write <lora:name:weight>.")
    if colon and not _NUMBER.fullmatch(number):
        raise ConfigError(
            f"The weight '{number}' of adapter '{name}' at column {column} of the prompt is not a number.",
            "Write one weight, such as 0.8.",
        )
    weight = float(number) if colon else 1.0
    if abs(weight) > WEIGHT_LIMIT:
        raise ConfigError(
            f"The weight {weight:g} of adapter '{name}' at column {column} of the prompt is beyond {WEIGHT_LIMIT:g}.",
            "Weights from 0.5 to 1.2 are usual.",
        )
    if any(mention.name == name for mention in before):
        raise ConfigError(
            f"The adapter '{name}' is mentioned twice, the second time at column {column} of the prompt.", "Keep one."
        )
    return AdapterMention(name, weight, column)


def _join(left: str, right: str) -> str:
    """Two pieces around a mention that was taken out, without doubled blanks or commas."""
    if not left:
        return right
    a, b = left.rstrip(), right.lstrip()
    if not a or not b:
        return b or a.removesuffix(",").rstrip()
    if b[0] in ",.;" and a[-1] in ",.;":
        b = b[1:].lstrip()
        return f"{a} {b}".rstrip()
    return f"{a}{b}" if b[0] in ",.;" else f"{a} {b}"
