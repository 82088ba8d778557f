"""One operation on all captions or on some: what it would do, in words and examples, and then doing it.

A plain caption (see ``index``) is edited as a list of tags without being parsed again, in a preview and in an edit.
Any other is written anew by an edit; a preview foresees what would come of it (see ``foreseeing``), and writes the few
that it shows. Property tests hold both to ``operation.apply``.
"""

from __future__ import annotations

import difflib
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from lorasmith.datasets.captions.foreseeing import changed_counts, foresight
from lorasmith.datasets.captions.index import HeldCaptions
from lorasmith.datasets.captions.operations.contract import CaptionOperation, plural
from lorasmith.datasets.captions.rewriting import (
    CaptionContext,
    Corpus,
    EachTag,
    Edit,
    InsertTags,
    MapTags,
    ReorderTags,
    TokenCount,
    WholeText,
    rewrite,
)
from lorasmith.datasets.manifest import Item
from lorasmith.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

_FIRST_EXAMPLES: Final = 3
_LOOK_AT_CLOCK: Final = 256  # captions
_BATCH: Final = 256

Change = tuple[int, str | Sequence[str]]
"""Place of an item and its caption afterwards; that of a plain caption as its cells, which ``", "`` joins."""


@dataclass(frozen=True)
class Example:
    """One caption that would change."""

    item: str
    before: str
    after: str


@dataclass(frozen=True)
class BulkPreview:
    """What an operation would do, before it does it."""

    operation: str
    """In words."""
    scope: str
    """In words: ``all 1,204 pictures`` or ``37 of 1,204 pictures``."""
    total: int
    in_scope: int
    changed: int
    examples: tuple[Example, ...]
    """The first few, and some from all over the scope."""
    warnings: tuple[str, ...]
    """What should be looked at before going on, a sentence each."""
    tags: Mapping[str, tuple[int, int]]
    """For every tag whose number changes how often it occurs before and afterwards, in the captions that change and
    hold tags now; the largest changes first. Counted from the edit: what it adds to tags, and what becomes of them."""

    @property
    def unchanged(self) -> int:
        """How many captions in the scope stay as they are."""
        return self.in_scope - self.changed


class CaptionIndex:
    """The captions of some items, held for previews and edits.

    Args:
        items: of one version, names unique.
        captions: those of other versions, by reference and then by name, for operations that take some from there.
        counter: of tokens, for operations that count them.
        time_limit: seconds after which a preview or an edit is given up.
    """

    def __init__(
        self,
        items: Iterable[Item],
        *,
        captions: Mapping[str, Mapping[str, str]] | None = None,
        counter: TokenCount | None = None,
        time_limit: float = 120.0,
    ) -> None:
        self.items = tuple(items)
        self._places = {item.name: place for place, item in enumerate(self.items)}
        self._held = HeldCaptions(item.caption for item in self.items)
        self.corpus = Corpus(self._held.frequencies, captions or {}, counter)
        self._time_limit = time_limit

    def preview(
        self, operation: CaptionOperation, names: Collection[str] | None = None, *, examples: int = 8
    ) -> BulkPreview:
        """What the operation would do.

        Args:
            operation: what to do.
            names: of the items in scope; None for all.
            examples: how many captions to show at most.

        Raises:
            DatasetError: a name is not there, or the operation needs something that the index was not given.
        """
        scope = self._scope(names)
        edit = operation.edit(self.corpus)
        candidates = self._candidates(edit, scope)
        counts = None if isinstance(edit, ReorderTags) else _Counts()
        places, emptied = self._tally(edit, candidates, counts)
        shown = self._changes(edit, [places[number] for number in _spread(len(places), examples)])
        return BulkPreview(
            operation=operation.describe(),
            scope=_in_words(len(scope), len(self.items)),
            total=len(self.items),
            in_scope=len(scope),
            changed=len(places),
            examples=tuple(Example(self.items[at].name, self._held.texts[at], _text(after)) for at, after in shown),
            warnings=(*self._warnings(edit, scope, emptied), *operation.warnings(self.corpus, len(scope))),
            tags={} if counts is None else self._counted(edit, places, counts),
        )

    def apply(self, operation: CaptionOperation, names: Collection[str] | None = None) -> tuple[Item, ...]:
        """All items in their order, edited where they are in scope; an item that does not change is the same object.

        Raises:
            DatasetError: as for ``preview``.
        """
        items = list(self.items)
        for place, caption in self._changes(operation.edit(self.corpus), self._scope(names)):
            item = items[place]
            provenance = {**item.provenance, "caption": operation.name}
            items[place] = replace(item, caption=_text(caption), provenance=provenance)
        return tuple(items)

    def _scope(self, names: Collection[str] | None) -> Sequence[int]:
        if names is None:
            return range(len(self.items))
        unknown = next((name for name in names if name not in self._places), None)
        if unknown is not None:
            near = difflib.get_close_matches(unknown, list(self._places)[:10_000], n=1)
            raise DatasetError(
                f"There is no picture called '{unknown}' here.", f"Did you mean '{near[0]}'?" if near else ""
            )
        return sorted({self._places[name] for name in names})

    # --- the edit of many ----------------------------------------------------------------------------------------

    def _tally(self, edit: Edit, candidates: NDArray[np.int64], counts: _Counts | None) -> tuple[list[int], int]:
        """The places of captions that change, and how many of them would be empty; their tags are counted."""
        held, clock, contexts = self._held, self._clock(len(candidates)), self._contexts(edit)
        is_other = held.is_other[candidates]
        plain = clock(candidates[~is_other].tolist())
        places: list[int] = []
        emptied = 0
        if isinstance(edit, InsertTags):
            find_places = edit.places
            for batch in _batches(plain):  # never all at once: 100,000 lists keep the collector busy
                found = [(at, find_places(held.tags[at] or (), contexts(at))) for at in batch]
                places += [place for place, new in found if new]
                if counts is not None:
                    counts.after.update(tag for _, new in found for _, tag in new)
        else:
            for changes in _batches(self._edited(edit, plain, contexts)):
                places += [place for place, _ in changes]
                emptied += sum(not (after.strip() if isinstance(after, str) else after) for _, after in changes)
                if counts is not None:
                    counts.after.update(chain.from_iterable(self._tags_of(after) for _, after in changes))
        if edit.split_prose and counts is not None:
            counts.before.update(held.counts_among(places))
        look_ahead = foresight(edit, held)
        for batch in _batches(clock(candidates[is_other].tolist())):
            seen = [(place, out) for place in batch if (out := look_ahead(place, contexts(place))) is not None]
            places += [place for place, _ in seen]
            emptied += sum(out.is_blank for _, out in seen)
            if counts is not None:
                counts.after.update(chain.from_iterable(out.after for _, out in seen))
                counts.before.update(chain.from_iterable(out.before for _, out in seen))
        return sorted(places), emptied

    def _tags_of(self, after: str | Sequence[str]) -> Sequence[str]:
        return self._held.reader.tags(after) if isinstance(after, str) else after

    def _counted(self, edit: Edit, places: list[int], counts: _Counts) -> dict[str, tuple[int, int]]:
        before = counts.before if edit.split_prose else self._held.counts_among(places)
        return changed_counts(before, before + counts.after if isinstance(edit, InsertTags) else counts.after)

    def _clock(self, total: int) -> Callable[[Iterable[int]], Iterator[int]]:
        """Passes places on until the time is over."""
        deadline = time.monotonic() + self._time_limit
        done = 0

        def until_then(places: Iterable[int]) -> Iterator[int]:
            nonlocal done
            for place in places:
                if not done % _LOOK_AT_CLOCK and time.monotonic() > deadline:
                    raise DatasetError(
                        f"After {self._time_limit:.0f} s {done:,} of {total:,} captions were done.",
                        "Choose fewer pictures, or a simpler pattern.",
                    )
                done += 1
                yield place

        return until_then

    def _contexts(self, edit: Edit) -> Callable[[int], CaptionContext]:
        """Whose caption it is, for edits that ask."""
        corpus, items = self.corpus, self.items
        if isinstance(edit, WholeText | InsertTags) and edit.named:
            return lambda place: CaptionContext(items[place].name, place, corpus)
        nobody = CaptionContext(corpus=corpus)
        return lambda place: nobody

    def _changes(self, edit: Edit, scope: Sequence[int]) -> Iterator[Change]:
        """Every caption that changes, in order."""
        candidates = self._candidates(edit, scope)
        return self._edited(edit, self._clock(len(candidates))(candidates.tolist()), self._contexts(edit))

    def _edited(
        self, edit: Edit, candidates: Iterable[int], contexts: Callable[[int], CaptionContext]
    ) -> Iterator[Change]:
        held = self._held
        on_tags = _plain_edit(edit, held)
        for place in candidates:
            plain = held.tags[place]
            context = contexts(place)
            edited = on_tags(plain, context) if plain is not None and on_tags is not None else None
            if plain is None or edited is None:
                after = rewrite(edit, held.texts[place], context)
                if after != held.texts[place]:
                    yield place, after
            elif edited is not plain and not _same(edited, plain):
                yield place, edited

    def _candidates(self, edit: Edit, scope: Sequence[int]) -> NDArray[np.int64]:
        """The captions in scope that may change; all others surely do not."""
        held = self._held
        if isinstance(edit, WholeText):
            texts, may_change = held.texts, edit.may_change
            chosen = np.asarray(scope, dtype=np.int64)
            if edit.touches is not None:
                chosen = chosen[(held.holding(edit.touches) | held.is_other)[chosen]]
            if may_change is None:
                return chosen
            return np.asarray([place for place in chosen.tolist() if may_change(texts[place])], dtype=np.int64)
        marks = np.zeros(len(held.texts), dtype=bool)
        marks[np.asarray(scope, dtype=np.int64)] = True
        touches = _touches(edit)
        if touches is not None:
            may = held.holding(touches)
            if edit.split_prose:
                may |= held.is_other
            if isinstance(edit, InsertTags):
                may |= held.is_tagless  # what has no tags may get one
            marks &= may
        if isinstance(edit, InsertTags):
            if edit.unless is not None:
                marks &= ~held.holding(edit.unless) | held.is_other  # one line of several may hold it
        elif not edit.split_prose:
            marks &= ~held.is_tagless
        return np.flatnonzero(marks)

    # --- what is said about it -----------------------------------------------------------------------------------

    def _warnings(self, edit: Edit, scope: Sequence[int], emptied: int) -> Iterator[str]:
        if emptied:
            yield f"{plural(emptied, 'caption')} would be empty."
        if isinstance(edit, WholeText):
            return
        inside = self._held.with_prose
        if not (isinstance(edit, InsertTags) or edit.split_prose) and inside:
            prose = len(inside) if len(scope) == len(self.items) else sum(place in inside for place in scope)
            if prose:
                yield f"{plural(prose, 'caption holds', 'captions hold')} sentences, which stay as they are."
        wide = sum(place in self._held.full_width for place in scope) if self._held.full_width else 0
        if wide:
            yield (
                f"{plural(wide, 'caption holds', 'captions hold')} full-width commas, which separate no tags; "
                "cleaning up makes commas of them."
            )


@dataclass
class _Counts:
    """How often tags occur in captions that change, as far as it was counted one by one."""

    before: Counter[str] = field(default_factory=Counter)
    """Of edits that read sentences as tags."""
    after: Counter[str] = field(default_factory=Counter)
    """Of insertions what is added."""


def _batches(several: Iterator[T]) -> Iterator[list[T]]:
    while batch := list(islice(several, _BATCH)):
        yield batch


def _touches(edit: MapTags | EachTag | ReorderTags | InsertTags) -> Callable[[str], bool] | None:
    if not isinstance(edit, MapTags):
        return edit.touches
    become = edit.become
    return lambda tag: become(tag) != tag


def _text(after: str | Sequence[str]) -> str:
    return after if isinstance(after, str) else ", ".join(after)


def _same(edited: Sequence[str], plain: tuple[str, ...]) -> bool:
    """Whether the text is the same; as no plain tag holds a comma, lists of one length differ as their texts do."""
    if len(edited) == len(plain):
        return tuple(edited) == plain
    return len(edited) < len(plain) and ", ".join(edited) == ", ".join(plain)


_PlainEdit = Callable[[tuple[str, ...], CaptionContext], Sequence[str] | None]


def _plain_edit(edit: Edit, held: HeldCaptions) -> _PlainEdit | None:
    """The edit of a plain caption's tags; it gives back the very tuple when it knows that nothing changes."""
    if isinstance(edit, WholeText):
        return edit.on_tags
    if isinstance(edit, ReorderTags):
        return edit.order
    if isinstance(edit, MapTags):
        return _mapped(edit, held)
    return _each(edit) if isinstance(edit, EachTag) else _inserted(edit)


def _mapped(edit: MapTags, held: HeldCaptions) -> _PlainEdit:
    become = {tag: new for tag in held.vocabulary if (new := edit.become(tag)) != tag}
    if any(become.values()):
        get = {**dict.fromkeys(held.vocabulary), **become}
        get |= {tag: tag for tag in held.vocabulary if tag not in become}
        look_up = get.__getitem__
        if None not in become.values():
            return lambda tags, _: list(map(look_up, tags))  # type: ignore[arg-type]  # none of them is None
        return lambda tags, _: [new for new in map(look_up, tags) if new is not None]
    return lambda tags, _: [tag for tag in tags if tag not in become]


def _each(edit: EachTag) -> _PlainEdit:
    change = edit.change

    def each(tags: tuple[str, ...], context: CaptionContext) -> Sequence[str]:
        fates = change(tags, context)
        return tags if fates is tags else [fate for fate in fates if fate is not None]

    return each


def _inserted(edit: InsertTags) -> _PlainEdit:
    places = edit.places

    def inserted(tags: tuple[str, ...], context: CaptionContext) -> Sequence[str]:
        added = places(tags, context)
        if not added:
            return tags
        edited = list(tags)
        for place, tag in reversed(added):
            edited.insert(place, tag)
        return edited

    return inserted


def _spread(count: int, most: int) -> list[int]:
    """The first few numbers below ``count``, then numbers from all over it, ``most`` at most."""
    first = list(range(min(count, most, _FIRST_EXAMPLES)))
    left = most - len(first)
    rest = range(len(first), count)
    if left <= 0 or not rest:
        return first
    if len(rest) <= left:
        return [*first, *rest]
    return [*first, *(rest[(2 * number + 1) * len(rest) // (2 * left)] for number in range(left))]


def _in_words(in_scope: int, total: int) -> str:
    pictures = "picture" if total == 1 else "pictures"
    return f"all {total:,} {pictures}" if in_scope == total else f"{in_scope:,} of {total:,} {pictures}"
