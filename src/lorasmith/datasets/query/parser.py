"""Reads a query into a tree, or says where it cannot.

any   := all (OR all)*
all   := one ([AND] one)*
one   := (NOT | -) one  |  "(" any ")"  |  [field:]value
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lorasmith.datasets.query.errors import QueryError
from lorasmith.datasets.query.explain import in_words
from lorasmith.datasets.query.fields import FIELDS
from lorasmith.datasets.query.scanner import LONGEST, Part, scan
from lorasmith.datasets.query.selecting import select
from lorasmith.datasets.query.tree import WORD, All, Condition, Node, Not, all_of, any_of, conditions
from lorasmith.datasets.query.values import read_value

if TYPE_CHECKING:
    from lorasmith.datasets.manifest import DatasetVersion
    from lorasmith.datasets.query.facts import Facts

__all__ = ["LONGEST", "Query", "QueryError", "parse_query"]

DEEPEST: Final = 50
"""Parentheses and NOTs inside each other."""
MOST_CONDITIONS: Final = 2_000


@dataclass(frozen=True)
class Query:
    """A query that was read. Its ``str`` reads as the same query; equal queries have equal trees."""

    tree: Node

    def __str__(self) -> str:
        return str(self.tree)

    def explain(self) -> str:
        """The query as a phrase: "pictures tagged 'blue hair' and with more than 13 tags"."""
        return in_words(self.tree)

    def fields(self) -> frozenset[str]:
        """Names of the fields it asks for; ``word`` stands for words without one."""
        return frozenset(condition.field for condition in conditions(self.tree))

    def measures(self) -> bool:
        """Whether it may need pictures to be looked at, which takes long where that was never done."""
        sources = {FIELDS[name].source for name in self.fields() if name in FIELDS}
        return not sources.isdisjoint(("signals", "duplicates", "findings"))

    def select(self, version: DatasetVersion, facts: Facts | None = None) -> list[str]:
        """Names of the pictures that match, in the version's order.

        Args:
            version: where to look.
            facts: what the manifest does not hold; asked only for what the query names.

        Raises:
            ConfigError: the query asks for something that ``facts`` cannot tell; the message names the field.
        """
        return [version.items[index].name for index in select(self.tree, version, facts)]


def parse_query(text: str) -> Query:
    """Read a query. An empty one matches every picture.

    Raises:
        QueryError: it cannot be read; with the place, what was expected and the nearest known field.
    """
    return Query(_Reader(text).read())


class _Reader:
    """Recursive descent over the parts of one query."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.parts = scan(text)
        self.at = 0
        many = [part for part in self.parts if part.kind == "condition"][MOST_CONDITIONS:]
        if many:
            raise QueryError(
                f"The query has more than {MOST_CONDITIONS:,} conditions.",
                text,
                many[0].position,
                "Save the pictures as a selection of names in place of it.",
            )

    @property
    def part(self) -> Part:
        return self.parts[self.at]

    def read(self) -> Node:
        if self.part.kind == "end":
            return All(())
        tree = self._any(0)
        if self.part.kind == ")":
            raise QueryError("This parenthesis closes nothing.", self.text, self.part.position, "Remove it.")
        return tree

    def _any(self, depth: int) -> Node:
        children = [self._all(depth)]
        while self.part.kind == "or":
            self.at += 1
            children.append(self._all(depth))
        return any_of(children)

    def _all(self, depth: int) -> Node:
        children = [self._one(depth)]
        while self.part.kind not in (")", "or", "end"):
            if self.part.kind == "and":
                self.at += 1
            children.append(self._one(depth))
        return all_of(children)

    def _one(self, depth: int) -> Node:
        part = self.part
        if depth > DEEPEST:
            message = f"More than {DEEPEST} parentheses and NOTs stand inside each other."
            raise QueryError(message, self.text, part.position, "Most of them can go.")
        if part.kind == "condition":
            self.at += 1
            return self._condition(part)
        if part.kind == "not":
            self.at += 1
            return Not(self._one(depth + 1))
        if part.kind == "(":
            self.at += 1
            inside = self._any(depth + 1)
            if self.part.kind != ")":
                raise QueryError("This parenthesis is never closed.", self.text, part.position, "Close it with ).")
            self.at += 1
            return inside
        found = {"end": "the end of the query", ")": "a closing parenthesis"}.get(part.kind, part.kind.upper())
        hint = 'Write a word, a "phrase" or a field such as tag:blue_hair; a joining word itself goes in quotes.'
        raise QueryError(f"A condition was expected, and {found} was found.", self.text, part.position, hint)

    def _condition(self, part: Part) -> Condition:
        if not part.named:
            if not part.raw.strip('" \t'):
                raise QueryError("There is nothing between the quotes.", self.text, part.position, "Write a word.")
            return Condition(WORD, part.text)
        name = part.named.lower()
        if name not in FIELDS:
            raise self._unknown(part)
        return Condition(name, read_value(FIELDS[name], part, self.text))

    def _unknown(self, part: Part) -> QueryError:
        near = difflib.get_close_matches(part.named.lower(), FIELDS, n=1)
        quoted = f'"{part.named}:{part.raw}"' if '"' not in part.raw else "quotes around it"
        known = f"Did you mean '{near[0]}:'?" if near else f"There are: {', '.join(FIELDS)}."
        return QueryError(
            f"There is no field '{part.named}:'.", self.text, part.position, f"{known} As plain text write {quoted}."
        )
