"""The error of a query that cannot be read: where, what was expected, and the nearest thing that is known."""

from __future__ import annotations

from lorasmith.errors import ConfigError

_SHOWN = 60  # characters of the query on either side of the place


class QueryError(ConfigError):
    """A query that cannot be read.

    Args:
        message: one sentence, what is wrong.
        text: the whole query.
        position: index in it of the character where it went wrong; its length when something is missing at the end.
        hint: what was expected, or the nearest known field.
    """

    def __init__(self, message: str, text: str, position: int, hint: str = "") -> None:
        super().__init__(message, hint)
        self.text = text
        self.position = position

    @property
    def column(self) -> int:
        """The place counted from 1."""
        return self.position + 1

    @property
    def picture(self) -> str:
        """Two lines: the query around the place, and a caret under it."""
        start = max(0, self.position - _SHOWN)
        end = min(len(self.text), self.position + _SHOWN)
        before = ("…" if start else "") + self.text[start : self.position]
        after = self.text[self.position : end] + ("…" if end < len(self.text) else "")
        shown = "".join(c if c.isprintable() else " " for c in before + after)
        return f"{shown}\n{' ' * len(before)}^"

    def __str__(self) -> str:
        return f"{self.message} (column {self.column})\n\n{self.picture}\n\n{self.hint}".rstrip()
