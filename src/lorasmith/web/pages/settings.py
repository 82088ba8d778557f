"""Settings: how it looks, what takes room, secrets, consents, who is told, what this machine can do, sessions."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request
from starlette.responses import HTMLResponse, RedirectResponse

from lorasmith.credentials import WANTED, Credentials
from lorasmith.datasets.garbage import Garbage
from lorasmith.doctor import examine
from lorasmith.errors import ConfigError, LorasmithError
from lorasmith.fetching import Consents
from lorasmith.storage import usage
from lorasmith.studio import Studio
from lorasmith.web import announcing
from lorasmith.web.rendering import page, part
from lorasmith.web.roles import require_admin
from lorasmith.web.sessions import COOKIE, Sessions

router = APIRouter(prefix="/settings", include_in_schema=False)
THEMES: Final = ("system", "light", "dark")
_A_YEAR: Final = 365 * 24 * 3600


@router.get("")
def settings(request: Request) -> HTMLResponse:
    """All of it on one page; what has to be measured comes after."""
    return _page(request)


@router.post("/theme")
def theme(theme: Annotated[str, Form()]) -> RedirectResponse:
    """Light, dark, or as the system has it."""
    if theme not in THEMES:
        raise ConfigError(f"There is no theme '{theme[:40]}'.", "Choose light, dark or system.")
    answer = RedirectResponse("/settings", 303)
    if theme == "system":
        answer.delete_cookie("theme", path="/")
    else:
        answer.set_cookie("theme", theme, max_age=_A_YEAR, samesite="strict", path="/")
    return answer


# Storage


@router.get("/storage")
def storage(request: Request) -> HTMLResponse:
    """What takes how much."""
    return part(request, "settings/storage.html", usage=usage(_studio(request).home))


@router.get("/garbage")
def garbage(request: Request) -> HTMLResponse:
    """What could go, without deleting anything."""
    return part(request, "settings/garbage.html", found=_studio(request).curate.garbage(), freed=None)


@router.post("/garbage")
def collect(request: Request) -> HTMLResponse:
    """Delete what nobody needs; what came to be needed meanwhile stays."""
    require_admin(request)
    curate = _studio(request).curate
    return part(request, "settings/garbage.html", found=Garbage(), freed=curate.collect(curate.garbage()))


# Secrets


@router.post("/secrets", response_model=None)
def keep_secret(
    request: Request, service: Annotated[str, Form(max_length=300)], value: Annotated[str, Form(max_length=5000)]
) -> HTMLResponse | RedirectResponse:
    """Keep the secret of a service. It is never shown again."""
    require_admin(request)
    try:
        Credentials(_studio(request).home).set(service.strip(), value)
    except LorasmithError as refusal:
        return _page(request, 422, refusal.message, refusal.hint)
    return RedirectResponse("/settings#secrets", 303)


@router.post("/secrets/forget")
def forget_secret(request: Request, service: Annotated[str, Form(max_length=300)]) -> RedirectResponse:
    """Remove a secret."""
    require_admin(request)
    Credentials(_studio(request).home).forget(service)
    return RedirectResponse("/settings#secrets", 303)


@router.post("/consents/withdraw")
def withdraw(request: Request, id: Annotated[str, Form(max_length=300)]) -> RedirectResponse:
    """Take a consent back; it is asked for again."""
    Consents(_studio(request).home).withdraw(id)
    return RedirectResponse("/settings#consents", 303)


# The machine, and who is here


@router.get("/machine")
def machine(request: Request) -> HTMLResponse:
    """What the doctor finds."""
    return part(request, "settings/machine.html", diagnosis=examine(_studio(request).home))


@router.post("/sessions/end")
def end(request: Request, id: Annotated[str, Form(max_length=64)]) -> RedirectResponse:
    """Sign a session out; one's own leads to the door."""
    sessions, actor = _sessions(request), request.state.actor
    mine = id == sessions.id_of(request.cookies.get(COOKIE, ""))
    sessions.revoke(id, None if actor.role == "admin" else actor.name)
    return RedirectResponse("/login" if mine else "/settings#sessions", 303)


def _page(request: Request, status: int = 200, sentence: str = "", hint: str = "") -> HTMLResponse:
    studio = _studio(request)
    kept = {one.service: one.where for one in Credentials(studio.home).services() if one.service != announcing.SECRET}
    wishes = announcing.wishes_of(studio.home)
    actor = request.state.actor
    admin = actor.role == "admin"
    return page(
        request, "settings/settings.html", status, title="Settings", area="settings", sentence=sentence, hint=hint,
        themes=THEMES, chosen=request.cookies.get("theme", "system"), kept=kept, wanted=WANTED,
        consents=Consents(studio.home).all(), host=urlsplit(wishes.address).hostname or "", wishes=wishes,
        sittings=_sessions(request).list(None if admin else actor.name), home=studio.home,
        mine=_sessions(request).id_of(request.cookies.get(COOKIE, "")),
    )  # fmt: skip


def _sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


def _studio(request: Request) -> Studio:
    studio: Studio = request.app.state.studio
    return studio
