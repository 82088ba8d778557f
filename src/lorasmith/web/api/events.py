"""``/api/events``: what happens in the queue, as it happens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import StreamingResponse

from lorasmith.web.journal import Tap

router = APIRouter(prefix="/api")


@router.get(
    "/events",
    summary="The journal of the queue as server-sent events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def events(request: Request, after: Annotated[str, Query(max_length=100)] = "") -> StreamingResponse:
    """Entries behind ``Last-Event-ID`` or ``after``, then those to come. ``reset`` means: load anew what you have."""
    tap: Tap = request.app.state.journal
    known = request.headers.get("last-event-id", "") or after
    studio, actor = request.app.state.studio, request.state.actor

    def may_hear(job: str) -> bool:
        return bool(studio.rules.may("job", job, "see", actor))

    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(
        tap.stream(known, request.is_disconnected, may_hear), media_type="text/event-stream", headers=headers
    )
