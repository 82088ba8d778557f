"""People: your sessions and links; for admins the accounts and the audit log."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import astuple, fields
from typing import Annotated, Final, get_args

from fastapi import APIRouter, Form, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from lorasmith.errors import LorasmithError
from lorasmith.web.accounts import Accounts
from lorasmith.web.audit import Audit, Entry
from lorasmith.web.people import Actor, Role
from lorasmith.web.rendering import page
from lorasmith.web.roles import require_admin
from lorasmith.web.sessions import Sessions
from lorasmith.web.sharing import Shares

router = APIRouter(include_in_schema=False)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
Id = Annotated[str, Form(max_length=100)]
Name = Annotated[str, Form(max_length=100)]
Password = Annotated[str, Form(max_length=2000)]


@router.get("/people")
def people(request: Request) -> HTMLResponse:
    """Who may come in, and who did what."""
    return _page(request)


@router.post("/people/accounts", response_model=None)
def add_account(request: Request, name: Name, password: Password, role: Id = "member") -> Response:
    """Make an account; the first one is an admin's."""
    return _changed(request, name, lambda accounts: accounts.add(name.strip(), password, role))


@router.post("/people/accounts/role", response_model=None)
def set_role(request: Request, name: Name, role: Id) -> Response:
    """It holds from the next request on."""
    return _changed(request, "", lambda accounts: accounts.set_role(name, role))


@router.post("/people/accounts/password", response_model=None)
def set_password(request: Request, name: Name, password: Password) -> Response:
    """Another password; the account is signed out everywhere."""
    return _changed(request, "", lambda accounts: accounts.set_password(name, password))


@router.post("/people/accounts/remove", response_model=None)
def remove_account(request: Request, name: Name) -> Response:
    """Its sessions end; what it owns is then the admins'."""
    return _changed(request, "", lambda accounts: accounts.remove(name))


def _changed(request: Request, given: str, change: Callable[[Accounts], object]) -> Response:
    require_admin(request)
    try:
        change(_of(request)[0].accounts)
    except LorasmithError as refusal:
        return _page(request, refusal, given)
    return RedirectResponse("/people", 303)


def _page(request: Request, refusal: LorasmithError | None = None, given: str = "") -> HTMLResponse:
    sessions, shares, audit = _of(request)
    actor = _actor(request)
    admin = actor.role == "admin"
    return page(
        request, "people/people.html", 422 if refusal else 200, title="People", area="settings", admin=admin,
        roles=get_args(Role), sentence=refusal.message if refusal else "", hint=refusal.hint if refusal else "",
        given_name=given,
        accounts=sessions.accounts.list() if admin else [],
        sessions=sessions.list(None if admin else actor.name), shares=shares.list(None if admin else actor.name),
        entries=audit.latest() if admin else [],
    )  # fmt: skip


@router.post("/people/sessions/end")
def end_session(request: Request, id: Id) -> Response:
    """Sign a browser out, or end a program's key."""
    sessions, _, _ = _of(request)
    actor = _actor(request)
    sessions.revoke(id, None if actor.role == "admin" else actor.name)
    return RedirectResponse("/people", 303)


@router.post("/people/links/end")
def end_link(request: Request, id: Id) -> Response:
    """A link that was given away shows nothing any more."""
    _, shares, _ = _of(request)
    actor = _actor(request)
    shares.revoke(id, None if actor.role == "admin" else actor.name)
    return RedirectResponse("/people", 303)


@router.get("/people/audit.csv")
def export_audit(request: Request) -> Response:
    """All that is kept of the audit log. Cells are no formulas."""
    if _actor(request).role != "admin":
        raise HTTPException(403)
    _, _, audit = _of(request)
    headers = {"content-disposition": 'attachment; filename="audit.csv"'}
    return StreamingResponse(_rows(audit), media_type="text/csv; charset=utf-8", headers=headers)


def _rows(audit: Audit) -> Iterator[str]:
    yield _row([field.name for field in fields(Entry)])
    for entry in audit.entries():
        yield _row([f"'{cell}" if str(cell).startswith(_FORMULA) else str(cell) for cell in astuple(entry)])


def _row(cells: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()


def _of(request: Request) -> tuple[Sessions, Shares, Audit]:
    state = request.app.state
    return state.sessions, state.shares, state.audit


def _actor(request: Request) -> Actor:
    actor: Actor = request.state.actor
    return actor
