"""The one grammar of captions. Whatever the text, ``str(parse(text)) == text``.

    caption  = variant (line end  variant)*          a line is a variant: several captions of one picture
    variant  = section ("|||" section)*              kohya: what stands before the first ||| is never shuffled
    section  = unit ("," unit)*
    unit     = cell (";;;" cell)*   or   prose       kohya: cells bound by ;;; are shuffled as one

A comma does not separate inside escaped parentheses (``artist \\(a, b\\)``), inside a weighted group
(``(a, b:1.2)``), inside an adapter mention (``<lora:a, b:1>``), in a face (``:,(``) and in prose (see ``style``). A
full-width comma never separates: no trainer splits at it; ``Caption.full_width_commas`` shows where they are.
Lines end as Python's text files do, at ``\\n``, ``\\r\\n`` or ``\\r``. Every step is linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final, Literal, NamedTuple

from lorasmith.datasets.captions.kaomoji import COMMA_FACES, is_kaomoji
from lorasmith.datasets.captions.style import Style, ends_sentence, is_clause, prose_stretch

SECTION_SEPARATOR: Final = "|||"
UNIT_SEPARATOR: Final = ";;;"
PLACEHOLDER: Final = "[trigger]"
"""What ai-toolkit replaces by the trigger word."""

TagKind = Literal["tag", "weighted", "adapter", "placeholder", "kaomoji"]

_LINE_END: Final = re.compile(r"(\r\n|\n|\r)")
_ADAPTER: Final = r"<(?:lora|lyco|hypernet):[^<>]{0,300}>"
_WEIGHT: Final = r"\((?P<inner>(?:[^()\\]|\\.){0,500}):[ ]*(?P<weight>\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})[ ]*\)"
_GROUP: Final = f"{_ADAPTER}|{re.sub('[?]P<[a-z]+>', '?:', _WEIGHT)}"
_AMONG_ESCAPES: Final = re.compile(rf",|\\\(.*?\\\)|{_GROUP}", re.IGNORECASE)
_BEHIND_ESCAPES: Final = re.compile(rf",|\\\(|{_GROUP}", re.IGNORECASE)
_COMMA_FACE: Final = re.compile("|".join(map(re.escape, sorted(COMMA_FACES))))
_WEIGHTED_TAG: Final = re.compile(_WEIGHT)
_ADAPTER_TAG: Final = re.compile(_ADAPTER, re.IGNORECASE)
_CLOSERS: Final = (":1)", "\\)", ">")


class Unit(NamedTuple):
    """What moves as one: cells bound by ``;;;``, or a stretch of prose with its commas. Blanks are kept."""

    cells: tuple[str, ...]
    is_prose: bool = False

    def __str__(self) -> str:
        return UNIT_SEPARATOR.join(self.cells)


Section = tuple[Unit, ...]


@dataclass(frozen=True)
class Variant:
    """One line of a caption."""

    text: str
    """Without its line end."""
    ending: str = ""

    def __str__(self) -> str:
        return self.text + self.ending

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """Its parts; ``write_sections`` makes ``text`` of them again."""
        return read_sections(self.text)

    @property
    def _says_something(self) -> bool:
        return bool(self.text) and not self.text.isspace()  # told before its parts are looked for, which costs more

    @property
    def tags(self) -> list[str]:
        """Its tags in order, without surrounding blanks; prose holds none."""
        return tags_of(self.sections) if self._says_something else []

    @property
    def style(self) -> Style:
        if not self._says_something:
            return "empty"
        units = [unit for section in self.sections for unit in section if str(unit).strip()]
        if not units:
            return "empty"
        proses = sum(unit.is_prose for unit in units)
        return "prose" if proses == len(units) else "mixed" if proses else "tags"


@dataclass(frozen=True)
class Caption:
    """A caption taken apart without loss."""

    variants: tuple[Variant, ...]

    def __str__(self) -> str:
        return "".join(map(str, self.variants))

    @property
    def tags(self) -> list[str]:
        """The tags of all variants, in order."""
        return [tag for variant in self.variants for tag in variant.tags]

    @property
    def style(self) -> Style:
        """What its variants have in common; empty ones have no say."""
        styles = {variant.style for variant in self.variants} - {"empty"}
        return "empty" if not styles else styles.pop() if len(styles) == 1 else "mixed"

    @property
    def full_width_commas(self) -> list[tuple[int, int]]:
        """Line and column, both from 1, of the commas that no trainer splits at (``，`` and ``、``)."""
        return [
            (line, match.start() + 1)
            for line, variant in enumerate(self.variants, start=1)
            for match in re.finditer("[，、]", variant.text)
        ]


def parse(text: str) -> Caption:
    """Take a caption apart. Every text is a caption; a trailing line end makes no further variant."""
    pieces = _LINE_END.split(text)
    variants = [Variant(pieces[at], pieces[at + 1]) for at in range(0, len(pieces) - 1, 2)]
    if pieces[-1] or not variants:
        variants.append(Variant(pieces[-1]))
    return Caption(tuple(variants))


def read_sections(line: str, *, split_prose: bool = False) -> tuple[Section, ...]:
    """The parts of a line. With ``split_prose`` commas of sentences separate too, as they do for every trainer."""
    return tuple(_units(part, split_prose) for part in line.split(SECTION_SEPARATOR))


def write_sections(sections: Sequence[Sequence[Unit]]) -> str:
    """The line that reads as these parts."""
    return SECTION_SEPARATOR.join(",".join(map(str, section)) for section in sections)


def tags_of(sections: Sequence[Sequence[Unit]]) -> list[str]:
    """The tags of a line's parts, without surrounding blanks; empty ones are dropped."""
    return [
        tag
        for section in sections
        for unit in section
        if not unit.is_prose
        for cell in unit.cells
        if (tag := cell.strip())
    ]


def split_tags(caption: str) -> list[str]:
    """What trainers shuffle: the stretches between commas, in sentences too, without surrounding blanks or empty ones.

    ``parse(caption).tags`` knows prose from tags.
    """
    return [
        tag for variant in parse(caption).variants for tag in tags_of(read_sections(variant.text, split_prose=True))
    ]


def split_commas(text: str) -> list[str]:
    """A text cut at the commas that separate, in prose too; joined with commas it is the text again.

    Other separators are not looked at. A protected stretch ends with its line.
    """
    cells: list[str] = []
    open_cell = ""
    for piece in _LINE_END.split(text):
        first, *rest = cells_of(piece)
        open_cell += first
        if rest:
            cells += [open_cell, *rest[:-1]]
            open_cell = rest[-1]
    return [*cells, open_cell]


def kind_of(tag: str) -> TagKind:
    """What a tag is: an adapter mention, a weighted tag, the placeholder of the trigger word, a face or a plain tag."""
    if _ADAPTER_TAG.fullmatch(tag):
        return "adapter"
    if tag.lower() == PLACEHOLDER:
        return "placeholder"
    if _WEIGHTED_TAG.fullmatch(tag):
        return "weighted"
    return "kaomoji" if is_kaomoji(tag) else "tag"


def weight_of(tag: str) -> tuple[str, float]:
    """A tag without its WebUI weight, and the weight; 1 when it carries none."""
    match = _WEIGHTED_TAG.fullmatch(tag)
    return (match["inner"], float(match["weight"])) if match else (tag, 1.0)


def is_plain_tag(cell: str) -> bool:
    """Whether a cell is a tag whatever stands beside it, so that its line may be cut at ``", "`` without reading it."""
    if not cell or cell != cell.strip() or any(sign in cell for sign in (",", "\n", "\r")):
        return False
    if SECTION_SEPARATOR in cell or UNIT_SEPARATOR in cell or is_clause(cell) or ends_sentence(cell):
        return False
    if "(" not in cell and "<" not in cell:
        return True
    return all(split_commas(f"{cell}, {closer}")[0] == cell for closer in _CLOSERS)


def _units(part: str, split_prose: bool) -> Section:
    cells = cells_of(part)
    stretch = None if split_prose else prose_stretch(cells)
    if stretch is None:
        return tuple(_unit(cell) for cell in cells)
    first, last = stretch
    prose = Unit((",".join(cells[first : last + 1]),), is_prose=True)
    return (*map(_unit, cells[:first]), prose, *map(_unit, cells[last + 1 :]))


def _unit(cell: str) -> Unit:
    return Unit(tuple(cell.split(UNIT_SEPARATOR)))


def cells_of(line: str) -> list[str]:
    """What stands between the commas of a line that separate, in prose too, with its blanks."""
    if "," not in line:
        return [line]
    if "(" not in line and "<" not in line:
        cells = line.split(",")
    else:
        cuts = [-1, *_separating(line), len(line)]
        cells = [line[before + 1 : cut] for before, cut in pairwise(cuts)]
    return _mend_faces(cells) if _COMMA_FACE.search(line) else cells


def _separating(line: str) -> Iterator[int]:
    """Where the commas are that separate. The line is cut behind its last ``\\)``, so that no search fails twice."""
    closing = line.rfind("\\)")
    behind = closing + 2 if closing >= 0 else 0
    start = 0
    for match in _AMONG_ESCAPES.finditer(line, 0, behind):
        if match[0] == ",":
            yield match.start()
        start = match.end()
    for match in _BEHIND_ESCAPES.finditer(line, max(start, behind)):
        if match[0] == ",":
            yield match.start()


def _mend_faces(cells: list[str]) -> list[str]:
    mended: list[str] = []
    for cell in cells:
        if mended and f"{mended[-1]},{cell}".strip() in COMMA_FACES:
            mended[-1] += f",{cell}"
        else:
            mended.append(cell)
    return mended
