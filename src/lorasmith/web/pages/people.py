"""People: your sessions and links; for admins the accounts and the audit log."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import astuple, fields
from typing import Annotated, Final

from fastapi import APIRouter, Form, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from lorasmith.web.audit import Audit, Entry
from lorasmith.web.people import Actor
from lorasmith.web.rendering import page
from lorasmith.web.sessions import Sessions
from lorasmith.web.sharing import Shares

router = APIRouter(include_in_schema=False)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
Id = Annotated[str, Form(max_length=100)]


@router.get("/people")
def people(request: Request) -> HTMLResponse:
    """Who may come in, and who did what."""
    sessions, shares, audit = _of(request)
    actor = _actor(request)
    admin = actor.role == "admin"
    return page(
        request, "people/people.html", title="People", area="settings", admin=admin,
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
