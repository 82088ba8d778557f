"""import: from ZIPs, folders and files to a dataset in which every file is accounted for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from lorasmith.cli.completion import complete_dataset, complete_layout
from lorasmith.cli.prepare import summary
from lorasmith.cli.progress import cancelled_by_ctrl_c, meter
from lorasmith.cli.session import Session, count, plain, verb, visible

if TYPE_CHECKING:
    from lorasmith.datasets.importing import Pace
    from lorasmith.datasets.manifest import DatasetVersion, Fate

_ALPHA: Final = ("fill", "mask", "both")
_SHOWN: Final = 40  # files that were left out; --json and the ledger have all


@verb("import")
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SOURCE...")
@click.option("--name", help="Name of the dataset; otherwise made from the first source's.")
@click.option("--into", metavar="NAME", shell_complete=complete_dataset, help="Add to this dataset.")
@click.option("--layout", shell_complete=complete_layout, help="In which layout it lies; otherwise found out.")
@click.option("--background", default="white", show_default=True, help="Colour that replaces transparency.")
@click.option(
    "--alpha",
    type=click.Choice(_ALPHA),
    default="fill",
    show_default=True,
    help="Transparency is filled with the background, becomes the mask, or both.",
)
@click.option("--max-side", type=click.IntRange(1), metavar="PIXELS", help="Reduce longer pictures to this.")
def import_(
    session: Session,
    sources: tuple[Path, ...],
    name: str | None,
    into: str | None,
    layout: str | None,
    background: str,
    alpha: str,
    max_side: int | None,
) -> None:
    """Take in pictures: ZIPs, folders, files.

    A SOURCE is read and never written to. Every file in it is accounted for: taken, or left out for a stated reason.
    With --into the pictures are added, and what is there already is left out. Ctrl-C stops it and changes nothing.
    """
    studio = session.studio
    known = studio.datasets()
    before = len(studio.dataset(into).ledger) if into is not None else 0
    stopping = "Stopping after the pictures under way; nothing will be changed. Ctrl-C again stops at once."
    with cancelled_by_ctrl_c(session, stopping) as cancel, meter(session, "importing") as told:

        def watch(pace: Pace) -> None:
            told(pace.done, pace.total, pace.path, left=pace.seconds_left)

        version = studio.import_dataset(
            sources,
            name,
            background,
            into=into,
            layout=layout,
            alpha=alpha,
            max_side=max_side,
            watch=watch,
            cancel=cancel,
        )
    is_new = version.number not in known.get(version.dataset, [])
    fates = version.ledger[before:] if is_new else version.ledger
    session.answer(_document(version, fates, is_new), *_lines(version, fates, is_new))


def _document(version: DatasetVersion, fates: Sequence[Fate], is_new: bool) -> dict[str, Any]:
    from lorasmith.datasets.ledger import totals

    said = version.operation.arguments.get("said", [])
    counts = {"totals": plain(totals(fates)), "ledger": plain(fates)}
    return (
        summary(version) | {"new": is_new, "layout": version.operation.arguments.get("layout"), "said": said} | counts
    )


def _lines(version: DatasetVersion, fates: Sequence[Fate], is_new: bool) -> list[str]:
    """What came of the import, for people."""
    if not is_new:
        return [f"Nothing new: {version.reference} holds just this.", f"Next: lorasmith check {version.dataset}"]
    left_out = [fate for fate in fates if fate.fate == "left_out"]
    taken = sum(fate.item is not None and fate.rule in ("image", "repaired") for fate in fates)
    first = f"{version.reference}: {count(taken, 'picture')} taken, {count(len(left_out), 'file')} left out."
    if version.operation.name == "add":
        first = f"{first[:-1]}; {count(len(version.items), 'picture')} in all."
    lines = [first, *(f"Note: {visible(str(one))}" for one in version.operation.arguments.get("said", []))]
    if layout := version.operation.arguments.get("layout"):
        lines.append(f"Read as the layout {layout}.")
    lines += [f"  {visible(fate.path)}: {visible(fate.detail)}" for fate in left_out[:_SHOWN]]
    if len(left_out) > _SHOWN:
        more = f"lorasmith dataset ledger {version.dataset} --fate left_out"
        lines.append(f"  and {len(left_out) - _SHOWN:,} more: {more}")
    return [*lines, f"Next: lorasmith check {version.dataset}"]
