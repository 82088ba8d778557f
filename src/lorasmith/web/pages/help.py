"""Help: guides for each kind of model, messages with their cures, tips, the query language, keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from lorasmith.datasets.query import FIELDS
from lorasmith.web import helping
from lorasmith.web.rendering import page

router = APIRouter(prefix="/help", include_in_schema=False)


@router.get("")
def help_page(request: Request, q: Annotated[str, Query(max_length=200)] = "") -> HTMLResponse:
    """All of it, or the sections whose words hold what is looked for."""
    wanted = q.strip().casefold()
    found = [topic for topic in helping.TOPICS if wanted in f"{topic.title} {topic.words}".casefold()] if wanted else []
    return page(
        request, "help/help.html", title="Help", area="help", q=q, found=found, guides=helping.GUIDES,
        troubles=helping.TROUBLES, tips=helping.TIPS, keys=helping.KEYS, fields=FIELDS.values(),
    )  # fmt: skip
