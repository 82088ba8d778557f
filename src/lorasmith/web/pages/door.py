"""The door: a token or a password becomes a session, and a session ends."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from lorasmith.web.people import Actor
from lorasmith.web.rendering import page
from lorasmith.web.sessions import ABSOLUTE, COOKIE, Sessions

router = APIRouter(include_in_schema=False)


@router.get("/enter")
def enter(request: Request, once: Annotated[str, Query(max_length=200)] = "") -> Response:
    """Exchange the token of the printed address for a cookie."""
    secret = request.app.state.sessions.accept(once, request.headers.get("user-agent", ""))
    if secret is None:
        return RedirectResponse("/login?used=1", 303)
    return _with_cookie(request, RedirectResponse("/", 303), secret)


@router.get("/login")
def login(request: Request, used: bool = False, next: Annotated[str, Query(max_length=2000)] = "/") -> HTMLResponse:
    """Where somebody ends who has no session."""
    return _form(request, 401, used=used, leads_to=_inside(next))


@router.post("/login")
def sign_in(
    request: Request,
    name: Annotated[str, Form(max_length=100)] = "",
    password: Annotated[str, Form(max_length=2000)] = "",
    next: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """A password becomes a session. Whether the name or the password was wrong is not said."""
    sessions: Sessions = request.app.state.sessions
    throttle = request.app.state.throttle
    address = request.client.host if request.client else ""
    keys = (f"account:{name}", f"address:{address}")
    if (wait := throttle.wait(*keys)) > 0:
        answer = _form(
            request, 429, leads_to=_inside(next), wrong=f"Too many attempts. Try again in {math.ceil(wait)} s."
        )
        answer.headers["retry-after"] = str(math.ceil(wait))
        return answer
    throttle.failed(*keys)  # before it is looked at, so that many at once are counted too
    account = sessions.accounts.verify(name, password) if sessions.accounts.exist() else None
    if account is None:
        return _form(request, 401, leads_to=_inside(next), wrong="The name or the password is wrong.")
    throttle.succeeded(keys[0])
    throttle.succeeded(keys[1])
    request.state.signed_in = account.name
    former = request.cookies.get(COOKIE)
    if former:
        sessions.close(former)
    secret = sessions.open(Actor(account.name, account.role), said=request.headers.get("user-agent", ""))
    return _with_cookie(request, RedirectResponse(_inside(next), 303), secret)


@router.post("/logout")
def sign_out(request: Request) -> Response:
    """End this session."""
    sessions: Sessions = request.app.state.sessions
    if secret := request.cookies.get(COOKIE):
        sessions.close(secret)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, path="/")
    return answer


@router.get("/health")
def health() -> PlainTextResponse:
    """Whether the server answers."""
    return PlainTextResponse("ok")


def _form(request: Request, status: int, *, used: bool = False, wrong: str = "", leads_to: str = "/") -> HTMLResponse:
    accounts = request.app.state.sessions.accounts.exist()
    return page(
        request,
        "login.html",
        status,
        title="Sign in",
        area="",
        used=used,
        accounts=accounts,
        wrong=wrong,
        next=leads_to,
    )


def _inside(address: str) -> str:
    """An address of this server; anything else becomes the first page."""
    plain = address.isascii() and address.isprintable() and "\\" not in address
    return address if plain and address.startswith("/") and not address.startswith("//") else "/"


def _with_cookie(request: Request, answer: Response, secret: str) -> Response:
    """The cookie, which travels over TLS alone where the server speaks it."""
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, secret, max_age=int(ABSOLUTE), httponly=True, samesite="strict", path="/", secure=secure)
    return answer
