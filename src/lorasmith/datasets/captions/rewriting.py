"""How an edit of tags is written back into a caption: blanks, line ends, separators and prose stay what they were.

An operation says what happens to a list of tags in one of four shapes; this file does the rest, once for all of
them. What an edit leaves as it is comes back byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol

from lorasmith.datasets.captions.grammar import Caption, Section, Unit, Variant, parse, read_sections, write_sections
from lorasmith.datasets.captions.kaomoji import COMMA_FACES
from lorasmith.datasets.captions.reading import ReadLine
from lorasmith.datasets.captions.style import ends_sentence


class TokenCount(Protocol):
    """Counts as a text encoder's tokenizer does, without the marks of begin and end.

    A counter may say ``separable = True`` when no token reaches across a blank: ``count("a, b")`` is
    ``count("a,") + count(" b")``. Then whole datasets are counted tag by tag.
    """

    def count(self, text: str) -> int: ...


@dataclass(frozen=True)
class Corpus:
    """What an operation may need beyond the caption itself."""

    frequencies: Mapping[str, int] = field(default_factory=dict)
    """How often each tag occurs in all captions of the dataset."""
    captions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Captions of other versions: by reference, then by the name of the item."""
    counter: TokenCount | None = None


class CaptionContext(NamedTuple):
    """Whose caption it is."""

    name: str = ""
    """Of the item."""
    place: int = 0
    """Of the item in its dataset, from 0."""
    corpus: Corpus = Corpus()


Tags = Sequence[str]


class Foreseen(NamedTuple):
    """What an edit would make of a caption."""

    changes: bool
    tags: Tags
    """The tags that the edit leaves or adds; a sentence that is cut into tags or made of them is not read again."""


@dataclass(frozen=True)
class MapTags:
    """Renames and drops tags, each for itself."""

    become: Callable[[str], str | None]
    """What becomes of a tag, whatever stands beside it; None when it goes."""
    split_prose: bool = False
    """Whether commas of sentences separate tags too."""


@dataclass(frozen=True)
class EachTag:
    """Renames and drops tags where they stand, in view of the others of their line."""

    change: Callable[[Tags, CaptionContext], Sequence[str | None]]
    """For the tags of a line: what becomes of each, None for one that goes. As long as what it is given."""
    touches: Callable[[str], bool] | None = None
    """Whether a caption may change because it holds this tag; None when that cannot be told from one tag."""
    split_prose: bool = False
    """Whether commas of sentences separate tags too."""


@dataclass(frozen=True)
class ReorderTags:
    """Puts the tags of a line into another order; prose and what stands before ``|||`` keep their places."""

    order: Callable[[Tags, CaptionContext], Sequence[str]]
    """For the units of a section (tags; several where ``;;;`` binds them): the same in their new order. What it is
    given comes back as the same object when nothing moves."""
    touches: Callable[[str], bool] | None = None
    kept_part_too: bool = False
    """Whether each section is put in order, or only the one that trainers shuffle."""
    split_prose: bool = False


@dataclass(frozen=True)
class InsertTags:
    """Adds tags to a line."""

    places: Callable[[Tags, CaptionContext], Sequence[tuple[int, str]]]
    """For the tags of a line: before which of them (their number: behind the last) what is added, places ascending."""
    touches: Callable[[str], bool] | None = None
    unless: Callable[[str], bool] | None = None
    """A line that holds such a tag stays as it is."""
    named: bool = False
    """Whether the place depends on whose caption it is."""
    into_prose: Callable[[str, CaptionContext], str] | None = None
    """What becomes of a line that is prose alone: always another line, as something is added; None leaves it."""
    holds: Callable[[str], bool] | None = None
    """Whether a line needs nothing; asked before its tags are read."""
    into_empty: Callable[[CaptionContext], str] | None = None
    """What becomes of a caption without text; None leaves it."""
    split_prose: ClassVar[bool] = False


@dataclass(frozen=True)
class WholeText:
    """Edits the caption as one text."""

    change: Callable[[str, CaptionContext], str]
    may_change: Callable[[str], bool] | None = None
    """Whether a caption may change at all, told faster than by changing it; None when it cannot be."""
    touches: Callable[[str], bool] | None = None
    """Whether a caption that is one line of tags may change because it holds this tag; None when that cannot be told
    from one tag."""
    on_tags: Callable[[tuple[str, ...], CaptionContext], Tags | None] | None = None
    """The same for a caption that is one line of tags with ``", "`` between, faster. The same object when nothing
    changes; None to ask ``change`` after all."""
    foresee: Callable[[str, Sequence[ReadLine], CaptionContext], Foreseen | None] | None = None
    """What would come of any other caption that holds text, told from its lines as they were read, without writing the
    caption; None to ask ``change`` after all."""
    named: bool = True
    """Whether what comes of it depends on whose caption it is, or an error names it."""
    split_prose: ClassVar[bool] = False


Edit = MapTags | EachTag | ReorderTags | InsertTags | WholeText


def rewrite(edit: Edit, text: str, context: CaptionContext) -> str:
    """The caption after the edit; the caption itself when the edit does not apply to it."""
    if isinstance(edit, WholeText):
        return edit.change(text, context)
    caption = parse(text)
    if isinstance(edit, MapTags):
        become = edit.become
        edit = EachTag(lambda tags, _: [become(tag) for tag in tags], split_prose=edit.split_prose)
    if isinstance(edit, EachTag):
        return _without_dropped_lines(caption, [_each(variant, edit, context) for variant in caption.variants])
    if isinstance(edit, ReorderTags):
        return _join(caption, [_reordered(variant, edit, context) for variant in caption.variants])
    if caption.style == "empty":  # commas alone are no text either
        return edit.into_empty(context) if edit.into_empty else text
    return _join(caption, [_inserted(variant, edit, context) for variant in caption.variants])


def _join(caption: Caption, lines: Sequence[str]) -> str:
    return "".join(line + variant.ending for line, variant in zip(lines, caption.variants, strict=True))


def _without_dropped_lines(caption: Caption, lines: Sequence[str | None]) -> str:
    kept = [(line, variant.ending) for line, variant in zip(lines, caption.variants, strict=True) if line is not None]
    ended = bool(caption.variants[-1].ending)
    if kept and not ended:  # a dropped last line takes the line end before it along
        kept[-1] = (kept[-1][0], "")
    return "".join(line + ending for line, ending in kept)


# --- each tag where it stands ------------------------------------------------------------------------------------


def _each(variant: Variant, edit: EachTag, context: CaptionContext) -> str | None:
    """The line after the edit; None when its last tag goes and nothing else is left."""
    sections = read_sections(variant.text, split_prose=True) if edit.split_prose else variant.sections
    tags = [cell.strip() for cell in _tag_cells(sections) if cell.strip()]
    if not tags:
        return variant.text
    fates = list(edit.change(tags, context))
    if len(fates) != len(tags):
        raise ValueError(f"an edit gave {len(fates)} fates to {len(tags)} tags")
    if fates == tags:
        return variant.text
    left = iter(fates)
    edited = [_kept(section, left, last=section is sections[-1]) for section in sections]
    if not any(str(unit).strip() for section in edited for unit in section):
        return None
    return write_sections(edited)


def _tag_cells(sections: Sequence[Section]) -> Iterator[str]:
    return (cell for section in sections for unit in section if not unit.is_prose for cell in unit.cells)


def _kept(section: Section, fates: Iterator[str | None], *, last: bool) -> list[Unit]:
    """A section after its tags met their fates; it begins, and before ``|||`` ends, with the blanks it had."""
    kept: list[Unit] = []
    for unit in section:
        if unit.is_prose:
            kept.append(unit)
            continue
        cells: list[str] = []
        for cell in unit.cells:
            tag = cell.strip()
            fate = next(fates) if tag else ""
            if fate is not None:
                cells.append(cell if fate == tag else _blanks_of(cell, fate))
        if cells:
            _space_from_last(kept, cells)
            kept.append(Unit(tuple(cells)))
    if kept and len(kept) < len(section):
        if kept[0] is not section[0]:
            kept[0] = _with_blanks(kept[0], start=str(section[0]))
        if not last:
            kept[-1] = _with_blanks(kept[-1], end=str(section[-1]))
    return kept


def _blanks_of(cell: str, text: str) -> str:
    lead = len(cell) - len(cell.lstrip())
    return cell[:lead] + text + cell[len(cell.rstrip()) :]


def _with_blanks(unit: Unit, *, start: str | None = None, end: str | None = None) -> Unit:
    """The unit with the leading blanks of ``start`` or the trailing ones of ``end``."""
    cells = list(unit.cells)
    if start is not None:
        cells[0] = start[: len(start) - len(start.lstrip())] + cells[0].lstrip()
    if end is not None:
        cells[-1] = cells[-1].rstrip() + end[len(end.rstrip()) :]
    return Unit(tuple(cells), unit.is_prose)


def _space_from_last(kept: Sequence[Unit], cells: list[str]) -> None:
    """Two tags that become neighbours must not become a face with a comma inside."""
    if kept and f"{kept[-1]},{cells[0]}".strip() in COMMA_FACES:
        cells[0] = f" {cells[0]}"


# --- another order ------------------------------------------------------------------------------------------------


def _reordered(variant: Variant, edit: ReorderTags, context: CaptionContext) -> str:
    sections = list(read_sections(variant.text, split_prose=True) if edit.split_prose else variant.sections)
    numbers = range(len(sections)) if edit.kept_part_too or len(sections) == 1 else range(1, 2)
    changed = False
    for number in numbers:
        units = list(sections[number])
        slots = [place for place, unit in enumerate(units) if not unit.is_prose and str(unit).strip()]
        before = [str(units[place]).strip() for place in slots]
        after = list(edit.order(before, context)) if before else before
        if after == before:
            continue
        changed = True
        for place, text in zip(slots, after, strict=True):
            units[place] = Unit((_blanks_of(str(units[place]), text),))
        sections[number] = tuple(units)
    return write_sections(sections) if changed else variant.text


# --- more tags ----------------------------------------------------------------------------------------------------


def _inserted(variant: Variant, edit: InsertTags, context: CaptionContext) -> str:
    text = variant.text
    style = variant.style
    if style == "empty" or (edit.holds is not None and edit.holds(text)):
        return text
    if style == "prose":
        return edit.into_prose(text, context) if edit.into_prose else text
    tags = variant.tags
    if edit.unless is not None and any(map(edit.unless, tags)):
        return text
    places = edit.places(tags, context)
    if not places:
        return text
    inside = [(place, tag) for place, tag in places if 0 < place < len(tags)]
    before = [tag for place, tag in places if place <= 0]
    behind = [tag for place, tag in places if place >= len(tags) and place > 0]
    if inside:
        text = _insert_inside(variant.sections, inside)
    if behind:
        text = put_behind(text, ", ".join(behind))
    return put_before(text, ", ".join(before)) if before else text


def _insert_inside(sections: Sequence[Section], places: Sequence[tuple[int, str]]) -> str:
    """The line with each tag in front of the unit that holds the tag of that number."""
    waiting = list(places)
    edited: list[list[Unit]] = []
    passed = 0
    for section in sections:
        units: list[Unit] = []
        for unit in section:
            passed += 0 if unit.is_prose else sum(bool(cell.strip()) for cell in unit.cells)
            blank = str(unit)[: len(str(unit)) - len(str(unit).lstrip())]
            placed = False
            while waiting and waiting[0][0] < passed:
                tag = waiting.pop(0)[1]
                units.append(Unit(((blank or (" " if placed else "")) + tag,)))
                placed = True
            units.append(Unit((f" {unit}",)) if placed and not blank else unit)
        edited.append(units)
    return write_sections(edited)


def put_before(line: str, tag: str) -> str:
    """The line with a tag in front; its leading blanks stay in front of both."""
    return f"{line[: len(line) - len(line.lstrip())]}{tag}, {line.lstrip()}"


def put_behind(line: str, tag: str) -> str:
    """The line with a tag behind: after a comma, or as words of its own after a full stop."""
    body = line.rstrip()
    if body.endswith(","):
        return f"{body} {tag}"
    sentence = ends_sentence(body) and _is_prose_at_end(line)
    return f"{body}{' ' if sentence else ', '}{tag}"


def _is_prose_at_end(line: str) -> bool:
    units = [unit for unit in read_sections(line)[-1] if str(unit).strip()]
    return bool(units) and units[-1].is_prose
