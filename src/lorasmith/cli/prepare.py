"""datasets, caption, captions: which datasets there are, and what stands under their pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lorasmith.cli.completion import complete_dataset
from lorasmith.cli.options import pairs
from lorasmith.cli.session import Session, count, table, verb
from lorasmith.cli.watching import reporter
from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from lorasmith.datasets.manifest import DatasetVersion


@verb("datasets")
def datasets(session: Session) -> None:
    """List the datasets and their versions."""
    known = session.studio.datasets()
    rows = [(name, numbers[-1], len(numbers)) for name, numbers in known.items() if numbers]
    lines = (
        table(("dataset", "newest", "versions"), rows) if rows else ["No datasets yet. `lorasmith import` makes one."]
    )
    session.answer({"datasets": known}, *lines)


@verb("caption")
@click.argument("dataset", shell_complete=complete_dataset)
@click.option("--captioner", default="wd_tagger", show_default=True, help="Who writes the captions.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option of the captioner; repeatable.")
@click.option("--keep-existing", is_flag=True, help="Leave captions alone that are there.")
@click.option("--trigger-word", default="", help="Put this word in front of every caption afterwards.")
def caption(
    session: Session, *, dataset: str, captioner: str, settings: tuple[str, ...], keep_existing: bool, trigger_word: str
) -> None:
    """Let a captioner describe the pictures.

    DATASET is a name, which means the present version, or name@number. A new version is made; the old captions stay
    in the old one.
    """
    if trigger_word and not trigger_word.strip():  # said before the captioner works, not after
        raise ConfigError("The trigger word is empty.", "Give a word the base does not know.")
    studio = session.studio
    parent = studio.dataset(dataset)
    with reporter(session) as report:
        version = studio.caption(
            parent, captioner, existing="keep" if keep_existing else "replace", on_event=report, **pairs(settings)
        )
    failures: dict[str, str] = dict(version.operation.arguments.get("failures", {}))
    if trigger_word:
        version = studio.add_trigger_word(version, trigger_word)
    before = {item.name: item.caption for item in parent.items}
    changed = sum(before.get(item.name) != item.caption for item in version.items)
    lines = [f"{version.reference}: {count(changed, 'caption')} written, {len(failures)} failed."]
    lines += [f"  {name}: {reason}" for name, reason in failures.items()]
    session.answer(
        summary(version) | {"changed": changed, "failures": failures},
        *lines,
        f"See them: lorasmith captions {version.dataset}",
    )


@verb("captions")
@click.argument("dataset", shell_complete=complete_dataset)
@click.option("--trigger-word", default="", help="Put this word in front of captions that lack it.")
@click.option("--remove-tag", "tags", multiple=True, metavar="TAG", help="Remove this whole tag; repeatable.")
def captions(session: Session, dataset: str, trigger_word: str, tags: tuple[str, ...]) -> None:
    """Show captions, add a trigger word, remove tags.

    DATASET is a name, which means the present version, or name@number. Edits make a new version; the old one stays.
    """
    studio = session.studio
    version = before = studio.dataset(dataset)
    if tags:
        version = studio.remove_tags(version, tags)
    if trigger_word:
        version = studio.add_trigger_word(version, trigger_word)
    document = summary(version) | {"captions": {item.name: item.caption for item in version.items}}
    lines = [f"{item.name}: {item.caption or '(none)'}" for item in version.items]
    if version.reference != before.reference:
        lines.append(f"{version.reference} made from {before.reference}.")
    elif tags or trigger_word:
        lines.append(f"Nothing to change in {version.reference}.")
    session.answer(document, *lines)


def summary(version: DatasetVersion) -> dict[str, Any]:
    """What every answer about a version says of it."""
    return {
        "dataset": version.dataset,
        "version": version.number,
        "reference": version.reference,
        "parent": version.parent,
        "pictures": len(version.items),
        "captioned": sum(bool(item.caption.strip()) for item in version.items),
        "fingerprint": version.fingerprint,
    }
