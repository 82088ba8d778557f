"""Reads what stands after a field's colon: a text, one of a few words, or numbers."""

from __future__ import annotations

import difflib
import re
from typing import Final, cast

from lorasmith.datasets.query.errors import QueryError
from lorasmith.datasets.query.fields import Field
from lorasmith.datasets.query.scanner import Part
from lorasmith.datasets.query.tree import Between, Compared, Number, Sign, Text, Value

_COUNT: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_NUMBER: Final = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,6})?", re.ASCII)
_RATIO: Final = re.compile(r"([0-9]{1,5}):([0-9]{1,5})", re.ASCII)
_SIGN: Final = re.compile(r"<=|>=|<|>|=|")
_SAME_SHAPE: Final = 0.01  # of an aspect written as a ratio: a scan is never 3:2 to the pixel
_EXAMPLES: Final = {
    "count": "13, >13, <=75 or 10..20",
    "number": "0.5, <40, >=1.5 or 0.5..2",
    "ratio": "1.5, 3:2, >1 or 0.9..1.1",
    "version": "added, 3, >2 or 2..4",
}


def read_value(field: Field, part: Part, query: str) -> Value:
    """The value of a condition, as the kind of its field wants it.

    Raises:
        QueryError: it is no such value; with an example of one.
    """
    if field.kind == "choice":
        return _choice(field, part, query)
    if field.is_numeric:
        if field.kind == "version" and part.raw.lower() == "added":
            return Text(("added",))
        return _numbers(field, part, query)
    if not any(piece != "" for piece in part.text.pieces) or (
        part.text.literal is not None and not part.text.literal.strip()
    ):
        raise QueryError(f"'{field.name}:' stands without a value.", query, part.value_position, "Write one.")
    return part.text


def _choice(field: Field, part: Part, query: str) -> Text:
    word = (part.text.literal or "").lower()
    if word not in field.choices:
        near = difflib.get_close_matches(word, field.choices, n=1)
        hint = f"Did you mean '{field.name}:{near[0]}'?" if near else ""
        message = f"'{field.name}:' knows {', '.join(field.choices)}, and not {part.raw}."
        raise QueryError(message, query, part.value_position, hint or f"Write {field.name}:{field.choices[0]}.")
    return Text((word,))


def _numbers(field: Field, part: Part, query: str) -> Compared | Between:
    raw = part.raw
    low, dots, high = raw.partition("..")
    if dots and (low or high):
        first = _number(field, low, part, query, 0) if low else None
        second = _number(field, high, part, query, len(low) + 2) if high else None
        if first and second and first.value > second.value:
            hint = f"Write {field.name}:{high}..{low}."
            raise QueryError("The range ends before it begins.", query, part.value_position, hint)
        return Between(first, second)
    found = _SIGN.match(raw)
    sign = found.group() if found else ""
    number = _number(field, raw[len(sign) :], part, query, len(sign))
    return Compared(cast("Sign", "" if sign == "=" else sign), number)


def _number(field: Field, written: str, part: Part, query: str, offset: int) -> Number:
    """One number. A decimal equals whatever rounds to it at the digits that are written."""
    if field.kind == "ratio" and (ratio := _RATIO.fullmatch(written)):
        wide, high = int(ratio[1]), int(ratio[2])
        if wide and high:
            return Number(written, wide / high, wide / high * _SAME_SHAPE)
    whole = field.kind in ("count", "version")
    if (_COUNT if whole else _NUMBER).fullmatch(written):
        decimals = len(written.partition(".")[2])
        return Number(written, float(written), 0.0 if whole else 0.5 * 10**-decimals)
    hint = f"Write {field.name}:{_EXAMPLES[field.kind].replace(' or ', f' or {field.name}:')}."
    if field.name in ("tags",):
        hint += " To find a tag write tag: without s."
    message = f"'{field.name}:' wants {'a whole number' if whole else 'a number'}, and not '{written}'."
    raise QueryError(message, query, part.value_position + offset, hint)
