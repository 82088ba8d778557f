"""A query as a phrase, so that nobody edits a scope they did not mean."""

from __future__ import annotations

from typing import Final

from lorasmith.datasets.query.fields import FIELDS
from lorasmith.datasets.query.tree import WORD, All, Any, Between, Compared, Condition, Node, Not, Text

_SIGNS: Final = {"": "", "<": "less than ", "<=": "at most ", ">": "more than ", ">=": "at least "}


def in_words(tree: Node) -> str:
    """The pictures that a tree stands for: "pictures tagged 'solo' or with at least 3 tags"."""
    if isinstance(tree, All) and not tree.children:
        return "all pictures"
    return f"pictures {_phrase(tree)}"


def _phrase(node: Node) -> str:
    match node:
        case Condition():
            return _condition(node)
        case Not():
            inside = _phrase(node.child)
            return f"not ({inside})" if isinstance(node.child, All | Any) else f"not {inside}"
        case All():
            return " and ".join(f"({_phrase(c)})" if isinstance(c, Any) else _phrase(c) for c in node.children)
        case Any():
            return " or ".join(f"({_phrase(c)})" if isinstance(c, All) else _phrase(c) for c in node.children)


def _condition(condition: Condition) -> str:
    if condition.field == WORD:
        return f"with the word {_value(condition)} in the caption"
    field = FIELDS[condition.field]
    if condition.field == "gray":
        return "without colour" if str(condition.value) == "yes" else "with colour"
    if condition.field in ("missing", "has"):
        article = "the " if str(condition.value) == "trigger" else "a "
        word = "trigger word" if str(condition.value) == "trigger" else str(condition.value)
        return field.says.format(article + word)
    if condition.field == "dup":
        kind = str(condition.value)
        return "that have a duplicate" if kind == "any" else f"that have a duplicate ({kind})"
    if condition.field == "version" and isinstance(condition.value, Text):
        return "added in this version"
    return field.says.format(_value(condition))


def _value(condition: Condition) -> str:
    match condition.value:
        case Text() as text:
            shown = text.literal if text.literal is not None else str(text)
            return shown if condition.field in FIELDS and FIELDS[condition.field].choices else f"'{shown}'"
        case Compared() as compared:
            return f"{_SIGNS[compared.sign]}{compared.number}"
        case Between(low=None, high=high):
            return f"at most {high}"
        case Between(low=low, high=None):
            return f"at least {low}"
        case Between() as between:
            return f"{between.low} to {between.high}"
