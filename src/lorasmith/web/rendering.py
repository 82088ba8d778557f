"""Pages and parts of pages.

Templates are Jinja with escaping always on; ``tests/web`` refuses one that switches it off. A request by htmx gets the
part it asked for, everybody else the whole page around it, so that every address works on its own.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from lorasmith import __version__
from lorasmith.files import bytes_in_words
from lorasmith.markup import visible
from lorasmith.web import vendoring
from lorasmith.web.forms import shown
from lorasmith.web.people import YOU
from lorasmith.web.wording import guided, plainly

ROOT: Final = Path(__file__).parent
AREAS: Final = (
    ("workspace", "/", "Workspace"),
    ("datasets", "/datasets", "Datasets"),
    ("models", "/models", "Models"),
    ("generate", "/generate", "Generate"),
    ("queue", "/queue", "Queue"),
    ("bases", "/bases", "Bases"),
    ("settings", "/settings", "Settings"),
    ("help", "/help", "Help"),
)
"""The navigation: key, address, word."""


def page(request: Request, template: str, /, status: int = 200, **context: Any) -> HTMLResponse:
    """A whole page. ``title`` and ``area`` (a key of ``AREAS``) belong into the context."""
    actor = getattr(request.state, "actor", None)
    theme = request.cookies.get("theme", "")
    account = actor.name if actor is not None and actor.name != YOU.name else ""
    shared = {"actor": actor, "account": account, "theme": theme if theme in ("light", "dark") else "", "areas": AREAS}
    text = environment().get_template(template).render(request=request, **shared, **context)
    return HTMLResponse(text, status_code=status)


def part(request: Request, template: str, /, status: int = 200, **context: Any) -> HTMLResponse:
    """A part of a page, for htmx."""
    return HTMLResponse(environment().get_template(template).render(request=request, **context), status_code=status)


def wants_part(request: Request) -> bool:
    """Whether htmx asks, which puts the answer into the page that is there."""
    return request.headers.get("hx-request") == "true"


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates, and the words they may use."""
    made = Environment(
        loader=FileSystemLoader(ROOT / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"static": static, "vendor": lambda name: static(vendoring.address(name)), "version": __version__}
    made.globals |= {"shown": shown, "pairs": lambda names: [(name, name) for name in names]}
    made.filters |= {"bytes": bytes_in_words, "ago": ago, "duration": duration, "visible": visible}
    made.filters |= {"guided": guided, "plainly": plainly}
    return made


@lru_cache(maxsize=256)
def static(path: str) -> str:
    """The address of a file under ``static/``, which changes when the file does."""
    digest = hashlib.sha256((ROOT / "static" / path).read_bytes()).hexdigest()[:12]
    return f"/static/{path}?v={digest}"


def ago(moment: datetime | float | str, now: datetime | None = None) -> str:
    """How long ago, in words: ``just now``, ``5 minutes ago``, ``yesterday``, else the date."""
    if isinstance(moment, int | float):
        moment = datetime.fromtimestamp(moment, UTC)
    elif isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    if seconds < 45:
        return "just now"
    for size, unit in ((60, "minute"), (3600, "hour")):
        if seconds < 60 * size if unit == "minute" else seconds < 24 * size:
            count = max(1, round(seconds / size))
            return f"{count} {unit}{'s' if count != 1 else ''} ago"
    return "yesterday" if seconds < 48 * 3600 else moment.date().isoformat()


def duration(seconds: float | None) -> str:
    """A length of time for people: ``40 s``, ``3 min``, ``2 h 5 min``; a dash where it is not known."""
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
