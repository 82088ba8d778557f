"""Writes layers in canonical names as a file of any dialect: the last step of converting, merging and extracting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lorasmith.adapters.algebra import Factors
from lorasmith.adapters.arrays import Array
from lorasmith.adapters.dialects.canonical import part_rows, swapped_halves
from lorasmith.adapters.dialects.formats import Format, place_in
from lorasmith.adapters.dialects.table import Place
from lorasmith.adapters.opened import LayerName
from lorasmith.adapters.output import Output
from lorasmith.errors import AdapterError


@dataclass(frozen=True)
class Written:
    """A layer that will be written: its rank and shape now, its update when asked for."""

    rank: int
    layer: tuple[int, ...]
    make: Callable[[], Factors]
    alpha: float | None = None
    """The alpha it had; None: the rank, scale 1."""
    raw: Callable[[], Factors] | None = None
    """The matrices as they are, without alpha / rank in them; for dialects that write the alpha."""
    shares: str = ""
    """Layers with the same word here have one and the same down matrix."""


def plan(output: Output, layers: Mapping[LayerName, Written], chosen: Format, family: str) -> int:
    """Enter all layers; returns how many layers of the target are fused of several.

    Where the target fuses layers, separate updates become one of the sum of their ranks: A stacked, B block-diagonal,
    which is exact. Layers that share their down matrix (they came from one fused layer, or were trained so) keep it.

    Raises:
        AdapterError: a layer has no name in the format, or parts of unknown size.
    """
    fused: dict[str, list[tuple[Place, LayerName]]] = {}
    for (part, name), given in layers.items():
        place = place_in(chosen, family, part, name, given.layer)
        if place.sizes and chosen.layout == "original" and chosen.name != "omi":
            fused.setdefault(place.name, []).append((place, (part, name)))
            continue
        swaps = place.swapped and given.layer[0] == 2 * given.layer[1]
        _enter(output, chosen, place.name, _turned(given) if swaps else given)
    for stem, members in fused.items():
        members.sort(key=lambda member: member[0].part)
        _enter(output, chosen, stem, _fused(stem, [(place, layers[name]) for place, name in members]))
    return len(fused)


def _enter(output: Output, chosen: Format, stem: str, written: Written) -> None:
    keys = (stem + chosen.down, stem + chosen.up, f"{stem}.alpha" if chosen.alpha else None)
    if chosen.alpha and written.raw is not None:
        output.lora(keys, written.rank, written.layer, written.raw, alpha=written.alpha, raw=True)
    else:
        output.lora(keys, written.rank, written.layer, written.make, alpha=written.alpha)


def _turned(written: Written) -> Written:
    def make() -> Factors:
        made = written.make()
        return Factors(swapped_halves(made.up), made.down, made.layer)

    return Written(written.rank, written.layer, make, written.alpha)


def _fused(stem: str, members: list[tuple[Place, Written]]) -> Written:
    """Several layers as one: rows below each other, in the order of the target; parts without a LoRA are zero rows."""
    sizes = _sizes(stem, members)
    begins = np.cumsum([0, *sizes])
    rows = int(begins[-1])
    first = members[0][1]
    layer = (rows, *first.layer[1:])
    shared = first.shares and all(written.shares == first.shares for _, written in members)
    rank = first.rank if shared else sum(written.rank for _, written in members)

    def make() -> Factors:
        up = np.zeros((rows, rank), dtype=np.float32)
        downs: list[Array] = []
        column = 0
        for place, written in members:
            made = written.make()
            width = made.up.shape[1]
            at = 0 if shared else column
            up[begins[place.part] : begins[place.part + 1], at : at + width] = made.up
            if not shared or not downs:
                downs.append(made.down)
            column += width
        return Factors(up, np.concatenate(downs, axis=0), layer)

    alphas = {None if written.alpha is None else written.alpha / written.rank for _, written in members}
    scale = next(iter(alphas)) if len(alphas) == 1 else None
    return Written(rank, layer, make, None if scale is None else scale * rank)


def _sizes(stem: str, members: list[tuple[Place, Written]]) -> list[int]:
    """Rows of every part: the parts that are there tell by how much the model differs from the published one."""
    published = members[0][0].sizes
    place, written = members[0]
    if all(w.layer[0] == p.sizes[p.part] for p, w in members):
        return list(published)
    total = sum(published) * written.layer[0] / published[place.part]
    if total != int(total):
        raise AdapterError(f"The parts of {stem} have sizes that no known model has.", "Choose the peft dialect.")
    sizes = part_rows(stem, published, (int(total), 1))
    if any(w.layer[0] != sizes[p.part] for p, w in members):
        raise AdapterError(f"The parts of {stem} have sizes that no known model has.", "Choose the peft dialect.")
    return sizes


def refuse_empty(layers: Mapping[LayerName, object], title: str) -> None:
    """Refuse to go on without a layer.

    Raises:
        AdapterError: there is none.
    """
    if not layers:
        raise AdapterError(
            f"{title} has no layer that could be written.", "`lorasmith lora inspect` says what is in it."
        )
