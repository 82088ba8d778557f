"""dataset edit: caption operations, with what they would do said before they do it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from lorasmith.cli.completion import complete_dataset, complete_operation
from lorasmith.cli.lens import lens_of, lens_options, where_option
from lorasmith.cli.prepare import summary
from lorasmith.cli.sections import answer_list, answer_options, values_for
from lorasmith.cli.session import Session, plain, verb, visible
from lorasmith.cli.words import caption_lines
from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from lorasmith.datasets.captions.bulk import BulkPreview

_TAGS: Final = 8
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
set_option = click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option of it; repeatable.")


@verb("edit")
@click.argument("reference", metavar="DATASET", required=False, shell_complete=complete_dataset)
@click.argument("operation", metavar="OPERATION", required=False, shell_complete=complete_operation)
@set_option
@where_option()
@dry_run_option
@click.option("--list", "listing", is_flag=True, help="List the operations.")
@click.option("--options", "describe", is_flag=True, help="List the options of OPERATION.")
@lens_options()
def edit(
    session: Session,
    reference: str | None,
    operation: str | None,
    settings: tuple[str, ...],
    where: str,
    dry_run: bool,
    listing: bool,
    describe: bool,
    **lens: Any,
) -> None:
    """Edit captions in bulk.

    \b
      lorasmith dataset edit --list
      lorasmith dataset edit find_and_replace --options
      lorasmith dataset edit cats remove_tags --set tags=solo,hat --where "tags:>13" --dry-run

    What changes is shown with examples, then done as one new version; with --dry-run it is shown only. Where an option
    takes a list, commas separate.
    """
    from lorasmith.datasets.captions.operations import OPERATIONS

    if listing:
        more = "`lorasmith dataset edit OPERATION --options` lists the options of one."
        answer_list(session, "operation", OPERATIONS, more)
        return
    if describe:
        name = one_of(OPERATIONS, operation or reference, "caption operation")
        answer_options(session, name, OPERATIONS[name])
        return
    if reference is None or operation is None:
        raise ConfigError("An edit needs a dataset and an operation.", "`lorasmith dataset edit --list` lists them.")
    name = one_of(OPERATIONS, operation, "caption operation")
    curate, arguments = session.studio.curate, values_for(OPERATIONS[name], settings)
    looked_at = lens_of(session, lens)
    before = curate.version(reference)
    preview = curate.preview_edit(before, name, arguments, where, looked_at)
    lines = _preview_lines(session, preview)
    document = plain(preview) | {"before": before.reference, "dry_run": dry_run}
    if dry_run:
        session.answer(document, *lines, "Nothing was changed: this was a dry run.")
        return
    made = curate.edit(reference, name, arguments, where, looked_at)
    session.answer(document | summary(made), *lines, made_line(before.reference, made.reference, made.dataset))


def one_of(known: Any, name: str | None, what: str) -> str:
    """The name, if it is known.

    Raises:
        ConfigError: it is not; the hint names the nearest, or all.
    """
    import difflib

    if name is None:
        raise ConfigError(f"No {what} is named.", f"There are: {', '.join(known)}.")
    plain_name = name.replace("-", "_")
    if plain_name not in known:
        near = difflib.get_close_matches(plain_name, known, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(known)}."
        raise ConfigError(f"There is no {what} called '{name}'.", hint)
    return plain_name


def made_line(before: str, after: str, dataset: str) -> str:
    """The last line of every edit."""
    if before == after:
        return f"Nothing to change in {before}."
    return f"{after} made from {before}. Back: lorasmith dataset undo {dataset}"


def _preview_lines(session: Session, preview: BulkPreview) -> list[str]:
    lines = [
        f"{visible(preview.operation)}.",
        f"On {preview.scope}: {preview.changed:,} captions change, {preview.unchanged:,} stay as they are.",
    ]
    lines += [f"Warning: {warning}" for warning in preview.warnings]
    if preview.tags:
        shown = [
            f"{visible(tag)} {before:,} to {after:,}" for tag, (before, after) in list(preview.tags.items())[:_TAGS]
        ]
        more = f" and {len(preview.tags) - _TAGS:,} more" if len(preview.tags) > _TAGS else ""
        lines.append(f"Tags: {', '.join(shown)}{more}")
    if preview.examples:
        lines.append("Examples:")
        lines += caption_lines(session, ((one.item, one.before, one.after) for one in preview.examples))
    return lines
