"""secrets: the keys and tokens of sites. A value is typed unseen or read from stdin; as an argument it would show in
the list of processes and stay in the shell's history."""

from __future__ import annotations

import sys

import click

from lorasmith.cli.app import Group
from lorasmith.cli.session import Session, shared_options, table
from lorasmith.credentials import WANTED, Credentials
from lorasmith.errors import ConfigError, InputError

_LONGEST_INPUT = 10_000  # characters; more is a file that was piped in by mistake


@click.group(
    "secrets", cls=Group, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@shared_options
@click.pass_context
def secrets(context: click.Context) -> None:
    """Keep the keys of sites where nobody reads them.

    They lie in the system's keyring, or in a file that only you can read. Environment variables such as HF_TOKEN count
    before them. SERVICE is civitai, huggingface, gelbooru, danbooru, or openai:HOST for a server of that kind.
    """
    if context.invoked_subcommand is None:
        _list(context.ensure_object(Session))


@secrets.verb("set")
@click.argument("service")
@click.pass_context
def set_secret(context: click.Context, session: Session, service: str) -> None:
    """Keep the secret of a service: typed unseen, or read from stdin.

    \b
      lorasmith secrets set civitai
      lorasmith secrets set civitai < token.txt
    """
    if context.args:
        raise ConfigError(
            "A secret is not given on the command line, where others can read it.",
            f"Run `lorasmith secrets set {service}` and type it; take the last line out of your shell's history.",
        )
    kept = _credentials(session).set(service, _typed(service) if sys.stdin.isatty() else _piped())
    place = "the system's keyring" if kept.where == "keyring" else "a file that only you can read"
    session.answer({"service": service, "where": kept.where}, f"The secret of {service} is kept in {place}.")


set_secret.allow_extra_args = True  # so that the refusal is ours, and does not repeat what was given


def _typed(service: str) -> str:
    wanted = WANTED.get(service)
    if wanted:
        click.echo(f"Paste {wanted}; it is not shown.", err=True)
    return str(click.prompt(f"Secret of {service}", hide_input=True, err=True))


def _piped() -> str:
    text = sys.stdin.read(_LONGEST_INPUT + 1)
    if len(text) > _LONGEST_INPUT:
        raise InputError("What came from stdin is too long to be a secret.", "Pipe in the secret and nothing else.")
    return text


@secrets.verb("list")
def list_secrets(session: Session) -> None:
    """List services with a secret, and where each comes from; values are never shown."""
    _list(session)


def _list(session: Session) -> None:
    found = _credentials(session).services()
    rows = [(entry.service, entry.where) for entry in found]
    lines = (
        table(("service", "kept in"), rows) if rows else ["No secrets yet; `lorasmith secrets set SERVICE` keeps one."]
    )
    session.answer({"secrets": [{"service": entry.service, "where": entry.where} for entry in found]}, *lines)


@secrets.verb("forget")
@click.argument("service")
def forget_secret(session: Session, service: str) -> None:
    """Remove the secret of a service."""
    kept = _credentials(session)
    forgotten = kept.forget(service)
    left = next((entry.where for entry in kept.services() if entry.service == service), "")
    if not forgotten and not left:
        raise InputError(f"There is no secret of {service}.", "Run `lorasmith secrets list` for those there are.")
    said = f"The secret of {service} is forgotten." if forgotten else f"Nothing was kept for {service}."
    still = f" {left} still gives one; unset it in your shell." if left else ""
    session.answer({"service": service, "forgotten": forgotten, "still_from": left}, said + still)


def _credentials(session: Session) -> Credentials:
    return Credentials(session.studio.home)
