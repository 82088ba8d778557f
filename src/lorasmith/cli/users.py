"""users: accounts of people, where more than one uses the server. A password is typed unseen or read from stdin."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from lorasmith.cli.app import Group
from lorasmith.cli.session import Session, shared_options, table
from lorasmith.errors import EnvironmentProblem, InputError

if TYPE_CHECKING:
    from lorasmith.web.sessions import Sessions

_ROLES = click.Choice(["admin", "member", "viewer"])
_LONGEST_INPUT = 4096


@click.group("users", cls=Group, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@shared_options
@click.pass_context
def users(context: click.Context) -> None:
    """Make accounts, so that others may use the web app.

    A viewer looks, a member makes and changes things of their own and of the team, an admin everything. The first
    account is an admin. With an account there is, `lorasmith web --host 0.0.0.0` lets others reach the server.
    """
    if context.invoked_subcommand is None:
        _list(context.ensure_object(Session))


@users.verb("add")
@click.argument("name")
@click.option("--role", type=_ROLES, default="member", show_default=True, help="What it may do.")
def add_user(session: Session, name: str, role: str) -> None:
    """Make an account; its password is typed unseen, or read from stdin."""
    made = _sessions(session).accounts.add(name, _password(name), role)
    session.answer({"name": made.name, "role": made.role}, f"{made.name} may sign in, as {made.role}.")


@users.verb("list")
def list_users(session: Session) -> None:
    """List accounts."""
    _list(session)


def _list(session: Session) -> None:
    found = _sessions(session).accounts.list()
    lines = table(("name", "role"), [(one.name, one.role) for one in found]) if found else ["There are no accounts."]
    session.answer({"users": [{"name": one.name, "role": one.role} for one in found]}, *lines)


@users.verb("remove")
@click.argument("name")
def remove_user(session: Session, name: str) -> None:
    """Remove an account and sign it out; what it owns is then the admins'."""
    _sessions(session).accounts.remove(name)
    session.answer({"name": name}, f"{name} may no longer sign in.")


@users.verb("role")
@click.argument("name")
@click.argument("role", type=_ROLES)
def change_role(session: Session, name: str, role: str) -> None:
    """Give an account another role, from its next request on."""
    made = _sessions(session).accounts.set_role(name, role)
    session.answer({"name": made.name, "role": made.role}, f"{made.name} is {made.role} now.")


@users.verb("password")
@click.argument("name")
def change_password(session: Session, name: str) -> None:
    """Give an account another password and sign it out everywhere."""
    sessions = _sessions(session)
    if sessions.accounts.find(name) is None:
        raise InputError(f"There is no account '{name}'.", "`lorasmith users list` lists them.")
    sessions.accounts.set_password(name, _password(name))
    session.answer({"name": name}, f"{name} has another password, and has to sign in again.")


@users.verb("key")
@click.argument("name")
def make_key(session: Session, name: str) -> None:
    """Make a key for programs of an account; it is shown this once."""
    from lorasmith.web.people import Actor

    sessions = _sessions(session)
    account = sessions.accounts.find(name)
    if account is None:
        raise InputError(f"There is no account '{name}'.", "`lorasmith users list` lists them.")
    key = sessions.open(Actor(account.name, account.role), kind="program", said="made on the command line")
    session.answer({"name": name, "key": key}, key)


def _sessions(session: Session) -> Sessions:
    try:
        from lorasmith.web.sessions import Sessions
    except ImportError as cause:
        raise EnvironmentProblem(
            f"Accounts need the extra 'web': {cause}.", "Install it with `pip install lorasmith[web]`."
        ) from cause
    return Sessions(session.studio.home)


def _password(name: str) -> str:
    if sys.stdin.isatty():
        return str(click.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=True, err=True))
    text = sys.stdin.read(_LONGEST_INPUT + 1)
    if len(text) > _LONGEST_INPUT:
        raise InputError("What came from stdin is too long to be a password.", "Pipe in the password and nothing else.")
    return text.rstrip("\r\n")
