"""Convert: the same update under the names of another dialect, and every kind of update as a plain LoRA."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lorasmith.adapters.algebra import Factors, relative_difference, sketched, spectrum, truncated
from lorasmith.adapters.arrays import Cancelled, Progress
from lorasmith.adapters.dialects.formats import (
    FORMATS,
    best_format,
    format_named,
    readers,
    refuse_partial,
    refuse_unread,
)
from lorasmith.adapters.dialects.stems import MEANINGS
from lorasmith.adapters.opened import PICKLES, Layer, LayerName, OpenAdapter, Weights, open_adapter, unpickled
from lorasmith.adapters.output import Output, dtype_of, metadata_after, refuse_target
from lorasmith.adapters.tools.writing import Written, plan, refuse_empty
from lorasmith.adapters.updates import scale_of
from lorasmith.errors import AdapterError, Stopped

DEFAULT_RANK = 64
"""Largest rank of a LoRA made of another kind, unless told."""


@dataclass(frozen=True)
class Conversion:
    """What a conversion did, or with a dry run would do."""

    out: Path
    family: str
    dialect_before: str
    dialect: str
    layers: int
    fused: int
    """Layers of the target that are made of several."""
    exact: bool
    """Whether every ΔW is the same up to rounding; LoHa, LoKr and others may need a larger rank than allowed."""
    largest_error: float
    """‖ΔW - ΔW'‖ / ‖ΔW‖ of the worst layer, measured; 0 when exact."""
    worst: str
    read_by: Mapping[str, bool]
    left_out: tuple[str, ...]
    """What is no matrix (norms, biases, IA3, values that are set, embeddings): the target has no place for it."""
    size: int
    sha256: str = ""


def convert(
    path: Path,
    out: Path,
    *,
    dialect: str = "",
    family: str = "",
    rank: int | None = None,
    dtype: str = "",
    only_for: str = "",
    base: Weights | None = None,
    drop_others: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Conversion:
    """Write a file in another dialect, as plain LoRA.

    Args:
        path: any adapter file; a pickle goes through the locked process first.
        out: the file to write.
        dialect: one of ``dialects.formats.FORMATS``; left out, the one that most programs read for this family.
        family: of the base, where the file leaves it open.
        rank: the largest rank of a LoRA made of another kind; such layers are approximated by SVD, the error measured.
        dtype: fp32, fp16 or bf16; the file's own when left out.
        only_for: ``diffusers`` or ``comfyui``, to allow a dialect that the other one does not read.
        base: weights of the base, for DoRA, OFT and GLoRA.
        drop_others: leave out what is no matrix, rather than refuse.

    Raises:
        AdapterError: no LoRA, a family that stays open, a dialect that would be read as nothing, norms, biases or
            embeddings without ``drop_others``.
        Stopped: on request; nothing is written.
    """
    if path.suffix.lower() in PICKLES:
        with unpickled(path) as made:
            return convert(
                made, out, dialect=dialect, family=family, rank=rank, dtype=dtype, only_for=only_for, base=base,
                drop_others=drop_others, overwrite=overwrite, dry_run=dry_run, progress=progress, cancelled=cancelled,
            )  # fmt: skip
    refuse_target(out, overwrite=overwrite)
    adapter = open_adapter(path, family=family)
    named = family_of(adapter)
    chosen = format_named(dialect, named)
    refuse_unread(chosen, named, only_for)
    left_out = adapter.left_out(allowed=drop_others)
    adapter.refuse_strangers(named)
    output = Output(dtype_of(adapter.file, dtype))
    layers, worst = _layers(adapter, rank, base, progress, cancelled)
    refuse_empty(layers, path.name)
    refuse_partial(chosen, named, (name for _, name in layers), only_for)
    fused = plan(output, layers, chosen, named)
    arguments = {"dialect": chosen.name, "rank": rank, "only_for": only_for}
    metadata = metadata_after(adapter.file.metadata, "convert", arguments, **{"lorasmith.family": named})
    sha = ""
    if not dry_run:
        sha = output.save(out, metadata, overwrite=overwrite, progress=progress, cancelled=cancelled)
    return Conversion(
        out, named, adapter.kind.dialect, chosen.name, len(layers), fused, worst[1] < 1e-4, worst[1], worst[0],
        {str(program): reads for program, reads in readers(chosen, named).items()}, left_out, output.size, sha,
    )  # fmt: skip


@dataclass(frozen=True)
class DialectChoice:
    """One dialect a file could be written in."""

    name: str
    meaning: str
    read_by: Mapping[str, bool]
    """Whether each program reads it, for this family; empty when it cannot be written."""
    now: bool
    """Whether the file is written in it."""
    best: bool
    """Whether it is what most programs read."""
    problem: str = ""
    """Why it cannot be written; empty when it can."""


def dialects(path: Path, *, family: str = "") -> tuple[DialectChoice, ...]:
    """All dialects with what reads them, the best one first.

    Raises:
        AdapterError: no LoRA, or its family stays open and matters.
    """
    if path.suffix.lower() in PICKLES:
        with unpickled(path) as made:
            return dialects(made, family=family)
    adapter = open_adapter(path, family=family)
    named = family_of(adapter)
    best = best_format(named)
    found: list[DialectChoice] = []
    for name in sorted(FORMATS, key=lambda name: name != best):
        read_by: Mapping[str, bool] = {}
        problem = ""
        try:
            read_by = {str(program): reads for program, reads in readers(format_named(name, named), named).items()}
        except AdapterError as refusal:
            problem = refusal.message
        found.append(DialectChoice(name, MEANINGS[name], read_by, name == adapter.kind.dialect, name == best, problem))
    return tuple(found)


def family_of(adapter: OpenAdapter) -> str:
    """The family whose names a file uses: told by the file, or the same for all that fit.

    Raises:
        AdapterError: it stays open and matters.
    """
    if adapter.family and (adapter.kind.family or len(adapter.kind.candidates) <= 1 or adapter.family_given):
        return adapter.family
    if not adapter.kind.candidates:
        if all(part.startswith("text_encoder") for part in adapter.kind.parts):
            raise AdapterError(f"{adapter.title} holds text encoders only; its family stays open.", "Say --family.")
        raise AdapterError(f"{adapter.title} is a LoRA of no family that is known here.", "Say --family.")
    fits = ", ".join(adapter.kind.candidates)
    raise AdapterError(
        f"{adapter.title} may be a LoRA of {fits}: their layers are alike, and its metadata do not say.",
        f"Say which with --family {adapter.kind.candidates[0]}.",
    )


def _layers(
    adapter: OpenAdapter,
    rank: int | None,
    base: Weights | None,
    progress: Progress | None,
    cancelled: Cancelled | None,
) -> tuple[dict[LayerName, Written], tuple[str, float]]:
    """Every layer ready to be written, and the worst one with its error."""
    made: dict[LayerName, Written] = {}
    worst = ("", 0.0)
    for key, layer in adapter.layers.items():
        if cancelled is not None and cancelled():
            raise Stopped("Stopped; nothing was written.")
        module = layer.module
        if module.kind == "lora" and not module.weighted and "mid" not in module.pieces:
            made[key] = _plain(adapter, layer)
            continue
        factors, error = as_lora(adapter.layer_factors(layer, base), rank or DEFAULT_RANK)
        if error > worst[1]:
            worst = (layer.name, error)
        made[key] = Written(factors.rank, factors.layer, lambda held=factors: held)  # type: ignore[misc]
        if progress is not None:
            progress(len(made), len(adapter.layers))
    return made, worst


def _plain(adapter: OpenAdapter, layer: Layer) -> Written:
    """A LoRA stays the matrices it is; only rows, names and where the scale stands change."""
    module = layer.module
    shape = module.layer or ()
    if layer.rows is not None:
        shape = (layer.rows.last - layer.rows.first, *shape[1:])
    rank = module.rank or 1
    alpha = None
    if "alpha" in module.pieces:
        alpha = scale_of(module, adapter.reader(module)) * rank
        if not math.isfinite(alpha) or alpha == 0:
            raise AdapterError(f"The alpha of {module.stem.text} is {alpha:g}.", "The file is damaged.")
    shares = module.stem.text if layer.rows is not None else ""
    raw = partial(_raw, adapter, layer) if layer.rows is None and alpha is not None else None
    return Written(rank, shape, lambda: adapter.layer_factors(layer), alpha, raw, shares)


def _raw(adapter: OpenAdapter, layer: Layer) -> Factors:
    """The matrices of a LoRA as the file holds them."""
    read = adapter.reader(layer.module)
    up, down = read("up"), read("down")
    shape = layer.module.layer or ()
    return Factors(up.reshape(up.shape[0], -1), down.reshape(down.shape[0], -1), shape)


def as_lora(factors: Factors, rank: int) -> tuple[Factors, float]:
    """A plain LoRA of at most that rank, of no higher rank than the update has, with the measured error."""
    limit = min(rank, factors.layer[0], math.prod(factors.layer[1:]))
    if factors.rank > 512:  # a whole ΔW
        thin = sketched(factors.product(), factors.layer, limit)
    else:
        found = spectrum(factors)
        strong = int((found.values > 1e-7 * (found.values[0] if found.values.size else 1.0)).sum())
        thin = truncated(factors, found, max(1, min(limit, strong)))
    return thin, relative_difference(factors, thin)
