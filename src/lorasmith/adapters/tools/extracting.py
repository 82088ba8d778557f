"""Extract: the difference between two checkpoints as a LoRA, one layer in memory at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
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
from lorasmith.adapters.tools.rest import Found, Rest, compare, format_holding, is_layer, plan_rest, rest_of
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
    whole: float
    """Share of the norm of all that differs in the denoiser and the text encoders that the file holds."""
    rest: Rest
    """Norms, biases, tables and parameters: what of them differs."""
    left_out: tuple[str, ...]
    """What differs, or stands in one of the two alone, and is not in the file."""
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
    keep_rest: bool = False,
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
    before, after, target = paired(base, tuned, family, dialect, only_for, keep_rest=keep_rest)
    layered = [n for n in before if is_layer(n) and (text_encoders or not n[0].startswith("text"))]
    names = [n for n in layered if n in after.places]
    found = compare(before, after, clamp=clamp, text_encoders=text_encoders, cancelled=cancelled)
    output = Output(dtype)
    layers, tally = _layers(before, after, names, output.dtype, rank, by_block or {}, clamp, out, progress, cancelled)
    refuse_nothing(before, after, len(layers), found, keep_rest=keep_rest)
    refuse_partial(target, before.family, (name for _, name in layers), only_for)
    plan(output, layers, target, before.family)
    entered, rounded = plan_rest(output, found, target, before) if keep_rest else (set(), 0.0)
    if not output.tensors:
        raise AdapterError(
            f"The {target.name} dialect has no key for anything that differs, {found.differing[0].name[1]} first.",
            "Choose the comfyui dialect; what has no key there cannot be kept in a LoRA file.",
        )
    told = rest_of(found, entered, tally.whole)
    missing = math.fsum(one.square for one in found.differing if one.name not in entered and one.sort != "elsewhere")
    arguments: dict[str, object] = {"base": base.name, "tuned": tuned.name, "rank": rank, "keep_rest": keep_rest}
    stated = {"lorasmith.family": before.family, "ss_network_dim": str(rank), "ss_network_alpha": str(rank)}
    metadata = metadata_after({"ss_sd_model_name": base.name}, "extract", arguments, **stated)
    sha = "" if dry_run else output.save(out, metadata, overwrite=overwrite, cancelled=cancelled)
    everything = tally.whole + found.square
    alone = [f"{n[0]}.{n[1]}" for n in layered if n not in after.places]
    alone += [f"{n[0]}.{n[1]}" for n in after if is_layer(n) and n not in before.places and n[0] in _parts(layered)]
    left = (*alone, *told.alone, *(one.name for one in told.differing if not one.kept))
    return Extracted(
        out, before.family, target.name, len(layers), tally.unchanged, _share(tally.lost, tally.whole), tally.worst,
        _share(tally.lost + missing + rounded, everything), told, tuple(dict.fromkeys(left)), output.size, sha,
    )  # fmt: skip


@dataclass
class _Tally:
    """Over all layers."""

    whole: float = 0.0
    """‖difference‖²."""
    lost: float = 0.0
    """‖what the LoRA lacks of it‖²."""
    worst: tuple[str, float] = ("", 1.0)
    unchanged: int = 0


def _layers(
    before: BaseWeights,
    after: BaseWeights,
    names: Sequence[LayerName],
    dtype: str,
    rank: int,
    by_block: Mapping[str, int],
    clamp: float,
    out: Path,
    progress: Progress | None,
    cancelled: Cancelled | None,
) -> tuple[dict[LayerName, Written], _Tally]:
    """Every layer that differs, as thin factors in the width of the file."""
    made: dict[LayerName, Written] = {}
    tally = _Tally()
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
            tally.unchanged += 1
            continue
        wanted = min(chosen(*name, by_block, rank), old.shape[0], math.prod(old.shape[1:]))
        thin = sketched(delta, old.shape, wanted)
        gap = relative_difference(dense(delta, old.shape), thin) if old.size < 200_000 else _gap(norm, thin)
        tally.whole, tally.lost = tally.whole + norm**2, tally.lost + (gap * norm) ** 2
        kept = math.sqrt(max(0.0, 1 - gap**2))
        if kept < tally.worst[1] or not tally.worst[0]:
            tally.worst = (name[1], kept)
        made[name] = Written(wanted, old.shape, Held(thin, dtype, name[1]).take)
    return made, tally


def _share(lost: float, whole: float) -> float:
    return math.sqrt(max(0.0, 1 - lost / whole)) if whole else 1.0


def _parts(names: Iterable[LayerName]) -> set[str]:
    return {part for part, _ in names}


def refuse_nothing(before: BaseWeights, after: BaseWeights, layers: int, found: Found, *, keep_rest: bool) -> None:
    """Refuse to write a file without anything in it.

    Raises:
        AdapterError: nothing differs, or nothing that the file shall hold.
    """
    if layers or (keep_rest and any(one.sort != "elsewhere" for one in found.differing)):
        return
    if found.differing:
        raise AdapterError(
            f"{before.title} and {after.title} differ in no matrix that a LoRA stands beside, but in "
            f"{len(found.differing)} other tensors, {'.'.join(filter(None, found.differing[0].name))} first.",
            "Say --keep-rest and --only-for comfyui to keep norms and biases; a VAE is a file of its own.",
        )
    raise AdapterError(f"{before.title} and {after.title} do not differ.", "There is nothing to extract.")


def paired(
    base: Path, tuned: Path, family: str = "", dialect: str = "", only_for: str = "", *, keep_rest: bool = False
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
    target = format_holding(dialect, before.family, only_for) if keep_rest else format_named(dialect, before.family)
    refuse_unread(target, before.family, only_for)
    return before, after, target


def _gap(norm: float, thin: object) -> float:
    """By Pythagoras: the sketch is a projection, so what it misses stands at right angles to what it holds."""
    held = squared_norm(thin)  # type: ignore[arg-type]
    return math.sqrt(max(0.0, 1 - held / norm**2)) if norm else 0.0
