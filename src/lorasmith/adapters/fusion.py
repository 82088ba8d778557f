"""Layers that are one matrix in the file, and apart in diffusers: written below each other, and taken apart again.

Several updates become one of the sum of their ranks, down matrices stacked, up matrices block-diagonal, which is
exact; layers that share their down matrix keep it, and one that learned nothing takes rows but no rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lorasmith.adapters.module import LoraModule
from lorasmith.errors import AdapterError

if TYPE_CHECKING:
    from lorasmith.families import Family


@dataclass(frozen=True)
class Slice:
    """The rows of a file's matrix that are one layer's."""

    part: str
    module: str
    first: int
    last: int


def slices_of(layers: Iterable[tuple[str, str, int]], family: Family) -> dict[str, tuple[Slice, ...]]:
    """By stem: what every fused matrix is made of, from the (part, module, rows) of a base's layers."""
    rows = {(part, module): count for part, module, count in layers}
    found: dict[str, tuple[Slice, ...]] = {}
    for part, module in rows:
        members = family.fused(part, module)
        if not members or module != members[0] or any((part, member) not in rows for member in members):
            continue
        made: list[Slice] = []
        for member in members:
            first = made[-1].last if made else 0
            made.append(Slice(part, member, first, first + rows[part, member]))
        found[family.key_names(part, module)] = tuple(made)
    return found


def stemmed(modules: Sequence[LoraModule], family: Family) -> list[tuple[str, LoraModule]]:
    """Every module as the file holds it, with its stem, fused where the file fuses.

    Raises:
        AdapterError: two modules of one stem that the family does not fuse, or one of a fused matrix is missing.
    """
    by_place = {(module.part, module.module): module for module in modules}
    found: dict[str, LoraModule] = {}
    for module in modules:
        members = family.fused(module.part, module.module)
        if members and module.module != next(m for m in members if (module.part, m) in by_place):
            continue
        stem = family.key_names(module.part, module.module)
        if stem in found:
            raise AdapterError(f"Two modules would be written as {stem}.", "Report this: a file cannot hold both.")
        found[stem] = _fused(stem, module.part, members, by_place) if members else module
    return list(found.items())


def _fused(stem: str, part: str, members: Sequence[str], by_place: Mapping[tuple[str, str], LoraModule]) -> LoraModule:
    import torch

    missing = [member for member in members if (part, member) not in by_place]
    if missing:
        raise AdapterError(
            f"{stem} is made of {len(members)} layers, and {missing[0]} is not among the trained ones.",
            "Report this: its rows must be written as zeros.",
        )
    whole = [by_place[part, member] for member in members]
    if any(module.dora_scale is not None for module in whole):
        raise AdapterError(f"{stem} cannot hold magnitudes (DoRA) of several layers.", "Export it as plain LoRA.")
    told = [module for module in whole if bool(module.up.any())] or whole[:1]
    shared = all(module.down.shape == told[0].down.shape and torch.equal(module.down, told[0].down) for module in told)
    rank = told[0].rank if shared else sum(module.rank for module in told)
    ups, column = [], 0
    for module in whole:
        up = torch.zeros(module.up.shape[0], rank)
        if any(module is one for one in told):
            up[:, column : column + module.rank] = module.up.float().flatten(1) * (module.alpha / module.rank)
            column += 0 if shared else module.rank
        ups.append(up)
    down = told[0].down if shared else torch.cat([module.down for module in told])
    return LoraModule(part, members[0], down, torch.cat(ups), alpha=float(rank))
