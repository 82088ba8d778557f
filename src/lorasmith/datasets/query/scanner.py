"""Cuts a query into its smallest parts, each with its place.

A word may hold a pair of parentheses (``tag:poster_(object)``); an opening one at its beginning groups instead.
A backslash takes any meaning from the character after it, quotes from all between them but ``\\"`` and ``\\\\``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal

from lorasmith.datasets.query.errors import QueryError
from lorasmith.datasets.query.tree import Text

LONGEST: Final = 50_000
"""Characters of a query."""

_FIELD: Final = re.compile(r"([A-Za-z_][A-Za-z_0-9-]*):")

Kind = Literal["(", ")", "and", "or", "not", "condition", "end"]
_KEYWORDS: Final[dict[str, Kind]] = {"AND": "and", "OR": "or", "NOT": "not", "&": "and", "|": "or"}


@dataclass(frozen=True, slots=True)
class Part:
    """A parenthesis, a joining word, or a condition: its field (``named``; empty without one) and its value."""

    kind: Kind
    position: int
    named: str = ""
    raw: str = ""
    """The value as typed."""
    text: Text = field(default_factory=lambda: Text(()))
    """The value with quotes and backslashes resolved."""
    value_position: int = 0
    quoted: bool = False


def scan(query: str) -> list[Part]:
    """All parts of a query; the last is its end.

    Raises:
        QueryError: a quote stays open, a field has no value, or the query is longer than ``LONGEST``.
    """
    if len(query) > LONGEST:
        message = f"The query has {len(query):,} characters; at most {LONGEST:,} are read."
        raise QueryError(message, query, LONGEST, "Save the pictures as a selection of names in place of it.")
    parts: list[Part] = []
    position = 0
    while position < len(query):
        character = query[position]
        if character.isspace():
            position += 1
        elif character in "()":
            parts.append(Part("(" if character == "(" else ")", position))
            position += 1
        elif character in "-!":
            parts.append(Part("not", position))
            position += 1
        elif character in "&|":
            parts.append(Part(_KEYWORDS[character], position))
            position += 2 if query.startswith(character * 2, position) else 1
        else:
            part, position = _condition(query, position)
            parts.append(part)
    parts.append(Part("end", len(query)))
    return parts


def _condition(query: str, start: int) -> tuple[Part, int]:
    """A condition, or a joining word in capitals."""
    named = _FIELD.match(query, start)
    at = named.end() if named else start
    field = named.group(1) if named else ""
    if at >= len(query) or query[at].isspace() or query[at] == ")":
        raise QueryError(f"'{field}:' stands without a value.", query, at, "Write the value right after the colon.")
    if query[at] == "(":
        raise QueryError(
            f"The value of '{field}:' begins with a parenthesis.",
            query,
            at,
            f"Put it in quotes if it belongs to the value, or write ({field}:a OR {field}:b).",
        )
    if query[at] == '"':
        text, end = _quoted(query, at)
        quoted = True
    else:
        text, end = _bare(query, at)
        quoted = False
    if not field and not quoted and query[start:end] in _KEYWORDS:
        return Part(_KEYWORDS[query[start:end]], start), end
    return Part("condition", start, field, query[at:end], text, at, quoted), end


def _quoted(query: str, start: int) -> tuple[Text, int]:
    letters: list[str] = []
    position = start + 1
    while position < len(query):
        character = query[position]
        if character == '"':
            return Text(("".join(letters),)), position + 1
        if character == "\\" and query[position + 1 : position + 2] in ('"', "\\"):
            position += 1
            character = query[position]
        letters.append(character)
        position += 1
    raise QueryError("A quote is opened and never closed.", query, start, 'Close it with ", or write \\" for the sign.')


def _bare(query: str, start: int) -> tuple[Text, int]:
    pieces: list[str | int | None] = []
    letters: list[str] = []
    depth = 0
    position = start

    def wildcard(sign: int | None) -> None:
        if letters:
            pieces.append("".join(letters))
            letters.clear()
        if sign is not None or not pieces or pieces[-1] is not None:  # ** is *
            pieces.append(sign)

    while position < len(query):
        character = query[position]
        if character == "\\" and position + 1 < len(query):
            position += 1
            letters.append(query[position])
        elif character.isspace() or (character == ")" and not depth) or character == '"':
            break
        elif character in "*?":
            wildcard(None if character == "*" else 0)
        else:
            depth += (character == "(") - (character == ")")
            letters.append(character)
        position += 1
    if letters:
        pieces.append("".join(letters))
    return Text(tuple(pieces)), position
