"""dataset ledger, select, selections: which files, and which pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lorasmith.cli.completion import complete_dataset
from lorasmith.cli.lens import dataset_argument, lens_of, lens_options
from lorasmith.cli.session import Session, count, plain, table, verb, visible
from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from lorasmith.datasets.selections import Selection

_FORMS = ("csv", "json", "jsonl")


@verb("ledger")
@dataset_argument
@click.option("--fate", type=click.Choice(("taken", "converted", "left_out")), help="Only files of this fate.")
@click.option("--rule", help="Only files that this rule decided on, such as damaged or duplicate.")
@click.option("--path", help="Only this path, or a pattern with * and ?.")
@click.option("--format", "form", type=click.Choice(_FORMS), help="Write it for other programs.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Into a file; its suffix tells how."
)
def ledger(session: Session, reference: str, form: str | None, out: Path | None, **conditions: Any) -> None:
    """Say what became of every file.

    Every file that was offered is taken or left out, and the rule that decided is named.
    """
    from lorasmith.datasets.ledger import ledger_table, ledger_text, totals

    fates = session.studio.curate.ledger(reference, **conditions)
    counts = totals(fates)
    said = f"{count(counts.inputs, 'file')}: {counts.taken} taken, {counts.converted} of them as a repaired or "
    said += f"converted copy, {counts.left_out} left out."
    document: dict[str, Any] = {"totals": plain(counts), "ledger": ledger_table(fates)}
    if out is not None:
        form = form or _form_of(out)
        out.write_bytes(ledger_text(fates, form).encode("utf-8", "backslashreplace"))  # type: ignore[arg-type]
        session.answer(document | {"file": str(out)}, said, str(out))
    elif form is not None and not session.json:
        text = ledger_text(fates, form)  # type: ignore[arg-type]
        click.echo(text.encode("utf-8", "backslashreplace"), nl=False)
    else:
        rows = [(visible(fate.path), fate.fate.replace("_", " "), fate.rule, visible(fate.detail)) for fate in fates]
        session.answer(document, *table(("file", "fate", "rule", "why"), rows), said)


def _form_of(path: Path) -> str:
    suffix = path.suffix.lower().lstrip(".")
    if suffix not in _FORMS:
        raise ConfigError(f"The name {path.name} does not tell in which form.", f"Add --format {'|'.join(_FORMS)}.")
    return suffix


def _show_fields(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    from lorasmith.datasets.query import FIELDS

    rows = [(name, field.kind, field.help, " ".join(field.choices)) for name, field in FIELDS.items()]
    lines = table(("field", "takes", "meaning", "values"), rows)
    lines += ["", "tag:solo -tag:hat    (cat OR dog) NOT missing:trigger    tags:>13    aspect:0.9..1.1    blur:<40"]
    context.ensure_object(Session).answer({"fields": plain(list(FIELDS.values()))}, *lines)
    context.exit()


@verb("select")
@dataset_argument
@click.argument("query")
@click.option("--save", metavar="NAME", help="Save the query; @NAME then stands for it.")
@click.option("--replace", is_flag=True, help="With --save: in place of a selection of that name.")
@click.option("--explain", is_flag=True, help="Say what the query means, and look for nothing.")
@click.option(
    "--fields",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_fields,
    help="List everything that can be asked for.",
)
@lens_options()
def select(
    session: Session, reference: str, query: str, save: str | None, replace: bool, explain: bool, **lens: Any
) -> None:
    """List the pictures that a query means.

    \b
      lorasmith dataset select cats "tag:solo -tag:hat tags:>13"
      lorasmith dataset select cats "blur:<40 OR dup:near" --save blurred
      lorasmith dataset select cats @blurred

    Names go to stdout, one a line; how many there are goes to stderr.
    """
    curate = session.studio.curate
    if replace and save is None:
        raise ConfigError("--replace says nothing without --save.", "Add --save NAME, or leave it out.")
    version = curate.version(reference)
    words = _in_words(session, version.dataset, query)
    if save is not None:
        if query.strip().startswith("@"):
            raise ConfigError("A selection cannot be saved under another name.", "Save the query that it stands for.")
        curate.save_selection(version.dataset, save, query, replace=replace)
        session.note(f"Saved as @{save}.")
    document = {"reference": version.reference, "query": query, "meaning": words, "saved": save}
    if explain:
        session.answer(document, words)
        return
    names = curate.select(version, query, lens_of(session, lens))
    session.note(f"{len(names):,} of {count(len(version.items), 'picture')}: {words}")
    session.answer(document | {"total": len(version.items), "names": names}, *(visible(name) for name in names))


def _in_words(session: Session, dataset: str, query: str) -> str:
    from lorasmith.datasets.query import parse_query

    if query.strip().startswith("@"):
        return _meaning(session.studio.curate.selections(dataset).get(query.strip()[1:]))
    return parse_query(query).explain()


def _meaning(selection: Selection) -> str:
    from lorasmith.datasets.query import parse_query

    if selection.query is None:
        return f"a list of {count(len(selection.names or ()), 'picture')}"
    return parse_query(selection.query).explain()


@verb("selections")
@click.argument("name", metavar="DATASET", shell_complete=complete_dataset)
@click.option("--delete", metavar="NAME", help="Remove this one. No picture is touched.")
def selections(session: Session, name: str, delete: str | None) -> None:
    """List the saved selections of a dataset."""
    saved = session.studio.curate.selections(name)
    removed = saved.delete(delete.removeprefix("@")) if delete is not None else None
    left = saved.list()
    rows = [(f"@{one.name}", one.query if one.query is not None else "(a list)", _meaning(one)) for one in left]
    lines = [f"Removed @{removed.name}."] if removed is not None else []
    lines += table(("selection", "query", "meaning"), rows) if rows else ["No saved selections."]
    document = {"dataset": saved.dataset, "selections": plain(left), "deleted": removed.name if removed else None}
    session.answer(document, *lines)
