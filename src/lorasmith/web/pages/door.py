"""The door: a token becomes a session, and where to find it when there is none."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from lorasmith.web.rendering import page
from lorasmith.web.sessions import ABSOLUTE, COOKIE

router = APIRouter(include_in_schema=False)


@router.get("/enter")
def enter(request: Request, once: Annotated[str, Query()] = "") -> Response:
    """Exchange the token of the printed address for a cookie."""
    secret = request.app.state.sessions.accept(once)
    if secret is None:
        return RedirectResponse("/login?used=1", 303)
    answer = RedirectResponse("/", 303)
    answer.set_cookie(COOKIE, secret, max_age=int(ABSOLUTE), httponly=True, samesite="strict", path="/")
    return answer


@router.get("/login")
def login(request: Request, used: bool = False) -> HTMLResponse:
    """Where somebody ends who has no session."""
    return page(request, "login.html", 401, title="Sign in", area="", used=used)


@router.get("/health")
def health() -> PlainTextResponse:
    """Whether the server answers."""
    return PlainTextResponse("ok")
