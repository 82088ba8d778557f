"""Merge: several LoRAs as one. The weighted sum is exact by putting factors side by side; the rank may be cut after.

``ties`` (Yadav et al. 2023, arXiv:2306.01708), ``dare`` (Yu et al. 2023, arXiv:2311.03099) and ``magnitude`` work on
whole ΔW, one layer at a time, and need a rank to come back to.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from lorasmith.adapters.algebra import (
    Factors,
    grams_of,
    inner,
    joined,
    leading,
    sketched,
    squared_norm,
    squared_norms,
)
from lorasmith.adapters.arrays import WRITABLE, Array, Cancelled, Progress, decoded, encoded, overflows, vanishes
from lorasmith.adapters.dialects.formats import format_named, refuse_partial, refuse_unread
from lorasmith.adapters.dialects.recognition import COUNTED
from lorasmith.adapters.opened import LayerName, OpenAdapter, Weights, open_adapter
from lorasmith.adapters.output import Output, dtype_of, metadata_after, refuse_target
from lorasmith.adapters.tools.abreast import abreast
from lorasmith.adapters.tools.blocks import chosen, refuse_beyond_measure, refuse_idle
from lorasmith.adapters.tools.writing import Written, plan, refuse_empty
from lorasmith.errors import AdapterError

Method = Literal["sum", "ties", "dare", "dare_ties", "magnitude"]
METHODS: tuple[Method, ...] = ("sum", "ties", "dare", "dare_ties", "magnitude")


@dataclass(frozen=True)
class Ingredient:
    """One LoRA of a merge."""

    path: Path
    weight: float = 1.0
    by_block: Mapping[str, float] = field(default_factory=dict)
    """Weights of layers whose name fits a pattern, in place of ``weight``."""
    called: str = ""
    """What the record of origin calls it; empty: its file's name."""


@dataclass(frozen=True)
class Merged:
    """What a merge did, or with a dry run would do."""

    out: Path
    family: str
    dialect: str
    layers: int
    ranks: Mapping[int, int]
    exact: bool
    """Whether nothing was cut: the file is the weighted sum up to rounding."""
    size: int
    sha256: str = ""
    kept: float = 1.0
    """Cosine between what was made and the weighted sum; of a sum of lower rank, the share of its norm that is left."""
    strength: float = 1.0
    """‖what was made‖ over ‖the weighted sum‖."""
    left_out: tuple[str, ...] = ()
    """What is no matrix (norms, biases, embeddings) and is not in the result."""


@dataclass(frozen=True, slots=True)
class _Tally:
    """Of one layer, squared: the parts, their sum, what was made of it, and the product of these two."""

    before: float = 0.0
    after: float = 0.0
    made: float = 0.0
    product: float = 0.0


@dataclass(frozen=True)
class _Way:
    method: Method
    rank: int | None
    density: float
    seed: int


def merge(
    ingredients: Sequence[Ingredient],
    out: Path,
    *,
    method: Method = "sum",
    rank: int | None = None,
    density: float = 0.5,
    seed: int = 0,
    dialect: str = "",
    family: str = "",
    dtype: str = "",
    only_for: str = "",
    base: Weights | None = None,
    drop_others: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    operation: str = "merge",
    says: Mapping[str, str] | None = None,
) -> Merged:
    """Write one LoRA that does what several do together.

    Args:
        ingredients: the files with their weights; dialects and ranks may differ, the family may not.
        out: the file to write.
        method: ``sum``: weighted sum; ``ties``: the largest entries, signs elected, agreeing ones averaged; ``dare``:
            entries dropped at random and the rest enlarged; ``dare_ties``: both; ``magnitude``: the largest entries.
        rank: of the result, the best approximation; left out, a sum keeps the sum of the ranks and is exact.
        density: share of entries that is kept, for all methods but ``sum``.
        seed: of what ``dare`` drops.
        drop_others: leave out what is no matrix, rather than refuse.
        says: what the result says of itself; left out, what all files say alike.

    Raises:
        AdapterError: fewer than one file, different families, weights that cancel, options that make no sense, norms,
            biases or embeddings without ``drop_others``.
        Stopped: on request; nothing is written.
    """
    way = checked(ingredients, method, rank, density, seed)
    refuse_target(out, overwrite=overwrite)
    adapters = [open_adapter(one.path, family=family) for one in ingredients]
    named = common_family(adapters, family)
    target = format_named(dialect, named)
    refuse_unread(target, named, only_for)
    left_out = tuple(dict.fromkeys(n for adapter in adapters for n in adapter.left_out(allowed=drop_others)))
    for adapter in adapters:
        adapter.refuse_strangers(named)
    names = list(dict.fromkeys(name for adapter in adapters for name in adapter.layers))
    for one in ingredients:
        refuse_idle(one.by_block, names)
    output = Output(dtype or _widest(adapters))

    def merged(name: LayerName) -> tuple[Written, _Tally] | None:
        weighted = [
            (adapter, chosen(*name, one.by_block, one.weight))
            for adapter, one in zip(adapters, ingredients, strict=True)
            if name in adapter.layers
        ]
        present = [(adapter, weight) for adapter, weight in weighted if weight]
        return _layer(name, present, way, base, output.dtype) if present else None

    found = abreast(merged, names, out=out.name, progress=progress, cancelled=cancelled)
    made = {name: one for name, one in zip(names, found, strict=True) if one is not None}
    layers = {name: written for name, (written, _) in made.items()}
    if not layers:
        raise AdapterError("All weights are zero; the result would do nothing.", "Give at least one another weight.")
    tally = [left for _, left in made.values()]
    if _cancelled(tally):
        raise AdapterError("The weights cancel; the result would do nothing.", "Give the files other weights.")
    refuse_empty(layers, out.name)
    refuse_partial(target, named, (name for _, name in layers), only_for)
    plan(output, layers, target, named)
    ranks = {planned.shape[0] for key, planned in output.tensors.items() if key.endswith(target.down)}
    arguments = {
        "ingredients": [
            {"file": one.called or one.path.name, "weight": one.weight, "by_block": dict(one.by_block)}
            for one in ingredients
        ],
        "method": method, "rank": rank, "density": density if method != "sum" else None,
    }  # fmt: skip
    one_rank = str(next(iter(ranks))) if len(ranks) == 1 else "Dynamic"
    metadata = metadata_after(
        _shared(adapters) if says is None else says, operation, arguments,
        ss_network_dim=one_rank, ss_network_alpha=one_rank, **{"lorasmith.family": named},
    )  # fmt: skip
    sha = ""
    if not dry_run:
        sha = output.save(out, metadata, overwrite=overwrite, cancelled=cancelled)
    counts: dict[int, int] = {}
    for key, planned in output.tensors.items():
        if key.endswith(target.down):
            counts[planned.shape[0]] = counts.get(planned.shape[0], 0) + 1
    return Merged(
        out,
        named,
        target.name,
        len(layers),
        dict(sorted(counts.items())),
        method == "sum" and rank is None,
        output.size,
        sha,
        *_likeness(tally),
        left_out,
    )


def checked(ingredients: Sequence[Ingredient], method: Method, rank: int | None, density: float, seed: int) -> _Way:
    """The options, if they make sense.

    Raises:
        AdapterError: they do not.
    """
    if not ingredients:
        raise AdapterError("There is nothing to merge.", "Name two LoRA files or more.")
    if method not in METHODS:
        raise AdapterError(f"'{method}' is no way to merge.", f"Choose one of {', '.join(METHODS)}.")
    if rank is not None and rank < 1:
        raise AdapterError(f"{rank} is no rank.", "A rank is 1 or more.")
    if method != "sum" and rank is None:
        raise AdapterError(f"{method} makes whole matrices; the result needs a rank.", "Say --rank 32.")
    if method != "sum" and not 0 < density <= 1:
        raise AdapterError(
            f"A density of {density:g} keeps nothing.", "Give a share between 0 and 1, often 0.3 to 0.7."
        )
    for one in ingredients:
        refuse_beyond_measure((one.weight, *one.by_block.values()))
    return _Way(method, rank, density, seed)


def common_family(adapters: Sequence[OpenAdapter], given: str = "") -> str:
    """The one family all files fit.

    Raises:
        AdapterError: they fit no common one, or several.
    """
    fitting = [set(adapter.kind.candidates) for adapter in adapters if adapter.kind.candidates]
    told = {adapter.kind.family for adapter in adapters if adapter.kind.family and adapter.kind.confidence != COUNTED}
    told = told or {adapter.kind.family for adapter in adapters if adapter.kind.family and not given}
    common = set.intersection(*fitting) if fitting else set()
    if len(told) > 1 or (fitting and not common):
        first, *others = adapters
        other = next(
            (
                a
                for a in others
                if a.kind.family != first.kind.family or not set(a.kind.candidates) & set(first.kind.candidates)
            ),
            first,
        )
        raise AdapterError(
            f"{first.title} is a LoRA of {_said(first)}, {other.title} one of {_said(other)}.",
            "Only LoRAs of one family can be taken together.",
        )
    if given:
        return given
    if told:
        return next(iter(told))
    if len(common) == 1:
        return next(iter(common))
    fits = ", ".join(adapters[0].kind.candidates) or "no known family"
    raise AdapterError(f"The files may be LoRAs of {fits}; their layers are alike.", "Say which with --family.")


def _said(adapter: OpenAdapter) -> str:
    return adapter.kind.family or " or ".join(adapter.kind.candidates) or "no known family"


def _widest(adapters: Sequence[OpenAdapter]) -> str:
    found = {dtype_of(adapter.file) for adapter in adapters}
    return next(iter(found)) if len(found) == 1 else "fp32" if "fp32" in found else "bf16"


def _shared(adapters: Sequence[OpenAdapter]) -> dict[str, str]:
    """What all files say alike: of a merge, nothing else is true."""
    first, *others = (adapter.file.metadata for adapter in adapters)
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}


def _layer(
    name: LayerName,
    present: Sequence[tuple[OpenAdapter, float]],
    way: _Way,
    base: Weights | None,
    dtype: str,
) -> tuple[Written, _Tally]:
    weights = [weight for _, weight in present]

    def parts() -> list[Factors]:
        found = [adapter.layer_factors(adapter.layers[name], base) for adapter, _ in present]
        shapes = {(part.up.shape[0], part.down.shape[1]) for part in found}
        if len(shapes) > 1:
            told = " and ".join(f"{rows} x {columns}" for rows, columns in sorted(shapes))
            raise AdapterError(
                f"{name[1]} has another shape in each file: {told}.", "They were made for different bases."
            )
        return found

    if way.method == "sum" and way.rank is None:
        left = _Tally(*squared_norms(parts(), weights)) if min(weights) < 0 else _probed(parts, weights)
        ranks = [_rank(adapter, name) for adapter, _ in present]
        layer = parts()[0].layer if None in ranks else _shape(present[0][0], name)
        total = sum(r for r in ranks if r) if None not in ranks else joined(parts()).rank
        return Written(total, layer, lambda: joined(parts(), weights)), left
    found = parts()
    whole = joined(found, weights)
    grams = grams_of(whole)
    sums = squared_norms(found, weights, whole, grams)
    rank = min(way.rank or whole.rank, *_sides(whole))
    if way.method == "sum":
        made = leading(whole, rank, grams)
        squared = squared_norms([made])[1]
        tally = _Tally(*sums, squared, squared)  # a projection: what is cut off stands at right angles to it
    else:
        seed = way.seed + zlib.crc32(name[1].encode())
        deltas = [part.scaled(weight).product() for part, weight in zip(found, weights, strict=True)]
        made = sketched(_pruned(deltas, way, seed), whole.layer, rank)
        tally = _Tally(*sums, squared_norm(made), inner(made, whole))
    held = Held(made, dtype, name[1])
    return Written(rank, made.layer, held.take), tally


def _probed(parts: Callable[[], list[Factors]], weights: Sequence[float]) -> _Tally:
    """What the parts and their sum make of a few random inputs: one file may be the opposite of another."""
    if len(weights) == 1:
        return _Tally()
    found = parts()
    inputs = np.random.default_rng(0).standard_normal((found[0].down.shape[1], 4), dtype=np.float32)
    answers = [
        np.float32(weight) * (part.up @ (part.down @ inputs)) for part, weight in zip(found, weights, strict=True)
    ]
    return _Tally(sum(float((one**2).sum()) for one in answers), float((np.sum(answers, axis=0) ** 2).sum()))


def _cancelled(tally: Sequence[_Tally]) -> bool:
    """Whether nothing is left of what went in, over the layers that were looked at."""
    before, after = sum(one.before for one in tally), sum(one.after for one in tally)
    return before > 0 and after <= 1e-9 * before


def _likeness(tally: Sequence[_Tally]) -> tuple[float, float]:
    """How like the weighted sum the result is: the cosine between them, and the quotient of their norms."""
    made, whole = sum(one.made for one in tally), sum(one.after for one in tally)
    if not made or not whole:
        return 1.0, 1.0
    cosine = sum(one.product for one in tally) / math.sqrt(made * whole)
    return min(1.0, cosine), math.sqrt(made / whole)


class Held:
    """Factors kept in the width of the file, half of fp32; a number too large for it is refused at once."""

    def __init__(self, made: Factors, dtype: str, name: str) -> None:
        self.stored, self.layer = WRITABLE[dtype], made.layer
        self.shapes = made.up.shape, made.down.shape
        if overflows(made.up, self.stored) or overflows(made.down, self.stored):
            raise AdapterError(f"{name} is too large for fp16.", "Write it as bf16 or fp32 (--dtype).")
        if vanishes(made.up, self.stored) or vanishes(made.down, self.stored):
            raise AdapterError(f"{name} is too small for fp16.", "Write it as bf16 or fp32 (--dtype).")
        self.up, self.down = encoded(made.up, self.stored), encoded(made.down, self.stored)

    def take(self) -> Factors:
        """The factors again."""
        up = decoded(self.up, self.stored).reshape(self.shapes[0])
        return Factors(up, decoded(self.down, self.stored).reshape(self.shapes[1]), self.layer)


def _rank(adapter: OpenAdapter, name: LayerName) -> int | None:
    module = adapter.layers[name].module
    return module.rank if module.kind == "lora" and not module.weighted else None


def _shape(adapter: OpenAdapter, name: LayerName) -> tuple[int, ...]:
    layer = adapter.layers[name]
    shape = layer.module.layer or ()
    return (layer.rows.last - layer.rows.first, *shape[1:]) if layer.rows is not None else shape


def _sides(factors: Factors) -> tuple[int, int]:
    return factors.up.shape[0], factors.down.shape[1]


def _pruned(deltas: Sequence[Array], way: _Way, seed: int) -> Array:
    """The whole ΔW of a method that thins out entries."""
    rng = np.random.default_rng(seed)
    thin = [
        _dropped(delta, way.density, rng) if way.method.startswith("dare") else largest_entries(delta, way.density)
        for delta in deltas
    ]
    if way.method in ("dare", "magnitude"):
        whole: Array = np.sum(thin, axis=0)
        return whole
    return elected(thin)


def largest_entries(delta: Array, density: float) -> Array:
    """The share of entries with the largest magnitude; the others zero."""
    keep = max(1, round(delta.size * density))
    if keep >= delta.size:
        return delta
    sizes = np.abs(delta)
    edge = np.partition(sizes.reshape(-1), delta.size - keep)[delta.size - keep]
    return np.where(sizes >= edge, delta, np.float32(0))


def _dropped(delta: Array, density: float, rng: np.random.Generator) -> Array:
    """A random share of entries, enlarged so that the expectation stays."""
    kept = rng.random(delta.shape, dtype=np.float32) < density
    return np.where(kept, delta / np.float32(density), np.float32(0))


def elected(deltas: Sequence[Array]) -> Array:
    """TIES: per entry the sign with more mass wins, and only those that agree with it are added, as a weighted sum
    over how many agree; one file alone stays as it is."""
    total = np.sum(deltas, axis=0)
    sign = np.sign(total)
    summed = np.zeros_like(total)
    count = np.zeros_like(total)
    for delta in deltas:
        agrees = (np.sign(delta) == sign) & (delta != 0)
        summed += np.where(agrees, delta, np.float32(0))
        count += agrees
    mean: Array = summed / np.maximum(count, 1)
    return mean
