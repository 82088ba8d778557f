"""The queue: lanes, what runs, what waits in which order, and what has ended."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from lorasmith.errors import ConfigError
from lorasmith.queue.states import ACTIVE, ENDED, WAITING
from lorasmith.studio import Studio
from lorasmith.web.listing import rows_of
from lorasmith.web.rendering import page, part

router = APIRouter(prefix="/queue", include_in_schema=False)
WAITING_SHOWN: Final = 100
ENDED_SHOWN: Final = 50
_RUN: Final = ("pause", "finish", "cancel")
_WAIT: Final = ("continue", "hold", "release", "front", "back", "cancel")
_END: Final = ("retry", "continue", "clone")


@router.get("")
def queue(request: Request, offset: Annotated[int, Query(ge=0)] = 0) -> HTMLResponse:
    """Everything on one page, kept up to date by the journal."""
    return page(request, "queue/queue.html", title="Queue", area="queue", **_shown(request, offset))


@router.get("/lists")
def lists(request: Request, offset: Annotated[int, Query(ge=0)] = 0) -> HTMLResponse:
    """The lists of the page."""
    return part(request, "queue/lists.html", **_shown(request, offset))


@router.post("/lanes")
def lanes(request: Request, verb: Annotated[str, Form()], lane: Annotated[str, Form()] = "") -> Response:
    """Drain a lane, or open it again."""
    queue = _studio(request).queue
    if verb == "drain":
        queue.drain(lane)
    elif verb == "open":
        queue.open_lane(lane)
    else:
        raise ConfigError("A lane cannot be asked that.", "Load the page again and use its buttons.")
    return RedirectResponse("/queue", 303)


def _shown(request: Request, offset: int) -> dict[str, Any]:
    studio = _studio(request)
    queue = studio.queue
    name, number = queue.journal_end()
    counts = queue.counts()
    lane_list = queue.lanes()
    running = queue.list(ACTIVE, in_turn=True)
    return {
        "journal": f"{name}.{number}",
        "counts": counts,
        "lanes": [(lane, sum(row.lane == lane.name for row in running)) for lane in lane_list],
        "elsewhere": request.app.state.host.elsewhere,
        "running": rows_of(studio, running, *_RUN),
        "waiting": rows_of(studio, queue.list(WAITING | {"paused"}, in_turn=True, limit=WAITING_SHOWN), *_WAIT),
        "waiting_count": sum(counts.get(state, 0) for state in WAITING | {"paused"}),
        "ended": rows_of(studio, queue.list(ENDED, newest=True, limit=ENDED_SHOWN, offset=offset), *_END),
        "ended_count": sum(counts.get(state, 0) for state in ENDED),
        "offset": offset,
        "step": ENDED_SHOWN,
    }


def _studio(request: Request) -> Studio:
    studio: Studio = request.app.state.studio
    return studio
