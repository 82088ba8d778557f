"""Two files beside each other: what differs, how two LoRAs get on, and with which weights to use them together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lorasmith.adapters.algebra import angles, held_by, inner, squared_norm
from lorasmith.adapters.arrays import Cancelled, Progress
from lorasmith.adapters.opened import OpenAdapter, Weights, open_adapter
from lorasmith.adapters.tools.blocks import block_of
from lorasmith.adapters.tools.merging import common_family
from lorasmith.errors import AdapterError, Stopped


@dataclass(frozen=True)
class LayerDifference:
    """One layer in two files."""

    name: str
    cosine: float
    """Between the two ΔW, as vectors of all their entries."""
    norms: tuple[float, float]
    difference: float
    """‖ΔW₁ - ΔW₂‖ / ‖ΔW₁‖."""


@dataclass(frozen=True)
class Difference:
    """What differs between two files."""

    same_bytes: bool
    same_weights: bool
    """Whether every ΔW is the same up to rounding, whatever the names, ranks and formats are."""
    families: tuple[str, str]
    dialects: tuple[str, str]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    layers: tuple[LayerDifference, ...]
    """Layers of both, the most different first."""
    cosine: float
    """Over all common layers together."""
    metadata: Mapping[str, tuple[str, str]]
    """Entries that differ: in the first, in the second; empty where one has none."""
    beside: tuple[str, ...] = ()
    """Norms, biases, embeddings and other tensors without a ΔW that differ, or that one file lacks."""


def diff(
    first: Path,
    second: Path,
    *,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    base: Weights | None = None,
) -> Difference:
    """Compare two LoRAs layer by layer, in any dialects.

    Raises:
        AdapterError: one is no LoRA, or they are of different families.
    """
    from lorasmith.files import file_digest

    one, other = open_adapter(first), open_adapter(second)
    family = common_or_first(one, other)
    one.family = other.family = family
    common = [name for name in one.layers if name in other.layers]
    layers: list[LayerDifference] = []
    dot = squares_one = squares_other = 0.0
    for done, name in enumerate(common):
        if cancelled is not None and cancelled():
            raise Stopped("Stopped.")
        here, there = one.layer_factors(one.layers[name], base), other.layer_factors(other.layers[name], base)
        if here.up.shape[0] != there.up.shape[0] or here.down.shape[1] != there.down.shape[1]:
            raise AdapterError(f"{name[1]} has another shape in each file.", "They were made for different bases.")
        product, a, b = inner(here, there), squared_norm(here), squared_norm(there)
        dot, squares_one, squares_other = dot + product, squares_one + a, squares_other + b
        gap = math.sqrt(max(0.0, a + b - 2 * product) / a) if a else float(b > 0)
        cosine = product / math.sqrt(a * b) if a and b else 0.0
        layers.append(LayerDifference(name[1], cosine, (math.sqrt(a), math.sqrt(b)), gap))
        if progress is not None:
            progress(done + 1, len(common))
    layers.sort(key=lambda layer: -layer.difference)
    left, right = one.file.metadata, other.file.metadata
    changed = {
        key: (left.get(key, ""), right.get(key, ""))
        for key in sorted({*left, *right})
        if left.get(key, "") != right.get(key, "")
    }
    only = (
        tuple(n[1] for n in one.layers if n not in other.layers),
        tuple(n[1] for n in other.layers if n not in one.layers),
    )
    beside = _beside(one, other)
    same = not any(only) and not beside and all(layer.difference < 1e-3 for layer in layers) and bool(layers)
    whole = dot / math.sqrt(squares_one * squares_other) if squares_one and squares_other else 0.0
    return Difference(
        file_digest(first) == file_digest(second), same, (one.kind.family, other.kind.family),
        (one.kind.dialect, other.kind.dialect), *only, tuple(layers), whole, changed, beside,
    )  # fmt: skip


def _beside(one: OpenAdapter, other: OpenAdapter) -> tuple[str, ...]:
    """What is no matrix and differs, or is in one file only, by its key."""
    return tuple(
        key
        for key in sorted({*one.unheld, *other.unheld})
        if key not in one.file.shapes
        or key not in other.file.shapes
        or one.file.shapes[key] != other.file.shapes[key]
        or not np.allclose(one.file.read(key), other.file.read(key), rtol=1e-2, atol=1e-6, equal_nan=True)
    )


def common_or_first(one: OpenAdapter, other: OpenAdapter) -> str:
    """The family to read both files by; where several fit both alike, the first of them.

    Raises:
        AdapterError: they fit no common one.
    """
    shared = [family for family in one.kind.candidates if family in other.kind.candidates]
    if len(shared) > 1 and not (one.kind.family and other.kind.family):
        return one.kind.family or other.kind.family or shared[0]
    if not one.kind.candidates and not other.kind.candidates:
        return ""
    return common_family([one, other])


@dataclass(frozen=True)
class BlockInterference:
    """A block of both LoRAs."""

    block: str
    cosine: float
    written: float
    """Mean squared cosine of the principal angles of what both write to: 0 apart, 1 the same directions."""
    read: float
    """The same for what both read from."""
    expected: float
    """What ``written`` of two random subspaces of these sizes would be."""


@dataclass(frozen=True)
class Interference:
    """How two LoRAs get on."""

    layers: int
    cosine: float
    """Of both updates as a whole: above 0 they push the same way and add up, below 0 they undo each other."""
    overlap: float
    """Share of the weaker update's energy that lies in directions the stronger one reads and writes."""
    weights: tuple[float, float]
    """Suggested strengths, at which both together change the base as much as two unrelated LoRAs would."""
    blocks: tuple[BlockInterference, ...]
    verdict: str


def interfere(
    first: Path,
    second: Path,
    *,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    base: Weights | None = None,
) -> Interference:
    """How much two LoRAs work in the same directions, and with which weights to use them together.

    The suggested weight follows from one rule: two unrelated updates of norms a and b change the base by √(a² + b²);
    correlated ones by √(a² + b² + 2ab·cos), so both are weakened by the quotient, and never strengthened.

    Raises:
        AdapterError: different families, or no layer in common.
    """
    one, other = open_adapter(first), open_adapter(second)
    family = common_or_first(one, other)
    one.family = other.family = family
    common = [name for name in one.layers if name in other.layers]
    if not common:
        raise AdapterError(f"{first.name} and {second.name} have no layer in common.", "They cannot interfere.")
    tally: dict[str, list[tuple[float, ...]]] = {}
    inside = energy = 0.0
    for done, name in enumerate(common):
        if cancelled is not None and cancelled():
            raise Stopped("Stopped.")
        here, there = one.layer_factors(one.layers[name], base), other.layer_factors(other.layers[name], base)
        if here.up.shape[0] != there.up.shape[0] or here.down.shape[1] != there.down.shape[1]:
            raise AdapterError(f"{name[1]} has another shape in each file.", "They were made for different bases.")
        written, read = angles(here, there)
        a, b, product = squared_norm(here), squared_norm(there), inner(here, there)
        share, from_share = (float((found**2).mean()) if found.size else 0.0 for found in (written, read))
        chance = max(here.rank, there.rank) / here.up.shape[0]
        tally.setdefault(block_of(*name), []).append((product, a, b, share, from_share, min(1.0, chance)))
        weaker, stronger = (here, there) if a <= b else (there, here)
        inside += held_by(weaker, stronger)
        energy += min(a, b)
        if progress is not None:
            progress(done + 1, len(common))
    blocks = tuple(_block(block, rows) for block, rows in tally.items())
    every = [row for rows in tally.values() for row in rows]
    dot, a, b = (sum(row[i] for row in every) for i in range(3))
    if not a or not b:
        raise AdapterError(f"{(second if a else first).name} changes nothing here, so it cannot interfere.", "")
    cosine = dot / math.sqrt(a * b)
    together = a + b + 2 * max(0.0, dot)
    weight = round(math.sqrt((a + b) / together), 2) if together else 1.0
    return Interference(
        len(common), cosine, inside / energy if energy else 0.0, (weight, weight), blocks, _verdict(cosine, weight)
    )


def _block(name: str, rows: list[tuple[float, ...]]) -> BlockInterference:
    dot, a, b = (sum(row[i] for row in rows) for i in range(3))
    mean = [sum(row[i] for row in rows) / len(rows) for i in (3, 4, 5)]
    return BlockInterference(name, dot / math.sqrt(a * b) if a and b else 0.0, *mean)


def _verdict(cosine: float, weight: float) -> str:
    if cosine > 0.3:
        return f"They push the same way; at full strength both together overdo it. Use each at about {weight:g}."
    if cosine < -0.1:
        return "They undo each other in part: together each shows less than alone."
    return "They work mostly apart from each other; both can be used at full strength."
