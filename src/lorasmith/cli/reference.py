"""``python -m lorasmith.cli.reference > docs/commands.md``: the commands, written from the commands themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from lorasmith.cli.app import COMMANDS, EXIT_CODES, cli

_SHARED = ("home", "json", "json_events", "debug", "help")


def reference() -> str:
    """The whole page."""
    context = _context(cli, "lorasmith")
    lines = [
        "# Commands",
        "",
        "Written by `python -m lorasmith.cli.reference`; a test fails when it is stale.",
        "",
        "Every command also takes these, before or after its name:",
        "",
        *_parameters(cli, context, shared=True),
        "",
    ]
    for section, commands in COMMANDS.items():
        lines += [f"## {section}", ""]
        for name in commands:
            command = cli.get_command(context, name)
            if command is not None:
                lines += _command(command, _context(command, name, context), "###")
    lines += ["## Exit codes", "", "| code | means |", "|---|---|"]
    lines += [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES]
    return "\n".join(lines) + "\n"


def _context(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    """As when the command is called: a command remembers how its help option was called the first time."""
    return click.Context(command, parent=parent, info_name=name, **command.context_settings)


def _command(command: click.Command, context: click.Context, heading: str) -> Iterator[str]:
    yield from (f"{heading} {context.command_path}", "")
    pieces = " ".join(command.collect_usage_pieces(context))
    yield from (f"`{context.command_path} {pieces}`", "")
    yield from (*_prose(command.help or ""), "")
    rows = _parameters(command, context, shared=False)
    if rows:
        yield from (*rows, "")
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None:
                yield from _command(inner, _context(inner, name, context), heading + "#")


def _parameters(command: click.Command, context: click.Context, *, shared: bool) -> list[str]:
    """A table of options: the shared ones or the command's own."""
    rows: list[str] = []
    help_option = command.get_help_option(context)
    for parameter in command.get_params(context):
        is_shared = parameter.name in _SHARED or parameter is help_option
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record is not None and is_shared == shared and parameter.name != "version":
            name, text = (part.replace("|", "\\|") for part in record)
            rows.append(f"| `{name}` | {text} |")
    return ["| option | meaning |", "|---|---|", *rows] if rows else []


def _prose(text: str) -> list[str]:
    """Help text as Markdown: what click keeps as it is (after a backspace mark) becomes a code block."""
    lines: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        if paragraph.lstrip().startswith("\b"):
            body = paragraph.lstrip()[1:].strip("\n").splitlines()
            lines += ["```", *(line.strip() for line in body), "```", ""]
        else:
            lines += [" ".join(paragraph.split()), ""]
    return lines[:-1]


if __name__ == "__main__":
    click.echo(reference(), nl=False)
