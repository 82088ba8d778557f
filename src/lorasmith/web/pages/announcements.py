"""``/settings/announcements``: how people are told that a job has ended."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from lorasmith.studio import Studio
from lorasmith.web.announcing import KEEP, Announcer, Wishes, choose, wishes_of
from lorasmith.web.rendering import page

router = APIRouter(prefix="/settings/announcements", include_in_schema=False)


@router.get("")
def announcements(request: Request, said: str = "") -> HTMLResponse:
    """What was chosen. The webhook's address is never sent back: it holds a key with most services."""
    wishes = wishes_of(_studio(request).home)
    return page(
        request, "settings/announcements.html", title="When a job has ended", area="settings", wishes=wishes, said=said
    )


@router.post("")
def keep(
    request: Request,
    address: Annotated[str, Form(max_length=2000)] = "",
    forget: Annotated[str, Form()] = "",
    own_network: Annotated[str, Form()] = "",
    desktop: Annotated[str, Form()] = "",
) -> Response:
    """Keep what is chosen; an empty address leaves the one that is there."""
    home = _studio(request).home
    new = "" if forget == "on" else address.strip() or KEEP
    choose(home, Wishes(new, own_network == "on", desktop == "on"))
    return RedirectResponse("/settings/announcements?said=kept", 303)


@router.post("/try")
def attempt(request: Request) -> Response:
    """Send a message now; a refusal of the webhook is the answer."""
    announcer: Announcer = request.app.state.announcer
    announcer.attempt()
    return RedirectResponse("/settings/announcements?said=sent", 303)


def _studio(request: Request) -> Studio:
    studio: Studio = request.app.state.studio
    return studio
