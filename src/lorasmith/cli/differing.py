"""dataset diff: what changed between two versions."""

from __future__ import annotations

import click

from lorasmith.cli.completion import complete_dataset
from lorasmith.cli.session import Session, verb
from lorasmith.cli.words import difference_document, difference_lines, tally_line
from lorasmith.errors import ConfigError


@verb("diff")
@click.argument("before", metavar="DATASET", shell_complete=complete_dataset)
@click.argument("after", metavar="[DATASET]", required=False, shell_complete=complete_dataset)
@click.option("--all", "everything", is_flag=True, help="Show every change, not only the first of many.")
def diff(session: Session, before: str, after: str | None, everything: bool) -> None:
    """Show what changed between two versions.

    With one version, what made it out of its parent. Captions are compared word by word: what went is in [-brackets-]
    and what came in {+braces+}, or in red and green on a terminal.
    """
    studio = session.studio
    if after is None:
        later = studio.dataset(before)
        if later.parent is None:
            raise ConfigError(f"{later.reference} is the first of its line.", "Name two versions to compare.")
        earlier = studio.dataset(f"{later.dataset}@{later.parent}")
    else:
        earlier, later = studio.dataset(before), studio.dataset(after)
    difference = studio.curate.diff(earlier, later)
    session.answer(
        difference_document(difference),
        f"{difference.before} -> {difference.after}: {tally_line(difference)}.",
        *difference_lines(session, difference, None if everything else 12),
    )
