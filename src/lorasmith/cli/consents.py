"""consents: what the user has agreed to, such as terms of sites and pictures that leave the machine."""

from __future__ import annotations

import difflib

import click

from lorasmith.cli.app import Group
from lorasmith.cli.session import Session, shared_options, table
from lorasmith.errors import InputError
from lorasmith.fetching import Consents


@click.group(
    "consents", cls=Group, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@shared_options
@click.pass_context
def consents(context: click.Context) -> None:
    """See what you agreed to, and take it back.

    A command that needs a consent shows what it is about and asks; where nobody can be asked, it says which --accept
    to give. A consent holds until it is withdrawn or until its text changes.
    """
    if context.invoked_subcommand is None:
        _list(context.ensure_object(Session))


@consents.verb("list")
def list_consents(session: Session) -> None:
    """List what was agreed to, and when."""
    _list(session)


def _list(session: Session) -> None:
    given = Consents(session.studio.home).all()
    lines = table(("notice", "agreed to"), list(given.items())) if given else ["You have agreed to nothing yet."]
    session.answer({"consents": [{"notice": id, "given": at} for id, at in given.items()]}, *lines)


@consents.verb("withdraw")
@click.argument("notice")
def withdraw_consent(session: Session, notice: str) -> None:
    """Take a consent back; what needs it asks again."""
    kept = Consents(session.studio.home)
    if not kept.withdraw(notice):
        near = difflib.get_close_matches(notice, kept.all(), n=1)
        hint = f"Did you mean '{near[0]}'?" if near else "Run `lorasmith consents list` for those there are."
        raise InputError(f"You have not agreed to '{notice}'.", hint)
    session.answer({"notice": notice, "withdrawn": True}, f"Your consent to {notice} is withdrawn.")
