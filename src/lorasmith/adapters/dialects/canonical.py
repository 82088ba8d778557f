"""From a file's name of a layer to diffusers', and the rows that are a layer's own where a file fuses several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from lorasmith.adapters.algebra import Factors
from lorasmith.adapters.dialects.names import Named, resolve_name
from lorasmith.adapters.dialects.stems import Stem, text_module
from lorasmith.adapters.dialects.table import (
    Layout,
    Place,
    Shape,
    filled,
    numbers,
    opened,
    original_unet,
    table,
    to_diffusers,
)
from lorasmith.errors import AdapterError


@dataclass(frozen=True, slots=True)
class Part:
    """Rows ``first`` to ``last`` of a fused update; ``swapped``: the halves of the rows change places."""

    first: int
    last: int
    swapped: bool = False

    def of(self, factors: Factors) -> Factors:
        """The part's own update; the down matrix is shared, not copied."""
        up = factors.up[self.first : self.last]
        if self.swapped:
            up = swapped_halves(up)
        return Factors(up, factors.down, (up.shape[0], *factors.layer[1:]))


def swapped_halves(rows: np.ndarray) -> np.ndarray:
    """Scale and shift change places (the output norm of FLUX, SD3 and others)."""
    half = rows.shape[0] // 2
    return np.concatenate([rows[half:], rows[:half]], axis=0)


@cache
def rules_of(family: str) -> str:
    """By which rules a family's two layouts translate; empty when none are known."""
    return next((model.names for model in table().models if model.family == family and model.names), "")


def place_of(stem: Stem, family: str, layer: Shape | None) -> list[tuple[str, Part | None]]:
    """The layers of diffusers' name that one module changes, with their rows.

    Raises:
        AdapterError: fused rows that cannot be told apart.
    """
    if stem.part.startswith("text_encoder"):
        return [(text_module(stem.name) or stem.name, None)]
    named = resolve_name(stem)
    told = _in_table(named, family, "diffusers")
    if told:
        return [(told, None)]
    rules = rules_of(family)
    if rules == "unet":
        name = original_unet("sdxl" if family == "sdxl" else "sd")[1].get(named.text.replace(".", "_"))
        return [(name or named.text, None)]
    places = to_diffusers(rules, named.text)
    if not places:
        return [(named.text, None)]
    return _parts(stem.text, named, places, layer)


def _parts(stem: str, named: Named, places: Sequence[Place], layer: Shape | None) -> list[tuple[str, Part | None]]:
    if named.part is not None:  # the key itself says which part it is
        chosen = [place for place in places if place.part == named.part]
        return [(chosen[0].name, None)] if chosen else [(named.text, None)]
    if len(places) == 1:
        place = places[0]
        swaps = place.swapped and layer is not None and layer[0] == 2 * layer[1]
        return [(place.name, Part(0, layer[0], True) if swaps and layer is not None else None)]
    chosen = [place for place in places if place.part < 3] if named.rows == "qkv" else list(places)
    sizes = part_rows(stem, [place.sizes[place.part] for place in chosen], layer)
    begins = np.cumsum([0, *sizes])
    return [(place.name, Part(int(begins[i]), int(begins[i + 1]))) for i, place in enumerate(chosen)]


def part_rows(stem: str, published: Sequence[int], layer: Shape | None) -> list[int]:
    """How many rows each part of a fused layer has: as published, or in the same proportion for another size.

    Raises:
        AdapterError: neither fits.
    """
    total = sum(published)
    rows = layer[0] if layer else total
    if rows == total:
        return list(published)
    scaled = [rows * size for size in published]
    if all(size % total == 0 for size in scaled):
        return [size // total for size in scaled]
    raise AdapterError(
        f"{stem} is fused of parts that {rows} rows cannot be split into.", "Its base is not known here."
    )


def _in_table(named: Named, family: str, layout: Layout) -> str | None:
    """The dotted name of a layer that a model of the family has."""
    key = opened(named.text)
    book = table()
    for number, found in book.index.get(key, ()):
        model = book.models[number]
        if found == layout and model.family == family:
            return filled(model.rows[layout][key].name, numbers(named.text))
    return None
