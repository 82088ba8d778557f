"""calculate: exposures, epochs, steps and time of a run, one from another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lorasmith.cli.session import Session, count, duration, plain, table, verb

if TYPE_CHECKING:
    from lorasmith.calculator import Calculation


@verb("calculate")
@click.argument("dataset", default="", required=False)
@click.option("--pictures", type=int, help="How many pictures there are, where no dataset is named.")
@click.option("--regularisation", type=int, help="Regularisation pictures beside them, where no dataset is named.")
@click.option("--repeats", type=int, help="How often an epoch shows each picture.")
@click.option("--batch-size", type=int, help="Pictures per batch.")
@click.option("--accumulation", type=int, help="Batches per optimizer step.")
@click.option("--epochs", type=float, help="Passes over all pictures and repeats; or")
@click.option("--steps", type=int, help="optimizer steps of the whole run; or")
@click.option("--exposures", type=float, help="how often the whole run shows each picture.")
@click.option("--base", default="", help="A base by name or path: its resolution, and the pace of past runs of it.")
@click.option("--family", default="", help="Its family, where none is named.")
@click.option("--resolution", type=int, help="Side in pixels of the square whose area is trained.")
@click.option("--validation-fraction", type=float, help="Share of the pictures that is held out.")
@click.option("--seconds-per-step", type=float, help="How long a step takes, where nothing was measured here.")
def calculate(session: Session, dataset: str, **values: Any) -> None:
    """Work out how often a run shows each picture, in epochs, steps and time.

    With DATASET its buckets are counted, exactly as training deals from them; otherwise the numbers are. Of --epochs,
    --steps and --exposures give one; the others follow.
    """
    given = {name: value for name, value in values.items() if value not in (None, "")}
    found = session.studio.calculate(dataset=dataset, **given)
    session.answer(plain(found), *_told(found))


def _told(found: Calculation) -> list[str]:
    of = f"{found.dataset} at {found.resolution} pixels: " if found.dataset else ""
    besides = f", {found.regularisation} for regularisation" if found.regularisation else ""
    spread = "" if found.least == found.most else f" ({found.least} to {found.most})"
    lines = [
        f"{of}{count(found.pictures, 'picture')}{besides}, batches of {found.batch_size} x {found.accumulation}",
        f"  {_of(found.steps, 'step')} = {_of(found.epochs, 'epoch')} of {_of(found.steps_per_epoch, 'step')}",
        f"  each picture is shown {_of(found.exposures_per_image, 'time')}{spread}; "
        f"{_of(found.exposures, 'exposure')} in all",
    ]
    for time in found.times:
        where = "as you say"
        if time.source == "measured":
            where = f"measured in {time.job}" + ("" if time.same else ", with other settings")
        lines.append(f"  about {duration(time.seconds)} at {time.seconds_per_step:.3g} s a step, {where}")
    if not found.times:
        lines.append("  time: not measured here yet; --seconds-per-step takes a guess of yours")
    low, high = found.rental
    near, far = found.at_home
    rows = [
        ("here", f"{found.steps:,}", f"{_of(found.per_epoch, 'picture')} an epoch, no batch short, none dropped"),
        ("notebooks", f"{found.origin.steps:,}", f"{found.origin.words}. {found.origin.note}".strip()),
        ("", "", f"{duration(low)} to {duration(high)} rented, {duration(near)} to {duration(far)} at home"),
        ("kohya", f"{found.kohya.steps:,}", f"{found.kohya.words}. {found.kohya.note}".strip()),
    ]
    lines += ["", *table(("", "steps", "as it counts"), rows)]
    loads = [(one.title.replace("×", "x"), one.pictures, one.exposures) for one in found.buckets]
    lines += ["", *table(("bucket", "pictures", "an epoch shows"), loads)] if loads else []
    lines += [line for one in found.cautions for line in ("", one.sentence, f"  {one.reason}")]
    return lines


def _of(number: float, word: str) -> str:
    """``1 epoch``, ``2.5 epochs``, ``1,000,000 times``."""
    figure = f"{number:,.0f}" if number >= 10_000 or number == int(number) else f"{number:.4g}"
    return f"{figure} {word}{'' if figure == '1' else 's'}"
