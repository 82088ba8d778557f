"""What a config section's fields are, for whoever shows or asks for them: forms, generated pages.

Types, bounds, defaults and descriptions are read from the pydantic model, so that they are written once. Importing this
does not load pydantic, which the command line's help can do without.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

Kind = Literal["switch", "choice", "whole", "number", "text", "list", "numbers", "mapping", "path"]


@dataclass(frozen=True)
class OneField:
    """One field of a section, or of a section inside it."""

    key: str
    """Dotted: ``optimizer.learning_rate``."""
    kind: Kind
    description: str
    needed: bool
    default: Any
    """None too where the field is needed."""
    optional: bool
    """Whether it may be left without a value."""
    choices: tuple[str | int, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    above_minimum: bool = False
    """Whether ``minimum`` itself is refused."""
    below_maximum: bool = False
    step: float | None = None
    shortest: int | None = None
    longest: int | None = None
    """Characters of a text."""
    of: tuple[str | int, ...] = ()
    """What the values of a list are chosen from."""
    parts: int | None = None
    """How many values a list has that has always as many."""

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition(".")[2]

    @property
    def section(self) -> str:
        """What stands before it."""
        return self.key.rpartition(".")[0]

    @property
    def label(self) -> str:
        """For people: the name with spaces."""
        words = self.name.replace("_", " ").strip()
        return words[:1].upper() + words[1:]

    def type_words(self, *, between: str = " | ", each: str = "{}") -> str:
        """What may be written: a kind, or the choices as ``each`` shows them."""
        if self.kind == "choice":
            return between.join(each.format(choice) for choice in self.choices)
        if self.kind == "switch":
            return f"{each.format('true')} or {each.format('false')}"
        if self.of:
            return f"list of {between.join(each.format(word) for word in self.of)}"
        if self.kind == "numbers":
            return f"{self.parts} numbers" if self.parts else "list of numbers"
        words: dict[Kind, str] = {"whole": "whole number", "list": "list of text", "mapping": "JSON object"}
        return words.get(self.kind, self.kind)

    def bound_words(self) -> Iterator[str]:
        """What is asked of a value, bound by bound."""
        if self.minimum is not None:
            yield f"{'above' if self.above_minimum else 'at least'} {_plainly(self.minimum)}"
        if self.maximum is not None:
            yield f"{'below' if self.below_maximum else 'at most'} {_plainly(self.maximum)}"
        if self.step is not None:
            yield f"in steps of {_plainly(self.step)}"
        if self.shortest:
            yield "not empty" if self.shortest == 1 else f"{self.shortest} characters or more"
        if self.longest is not None:
            yield f"at most {self.longest} characters"

    def default_words(self) -> str | None:
        """The default as JSON; None where a value is needed."""
        plain = list(self.default) if isinstance(self.default, set | frozenset) else self.default
        return None if self.needed else json.dumps(plain, ensure_ascii=False, default=str)


def fields_of(kind: type[BaseModel], prefix: str = "") -> Iterator[OneField]:
    """Every field, in the order in which it is written; sections inside are walked into."""
    from pydantic import BaseModel

    for name, field in kind.model_fields.items():
        bare = unwrapped(field.annotation)
        key = f"{prefix}{name}"
        if isinstance(bare, type) and issubclass(bare, BaseModel):
            yield from fields_of(bare, f"{key}.")
        else:
            yield _one(key, field, bare)


def unwrapped(annotation: Any) -> Any:
    """The type behind Annotated and Optional; of several, the first that is not None."""
    while hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    if get_origin(annotation) in (Union, types.UnionType):
        return unwrapped(next(part for part in get_args(annotation) if part is not type(None)))
    return annotation


def _one(key: str, field: FieldInfo, bare: Any) -> OneField:
    from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen, MultipleOf

    bounds = [*field.metadata, *_inner_metadata(field.annotation)]
    low = next((b for b in bounds if isinstance(b, Ge | Gt)), None)
    high = next((b for b in bounds if isinstance(b, Le | Lt)), None)
    multiple = next((b.multiple_of for b in bounds if isinstance(b, MultipleOf)), None)
    longest = next((b.max_length for b in bounds if isinstance(b, MaxLen)), None)
    shortest = next((b.min_length for b in bounds if isinstance(b, MinLen)), None)
    minimum = None if low is None else (low.ge if isinstance(low, Ge) else low.gt)
    maximum = None if high is None else (high.le if isinstance(high, Le) else high.lt)
    kind = _kind(bare)
    return OneField(
        key=key,
        kind=kind,
        description=" ".join((field.description or "").replace("`", "").split()),
        needed=field.is_required(),
        default=None if field.is_required() else field.get_default(call_default_factory=True),
        optional=type(None) in get_args(field.annotation),
        choices=get_args(bare) if kind == "choice" else (),
        minimum=_number(minimum),
        maximum=_number(maximum),
        above_minimum=isinstance(low, Gt),
        below_maximum=isinstance(high, Lt),
        step=_number(multiple),
        shortest=shortest if kind == "text" else None,
        longest=longest if kind == "text" else None,
        of=_of(bare) if kind == "list" else (),
        parts=_parts(bare),
    )


def _inner_metadata(annotation: Any) -> tuple[Any, ...]:
    """Bounds that stand inside ``X | None``; pydantic keeps them in a ``FieldInfo`` of their own."""
    from pydantic.fields import FieldInfo

    found: list[Any] = []
    pending = [annotation]
    while pending:
        part = pending.pop()
        for each in getattr(part, "__metadata__", ()):
            found += each.metadata if isinstance(each, FieldInfo) else [each]
        if hasattr(part, "__metadata__"):
            pending.append(part.__origin__)
        elif get_origin(part) in (Union, types.UnionType):
            pending += get_args(part)
    return tuple(found)


def _of(bare: Any) -> tuple[str | int, ...]:
    parts = [unwrapped(part) for part in get_args(bare) if part is not Ellipsis]
    return get_args(parts[0]) if len(parts) == 1 and get_origin(parts[0]) is Literal else ()


def _parts(bare: Any) -> int | None:
    inside = get_args(bare)
    return len(inside) if get_origin(bare) is tuple and Ellipsis not in inside else None


def _plainly(value: float) -> str:
    return f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) else None


def _kind(bare: Any) -> Kind:
    if bare is bool:
        return "switch"
    if get_origin(bare) is Literal:
        return "choice"
    if get_origin(bare) in (tuple, list):
        parts = {unwrapped(part) for part in get_args(bare) if part is not Ellipsis}
        return "numbers" if parts and parts <= {int, float} else "list"
    if get_origin(bare) is dict:
        return "mapping"
    simple: dict[Any, Kind] = {int: "whole", float: "number", Path: "path"}
    return simple.get(bare, "text")
