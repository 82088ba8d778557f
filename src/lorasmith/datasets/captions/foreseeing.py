"""What an edit would come to, told from captions as they are held, without writing them.

A preview needs to know which captions change and which tags come and go; of all but the few that it shows, it does not
need the text. Where the tags alone do not tell, the caption is written after all. A property test holds the answers to
what ``rewrite`` does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Final, NamedTuple

from lorasmith.datasets.captions.grammar import SECTION_SEPARATOR, UNIT_SEPARATOR, read_sections, tags_of
from lorasmith.datasets.captions.index import HeldCaptions
from lorasmith.datasets.captions.reading import ReadLine, lines_at_commas, lines_of
from lorasmith.datasets.captions.rewriting import (
    CaptionContext,
    EachTag,
    Edit,
    InsertTags,
    ReorderTags,
    Tags,
    WholeText,
    rewrite,
)

_SEPARATORS: Final = (",", UNIT_SEPARATOR, SECTION_SEPARATOR)


class Outcome(NamedTuple):
    """What becomes of one caption that changes."""

    is_blank: bool
    """Whether nothing is left of it."""
    after: Iterable[str] = ()
    """Its tags afterwards; of insertions those that are added; none where the edit only moves them."""
    before: Iterable[str] = ()
    """Its tags now, for an edit that reads sentences as tags."""


Foresight = Callable[[int, CaptionContext], Outcome | None]
"""For the place of a caption that is not plain: what becomes of it; None when it stays as it is."""


def foresight(edit: Edit, held: HeldCaptions) -> Foresight:
    """How to tell what the edit makes of captions that are not plain."""
    write = _by_writing(edit, held)
    if isinstance(edit, WholeText):
        return _of_whole_texts(edit, held, write)
    if isinstance(edit, ReorderTags):
        return write if edit.split_prose else _of_orders(edit, held, write)
    if isinstance(edit, InsertTags):
        return _of_insertions(edit, held)
    if isinstance(edit, EachTag):
        return _of_fates(edit.change, edit.touches, edit.split_prose, held, write)
    become = edit.become

    def change(tags: Tags, _: CaptionContext) -> list[str | None]:
        return [become(tag) for tag in tags]

    return _of_fates(change, None, edit.split_prose, held, write)


def _by_writing(edit: Edit, held: HeldCaptions) -> Foresight:
    """The slow way, which is always right: write the caption, and read it again."""
    reader = held.reader

    def write(place: int, context: CaptionContext) -> Outcome | None:
        text = held.texts[place]
        after = rewrite(edit, text, context)
        if after == text:
            return None
        if held.is_tagless[place]:
            return Outcome(not after.strip())
        if edit.split_prose:
            return Outcome(not after.strip(), _all(lines_at_commas(after)), _all(lines_at_commas(text)))
        return Outcome(not after.strip(), reader.tags_of_edited(after, text, held.lines[place]))

    return write


def _all(lines: Iterable[ReadLine]) -> Iterable[str]:
    return chain.from_iterable(line.tags for line in lines)


def _of_whole_texts(edit: WholeText, held: HeldCaptions, write: Foresight) -> Foresight:
    foresee = edit.foresee
    if foresee is None:
        return write

    def of_text(place: int, context: CaptionContext) -> Outcome | None:
        text = held.texts[place]
        seen = foresee(text, held.lines[place], context) if text and not text.isspace() else None
        if seen is None:
            return write(place, context)
        if not seen.changes:
            return None
        return Outcome(False) if held.is_tagless[place] else Outcome(False, seen.tags)

    return of_text


def _of_orders(edit: ReorderTags, held: HeldCaptions, write: Foresight) -> Foresight:
    def of_order(place: int, context: CaptionContext) -> Outcome | None:
        for line in held.lines[place]:
            if line.is_bound:
                return write(place, context)
            if line.tags:
                after = edit.order(line.tags, context)
                if after is not line.tags and tuple(after) != line.tags:
                    return Outcome(False)
        return None

    return of_order


def _of_insertions(edit: InsertTags, held: HeldCaptions) -> Foresight:
    holds, unless, find_places = edit.holds, edit.unless, edit.places

    def of_insertion(place: int, context: CaptionContext) -> Outcome | None:
        text, lines = held.texts[place], held.lines[place]
        if all(line.style == "empty" for line in lines):
            after = edit.into_empty(context) if edit.into_empty else text
            return Outcome(not after.strip()) if after != text else None
        changes, added = False, list[str]()
        for line, words in zip(lines, lines_of(text) if holds else (text,) * len(lines), strict=True):
            if line.style == "empty" or (holds is not None and holds(words)):
                continue
            if line.style == "prose":
                changes = changes or edit.into_prose is not None
            elif unless is None or not any(map(unless, line.tags)):
                new = [tag for _, tag in find_places(line.tags, context)]
                changes = changes or bool(new)
                added += new
        if not changes:
            return None
        return Outcome(False, added)

    return of_insertion


def _of_fates(
    change: Callable[[Tags, CaptionContext], Sequence[str | None]],
    touches: Callable[[str], bool] | None,
    split_prose: bool,
    held: HeldCaptions,
    write: Foresight,
) -> Foresight:
    """Of edits that say of each tag what becomes of it.

    A line whose tags meet other fates is another line, but where a tag becomes several: ``a, b`` from ``a`` and ``b``.
    """

    def of_fates(place: int, context: CaptionContext) -> Outcome | None:
        before: list[Sequence[str]] = []
        after: list[Sequence[str]] = []
        changes = False
        for line in lines_at_commas(held.texts[place]) if split_prose else held.lines[place]:
            tags = line.tags
            if not tags:
                continue
            fates: Sequence[str | None] = tags
            if touches is None or any(map(touches, tags)):
                fates = change(tags, context)
                if len(fates) != len(tags):
                    raise ValueError(f"an edit gave {len(fates)} fates to {len(tags)} tags")
            new = tags if fates is tags or tuple(fates) == tags else [fate for fate in fates if fate is not None]
            if new is not tags:
                changes = True
                if len(new) < len(tags) and any(_is_several(fate) for fate in set(new).difference(tags)):
                    return write(place, context)
            before.append(tags)
            after.append(new)
        if not changes:
            return None
        if not any(after):  # perhaps nothing is left of the caption
            return write(place, context)
        return Outcome(False, chain.from_iterable(after), chain.from_iterable(before) if split_prose else ())

    return of_fates


def _is_several(tag: str) -> bool:
    return any(sign in tag for sign in _SEPARATORS)


def changed_counts(before: Counter[str], after: Counter[str]) -> dict[str, tuple[int, int]]:
    """For every tag whose number changes both numbers, the largest changes first."""
    after = Counter(after)
    for new in [tag for tag in after if _is_several(tag) and tag not in before]:  # written in the place of one tag
        number = after.pop(new)
        for tag in tags_of(read_sections(new, split_prose=True)):
            after[tag] += number
    different = [tag for tag in before.keys() | after.keys() if before[tag] != after[tag]]
    different.sort(key=lambda tag: (-abs(before[tag] - after[tag]), tag))
    return {tag: (before[tag], after[tag]) for tag in different}
