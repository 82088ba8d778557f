"""dataset leave-out, role, repeats, split, balance: which pictures are trained, and how often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from lorasmith.cli.editing import dry_run_option, made_line
from lorasmith.cli.lens import dataset_argument, lens_of, lens_options, where_option
from lorasmith.cli.options import pairs
from lorasmith.cli.prepare import summary
from lorasmith.cli.session import Session, count, listed, plain, table, verb
from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lorasmith.datasets.manifest import DatasetVersion

_ROLES = ("train", "validation", "regularisation")


@verb("leave-out")
@dataset_argument
@where_option(required=True)
@dry_run_option
@lens_options()
def leave_out(session: Session, reference: str, where: str, dry_run: bool, **lens: Any) -> None:
    """Make a version without some pictures.

    They stay in the older versions; undo brings them back.
    """
    curate = session.studio.curate
    names = curate.select(reference, where, lens_of(session, lens))
    _do(session, reference, names, dry_run, "left out", lambda: curate.leave_out(reference, names))


@verb("role")
@dataset_argument
@click.argument("role", type=click.Choice(_ROLES))
@where_option(required=True)
@dry_run_option
@lens_options()
def role(session: Session, reference: str, role: Any, where: str, dry_run: bool, **lens: Any) -> None:
    """Make pictures training, validation or regularisation pictures."""
    curate = session.studio.curate
    names = curate.select(reference, where, lens_of(session, lens))
    _do(session, reference, names, dry_run, f"of the role {role}", lambda: curate.set_role(reference, names, role))


@verb("repeats")
@dataset_argument
@click.argument("repeats", type=click.IntRange(1, 10_000))
@where_option(required=True)
@dry_run_option
@lens_options()
def repeats(session: Session, reference: str, repeats: int, where: str, dry_run: bool, **lens: Any) -> None:
    """Set how often an epoch shows pictures."""
    curate = session.studio.curate
    names = curate.select(reference, where, lens_of(session, lens))
    become = f"shown {count(repeats, 'time')} an epoch"
    _do(session, reference, names, dry_run, become, lambda: curate.set_repeats(reference, names, repeats))


def _do(
    session: Session,
    reference: str,
    names: Sequence[str],
    dry_run: bool,
    become: str,
    carry_out: Callable[[], DatasetVersion],
) -> None:
    """Say which pictures are meant, and do it to them."""
    before = session.studio.curate.version(reference)
    document = {"before": before.reference, "dry_run": dry_run, "names": list(names)}
    meant = f"{len(names):,} of {count(len(before.items), 'picture')}: {listed(names, 8)}"
    said = f"{become.capitalize()}: {meant}" if names else "No picture is meant."
    if dry_run:
        session.answer(document, said, "Nothing was changed: this was a dry run.")
        return
    made = carry_out()
    session.answer(document | summary(made), said, made_line(before.reference, made.reference, made.dataset))


@verb("split")
@dataset_argument
@click.option("--fraction", type=float, help="Share of the pictures to hold out, above 0 to 0.5; or")
@click.option("--count", "number", type=int, help="how many.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another gives another choice.")
@dry_run_option
def split(
    session: Session, reference: str, fraction: float | None, number: int | None, seed: int, dry_run: bool
) -> None:
    """Hold pictures out for validation.

    Duplicates stay on one side. The choice follows the pictures and the seed, not names or order.
    """
    curate = session.studio.curate
    before = curate.version(reference)
    options: dict[str, Any] = {"fraction": fraction, "count": number, "seed": seed}
    preview = curate.preview_split(before, **options)
    held: Sequence[str] = preview.operation.arguments["held_out"]
    lines = [f"Held out: {count(len(held), 'picture')}: {listed(held, 8)}", *preview.said]
    lines += [f"Pictures: {_roles(preview.before)} -> {_roles(preview.after)}"]
    document = {"before": before.reference, "dry_run": dry_run, "held_out": held, "said": plain(preview.said)}
    document |= {"roles_before": preview.before, "roles_after": preview.after}
    if dry_run:
        session.answer(document, *lines, "Nothing was changed: this was a dry run.")
        return
    made = curate.split(reference, **options)
    session.answer(document | summary(made), *lines, made_line(before.reference, made.reference, made.dataset))


def _roles(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{role} {counts[role]}" for role in _ROLES if counts.get(role))


@verb("balance")
@dataset_argument
@click.option(
    "--share", "shares", multiple=True, metavar="CONCEPT=NUMBER", help="How much of a concept; otherwise equally much."
)
@dry_run_option
def balance(session: Session, reference: str, shares: tuple[str, ...], dry_run: bool) -> None:
    """Even out how often concepts are shown.

    The repeats of the pictures of each concept are set, so that every concept is shown equally often, or by --share.
    """
    curate = session.studio.curate
    before = curate.version(reference)
    options = {"shares": _shares(shares) if shares else None}
    proposed = curate.preview_balance(before, **options)
    rows = [
        (load.concept or "(none)", load.pictures, load.effective_before, load.repeats, load.effective_after)
        for load in proposed.concepts
    ]
    lines = table(("concept", "pictures", "shown now", "repeats", "shown then"), rows)
    lines.append(f"Most to least: {proposed.ratio_before:.2f} -> {proposed.ratio_after:.2f}")
    document = {"before": before.reference, "dry_run": dry_run, "concepts": plain(proposed.concepts)}
    document |= {"ratio_before": proposed.ratio_before, "ratio_after": proposed.ratio_after}
    if dry_run:
        session.answer(document, *lines, "Nothing was changed: this was a dry run.")
        return
    made = curate.balance(reference, **options)
    session.answer(document | summary(made), *lines, made_line(before.reference, made.reference, made.dataset))


def _shares(words: Sequence[str]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for concept, text in pairs(words).items():
        try:
            shares[concept] = float(text)
        except (TypeError, ValueError):
            raise ConfigError(f"'{text}' is no share of '{concept}'.", "Write for example --share cat=2.") from None
    return shares
