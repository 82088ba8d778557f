"""What an import says at once of pairs and clips that will not train as they were meant, by what it knows anyway.

Each sentence ends with the check that says more of it; ``lorasmith check`` looks closer, and for one family.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from lorasmith.datasets.images import Prepared
from lorasmith.datasets.manifest import Item

OTHER_SHAPE: Final = 0.05
"""Of the logarithms of two aspect ratios: 5 % wider than the other."""
OTHER_RATE: Final = 0.02
"""Of the rate that most clips have: 29.97 and 30 are one rate."""
_LEAST_THAT_MOVE: Final = 5  # the shortest window of the finest temporal step there is, 4
_NAMED: Final = 5


@dataclass
class FirstNotes:
    """Told item by item, as they are taken."""

    same: list[str] = field(default_factory=list)
    shapes: list[str] = field(default_factory=list)

    def hear(self, item: Item, prepared: Prepared, references: Sequence[Prepared]) -> None:
        """Of one item and the references it was given."""
        if any(one.pixels == prepared.pixels for one in references):
            self.same.append(item.name)
        if any(differs(item, one.width, one.height) for one in references):
            self.shapes.append(item.name)

    def sentences(self, items: Sequence[Item], everything: Sequence[Item]) -> tuple[str, ...]:
        """Of the items that came; what is usual is told by all that are there."""
        return (*self._of_pairs(items, everything), *_of_clips(items, everything))

    def _of_pairs(self, items: Sequence[Item], everything: Sequence[Item]) -> Iterator[str]:
        counts = Counter(len(item.references) for item in everything if item.references)
        if not counts:
            return
        usual = counts.most_common(1)[0][0]
        alone = [item.name for item in items if not item.references and item.role != "validation"]
        odd = [item.name for item in items if item.references and len(item.references) != usual]
        yield from _said(alone, "picture", "has no reference", "have no reference", ", while others do", "R1")
        many = f"another number of references than most ({usual})"
        yield from _said(odd, "picture", f"has {many}", f"have {many}", "", "R3")
        shape = ("has another shape than its reference", "have another shape than their references")
        yield from _said(self.shapes, "picture", *shape, "", "R4")
        same = ("is the same as its reference", "are the same as their references")
        yield from _said(self.same, "picture", *same, ", which teaches to change nothing", "R5")


def differs(item: Item, width: int, height: int) -> bool:
    """Whether a picture of this size has another shape than an item."""
    return abs(math.log(item.width * height / (item.height * width))) > OTHER_SHAPE


def _of_clips(items: Sequence[Item], everything: Sequence[Item]) -> Iterator[str]:
    rates = Counter(round(item.clip.fps, 2) for item in everything if item.clip is not None)
    if not rates:
        return
    usual = rates.most_common(1)[0][0]
    moving = [(item, item.clip) for item in items if item.clip is not None]
    short = [item.name for item, clip in moving if clip.frames < _LEAST_THAT_MOVE]
    odd = [item.name for item, clip in moving if abs(clip.fps - usual) > OTHER_RATE * usual]
    words = {item.name: {str(w).partition(":")[0] for w in item.provenance.get("transforms", ())} for item, _ in moving}
    few = f"fewer than {_LEAST_THAT_MOVE} frames"
    yield from _said(short, "clip", f"has {few}", f"have {few}", ", too few to move in any family", "V1")
    rate = f"another frame rate than most ({usual:g} a second)"
    yield from _said(odd, "clip", f"has {rate}", f"have {rate}", "", "V2")
    uneven = ("has frames that last unlike long, and is read at its mean rate",
              "have frames that last unlike long, and are read at their mean rates")  # fmt: skip
    yield from _said([name for name, told in words.items() if "frame_rate" in told], "clip", *uneven, "", "V5")
    turned = ("is turned as its metadata asks", "are turned as their metadata asks")
    yield from _said([name for name, told in words.items() if "turned" in told], "clip", *turned, "", "")


def _said(names: Sequence[str], noun: str, one: str, several: str, behind: str, check: str) -> Iterator[str]:
    if not names:
        return
    many = f"1 {noun} {one}" if len(names) == 1 else f"{len(names):,} {noun}s {several}"
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    yield f"{many}{behind}: {', '.join(names[:_NAMED])}{more}{f' ({check})' if check else ''}."
