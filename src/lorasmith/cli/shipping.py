"""dataset export, report: a version for other programs and other people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lorasmith.cli.completion import complete_layout
from lorasmith.cli.lens import dataset_argument, lens_of, lens_options
from lorasmith.cli.placing import answer_queued, placement_of, queue_options
from lorasmith.cli.progress import meter
from lorasmith.cli.session import Session, count, listed, plain, table, verb
from lorasmith.errors import ConfigError


def _list_layouts(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    from lorasmith.datasets.layouts import available

    rows = [(name, layout.title) for name, layout in available().items()]
    document = {"layouts": [{"name": name, "title": title} for name, title in rows]}
    context.ensure_object(Session).answer(document, *table(("layout", "for"), rows))
    context.exit()


@verb("export")
@dataset_argument
@click.option("--layout", required=True, shell_complete=complete_layout, help="kohya, ai_toolkit, onetrainer ...")
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where to; what an earlier export left there is brought up to date.",
)
@click.option("--force", is_flag=True, help="Replace files there that were changed or are of someone else.")
@click.option("--dry-run", is_flag=True, help="Say what would be lost, and write nothing.")
@click.option(
    "--list", is_flag=True, is_eager=True, expose_value=False, callback=_list_layouts, help="List the layouts."
)
@queue_options
def export(
    session: Session, reference: str, layout: str, folder: Path | None, force: bool, dry_run: bool, **place: Any
) -> None:
    """Write a version in the layout of another program.

    What that program cannot hold is said first.
    """
    if folder is None and not dry_run:
        raise ConfigError("There is no folder to export to.", "Add --to FOLDER, or --dry-run.")
    placement = placement_of(session, place)
    if placement is not None and dry_run:
        raise ConfigError("--queue does not go with --dry-run.", "Leave out one of them.")
    curate = session.studio.curate
    version, layout = curate.version(reference), layout.replace("-", "_")
    losses = curate.losses(version, layout)
    lines = [f"Lost in {layout}:", *(f"  {loss.sentence}" for loss in losses)] if losses else ["Nothing is lost."]
    document = {"reference": version.reference, "layout": layout, "losses": plain(losses), "dry_run": dry_run}
    if dry_run or folder is None:
        session.answer(document, *lines, "Nothing was written: this was a dry run.")
        return
    for line in lines:
        session.note(line)
    if placement is not None:
        answer_queued(
            session, session.studio.enqueue.export(version, layout, folder, force=force, placement=placement), document
        )
        return
    with meter(session, "exporting") as progress:
        exported = curate.export(version, layout, folder, force=force, progress=progress)
    written = len(exported.files) - exported.unchanged
    more = [one for one in exported.losses if one not in losses]
    document |= {"losses": plain((*losses, *more)), "folder": str(exported.folder), "files": plain(exported.files)}
    session.answer(
        document | {"unchanged": exported.unchanged},
        *(f"Also lost: {loss.sentence} ({listed(loss.items)})" for loss in more),
        f"{version.reference}: {count(written, 'file')} written, {exported.unchanged} unchanged.",
        str(exported.folder),
    )


@verb("report")
@dataset_argument
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="The page to write."
)
@click.option("--open", "open_report", is_flag=True, help="Open it in the browser.")
@lens_options("goal", "trainer", "batch_size", "epochs")
def report(session: Session, reference: str, out: Path, open_report: bool, **lens: Any) -> None:
    """Write one HTML page about a version.

    Findings, gallery, figures, buckets, trainers' eyes, ledger and history, in one file that needs no network.
    """
    write_page(session, reference, out, lens_of(session, lens))
    if open_report:
        click.launch(out.absolute().as_uri())
    session.answer({"report": str(out.absolute())}, str(out.absolute()))


def write_page(session: Session, reference: str, out: Path, looked_at: Any) -> None:
    """Write the page, with a bar while it takes its time."""
    with meter(session, "reporting") as progress:
        session.studio.curate.report(reference, out, looked_at, progress=progress)
