"""Average checkpoints of one run, in the space of ΔW and not of its factors, whose average means nothing.

The power-function average (Karras et al. 2023, arXiv:2312.02696) weights a moment t with t^γ, so its window grows with
the run; its width is told by σ_rel, the standard deviation as a share of the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorasmith.adapters.arrays import Cancelled, Progress
from lorasmith.adapters.opened import OpenAdapter, open_adapter
from lorasmith.adapters.tools.checkpoints import Saved
from lorasmith.adapters.tools.merging import Ingredient, Merged, merge
from lorasmith.errors import AdapterError

_DIGITS = 16
"""No run has as many steps as that."""


@dataclass(frozen=True)
class Averaged:
    """What an average did."""

    merged: Merged
    weights: tuple[tuple[str, int, float], ...]
    """File, its step, its weight; the weights make 1."""
    run: str = ""
    """Whose checkpoints they are; empty for files."""


def average_run(run: Saved, out: Path, *, sigma_rel: float | None = 0.1, **options: Any) -> Averaged:
    """Write the average of checkpoints that a run saved; options are those of ``average``.

    Raises:
        AdapterError: as ``average``.
    """
    weights = weighed_run(run, sigma_rel)
    titles = [f"step {step} of {run.run}" for step in run.steps]
    parts = [
        Ingredient(path, weight * run.scale, called=title)
        for path, weight, title in zip(run.files, weights, titles, strict=True)
    ]
    merged = _merged(parts, out, says={**run.says, "ss_steps": str(run.steps[-1])}, **options)
    return Averaged(merged, tuple(zip(titles, run.steps, weights, strict=True)), run.run)


def average(
    checkpoints: Sequence[Path],
    out: Path,
    *,
    sigma_rel: float | None = 0.1,
    steps: Sequence[int] = (),
    rank: int | None = None,
    dialect: str = "",
    family: str = "",
    dtype: str = "",
    drop_others: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Averaged:
    """Write the average of checkpoints of one run.

    Args:
        checkpoints: two files or more.
        sigma_rel: width of the window, 0.02 to 0.28; None: all count alike.
        steps: the step of every file; otherwise ``ss_steps`` of its metadata.
        rank: of the result; left out, the largest of the files'.
        drop_others: leave out what is no matrix, rather than refuse.

    Raises:
        AdapterError: one file, steps that are unknown or the same, a width that no window has.
    """
    if len(checkpoints) < 2:
        raise AdapterError("An average takes two checkpoints or more.", "Name the files of one run.")
    adapters = [open_adapter(path, family=family) for path in checkpoints]
    at, weights = weighed(adapters, steps, sigma_rel)
    merged = _merged(
        [Ingredient(path, weight) for path, weight in zip(checkpoints, weights, strict=True)],
        out, rank=rank, dialect=dialect, family=family, dtype=dtype, drop_others=drop_others, overwrite=overwrite,
        dry_run=dry_run, progress=progress, cancelled=cancelled,
    )  # fmt: skip
    names = (path.name for path in checkpoints)
    return Averaged(merged, tuple(zip(names, at, weights, strict=True)))


def weighed_run(run: Saved, sigma_rel: float | None) -> list[float]:
    """The weight of every checkpoint of a run.

    Raises:
        AdapterError: fewer than two, a width that no window has.
    """
    if len(run.files) < 2:
        raise AdapterError(
            f"An average takes two checkpoints or more, and of {run.run} there is {len(run.files)}.",
            "checkpoint.every_steps and checkpoint.keep of a run say how many it saves and keeps.",
        )
    return power_weights(run.steps, sigma_rel)


def _merged(
    parts: Sequence[Ingredient], out: Path, *, rank: int | None = None, family: str = "", **options: Any
) -> Merged:
    """Their sum, of the largest rank among them unless another is wanted."""
    adapters = [open_adapter(one.path, family=family) for one in parts]
    largest = rank or max(max(adapter.kind.ranks, default=1) for adapter in adapters)
    return merge(parts, out, rank=largest, family=family, operation="average", **options)


def weighed(
    adapters: Sequence[OpenAdapter], steps: Sequence[int], sigma_rel: float | None
) -> tuple[list[int], list[float]]:
    """The step of every file, given or its own, and its weight.

    Raises:
        AdapterError: steps that are unknown or the same, a width that no window has.
    """
    at = list(steps) or [_step(adapter.file.metadata.get("ss_steps", "")) for adapter in adapters]
    if len(at) != len(adapters):
        given = f"{len(at)} step{'s' if len(at) > 1 else ''}"
        raise AdapterError(f"There are {len(adapters)} files and {given}.", "Give every file its step.")
    wrong = next((step for step in steps if step < 1), None)
    if wrong is not None:
        raise AdapterError(f"{wrong} is no step of a run.", "Steps are 1 or more, such as 500,1000,1500.")
    unknown = next((one.title for one, step in zip(adapters, at, strict=True) if step < 1), "")
    twice = next((step for step in at if at.count(step) > 1), 0)
    if sigma_rel is not None and (unknown or twice):
        what = f"{unknown} does not say its step" if unknown else f"Two files are of step {twice}"
        hint = "Say them: --steps 500,1000,1500; or let all count alike: --equal."
        raise AdapterError(f"{what}, and late checkpoints count more.", hint)
    return at, power_weights(at, sigma_rel)


def _step(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < _DIGITS else 0


def power_weights(steps: Sequence[int], sigma_rel: float | None) -> list[float]:
    """Share of every checkpoint: the integral of t^γ over the time it stands for, from the one before it to itself.

    Raises:
        AdapterError: no exponent gives that width.
    """
    if sigma_rel is None:
        return [1 / len(steps)] * len(steps)
    gamma = exponent(sigma_rel)
    order = sorted(range(len(steps)), key=lambda i: steps[i])
    last = steps[order[-1]]
    shares, before = [0.0] * len(steps), 0.0
    for index in order:
        reached = (steps[index] / last) ** (gamma + 1)
        shares[index], before = reached - before, reached
    return shares


def exponent(sigma_rel: float) -> float:
    """γ of a width: σ_rel = (γ+1)^½ (γ+2)^-1 (γ+3)^-½, which falls with γ; by halving an interval.

    Raises:
        AdapterError: the width is not between 0.001 and 0.288, that of γ = 0.
    """
    if not 0.001 <= sigma_rel <= 0.288:
        raise AdapterError(
            f"No average has a width of {sigma_rel:g}.", "Give a share of the run between 0.01 and 0.28."
        )
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        width = (middle + 1) ** 0.5 / (middle + 2) / (middle + 3) ** 0.5
        low, high = (middle, high) if width > sigma_rel else (low, middle)
    return (low + high) / 2
