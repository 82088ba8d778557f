"""Forms from config sections: a field that a section has is on the page, one that it lacks cannot be.

``values_from`` reads what a browser sent back into what the section takes. What is left empty is left out, so that the
section's own default holds; whether it fits is for the section to say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import BaseModel

from lorasmith.errors import ConfigError
from lorasmith.fields import OneField, fields_of

__all__ = ["OneField", "Sent", "fields_of", "nested", "shown", "values_from"]


async def _sent(request: Request) -> dict[str, str]:
    return {key: value for key, value in (await request.form()).items() if isinstance(value, str)}


Sent = Annotated[dict[str, str], Depends(_sent)]
"""The text fields of a form, for a route that does not know them beforehand."""


def values_from(kind: type[BaseModel], sent: Mapping[str, str], prefix: str = "") -> dict[str, Any]:
    """Dotted keys and values of a form that was sent.

    Args:
        kind: the section the form was made from.
        sent: fields as they came; ``prefix`` stands before each key. A switch that is off is not sent by browsers, so
            a form names its switches in hidden fields ``<key>.switch``.
        prefix: tells several forms of one page apart.

    Raises:
        ConfigError: JSON that cannot be read.
    """
    values: dict[str, Any] = {}
    for field in fields_of(kind):
        name = f"{prefix}{field.key}"
        if field.kind == "switch":
            if name in sent or f"{name}.switch" in sent:
                values[field.key] = sent.get(name) in ("on", "true", "1")
            continue
        text = sent.get(name, "")
        if not text.strip():
            continue
        values[field.key] = _read(field, text)
    return values


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as a tree."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *path, last = key.split(".")
        place = tree
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return tree


def shown(field: OneField, value: Any) -> str:
    """A value as the text of its input."""
    if value is None:
        return ""
    if field.kind in ("list", "numbers"):
        return ("\n" if field.kind == "list" else ", ").join(str(part) for part in value)
    if field.kind == "mapping":
        return json.dumps(value, ensure_ascii=False, indent=1, default=str) if value else ""
    return str(value)


def _read(field: OneField, text: str) -> Any:
    if field.kind == "list":
        parts = text.splitlines() if "\n" in text.strip() else text.split(",")
        return [part.strip() for part in parts if part.strip()]
    if field.kind == "numbers":
        return [part.strip() for part in text.split(",") if part.strip()]
    if field.kind == "mapping":
        try:
            return json.loads(text)
        except json.JSONDecodeError as cause:
            raise ConfigError(f"{field.label} is not JSON: {cause.msg}.", 'Write for example {"a": ["b"]}.') from cause
    if field.kind == "choice":
        return next((choice for choice in field.choices if str(choice) == text), text)
    return text if field.kind in ("text", "path") else text.strip()
