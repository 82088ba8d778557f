"""sources: where pictures can come from, and what each takes."""

from __future__ import annotations

import click

from lorasmith.cli.app import Group
from lorasmith.cli.options import option_rows
from lorasmith.cli.session import Session, plain, shared_options, size, table, visible


@click.group(
    "sources", cls=Group, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@shared_options
@click.pass_context
def sources(context: click.Context) -> None:
    """List where pictures can come from, with examples.

    `lorasmith import NAME LOCATION` brings them; --dry-run lists before anything is fetched.
    """
    if context.invoked_subcommand is None:
        _list(context.ensure_object(Session))


@sources.verb("list")
def list_sources(session: Session) -> None:
    """List the sources, each with an example."""
    _list(session)


def _list(session: Session) -> None:
    gathering = session.studio.sources
    known = [gathering.about(name) for name in gathering.names()]
    rows = [(facts.name, facts.title, facts.commands[0]) for facts in known]
    document = {
        "sources": [
            {"name": facts.name, "title": facts.title, "examples": facts.examples, "services": facts.services}
            for facts in known
        ]
    }
    lines = table(("source", "what", "for example"), rows)
    session.answer(document, *lines, "", "The options of one: lorasmith sources show NAME")


@sources.verb("show")
@click.argument("name")
def show(session: Session, name: str) -> None:
    """Say what a source takes: examples, options, secrets."""
    gathering = session.studio.sources
    facts = gathering.about(name.replace("-", "_"))
    rows = option_rows(facts.options)
    lines = [f"{facts.name}: {facts.title}", f"  {facts.about}"]
    lines += [f"  {command}" for command in facts.commands]
    lines += [f"  secret: lorasmith secrets set {service}" for service in facts.services]
    for row in rows:
        flag = f"--{row['name'].replace('_', '-')}"
        lines += [f"  {flag}  ({row['type']}, default {row['default']})", f"      {row['description']}"]
    if not rows:
        lines.append("  It has no options.")
    document = {
        "name": facts.name,
        "title": facts.title,
        "about": facts.about,
        "examples": facts.examples,
        "services": facts.services,
        "options": rows,
    }
    session.answer(document, *lines)


@sources.verb("unfinished")
@click.option("--delete", "ids", multiple=True, metavar="ID", help="Remove what this one has brought; repeatable.")
def unfinished(session: Session, ids: tuple[str, ...]) -> None:
    """List fetches that were interrupted; the same import goes on with them."""
    gathering = session.studio.sources
    removed = [gathering.give_up(id) for id in ids]
    left = gathering.unfinished()
    lines = [f"{one.id} is gone: {size(one.size)}." for one in removed]
    rows = [(one.id, one.source, visible(one.location)[:60], size(one.size)) for one in left]
    lines += table(("id", "source", "location", "here"), rows) if rows else ["Nothing is unfinished."]
    session.answer({"unfinished": plain(left), "removed": plain(removed)}, *lines)
