"""Reads captions as ``parse`` does, many of them: what a dataset repeats is read once.

Nothing here decides anything of its own. Where a line has separators that need care, ``grammar`` is asked; what is
remembered is what ``style`` says about cells that come again and again. A property test holds both to ``parse``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from lorasmith.datasets.captions.grammar import (
    SECTION_SEPARATOR,
    UNIT_SEPARATOR,
    Variant,
    cells_of,
    is_plain_tag,
    parse,
    read_sections,
    tags_of,
)
from lorasmith.datasets.captions.style import Style, is_clause, prose_stretch

_MOST_REMEMBERED: Final = 100_000  # cells; sentences never come again, and would fill the memory
_LINE_END: Final = re.compile(r"\r\n|\n|\r")


class Line(NamedTuple):
    """One line of a caption, read."""

    style: Style
    tags: tuple[str, ...] = ()
    """In order, without surrounding blanks; prose holds none."""
    is_bound: bool = False
    """Whether it has sections or units of several tags, which move together."""


EMPTY: Final = Line("empty")
PROSE: Final = Line("prose")


class CaptionReader:
    """Takes captions apart as ``parse`` does. Equal tags are one string, whatever caption they come from."""

    def __init__(self) -> None:
        self._plain = _PlainTags()
        self._cells = _Cells()

    def plain_tags(self, text: str) -> tuple[str, ...] | None:
        """The tags of a *plain* caption, one line of tags with ``", "`` between; None of any other."""
        if "\n" in text or "\r" in text:
            return None
        known = self._plain
        if len(known) > _MOST_REMEMBERED:
            known.clear()
        cells = tuple(map(known.__getitem__, text.split(", ")))
        return None if None in cells else cells  # type: ignore[return-value]  # None is not among them

    def lines(self, text: str) -> tuple[Line, ...]:
        """The lines of any caption, read."""
        if "\n" not in text and "\r" not in text:
            line = self.line(text)
            return _ONE_OF.get(id(line)) or (line,)
        return tuple(map(self.line, lines_of(text)))

    def line(self, line: str) -> Line:
        """One line, read."""
        if not line or line.isspace():
            return EMPTY
        if SECTION_SEPARATOR in line or UNIT_SEPARATOR in line:
            variant = Variant(line)
            return Line(variant.style, tuple(map(self._cells.shared, variant.tags)), is_bound=True)
        cells, known = cells_of(line), self._cells
        if len(known) > _MOST_REMEMBERED:
            known.clear()
        read = list(map(known.__getitem__, cells))
        stretch = prose_stretch(cells, lambda cell: known[cell] is None)
        if stretch is None:
            tags = tuple(tag if tag is not None else known.shared(cell.strip()) for tag, cell in zip(read, cells, strict=True) if tag != "")
            return Line("tags", tags) if tags else EMPTY
        first, last = stretch
        outside = [*zip(read[:first], cells[:first], strict=True), *zip(read[last + 1 :], cells[last + 1 :], strict=True)]
        tags = tuple(tag if tag is not None else known.shared(cell.strip()) for tag, cell in outside if tag != "")
        return Line("mixed", tags) if tags else PROSE

    def tags(self, text: str) -> Sequence[str]:
        """The tags of a caption in order; prose holds none."""
        plain = self.plain_tags(text)
        if plain is not None:
            return plain
        lines = self.lines(text)
        return lines[0].tags if len(lines) == 1 else [tag for line in lines for tag in line.tags]

    def style(self, text: str) -> Style:
        """Whether it is tags, prose or both."""
        return "tags" if self.plain_tags(text) is not None else common_style(self.lines(text))


def common_style(lines: Sequence[Line]) -> Style:
    """What lines have in common; empty ones have no say."""
    styles = {line.style for line in lines} - {"empty"}
    return "empty" if not styles else styles.pop() if len(styles) == 1 else "mixed"


def lines_of(text: str) -> list[str]:
    """The lines of a caption without their ends, as many as it has variants."""
    if "\n" not in text and "\r" not in text:
        return [text]
    lines = _LINE_END.split(text)
    return lines if lines[-1] else lines[:-1]


def lines_at_commas(text: str) -> tuple[Line, ...]:
    """The lines of a caption with every comma separating, those of sentences too."""
    return tuple(Line("tags", tuple(tags_of(read_sections(line, split_prose=True))), True) for line in lines_of(text))


class _PlainTags(dict[str, str | None]):
    """Every distinct cell once: the cell when it is a plain tag, otherwise None."""

    def __missing__(self, cell: str) -> str | None:
        self[cell] = cell if is_plain_tag(cell) else None
        return self[cell]


class _Cells(dict[str, str | None]):
    """What stands between two commas: its tag, empty for blanks; None when it reads as a sentence."""

    def __init__(self) -> None:
        super().__init__()
        self._shared: dict[str, str] = {}

    def __missing__(self, cell: str) -> str | None:
        self[cell] = None if is_clause(cell) else self.shared(cell.strip())
        return self[cell]

    def shared(self, tag: str) -> str:
        """The one string of this tag."""
        if len(self._shared) > _MOST_REMEMBERED:
            self._shared.clear()
        return self._shared.setdefault(tag, tag)


_ONE_OF: Final = {id(EMPTY): (EMPTY,), id(PROSE): (PROSE,)}  # most captions that are not plain are one of these
