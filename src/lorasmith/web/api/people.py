"""``/api/me``, ``/api/sessions``, ``/api/shares``, ``/api/owned``; for admins ``/api/users`` and ``/api/audit``."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from lorasmith.errors import ConfigError
from lorasmith.web.accounts import Account
from lorasmith.web.api.asking import ActorOf, Admin, Asked, Clean, StudioOf, noun
from lorasmith.web.audit import Audit, Entry
from lorasmith.web.owning import OwnedStudio
from lorasmith.web.people import Kind, Role, Visibility
from lorasmith.web.rules import Possession
from lorasmith.web.sessions import SessionFacts, Sessions
from lorasmith.web.sharing import LONGEST, Share, Shares

router = noun("", "people")
Id = Annotated[str, Path(max_length=100), Clean]
ThingName = Annotated[str, Path(max_length=300, examples=["cats"]), Clean]


class Me(BaseModel):
    """Who you are here."""

    name: str
    role: Role


class NewUser(Asked):
    """An account; the first one becomes an admin."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "ann", "password": "correct horse battery", "role": "member"}]}
    )
    name: Annotated[str, Field(max_length=100), Clean]
    password: Annotated[str, Field(max_length=2000), Clean]
    role: Role = "member"


class NewRole(Asked):
    """Another role."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "viewer"}]})
    role: Role


class NewPassword(Asked):
    """Another password."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"password": "another one of some length"}]})
    password: Annotated[str, Field(max_length=2000), Clean]


class Show(Asked):
    """Who else may see it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"visibility": "team"}]})
    visibility: Visibility


class NewShare(Asked):
    """One thing, and for how long."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"kind": "dataset", "name": "cats", "seconds": 86400}]})
    kind: Kind
    name: Annotated[str, Field(max_length=300), Clean]
    seconds: Annotated[float, Field(gt=0, le=LONGEST)] = 7 * 24 * 3600.0


class MadeShare(BaseModel):
    """A link; its address is shown this once."""

    share: Share
    address: str


@router.get("/me", summary="Who you are here")
def tell_me(actor: ActorOf) -> Me:
    """And what you may do."""
    return Me(name=actor.name, role=actor.role)


@router.get("/sessions", summary="Browsers and programs that are signed in")
def list_sessions(request: Request, actor: ActorOf) -> list[SessionFacts]:
    """Yours; admins see everybody's."""
    return _sessions(request).list(None if actor.role == "admin" else actor.name)


@router.delete("/sessions/{id}", summary="End a session")
def revoke_session(request: Request, actor: ActorOf, id: Id) -> SessionFacts:
    """At once."""
    return _sessions(request).revoke(id, None if actor.role == "admin" else actor.name)


@router.get("/users", summary="Accounts")
def list_users(request: Request, admin: Admin) -> list[Account]:
    """By name."""
    return _sessions(request).accounts.list()


@router.post("/users", status_code=201, summary="Make an account")
def add_user(request: Request, admin: Admin, asked: NewUser) -> Account:
    """With a password of at least 10 characters."""
    return _sessions(request).accounts.add(asked.name, asked.password, asked.role)


@router.put("/users/{name}/role", summary="Give an account another role")
def set_user_role(request: Request, admin: Admin, name: Id, asked: NewRole) -> Account:
    """It holds from its next request on."""
    return _sessions(request).accounts.set_role(name, asked.role)


@router.put("/users/{name}/password", summary="Give an account another password")
def set_user_password(request: Request, admin: Admin, name: Id, asked: NewPassword) -> Account:
    """It is signed out everywhere."""
    accounts = _sessions(request).accounts
    accounts.set_password(name, asked.password)
    return next(account for account in accounts.list() if account.name == name)


@router.delete("/users/{name}", status_code=204, summary="Remove an account")
def remove_user(request: Request, admin: Admin, name: Id) -> Response:
    """Its sessions end; what it owns is then the admins'."""
    _sessions(request).accounts.remove(name)
    return Response(status_code=204)


@router.get("/owned/{kind}/{name}", summary="Whose something is")
def get_owner(studio: StudioOf, kind: Kind, name: ThingName) -> Possession:
    """And who else may see it."""
    rules = _owned(studio).rules
    rules.require(kind, name, "see")
    return rules.of(kind, name)


@router.put("/owned/{kind}/{name}", summary="Let others see something, or no longer")
def show_to_others(studio: StudioOf, kind: Kind, name: ThingName, asked: Show) -> Possession:
    """Its owner and admins may."""
    _require_there(studio, kind, name)
    return _owned(studio).rules.show(kind, name, asked.visibility)


@router.get("/shares", summary="Links that were given away")
def list_shares(request: Request, actor: ActorOf) -> list[Share]:
    """Yours; admins see everybody's."""
    return _shares(request).list(None if actor.role == "admin" else actor.name)


@router.post("/shares", status_code=201, summary="A link that shows one thing to whoever has it")
def make_share(request: Request, studio: StudioOf, actor: ActorOf, asked: NewShare) -> MadeShare:
    """Read only, until it runs out or is ended."""
    _require_there(studio, asked.kind, asked.name)
    _owned(studio).rules.require(asked.kind, asked.name, "own")
    share, token = _shares(request).make(asked.kind, asked.name, actor.name, asked.seconds)
    return MadeShare(share=share, address=f"/shared/{token}")


@router.delete("/shares/{id}", summary="End a link")
def revoke_share(request: Request, actor: ActorOf, id: Id) -> Share:
    """At once."""
    return _shares(request).revoke(id, None if actor.role == "admin" else actor.name)


@router.get("/audit", summary="What was changed, the newest first")
def read_audit(request: Request, admin: Admin, limit: Annotated[int, Query(ge=1, le=10_000)] = 200) -> list[Entry]:
    """Who, what, and from where; `/people/audit.csv` has all that is kept."""
    audit: Audit = request.app.state.audit
    return audit.latest(limit)


def _sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


def _shares(request: Request) -> Shares:
    shares: Shares = request.app.state.shares
    return shares


def _owned(studio: object) -> OwnedStudio:
    assert isinstance(studio, OwnedStudio)
    return studio


def _require_there(studio: StudioOf, kind: Kind, name: str) -> None:
    """Only what is there can be shown, by its whole name."""
    if kind == "dataset":
        there = name in studio.datasets()
    else:
        there = name in studio.library.names() if kind == "adapter" else any(name == job.id for job in studio.jobs())
    if not there:
        raise ConfigError(f"There is no {kind} '{name}'.", "Give its whole name, as the list has it.")
