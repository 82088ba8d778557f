"""Resize: a LoRA of another rank, the best one there is by singular values, through thin matrices only."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from lorasmith.adapters.algebra import Factors, spectrum, truncated
from lorasmith.adapters.arrays import Array, Cancelled, Progress
from lorasmith.adapters.dialects.gathering import Module
from lorasmith.adapters.opened import OpenAdapter, Weights, open_adapter
from lorasmith.adapters.output import Output, dtype_of, keys_like, metadata_after, refuse_target
from lorasmith.adapters.tools.abreast import abreast
from lorasmith.adapters.tools.blocks import chosen, refuse_idle
from lorasmith.adapters.updates import needs_base
from lorasmith.errors import AdapterError

Method = Literal["fixed", "sv_ratio", "sv_cumulative", "sv_fro"]
METHODS: tuple[Method, ...] = ("fixed", "sv_ratio", "sv_cumulative", "sv_fro")


@dataclass(frozen=True)
class Resized:
    """What a resize did, or with a dry run would do."""

    out: Path
    modules: int
    ranks_before: Mapping[int, int]
    ranks_after: Mapping[int, int]
    kept: float
    """Share of ‖ΔW‖ that is kept, over all modules together."""
    worst: tuple[str, float]
    """The module that loses most, and what of its ‖ΔW‖ is kept."""
    size_before: int
    size_after: int
    left_alone: tuple[str, ...] = ()
    """Norms, biases and embeddings, copied as they are."""
    sha256: str = ""


@dataclass(frozen=True)
class _Wanted:
    rank: int | None
    method: Method
    value: float
    by_block: Mapping[str, int] = field(default_factory=dict)


def resize(
    path: Path,
    out: Path,
    *,
    rank: int | None = None,
    method: Method = "fixed",
    value: float = 0.0,
    by_block: Mapping[str, int] | None = None,
    dtype: str = "",
    base: Weights | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Resized:
    """Write a LoRA of lower rank, in the dialect and with the names of the file.

    Args:
        path: the LoRA; LoHa, LoKr and whole differences become a LoRA on the way.
        out: the file to write.
        rank: the new rank; for the other methods the largest one allowed.
        method: ``fixed``; ``sv_ratio``: singular values above the largest divided by ``value``; ``sv_cumulative``:
            as many as make ``value`` of their sum; ``sv_fro``: as many as keep ``value`` of ‖ΔW‖.
        by_block: rank (or largest rank) for layers whose name fits a pattern.
        dtype: fp32, fp16 or bf16; the file's own when left out.
        base: weights of the base, for DoRA, OFT and GLoRA.

    Raises:
        AdapterError: not a LoRA, damaged, an option that makes no sense.
        Stopped: on request; nothing is written.
    """
    wanted = checked(rank, method, value, by_block or {})
    refuse_target(out, overwrite=overwrite)
    adapter = open_adapter(path)
    output = Output(dtype_of(adapter.file, dtype))
    names = _names(adapter)
    refuse_idle(wanted.by_block, list(names.values()))
    if not adapter.matrices:
        raise AdapterError(f"{path.name} has no matrices that could be resized.", "`lorasmith lora inspect` shows it.")
    ranks_now = {module.rank if module.kind == "lora" and not module.weighted else None for module in adapter.matrices}
    if rank is not None and method == "fixed" and not wanted.by_block and all(r and r <= rank for r in ranks_now):
        raise AdapterError(
            f"No module of {path.name} has a rank over {rank}; its largest is {max(r or 0 for r in ranks_now)}.",
            "A LoRA gains nothing from a larger rank: choose a smaller one.",
        )
    example = next((m for m in adapter.matrices if m.kind == "lora"), None)
    tally = _Tally()
    matrices = adapter.matrices

    def cut(module: Module) -> tuple[Array, Factors]:
        factors = adapter.factors(module, _weight(adapter, module, base))
        return _made(factors, wanted, names[module.stem.text])

    done = abreast(cut, matrices, out=out.name, progress=progress, cancelled=cancelled)
    for module, (values, made) in zip(matrices, done, strict=True):
        tally.add(module, values, made.rank)
        _plan(output, keys_like(module, example), made)
    for key in adapter.unheld:
        output.copied(adapter.file, key)
    ranks = Counter(tally.after)
    one = next(iter(ranks)) if len(ranks) == 1 else 0
    arguments = {"rank": rank, "method": method, "value": value, "by_block": dict(wanted.by_block)}
    metadata = metadata_after(
        adapter.file.metadata, "resize", arguments,
        ss_network_dim=str(one or "Dynamic"), ss_network_alpha=str(float(one) if one else "Dynamic"),
    )  # fmt: skip
    sha = "" if dry_run else output.save(out, metadata, overwrite=overwrite, cancelled=cancelled)
    return tally.report(out, path.stat().st_size, output.size, adapter.left_out(allowed=True), sha)


@dataclass(frozen=True)
class Prospect:
    """What one way of resizing would leave."""

    method: Method
    value: float
    """The rank for ``fixed``, else the value of the method."""
    ranks: Mapping[int, int]
    """Modules by the rank they would have."""
    kept: float
    """Share of ‖ΔW‖, over all modules together."""
    worst: tuple[str, float]
    """The module that would lose most, and what of its ‖ΔW‖ would be kept."""
    share: float
    """Numbers of the result as a share of those there are."""


_SHARES: tuple[tuple[Method, float], ...] = (
    ("sv_ratio", 5.0), ("sv_ratio", 20.0), ("sv_cumulative", 0.8), ("sv_cumulative", 0.95), ("sv_fro", 0.9),
    ("sv_fro", 0.99),
)  # fmt: skip


def outlook(
    path: Path,
    *,
    base: Weights | None = None,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> tuple[Prospect, ...]:
    """What each way of resizing would leave, from one look at the singular values; nothing is written.

    Raises:
        AdapterError: no LoRA, damaged, or one that needs its base.
    """
    adapter = open_adapter(path)

    def look(module: Module) -> tuple[Module, Array, int, int]:
        factors = adapter.factors(module, _weight(adapter, module, base))
        own = min(factors.rank, *_sides(factors))
        return module, spectrum(factors).values, own, sum(_sides(factors))

    found = list(abreast(look, adapter.matrices, out="nothing", progress=progress, cancelled=cancelled))
    largest = max((own for _, _, own, _ in found), default=0)
    ranks = [rank for rank in (1, 2, 4, 8, 16, 32, 64, 128, 256) if rank < largest]
    ways: list[tuple[Method, float]] = [("fixed", float(rank)) for rank in ranks[-5:]]
    return tuple(_prospect(found, *way) for way in (*ways, *_SHARES)) if found else ()


def _prospect(found: list[tuple[Module, Array, int, int]], method: Method, value: float) -> Prospect:
    tally, before, after = _Tally(), 0, 0
    for module, values, own, sides in found:
        rank = min(chosen_rank(values, method, value, int(value) if method == "fixed" else None), own)
        tally.add(module, values, rank)
        before, after = before + own * sides, after + rank * sides
    kept = math.sqrt(tally.kept / tally.whole) if tally.whole else 1.0
    ranks = dict(sorted(Counter(tally.after).items()))
    return Prospect(method, value, ranks, kept, tally.worst, after / before if before else 1.0)


def _sides(factors: Factors) -> tuple[int, int]:
    return factors.layer[0], math.prod(factors.layer[1:])


def checked(rank: int | None, method: Method, value: float, by_block: Mapping[str, int]) -> _Wanted:
    """The options, if they make sense.

    Raises:
        AdapterError: they do not.
    """
    if method not in METHODS:
        raise AdapterError(f"'{method}' is no way to choose a rank.", f"Choose one of {', '.join(METHODS)}.")
    if rank is None and method == "fixed" and not by_block:
        raise AdapterError("No rank is given.", "Say --rank 16, or choose by singular values with --method.")
    for number in (*([rank] if rank is not None else []), *by_block.values()):
        if number < 1:
            raise AdapterError(f"{number} is no rank.", "A rank is 1 or more.")
    if method == "sv_ratio" and not value > 1:
        raise AdapterError(
            f"sv_ratio {value:g} keeps nothing but the largest value.", "Give more than 1, often 2 to 20."
        )
    if method in ("sv_cumulative", "sv_fro") and not 0 < value <= 1:
        raise AdapterError(f"{method} is a share between 0 and 1, not {value:g}.", "Say 0.9 for nine tenths.")
    return _Wanted(rank, method, value, by_block)


def chosen_rank(values: Array, method: Method, value: float, largest: int | None) -> int:
    """How many singular values to keep, at least one; ``values`` fall."""
    if not values.size:
        return 1
    if method == "sv_ratio":
        count = int((values > values[0] / value).sum())
    elif method == "sv_cumulative":
        count = int(np.searchsorted(np.cumsum(values) / values.sum(), value - 1e-12) + 1)
    elif method == "sv_fro":
        squares = values.astype(np.float64) ** 2
        count = int(np.searchsorted(np.cumsum(squares) / squares.sum(), value**2 - 1e-12) + 1)
    else:
        count = values.size if largest is None else largest
    return max(1, min(count, values.size if method != "fixed" else count, largest or count))


def _made(factors: Factors, wanted: _Wanted, name: tuple[str, str]) -> tuple[Array, Factors]:
    found = spectrum(factors)
    limit = chosen(*name, wanted.by_block, wanted.rank or 0) or None
    own = min(factors.rank, *_sides(factors))
    limit = min(limit, own) if limit is not None else None
    rank = chosen_rank(found.values, wanted.method, wanted.value, limit)
    return found.values, truncated(factors, found, min(rank, own))


def _names(adapter: OpenAdapter) -> dict[str, tuple[str, str]]:
    """A name for every module of the file: that of its first layer."""
    names: dict[str, tuple[str, str]] = {}
    for key, layer in adapter.layers.items():
        names.setdefault(layer.module.stem.text, key)
    return names


def _weight(adapter: OpenAdapter, module: Module, base: Weights | None) -> Array | None:
    if not needs_base(module) or base is None:
        return None
    layer = next(layer for layer in adapter.layers.values() if layer.module is module)
    return adapter.whole_weight(layer, base)


def _plan(output: Output, keys: tuple[str, str, str | None], made: Factors) -> None:
    from lorasmith.adapters.arrays import WRITABLE, encoded, overflows, vanishes

    stored = WRITABLE[output.dtype]
    if overflows(made.up, stored) or overflows(made.down, stored):
        raise AdapterError(f"{keys[1]} is too large for fp16.", "Write it as bf16 or fp32 (--dtype).")
    if vanishes(made.up, stored) or vanishes(made.down, stored):
        raise AdapterError(f"{keys[1]} is too small for fp16.", "Write it as bf16 or fp32 (--dtype).")
    up, down = encoded(made.up, stored), encoded(made.down, stored)
    output.lora(keys, made.rank, made.layer, lambda: made)
    kept_up, kept_down = output.tensors[keys[1]], output.tensors[keys[0]]
    # The bytes are kept, not the fp32 numbers: half the memory of a file in bf16.
    output.tensors[keys[1]] = type(kept_up)(kept_up.shape, stored, lambda: up)
    output.tensors[keys[0]] = type(kept_down)(kept_down.shape, stored, lambda: down)


class _Tally:
    def __init__(self) -> None:
        self.before: list[int] = []
        self.after: list[int] = []
        self.whole = self.kept = 0.0
        self.worst = ("", 1.0)

    def add(self, module: Module, values: Array, rank: int) -> None:
        self.before.append(module.rank or values.size)
        self.after.append(rank)
        squares = values.astype(np.float64) ** 2
        whole, kept = float(squares.sum()), float(squares[:rank].sum())
        self.whole, self.kept = self.whole + whole, self.kept + kept
        share = math.sqrt(kept / whole) if whole else 1.0
        if share < self.worst[1] or not self.worst[0]:
            self.worst = (module.stem.text, share)

    def report(self, out: Path, before: int, after: int, others: tuple[str, ...], sha: str) -> Resized:
        kept = math.sqrt(self.kept / self.whole) if self.whole else 1.0
        ranks = Counter(self.before), Counter(self.after)
        sizes = dict(sorted(ranks[0].items())), dict(sorted(ranks[1].items()))
        return Resized(out, len(self.before), *sizes, kept, self.worst, before, after, others, sha)
