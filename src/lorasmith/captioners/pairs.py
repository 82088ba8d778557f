"""Pictures that are shown together with their references, for captions that say what changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from lorasmith.captioners.decoding import Decoders, Picture, UnreadableError
from lorasmith.captioners.speaking import Shown
from lorasmith.config import Section
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.errors import DatasetError

UNPAIRED: Final = "It has no reference, so there is no edit to describe; give it one, or caption it without pairs."


@dataclass(frozen=True)
class PairCount:
    """How much would be looked at."""

    pairs: int
    pictures: int
    """Of all pairs together, references and results; one that two pairs have counts twice, for it goes twice."""
    unpaired: int = 0
    """Pictures without a reference, which get no caption."""

    @property
    def in_words(self) -> str:
        """One sentence about the pairs."""
        requests = "1 request with" if self.pairs == 1 else f"{self.pairs:,} requests, together with"
        return f"{self.pairs:,} pair{'s' if self.pairs != 1 else ''}: {requests} {self.pictures:,} pictures."


def pair_count(items: Iterable[Item]) -> PairCount:
    """Of these pictures. Those that show the same in all of their pictures are asked about once."""
    shown, unpaired = set(), 0
    for item in items:
        if item.references:
            shown.add((item.references, item.image))
        else:
            unpaired += 1
    return PairCount(len(shown), sum(len(references) + 1 for references, _ in shown), unpaired)


def wants_pairs(options: Section) -> bool:
    """Whether pictures shall come with their references."""
    return bool(getattr(options, "pairs", False))


def refuse_unless_paired(options: Section, version: DatasetVersion) -> None:
    """Refuse before anything is started what no picture could be captioned by.

    Raises:
        DatasetError: pairs are wanted, and no picture has a reference.
    """
    if wants_pairs(options) and not any(item.references for item in version.items):
        raise DatasetError(
            f"No picture of {version.reference} has a reference, so there is no edit to describe.",
            f"Give them some with `lorasmith dataset references {version.dataset} FOLDER`, or leave pairs out.",
        )


def open_together(
    decoders: Decoders[tuple[str, int]], files: Mapping[str, Sequence[Path]]
) -> Iterator[tuple[str, Shown | UnreadableError]]:
    """Under each key all of its pictures, opened ahead; or why one of them, told by its place, cannot be opened."""
    coming = decoders.open_all(((key, n), path) for key, paths in files.items() for n, path in enumerate(paths))
    for key, paths in files.items():
        shown: list[Picture] = []
        wrong: UnreadableError | None = None
        for number, (_, opened) in enumerate(islice(coming, len(paths)), start=1):
            if isinstance(opened, Picture):
                shown.append(opened)
            elif wrong is None:
                of = "" if number == len(paths) else f"Its reference {number} cannot be shown. "
                wrong = UnreadableError(f"{of}{opened}")
        yield key, tuple(shown) if wrong is None else wrong
