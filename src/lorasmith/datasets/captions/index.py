"""The captions of a dataset held ready, so that any edit of all of them can be shown at once.

Most captions of most datasets are one line of tags with ``", "`` between: *plain*. Of these the tags are held, each
distinct tag once, and for every tag the captions that hold it. The others are held as text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final

import numpy as np

from lorasmith.datasets.captions.grammar import is_plain_tag, parse
from lorasmith.datasets.captions.style import Style

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FULL_WIDTH: Final = "，"


class HeldCaptions:
    """Captions by their place in the dataset. Building costs some microseconds per caption.

    Args:
        texts: the captions, in the order of the items.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts: list[str] = list(texts)
        known = _SharedTags()
        self.tags: list[tuple[str, ...] | None] = [_plain(text, known) for text in self.texts]
        """For a plain caption its tags, otherwise None."""
        self.vocabulary: dict[str, int] = {}
        """The distinct tags of plain captions, numbered."""
        self._owners, self._starts = self._inverted()
        self.sentences: set[int] = set()
        """Captions of one line that is prose alone."""
        self.with_prose: set[int] = set()
        self.is_tagless = np.zeros(len(self.texts), dtype=bool)
        """Which captions hold no tag: prose, or nothing."""
        self.is_other = np.fromiter((tags is None for tags in self.tags), dtype=bool, count=len(self.tags))
        """Which captions are not plain."""
        other_tags: Counter[str] = Counter()
        for place, tags in enumerate(self.tags):
            if tags is None:
                other_tags.update(self._look_at(place))
        counts = np.diff(self._starts).tolist()
        self.frequencies: dict[str, int] = dict(zip(self.vocabulary, counts, strict=True))
        """How often each tag occurs in all captions."""
        for tag, count in other_tags.items():
            self.frequencies[tag] = self.frequencies.get(tag, 0) + count
        self.full_width = {place for place, text in enumerate(self.texts) if _FULL_WIDTH in text}
        """Captions with a comma that no trainer splits at."""

    def holding(self, touches: Callable[[str], bool]) -> NDArray[np.bool_]:
        """Which plain captions hold a tag of which this is true."""
        marks = np.zeros(len(self.texts), dtype=bool)
        numbers = [number for tag, number in self.vocabulary.items() if touches(tag)]
        for number in numbers:
            marks[self._owners[self._starts[number] : self._starts[number + 1]]] = True
        return marks

    def _inverted(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """For every tag of the vocabulary the captions that hold it, one tag after the other, and where each begins."""
        plain = [tags for tags in self.tags if tags is not None]
        for tag in chain.from_iterable(plain):
            self.vocabulary.setdefault(tag, len(self.vocabulary))
        lengths = np.fromiter((len(tags or ()) for tags in self.tags), dtype=np.int64, count=len(self.tags))
        numbers = np.fromiter(
            map(self.vocabulary.__getitem__, chain.from_iterable(plain)), dtype=np.int32, count=int(lengths.sum())
        )
        places = np.repeat(np.arange(len(self.tags), dtype=np.int32), lengths)
        starts = np.zeros(len(self.vocabulary) + 1, dtype=np.int64)
        np.cumsum(np.bincount(numbers, minlength=len(self.vocabulary)), out=starts[1:])
        return places[np.argsort(numbers, kind="stable")], starts

    def _look_at(self, place: int) -> Sequence[str]:
        """The tags of a caption that is not plain; what else it is, is noted."""
        caption = parse(self.texts[place])
        style, tags = caption.style, caption.tags
        if style == "prose" and len(caption.variants) == 1:
            self.sentences.add(place)
        if any(unit.is_prose for variant in caption.variants for section in variant.sections for unit in section):
            self.with_prose.add(place)
        if not tags:
            self.is_tagless[place] = True
        return tags


class CaptionReader:
    """Reads captions as ``parse`` does, with a memory of its own for the tags that a dataset repeats."""

    def __init__(self) -> None:
        self._known = _SharedTags()

    def tags(self, text: str) -> Sequence[str]:
        """The tags of a caption in order; prose holds none."""
        plain = _plain(text, self._known)
        return parse(text).tags if plain is None else plain

    def style(self, text: str) -> Style:
        """Whether it is tags, prose or both."""
        return parse(text).style if _plain(text, self._known) is None else "tags"


class _SharedTags(dict[str, str | None]):
    """Every distinct cell once: the cell when it is a plain tag, otherwise None."""

    def __missing__(self, cell: str) -> str | None:
        self[cell] = cell if is_plain_tag(cell) else None
        return self[cell]


def _plain(text: str, known: Mapping[str, str | None]) -> tuple[str, ...] | None:
    cells = tuple(map(known.__getitem__, text.split(", ")))
    return None if None in cells else cells  # type: ignore[return-value]  # None is not among them
