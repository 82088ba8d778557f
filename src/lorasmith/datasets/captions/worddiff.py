"""Two captions word by word, tags as wholes; what both share stays, the rest is removed or added.

Words that both hold exactly once are anchors (patience diff); between anchors a small table finds the longest common
run of words. Where a gap is too large for a table it is shown as removed and added, so that the time stays near linear
for captions of megabytes.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from lorasmith.datasets.captions.grammar import parse

Step = tuple[Literal["same", "removed", "added"], str]

_TABLE: Final = 250_000  # cells of all tables together
_WORDS: Final = re.compile(r"\w+|\s+|[^\w\s]")


def word_diff(before: str, after: str) -> list[Step]:
    """The way from one caption to the other.

    The texts of ``same`` and ``removed`` give ``before``, those of ``same`` and ``added`` give ``after``; neighbours
    are of different kinds, and what is removed stands before what is added in its place.
    """
    if before == after:
        return [("same", before)] if before else []
    as_tags = parse(before).style in ("tags", "empty") and parse(after).style in ("tags", "empty")
    left, right = (_tags(before), _tags(after)) if as_tags else (_WORDS.findall(before), _WORDS.findall(after))
    return _merged(_Differ(left, right).steps())


def _tags(text: str) -> list[str]:
    """The text in pieces: tags, and what stands between them."""
    pieces: list[str] = []
    for variant in parse(text).variants:
        between = ""
        for number, section in enumerate(variant.sections):
            between += "|||" if number else ""
            for place, unit in enumerate(section):
                between += "," if place else ""
                for cell_number, cell in enumerate(unit.cells):
                    between += ";;;" if cell_number else ""
                    tag = cell.strip()
                    lead = len(cell) - len(cell.lstrip()) if tag else len(cell)
                    between += cell[:lead]
                    if tag:
                        pieces += [between, tag]
                        between = cell[lead + len(tag) :]
        pieces.append(between + variant.ending)
    return [piece for piece in pieces if piece]


class _Differ:
    def __init__(self, left: Sequence[str], right: Sequence[str]) -> None:
        self._left, self._right = left, right
        self._table_left = _TABLE

    def steps(self) -> Iterator[Step]:
        start, left_end, right_end = self._trim(0, 0, len(self._left), len(self._right))
        yield from (("same", piece) for piece in self._left[:start])
        at_left = at_right = start
        for anchor_left, anchor_right in self._anchors(start, left_end, right_end):
            yield from self._gap(at_left, anchor_left, at_right, anchor_right)
            yield "same", self._left[anchor_left]
            at_left, at_right = anchor_left + 1, anchor_right + 1
        yield from self._gap(at_left, left_end, at_right, right_end)
        yield from (("same", piece) for piece in self._left[left_end:])

    def _trim(self, left: int, right: int, left_end: int, right_end: int) -> tuple[int, int, int]:
        """Past what both begin with, and before what both end with: how many at the start, and both ends."""
        same = 0
        while left + same < left_end and right + same < right_end:
            if self._left[left + same] != self._right[right + same]:
                break
            same += 1
        while left_end > left + same and right_end > right + same:
            if self._left[left_end - 1] != self._right[right_end - 1]:
                break
            left_end, right_end = left_end - 1, right_end - 1
        return same, left_end, right_end

    def _anchors(self, start: int, left_end: int, right_end: int) -> list[tuple[int, int]]:
        """Pieces that stand once on either side, as many as keep their order."""
        in_left, in_right = Counter(self._left[start:left_end]), Counter(self._right[start:right_end])
        where = {piece: at for at in range(start, right_end) if in_right[piece := self._right[at]] == 1}
        pairs = [
            (at, where[piece])
            for at in range(start, left_end)
            if in_left[piece := self._left[at]] == 1 and piece in where
        ]
        tails: list[int] = []  # of increasing runs of each length, the least last place on the right
        heads: list[int] = []
        before: list[int] = []
        for number, (_, right) in enumerate(pairs):
            length = bisect_left(tails, right)
            before.append(heads[length - 1] if length else -1)
            tails[length : length + 1] = [right]
            heads[length : length + 1] = [number]
        run: list[tuple[int, int]] = []
        number = heads[-1] if heads else -1
        while number >= 0:
            run.append(pairs[number])
            number = before[number]
        return run[::-1]

    def _gap(self, left: int, left_end: int, right: int, right_end: int) -> Iterator[Step]:
        same, left_stop, right_stop = self._trim(left, right, left_end, right_end)
        yield from (("same", piece) for piece in self._left[left : left + same])
        yield from self._table(self._left[left + same : left_stop], self._right[right + same : right_stop])
        yield from (("same", piece) for piece in self._left[left_stop:left_end])

    def _table(self, left: Sequence[str], right: Sequence[str]) -> Iterator[Step]:
        cells = len(left) * len(right)
        if not cells or cells > self._table_left:
            yield from (("removed", piece) for piece in left)
            yield from (("added", piece) for piece in right)
            return
        self._table_left -= cells
        common = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
        for at in range(len(left) - 1, -1, -1):
            row, below = common[at], common[at + 1]
            for to in range(len(right) - 1, -1, -1):
                row[to] = below[to + 1] + 1 if left[at] == right[to] else max(below[to], row[to + 1])
        at = to = 0
        while at < len(left) and to < len(right):
            if left[at] == right[to]:
                yield "same", left[at]
                at, to = at + 1, to + 1
            elif common[at + 1][to] >= common[at][to + 1]:
                yield "removed", left[at]
                at += 1
            else:
                yield "added", right[to]
                to += 1
        yield from (("removed", piece) for piece in left[at:])
        yield from (("added", piece) for piece in right[to:])


def _merged(steps: Iterator[Step]) -> list[Step]:
    """Neighbours of one kind joined; between two stretches that are the same, what goes before what comes."""
    merged: list[Step] = []
    removed: list[str] = []
    added: list[str] = []
    same: list[str] = []

    def flush_change() -> None:
        if removed:
            merged.append(("removed", "".join(removed)))
        if added:
            merged.append(("added", "".join(added)))
        removed.clear()
        added.clear()

    def flush_same() -> None:
        if same:
            merged.append(("same", "".join(same)))
        same.clear()

    for kind, text in steps:
        if kind == "same":
            flush_change()
            same.append(text)
        else:
            flush_same()
            (removed if kind == "removed" else added).append(text)
    flush_change()
    flush_same()
    return merged
