"""Before a merge: how strong each LoRA is in it, which of them work against each other, and what is left of all.

One pass over the files gives the products of every two updates, layer by layer; whatever weights are chosen afterwards,
all norms follow from them at once. So sliders can be moved without reading the files again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lorasmith.adapters.algebra import inner
from lorasmith.adapters.arrays import Array, Cancelled, Progress
from lorasmith.adapters.opened import LayerName, Weights, open_adapter
from lorasmith.adapters.tools.abreast import abreast
from lorasmith.adapters.tools.blocks import block_of, chosen
from lorasmith.adapters.tools.merging import common_family
from lorasmith.errors import AdapterError

_TOGETHER = 1.14  # times as strong as unrelated ones: two of one norm with a cosine of 0.3
_NOTHING = 1e-4
_APART = 0.95  # of two of one norm with a cosine of -0.1


@dataclass(frozen=True)
class Products:
    """⟨ΔW of one LoRA, ΔW of another⟩ in every layer, at weight 1."""

    files: tuple[str, ...]
    layers: tuple[LayerName, ...]
    values: Array
    """(layers, files, files); 0 where a file does not have the layer."""


@dataclass(frozen=True)
class Share:
    """One LoRA in a merge."""

    file: str
    weight: float
    norm: float
    """‖weight · ΔW‖ over all layers."""
    effect: float
    """How much of it shows: 1 as alone, above 1 where others push the same way, below 0 where the merge does the
    opposite of it."""
    layers: int


@dataclass(frozen=True)
class Pair:
    """Two LoRAs of a merge."""

    first: str
    second: str
    cosine: float


@dataclass(frozen=True)
class BlockForesight:
    """A block of the base."""

    block: str
    norm: float
    """Of the weighted sum."""
    unrelated: float
    """What it would be if the LoRAs had nothing to do with each other."""


@dataclass(frozen=True)
class Foresight:
    """What a weighted sum would be like."""

    shares: tuple[Share, ...]
    pairs: tuple[Pair, ...]
    """Every two, the largest cosine by its amount first."""
    norm: float
    unrelated: float
    blocks: tuple[BlockForesight, ...]
    weights: tuple[float, ...]
    """At these the merge changes the base as much as unrelated LoRAs of the chosen weights would."""
    verdict: str


def products(
    files: Sequence[Path],
    *,
    family: str = "",
    base: Weights | None = None,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Products:
    """Measure every two of the files against each other.

    Raises:
        AdapterError: no LoRAs, of different families or bases; DoRA, OFT or GLoRA without ``base``.
        Stopped: on request.
    """
    adapters = [open_adapter(path, family=family) for path in files]
    named = common_family(adapters, family)
    for adapter in adapters:
        adapter.family = named
    names = list(dict.fromkeys(name for adapter in adapters for name in adapter.layers))

    def measured(name: LayerName) -> Array:
        made = np.zeros((len(adapters), len(adapters)))
        there = {
            place: adapter.layer_factors(adapter.layers[name], base)
            for place, adapter in enumerate(adapters)
            if name in adapter.layers
        }
        if len({(one.up.shape[0], one.down.shape[1]) for one in there.values()}) > 1:
            raise AdapterError(f"{name[1]} has another shape in each file.", "They were made for different bases.")
        for first, one in there.items():
            for second, other in there.items():
                if first <= second:
                    made[first, second] = made[second, first] = inner(one, other)
        return made

    found = list(abreast(measured, names, out="the preview", progress=progress, cancelled=cancelled))
    titles = tuple(path.name.removesuffix(".safetensors") for path in files)
    return Products(titles, tuple(names), np.asarray(found).reshape(len(names), len(files), len(files)))


def foresee(measured: Products, weights: Sequence[float], by_block: Sequence[Mapping[str, float]] = ()) -> Foresight:
    """What the weighted sum would be like.

    Args:
        measured: the files' products.
        weights: one a file.
        by_block: for each file, weights of layers whose name fits a pattern, in place of its own.
    """
    patterns = [*by_block, *({} for _ in range(len(weights) - len(by_block)))]
    table = np.array(
        [
            [chosen(*name, pattern, weight) for pattern, weight in zip(patterns, weights, strict=True)]
            for name in measured.layers
        ]
    ).reshape(len(measured.layers), len(weights))  # (layers, files)
    scaled = measured.values * table[:, :, None] * table[:, None, :]
    whole = scaled.sum(axis=0)
    own, together = np.clip(np.diagonal(whole), 0, None), max(0.0, float(whole.sum()))
    norm, unrelated = math.sqrt(together), math.sqrt(float(own.sum()))
    shares = tuple(
        Share(file, weight, math.sqrt(square), float(row.sum()) / square if square else 0.0, int(count))
        for file, weight, square, row, count in zip(
            measured.files, weights, own, whole, (np.diagonal(scaled, axis1=1, axis2=2) > 0).sum(axis=0), strict=True
        )
    )
    even = min(1.0, unrelated / norm) if norm else 1.0
    return Foresight(
        shares, _pairs(measured.files, whole), norm, unrelated, _blocks(measured.layers, scaled),
        tuple(round(weight * even, 2) for weight in weights), _verdict(shares, norm, unrelated),
    )  # fmt: skip


def _pairs(files: Sequence[str], whole: Array) -> tuple[Pair, ...]:
    made = []
    for first in range(len(files)):
        for second in range(first + 1, len(files)):
            sides = math.sqrt(max(0.0, float(whole[first, first] * whole[second, second])))
            made.append(Pair(files[first], files[second], float(whole[first, second]) / sides if sides else 0.0))
    return tuple(sorted(made, key=lambda pair: -abs(pair.cosine)))


def _blocks(layers: Sequence[LayerName], scaled: Array) -> tuple[BlockForesight, ...]:
    sums: dict[str, list[float]] = {}
    for name, square in zip(layers, scaled, strict=True):
        row = sums.setdefault(block_of(*name), [0.0, 0.0])
        row[0] += float(square.sum())
        row[1] += float(np.trace(square))
    return tuple(
        BlockForesight(block, math.sqrt(max(0.0, after)), math.sqrt(max(0.0, before)))
        for block, (after, before) in sums.items()
    )


def _verdict(shares: Sequence[Share], norm: float, unrelated: float) -> str:
    ratio = norm / unrelated if unrelated else 0.0
    against = [one.file for one in shares if one.weight > 0 and one.effect < 0]
    faint = [one.file for one in shares if one.weight > 0 and one.effect < 0.5]
    said = "They work mostly apart from each other: each shows about as it does alone."
    if not unrelated:
        said = "All weights are zero: it would do nothing."
    elif ratio < _NOTHING:
        said = "The weights cancel: nothing would be left."
    elif against:
        said = f"The merge would do the opposite of {against[0]}: the others undo more than it does."
    elif faint:
        said = f"Less than half of {faint[0]} would show; the others undo the rest."
    elif ratio > _TOGETHER:
        said = (
            f"They push the same way: together they change the base {ratio:.2f} times as much as unrelated LoRAs of "
            "these weights would, and may overdo it."
        )
    elif ratio < _APART:
        said = f"They undo each other in part: {1 - ratio:.0%} of their strength is lost."
    return said
