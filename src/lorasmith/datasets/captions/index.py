"""The captions of a dataset held ready, so that any edit of all of them can be shown at once.

Most captions of most datasets are one line of tags with ``", "`` between: *plain*. Of these the tags are held. Of the
others it is held what each line is and which tags it holds. Each distinct tag is held once, and for every tag the
captions that hold it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final

import numpy as np

from lorasmith.datasets.captions.reading import CaptionReader, ReadLine

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FULL_WIDTH: Final = "，"


def count_tags(texts: Iterable[str]) -> Counter[str]:
    """How often each tag occurs in captions: ``HeldCaptions.frequencies`` for whoever needs nothing else of them."""
    reader = CaptionReader()

    def tags_of(text: str) -> Iterable[str]:
        plain = reader.plain_tags(text)
        return plain if plain is not None else chain.from_iterable(line.tags for line in reader.lines(text))

    return Counter(chain.from_iterable(map(tags_of, texts)))


class HeldCaptions:
    """Captions by their place in the dataset. Building costs some microseconds per caption.

    Args:
        texts: the captions, in the order of the items.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts: list[str] = list(texts)
        self.reader = reader = CaptionReader()
        """What read them, and knows their cells; for captions that are much like them."""
        self.tags: list[tuple[str, ...] | None] = [reader.plain_tags(text) for text in self.texts]
        """For a plain caption its tags, otherwise None."""
        self.lines: dict[int, tuple[ReadLine, ...]] = {
            place: reader.lines(text)
            for place, (text, tags) in enumerate(zip(self.texts, self.tags, strict=True))
            if tags is None
        }
        """The lines of every caption that is not plain."""
        self.vocabulary: dict[str, int] = {}
        """The distinct tags of all captions, numbered."""
        self._owners, self._starts = self._inverted()
        counts = np.diff(self._starts).tolist()
        self.frequencies: dict[str, int] = dict(zip(self.vocabulary, counts, strict=True))
        """How often each tag occurs in all captions."""
        self.is_other = np.fromiter((tags is None for tags in self.tags), dtype=bool, count=len(self.tags))
        """Which captions are not plain."""
        self.is_tagless = np.zeros(len(self.texts), dtype=bool)
        """Which captions hold no tag: prose, or nothing."""
        self.with_prose: set[int] = set()
        for place, lines in self.lines.items():
            if any(line.style in ("prose", "mixed") for line in lines):
                self.with_prose.add(place)
            self.is_tagless[place] = not any(line.tags for line in lines)
        self.full_width = {place for place, text in enumerate(self.texts) if _FULL_WIDTH in text}
        """Captions with a comma that no trainer splits at."""

    def tags_at(self, place: int) -> Sequence[str]:
        """The tags of a caption in order, whatever it is."""
        plain = self.tags[place]
        if plain is not None:
            return plain
        lines = self.lines[place]
        return lines[0].tags if len(lines) == 1 else [tag for line in lines for tag in line.tags]

    def holding(self, touches: Callable[[str], bool]) -> NDArray[np.bool_]:
        """Which captions hold a tag of which this is true."""
        marks = np.zeros(len(self.texts), dtype=bool)
        numbers = [number for tag, number in self.vocabulary.items() if touches(tag)]
        for number in numbers:
            marks[self._owners[self._starts[number] : self._starts[number + 1]]] = True
        return marks

    def counts_among(self, places: Sequence[int]) -> Counter[str]:
        """How often tags occur in these captions; only those that do."""
        if not places or not self.vocabulary:
            return Counter()
        marks = np.zeros(len(self.texts), dtype=np.int32)
        marks[places] = 1
        counts = np.add.reduceat(marks[self._owners], self._starts[:-1])  # every tag of the vocabulary is held
        tags = list(self.vocabulary)
        return Counter({tags[number]: int(counts[number]) for number in np.flatnonzero(counts).tolist()})

    def _inverted(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """For every tag of the vocabulary the captions that hold it, one tag after the other, and where each begins."""
        places = range(len(self.texts))
        for tag in chain.from_iterable(map(self.tags_at, places)):
            self.vocabulary.setdefault(tag, len(self.vocabulary))
        lengths = np.fromiter((len(self.tags_at(place)) for place in places), dtype=np.int64, count=len(places))
        numbers = np.fromiter(
            map(self.vocabulary.__getitem__, chain.from_iterable(map(self.tags_at, places))),
            dtype=np.int32,
            count=int(lengths.sum()),
        )
        owners = np.repeat(np.arange(len(places), dtype=np.int32), lengths)
        starts = np.zeros(len(self.vocabulary) + 1, dtype=np.int64)
        np.cumsum(np.bincount(numbers, minlength=len(self.vocabulary)), out=starts[1:])
        return owners[np.argsort(numbers, kind="stable")], starts
