"""Caption operations and image tools as the command line shows them: their options come from their own fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args, get_origin

from lorasmith.cli.options import option_rows, texts, value_of
from lorasmith.cli.session import Session, table
from lorasmith.fields import unwrapped

if TYPE_CHECKING:
    from pydantic import BaseModel

Kinds = Mapping[str, type["BaseModel"]]


def answer_list(session: Session, what: str, kinds: Kinds, more: str) -> None:
    """All kinds with what they do."""
    rows = [(name, _sentence(kind)) for name, kind in kinds.items()]
    document = {
        what: [{"name": name, "does": does, "options": option_rows(kinds[name])} for name, does in rows],
    }
    session.answer(document, *table((what, "what it does"), rows), "", more)


def answer_options(session: Session, name: str, kind: type[BaseModel]) -> None:
    """The options of one kind."""
    rows = option_rows(kind)
    lines = [f"{name}: {_sentence(kind)}"]
    for row in rows:
        needed = "needed" if row["needed"] else f"default {row['default']}"
        lines += [f"  {row['name']}  ({row['type']}, {needed})", f"      {row['description']}"]
    if not rows:
        lines.append("  It has no options.")
    session.answer({"name": name, "does": _sentence(kind), "options": rows}, *lines)


def values_for(kind: type[BaseModel] | None, settings: Sequence[str]) -> dict[str, Any]:
    """``KEY=VALUE`` words as the options of a kind. Texts are taken as they are, so that a tag may begin with a
    bracket; where a list is wanted, commas separate; everything else is read as ``options.pairs`` does. What the kind
    cannot take, it refuses itself."""
    return {key: _value(kind, key, text) for key, text in texts(settings).items()}


def _value(kind: type[BaseModel] | None, key: str, text: str) -> Any:
    field = kind.model_fields.get(key) if kind is not None else None
    bare = unwrapped(field.annotation) if field is not None else str
    if bare is str:
        return text
    if get_origin(bare) is tuple and text[:1] != "[" and text != "null":
        return [part.strip() for part in text.split(",") if part.strip()]
    if get_args(bare) and all(isinstance(choice, int) for choice in get_args(bare)):
        return next((choice for choice in get_args(bare) if str(choice) == text.strip()), text)
    return value_of(key, text)


def _sentence(kind: type[BaseModel]) -> str:
    return " ".join((kind.__doc__ or "").replace("``", "").split())
