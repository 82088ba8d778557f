"""Reads captions as ``parse`` does, many of them: what a dataset repeats is read once.

Nothing here decides anything of its own. Where a line has separators that need care, ``grammar`` is asked; what is
remembered is what ``style`` says about cells that come again and again. A property test holds both to ``parse``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
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
from lorasmith.datasets.captions.style import Style, ends_sentence, is_clause, opens_sentence, stretch_around

_MOST_REMEMBERED: Final = 100_000  # cells; sentences never come again, and would fill the memory
_LINE_END: Final = re.compile(r"\r\n|\n|\r")


class ReadLine(NamedTuple):
    """One line of a caption, read."""

    style: Style
    tags: tuple[str, ...] = ()
    """In order, without surrounding blanks; prose holds none."""
    is_bound: bool = False
    """Whether it has sections or units of several tags, which move together."""


EMPTY: Final = ReadLine("empty")
PROSE: Final = ReadLine("prose")


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

    def lines(self, text: str) -> tuple[ReadLine, ...]:
        """The lines of any caption, read."""
        if "\n" not in text and "\r" not in text:
            line = self.line(text)
            return _ONE_OF.get(id(line)) or (line,)
        return tuple(map(self.line, lines_of(text)))

    def line(self, line: str) -> ReadLine:
        """One line, read."""
        if not line or line.isspace():
            return EMPTY
        if SECTION_SEPARATOR in line or UNIT_SEPARATOR in line:
            variant = Variant(line)
            return ReadLine(variant.style, tuple(map(self._cells.shared, variant.tags)), is_bound=True)
        cells, known = cells_of(line), self._cells
        if len(known) > _MOST_REMEMBERED:
            known.clear()
        read = list(map(known.__getitem__, cells))
        filled = [place for place, tag in enumerate(read) if tag != ""] if "" in read else range(len(read))
        clauses = [place for place, tag in enumerate(read) if tag is None] if None in read else ()
        stretch = stretch_around(clauses, filled, cells)
        outside = filled
        if stretch is not None:
            first, last = stretch
            outside = [place for place in filled if not first <= place <= last]
        if len(outside) == len(read) and not clauses:
            return ReadLine("tags", tuple(read))  # type: ignore[arg-type]  # no clause, so none of them is None
        tags = tuple([read[at] or known.shared(cells[at].strip()) for at in outside])  # a lone clause may be a tag
        if stretch is None:
            return ReadLine("tags", tags) if tags else EMPTY
        return ReadLine("mixed", tags) if tags else PROSE

    def tags(self, text: str) -> Sequence[str]:
        """The tags of a caption in order; prose holds none."""
        plain = self.plain_tags(text)
        if plain is not None:
            return plain
        lines = self.lines(text)
        return lines[0].tags if len(lines) == 1 else [tag for line in lines for tag in line.tags]

    def tags_of_edited(self, after: str, before: str, lines: Sequence[ReadLine]) -> Sequence[str]:
        """The tags of a caption that is not plain after an edit, given what it was: most of it needs no reading."""
        if len(lines) == 1:
            return self._edited_line(after, before, lines[0])
        were, are = lines_of(before), lines_of(after)
        if len(were) != len(are):
            return self.tags(after)
        return [tag for pair in zip(are, were, lines, strict=True) for tag in self._edited_line(*pair)]

    def _edited_line(self, after: str, before: str, line: ReadLine) -> Sequence[str]:
        """The tags of a line after an edit; where a whole sentence ends both, it is prose as it was."""
        if after == before:
            return line.tags
        if "\n" in after or "\r" in after:
            return self.tags(after)
        if line.style == "mixed":
            head = f"{', '.join(line.tags)}, "
            tail = before[len(head) - 2 :]
            if before.startswith(head) and after.endswith(tail) and ends_sentence(tail):
                tags = self.plain_tags(after[: -len(tail)])
                if tags is not None and not opens_sentence(tags[0]):
                    return tags
        elif line.style == "tags":
            tags = self.plain_tags(after)
            if tags is not None:
                return tags
        return self.line(after).tags

    def style(self, text: str) -> Style:
        """Whether it is tags, prose or both."""
        return "tags" if self.plain_tags(text) is not None else common_style(self.lines(text))


def common_style(lines: Sequence[ReadLine]) -> Style:
    """What lines have in common; empty ones have no say."""
    styles = {line.style for line in lines} - {"empty"}
    return "empty" if not styles else styles.pop() if len(styles) == 1 else "mixed"


def lines_of(text: str) -> list[str]:
    """The lines of a caption without their ends, as many as it has variants."""
    if "\n" not in text and "\r" not in text:
        return [text]
    lines = text.split("\n") if "\r" not in text else _LINE_END.split(text)
    return lines if lines[-1] else lines[:-1]


def edit_lines(text: str, edit: Callable[[str], str]) -> str:
    """A caption after an edit of each of its lines; line ends stay."""
    if "\r" in text:
        return "".join(edit(variant.text) + variant.ending for variant in parse(text).variants)
    lines = lines_of(text)
    ending = "\n" if text.endswith("\n") else ""
    return "\n".join(map(edit, lines)) + ending


def lines_at_commas(text: str) -> tuple[ReadLine, ...]:
    """The lines of a caption with every comma separating, those of sentences too."""
    return tuple(
        ReadLine("tags", tuple(tags_of(read_sections(line, split_prose=True))), True) for line in lines_of(text)
    )


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
