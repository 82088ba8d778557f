"""How others count the steps of a run: the notebooks this began with, and sd-scripts (kohya) with its longer epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

FEW, MANY = 500, 5000
"""Steps below and above which those notebooks warned."""


@dataclass(frozen=True)
class Formula:
    """How others count the same run."""

    steps: int
    steps_per_epoch: int
    epochs: int
    """Whole ones."""
    words: str
    """The formula with its numbers."""
    note: str = ""
    """What its authors warn of."""


def origin(shown: int, epochs: Fraction, batch_size: int) -> Formula:
    """As the notebooks count: pictures x repeats x epochs // batch; nothing else comes into it.

    Args:
        shown: pictures times repeats.
        epochs: passes.
        batch_size: pictures per batch.
    """
    steps = int(shown * epochs) // batch_size
    note = ""
    if steps < FEW:
        note = f"Fewer than {FEW} steps: it may underfit."
    elif steps > MANY:
        note = f"More than {MANY:,} steps: it may overfit."
    pictures = "picture with its" if shown == 1 else "pictures with their"
    passes = "epoch" if epochs == 1 else "epochs"
    words = f"{shown:,} {pictures} repeats × {float(epochs):.6g} {passes} // {batch_size} = {steps:,}"
    return Formula(steps, shown // batch_size, math.ceil(epochs), words, note)


def kohya(buckets: Sequence[int], batch_size: int, accumulation: int, epochs: Fraction, steps: int | None) -> Formula:
    """As sd-scripts counts: the batches of every bucket are rounded up in every epoch, and so are the steps.

    Args:
        buckets: pictures an epoch shows from each bucket, regularisation pictures repeated until they are as many as
            the others.
        batch_size: pictures per batch.
        accumulation: batches per step.
        epochs: passes; sd-scripts trains whole ones.
        steps: where the run is given by them (``max_train_steps``).
    """
    batches = sum(math.ceil(load / batch_size) for load in buckets)
    each = math.ceil(batches / accumulation)
    whole = math.ceil(steps / each) if steps is not None else math.ceil(epochs)
    made = steps if steps is not None else each * whole
    divided = f" ÷ {accumulation}, rounded up" if accumulation > 1 else ""
    words = f"{batches:,} batch{'es' if batches > 1 else ''} in {len(buckets)} bucket{'s' if len(buckets) > 1 else ''}"
    words += f"{divided} = {each:,} step{'s' if each > 1 else ''} an epoch, {whole:,} epoch{'s' if whole > 1 else ''}"
    short = sum(load % batch_size > 0 for load in buckets)
    note = f"{short} of its batches an epoch {'is' if short == 1 else 'are'} short." if short else ""
    return Formula(made, each, whole, words, note)


def doubled(train: Sequence[int], regularisation: Sequence[int]) -> list[int]:
    """How often an epoch of sd-scripts shows each regularisation picture: in turns, until there are as many as of
    the others; what is too much is left out."""
    wanted, given = sum(train), 0
    repeats = [0] * len(regularisation)
    for place, own in enumerate(regularisation):
        if given >= wanted:
            return repeats
        repeats[place], given = own, given + own
    if regularisation and given < wanted:
        each, further = divmod(wanted - given, len(regularisation))
        repeats = [own + each + (place < further) for place, own in enumerate(repeats)]
    return repeats
