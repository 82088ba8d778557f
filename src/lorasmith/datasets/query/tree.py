"""What a query is once it is read: a tree that prints as a query which reads as the same tree."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

WORD: Final = "word"
"""The field of a condition without one: the word or phrase stands in the caption."""

_PLAIN: Final = re.compile(r"[^\s\"\\()*?:\-!&|<>=]([^\s\"\\()*?:&|])*")
_KEYWORDS: Final = frozenset({"AND", "OR", "NOT"})
_ESCAPED: Final = re.compile(r'[\s"\\()*?:&|<>=!-]')


@dataclass(frozen=True, slots=True)
class Text:
    """What a text is compared with: stretches of letters, between which anything may stand.

    ``pieces`` holds literal text, and ``None`` for ``*`` and ``0`` for ``?``.
    """

    pieces: tuple[str | int | None, ...]

    @property
    def literal(self) -> str | None:
        """The text itself when it holds no wildcard."""
        if any(not isinstance(piece, str) for piece in self.pieces):
            return None
        return "".join(str(piece) for piece in self.pieces)

    def __str__(self) -> str:
        literal = self.literal
        if literal is not None:
            if _PLAIN.fullmatch(literal) and literal not in _KEYWORDS:
                return literal
            return '"' + literal.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return "".join(
            _ESCAPED.sub(lambda m: "\\" + m.group(), piece) if isinstance(piece, str) else "*" if piece is None else "?"
            for piece in self.pieces
        )

    def regex(self, any_character: str = ".") -> str:
        """As a regular expression in which ``*`` and ``?`` stand for characters of a class.

        What lies between two ``*`` is taken where it first comes and never tried elsewhere (an atomic group): that
        finds all there is, and takes no time beyond any measure on a long text.
        """
        segments = self._segments(any_character)
        if len(segments) == 1:
            return segments[0]
        first, *middle, last = segments
        return first + "".join(f"(?>{any_character}*?{s})" for s in middle) + f"{any_character}*{last}"

    def regex_inside(self) -> str:
        """As a regular expression that matches from the start of any text that holds it."""
        return "".join(f"(?>.*?{segment})" for segment in self._segments(".") if segment)

    def _segments(self, any_character: str) -> list[str]:
        """Regular expressions of what stands between the ``*``; at least one, perhaps empty."""
        segments = [""]
        for piece in self.pieces:
            if piece is None:
                segments.append("")
            else:
                segments[-1] += re.escape(piece) if isinstance(piece, str) else any_character
        return segments


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was written: ``13``, ``0.75``, ``3:2``. ``slack`` is how far from it still counts as equal."""

    written: str
    value: float
    slack: float = 0.0

    def __str__(self) -> str:
        return self.written


Sign = Literal["", "<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True)
class Compared:
    """A number on one side: ``>13``; without a sign, equal to it."""

    sign: Sign
    number: Number

    def __str__(self) -> str:
        return f"{self.sign}{self.number}"

    def holds(self, value: float) -> bool:
        limit = self.number.value
        match self.sign:
            case "<":
                return value < limit
            case "<=":
                return value <= limit
            case ">":
                return value > limit
            case ">=":
                return value >= limit
            case _:
                return abs(value - limit) <= self.number.slack


@dataclass(frozen=True, slots=True)
class Between:
    """A range with both ends in it: ``0.9..1.1``; one end may be open."""

    low: Number | None
    high: Number | None

    def __str__(self) -> str:
        return f"{self.low or ''}..{self.high or ''}"

    def holds(self, value: float) -> bool:
        return (self.low is None or value >= self.low.value) and (self.high is None or value <= self.high.value)


Value = Text | Compared | Between


@dataclass(frozen=True, slots=True)
class Condition:
    """One field and what it is compared with."""

    field: str
    value: Value

    def __str__(self) -> str:
        return str(self.value) if self.field == WORD else f"{self.field}:{self.value}"


@dataclass(frozen=True, slots=True)
class Not:
    child: Node

    def __str__(self) -> str:
        return f"-{_grouped(self.child)}"


@dataclass(frozen=True, slots=True)
class All:
    """Every child holds; of no children: every picture."""

    children: tuple[Node, ...]

    def __str__(self) -> str:
        return " ".join(_grouped(child) for child in self.children)


@dataclass(frozen=True, slots=True)
class Any:
    """At least one child holds."""

    children: tuple[Node, ...]

    def __str__(self) -> str:
        return " OR ".join(str(child) for child in self.children)


Node = Condition | Not | All | Any


def all_of(children: list[Node]) -> Node:
    """Children joined by AND, one level deep."""
    flat = [n for child in children for n in (child.children if isinstance(child, All) else (child,))]
    return flat[0] if len(flat) == 1 else All(tuple(flat))


def any_of(children: list[Node]) -> Node:
    """Children joined by OR, one level deep."""
    flat = [n for child in children for n in (child.children if isinstance(child, Any) else (child,))]
    return flat[0] if len(flat) == 1 else Any(tuple(flat))


def conditions(node: Node) -> list[Condition]:
    """All conditions of a tree, from left to right."""
    match node:
        case Condition():
            return [node]
        case Not():
            return conditions(node.child)
        case _:
            return [found for child in node.children for found in conditions(child)]


def _grouped(node: Node) -> str:
    return f"({node})" if isinstance(node, All | Any) else str(node)
