"""What a picture is asked: templates, some built in by name, filled for each picture.

A template's fields are ``{trigger_word}``, ``{tags}`` and ``{filename}``; a brace that is meant is written twice.
"""

from __future__ import annotations

import string
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

from lorasmith.captioners import Known

PROMPTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "detailed": "Describe this image in detail, focusing on style, mood, and composition",
        "portrait": "Describe this portrait in detail, including lighting, mood, pose, and artistic style",
        "short": "Describe this image in one short sentence.",
        "tags": "List what is in this image as short tags, separated by commas. Write only the tags.",
        "from_tags": "These tags describe the image: {tags}. Write a caption of it in plain sentences, true to them.",
        "subject": "Describe this image in detail. Call its subject {trigger_word}.",
        "edit": "Describe the edit that turns what was given into the result, as an instruction to an image editor: "
        "one or two sentences in the imperative that name what changes and leave out what stays. Write only the "
        "instruction.",
    }
)
"""Prompts by name; wherever a prompt is asked for, one of these names may stand."""
OF_PAIRS: Final = frozenset({"edit"})
"""Prompts that mean nothing unless a picture comes with its references."""
FIELDS: Final = ("trigger_word", "tags", "filename")
OF_PICTURES: Final = frozenset({"tags", "filename"})
"""The fields that differ from picture to picture."""


def template_of(prompt: str) -> str:
    """The template that a name means, or the text itself."""
    return PROMPTS.get(prompt.strip(), prompt)


def fields_of(template: str) -> frozenset[str]:
    """The fields that a template has.

    Raises:
        ValueError: its braces do not match, or there is no such field.
    """
    found = set()
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as cause:
        raise ValueError(f"its braces do not match ({cause}); write {{{{ or }}}} for a brace that is meant") from cause
    for _, field, form, conversion in parsed:
        if field is None:
            continue
        if field not in FIELDS or form or conversion:
            known = ", ".join(f"{{{name}}}" for name in FIELDS)
            raise ValueError(f"it has no field {{{field}}}: there are {known}; write {{{{ for a brace that is meant")
        found.add(field)
    return frozenset(found)


def fill(template: str, *, trigger_word: str, known: Known) -> str:
    """The prompt for one picture; a field of which nothing is known becomes nothing."""
    values = {"trigger_word": trigger_word, "tags": known.tags, "filename": known.filename}
    return "".join(
        text + (values[field] if field is not None else "") for text, field, _, _ in string.Formatter().parse(template)
    ).strip()


def disarm(text: str, tokens: Collection[str]) -> str:
    """The text with a model's own signs broken up, so that a tag such as ``<image>`` is words and no order."""
    for token in tokens:
        if len(token) > 1 and token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text
