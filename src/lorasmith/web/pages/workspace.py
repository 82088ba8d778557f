"""The workspace: what one comes in at."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from lorasmith.studio import Studio
from lorasmith.web.rendering import page

router = APIRouter(include_in_schema=False)


@router.get("/")
def workspace(request: Request) -> HTMLResponse:
    """What there is, and what to do first when there is nothing."""
    studio: Studio = request.app.state.studio
    counts = {"datasets": len(studio.datasets()), "models": len(studio.library.names()), "jobs": len(studio.jobs())}
    return page(request, "workspace.html", title="Workspace", area="workspace", counts=counts)
