"""Extract: the difference between two checkpoints as a LoRA, one layer in memory at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lorasmith.adapters.algebra import dense, relative_difference, sketched, squared_norm
from lorasmith.adapters.arrays import Cancelled, Progress
from lorasmith.adapters.dialects.formats import Format, format_named, refuse_partial, refuse_unread
from lorasmith.adapters.opened import LayerName
from lorasmith.adapters.output import Output, metadata_after, refuse_target
from lorasmith.adapters.tools.blocks import chosen
from lorasmith.adapters.tools.merging import Held
from lorasmith.adapters.tools.writing import Written, plan
from lorasmith.adapters.weights import BaseWeights, open_weights
from lorasmith.errors import AdapterError, Stopped


@dataclass(frozen=True)
class Extracted:
    """What an extraction did, or with a dry run would do."""

    out: Path
    family: str
    dialect: str
    layers: int
    unchanged: int
    kept: float
    """Share of the whole difference's norm that the LoRA holds, over all layers."""
    worst: tuple[str, float]
    left_out: tuple[str, ...]
    """Matrices that differ by name between the two, or that a LoRA cannot stand beside."""
    size: int
    sha256: str = ""


def extract(
    base: Path,
    tuned: Path,
    out: Path,
    *,
    rank: int = 32,
    by_block: Mapping[str, int] | None = None,
    dialect: str = "",
    family: str = "",
    dtype: str = "bf16",
    only_for: str = "",
    clamp: float = 1e-7,
    text_encoders: bool = True,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Extracted:
    """Write what a fine-tuned checkpoint changed, at most of that rank.

    Every layer's difference is read by slices, sketched by randomised SVD and forgotten; layers that differ by less
    than ``clamp`` of their norm are left out.

    Raises:
        AdapterError: no bases, different families or shapes, nothing that differs.
        Stopped: on request; nothing is written.
    """
    if rank < 1:
        raise AdapterError(f"{rank} is no rank.", "A rank is 1 or more.")
    refuse_target(out, overwrite=overwrite)
    before, after, target = paired(base, tuned, family, dialect, only_for)
    names = [n for n in before if n in after.places and (text_encoders or not n[0].startswith("text"))]
    output = Output(dtype)
    layers: dict[LayerName, Written] = {}
    whole = lost = 0.0
    worst, unchanged = ("", 1.0), 0
    for done, name in enumerate(names):
        if cancelled is not None and cancelled():
            raise Stopped(f"Stopped; {out.name} was not written.")
        old, new = before(*name), after(*name)
        if old is None or new is None or old.shape != new.shape:
            raise AdapterError(f"{name[1]} has another shape in each checkpoint.", "They are of different models.")
        delta = new - old
        if not np.isfinite(delta).all():
            raise AdapterError(f"{name[1]} holds NaN or infinite values.", "One of the checkpoints is damaged.")
        norm = float(np.linalg.norm(delta))
        if progress is not None:
            progress(done + 1, len(names))
        if norm <= clamp * float(np.linalg.norm(old)):
            unchanged += 1
            continue
        wanted = min(chosen(*name, by_block or {}, rank), old.shape[0], math.prod(old.shape[1:]))
        thin = sketched(delta, old.shape, wanted)
        gap = relative_difference(dense(delta, old.shape), thin) if old.size < 200_000 else _gap(norm, thin)
        whole, lost = whole + norm**2, lost + (gap * norm) ** 2
        kept = math.sqrt(max(0.0, 1 - gap**2))
        worst = (name[1], kept) if kept < worst[1] or not worst[0] else worst
        layers[name] = Written(wanted, old.shape, Held(thin, dtype, name[1]).take)
    if not layers:
        raise AdapterError(f"{before.title} and {after.title} do not differ.", "There is nothing to extract.")
    refuse_partial(target, before.family, (name for _, name in layers), only_for)
    plan(output, layers, target, before.family)
    arguments = {"base": base.name, "tuned": tuned.name, "rank": rank}
    told = {"lorasmith.family": before.family, "ss_network_dim": str(rank), "ss_network_alpha": str(rank)}
    metadata = metadata_after({"ss_sd_model_name": base.name}, "extract", arguments, **told)
    sha = "" if dry_run else output.save(out, metadata, overwrite=overwrite, cancelled=cancelled)
    kept = math.sqrt(max(0.0, 1 - lost / whole)) if whole else 1.0
    left = tuple(dict.fromkeys([*before.unplaced, *(f"{n[0]}.{n[1]}" for n in before if n not in after.places)]))
    return Extracted(out, before.family, target.name, len(layers), unchanged, kept, worst, left, output.size, sha)


def paired(
    base: Path, tuned: Path, family: str = "", dialect: str = "", only_for: str = ""
) -> tuple[BaseWeights, BaseWeights, Format]:
    """Both checkpoints, opened, and the names the result is written under; headers alone are read.

    Raises:
        AdapterError: no bases, the same one twice, different families, names that a program would not read.
    """
    if base.resolve() == tuned.resolve():
        raise AdapterError("That is one base twice.", "Name the fine-tuned checkpoint, and what it was tuned from.")
    before, after = open_weights(base, family=family), open_weights(tuned, family=family)
    if before.family != after.family:
        raise AdapterError(
            f"{before.title} is of {before.family}, {after.title} of {after.family}.",
            "Name two checkpoints of one family.",
        )
    target = format_named(dialect, before.family)
    refuse_unread(target, before.family, only_for)
    return before, after, target


def _gap(norm: float, thin: object) -> float:
    """By Pythagoras: the sketch is a projection, so what it misses stands at right angles to what it holds."""
    held = squared_norm(thin)  # type: ignore[arg-type]
    return math.sqrt(max(0.0, 1 - held / norm**2)) if norm else 0.0
