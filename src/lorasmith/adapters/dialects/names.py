"""Names of layers in adapter files, matched with the table of all known models."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lorasmith.adapters.dialects.gathering import Sides
from lorasmith.adapters.dialects.stems import Stem
from lorasmith.adapters.dialects.table import Layout, Model, Row, Shape, opened, table, taken_apart

FLAT_PART = re.compile(r"\.((?:\w+_)?qkv|qkv_proj|kv_linear|gate_up|linear1)\.[0-3]$")
_XLABS = (
    (re.compile(r"double_blocks\.(\d+)\.processor\.qkv_lora1"), "double_blocks.{}.img_attn.qkv", ""),
    (re.compile(r"double_blocks\.(\d+)\.processor\.qkv_lora2"), "double_blocks.{}.txt_attn.qkv", ""),
    (re.compile(r"double_blocks\.(\d+)\.processor\.proj_lora1"), "double_blocks.{}.img_attn.proj", ""),
    (re.compile(r"double_blocks\.(\d+)\.processor\.proj_lora2"), "double_blocks.{}.txt_attn.proj", ""),
    (re.compile(r"single_blocks\.(\d+)\.processor\.qkv(_lora)?"), "single_blocks.{}.linear1", "qkv"),
    (re.compile(r"single_blocks\.(\d+)\.processor\.proj(_lora)?"), "single_blocks.{}.linear2", ""),
)


class Named(NamedTuple):
    """A layer's name without what a dialect adds."""

    text: str
    part: int | None = None
    """Which of the rows of a fused layer it stands for, when the key says so (OMI)."""
    rows: str = ""
    """``qkv``: only the first three parts of a fused layer (XLabs' single blocks)."""


def resolve_name(stem: Stem) -> Named:
    """The layer's name: XLabs' processors and OMI's parts undone, attention spelled as today."""
    name = stem.name
    if ".processor." in name:
        for pattern, target, rows in _XLABS:
            if found := pattern.fullmatch(name):
                return Named(target.format(found[1]), rows=rows)
        name = name.replace(".processor.", ".")
        return Named(name + ".0" if name.endswith(".to_out") else name)
    if not stem.flat and FLAT_PART.search(name):
        whole, _, part = name.rpartition(".")
        return Named(whole, int(part))
    if name.endswith(".to_out") and opened(name) not in table().index:
        return Named(name + ".0")
    return Named(name)


class Resolved(NamedTuple):
    """A stem's layer as it is looked up: made once of every stem."""

    named: Named
    open: str
    """The name as it is compared."""
    numbers: tuple[int, ...]


def resolved(stem: Stem) -> Resolved:
    """The layer's name, ready to be looked up."""
    named = resolve_name(stem)
    return Resolved(named, *taken_apart(named.text))


def layout_of(name: str) -> Layout | None:
    """Whose names an open name is; None when the table knows it in no layout. ``diffusers`` where both are alike."""
    found = {layout for _, layout in table().index.get(name, ())}
    return None if not found else "diffusers" if "diffusers" in found else "original"


@dataclass(slots=True)
class LayerGroup:
    """Modules of one open name and shape, with their numbers."""

    name: str
    shape: Shape | Sides | None
    example: str
    numbers: list[tuple[int, ...]] = field(default_factory=list)
    known: bool = False

    @staticmethod
    def add(
        groups: MutableMapping[tuple[str, Shape | Sides | None], LayerGroup],
        place: Resolved,
        shape: Shape | Sides | None,
    ) -> None:
        """Count one more module."""
        named = place.named
        key = (place.open, shape if named.part is None and not named.rows else None)
        group = groups.get(key)
        if group is None:
            group = groups[key] = LayerGroup(*key, named.text)
        group.numbers.append(place.numbers)

    @property
    def count(self) -> int:
        """How many modules."""
        return len(self.numbers)

    def bounds(self) -> list[tuple[int, int]]:
        """The least and the largest of every number."""
        return [(min(column), max(column)) for column in zip(*self.numbers, strict=True)]


def fitting(groups: Iterable[LayerGroup]) -> tuple[list[Model], list[Model], int]:
    """Models that all known groups fit by name, number and shape; by name alone; and how many modules are known."""
    book = table()
    known = 0
    exact: set[int] | None = None
    by_name: set[int] | None = None
    for group in groups:
        entries = book.index.get(group.name)
        if not entries:
            continue
        group.known = True
        known += group.count
        rows = [(number, book.models[number].rows[layout][group.name]) for number, layout in entries]
        names = {number for number, _ in rows}
        bounds = group.bounds()
        whole = {number for number, row in rows if _holds(row, group, bounds)}
        exact = whole if exact is None else exact & whole
        by_name = names if by_name is None else by_name & names
    return (
        [book.models[number] for number in sorted(exact or ())],
        [book.models[number] for number in sorted(by_name or ())],
        known,
    )


def _holds(row: Row, group: LayerGroup, bounds: Sequence[tuple[int, int]]) -> bool:
    for (least, largest), (below, above) in zip(row.bounds, bounds, strict=True):
        if below < least or above > largest:
            return False
    if isinstance(group.shape, Sides):
        return any(map(group.shape.fits, row.shapes))
    return group.shape is None or group.shape in row.shapes or any(same(group.shape, shape) for shape in row.shapes)


def same(one: Shape, other: Shape) -> bool:
    """Whether two shapes hold the same matrix: 1 x 1 convolutions are linear layers, some kinds flatten kernels."""
    return len(one) > 1 and len(other) > 1 and one[0] == other[0] and math.prod(one[1:]) == math.prod(other[1:])
