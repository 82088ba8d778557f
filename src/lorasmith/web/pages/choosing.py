"""Which pictures a query means. One that needs pixels to be measured is a look: the page says how far it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from starlette.responses import HTMLResponse

from lorasmith.datasets.manifest import DatasetVersion
from lorasmith.errors import ConfigError, DatasetError, Stopped
from lorasmith.web.looks import Look
from lorasmith.web.pages.framing import framed, looks_of, studio_of
from lorasmith.web.rendering import part, wants_part


@dataclass(frozen=True)
class Chosen:
    """What a query means, and why not where it means nothing."""

    names: list[str] = field(default_factory=list)
    refusal: str = ""
    hint: str = ""
    look: Look | None = None
    """Pictures are being measured for it; the names are not known yet."""


def choose(request: Request, version: DatasetVersion, q: str, *, wait: bool = False) -> Chosen:
    """The pictures that a query means, all without one.

    Args:
        request: of the page.
        version: where to look.
        q: the query, or ``@selection``.
        wait: until pictures are measured, if that is needed; else it is a look, and the page asks again.
    """
    try:
        return _asked(request, version, q, wait=wait)
    except (Stopped, ConfigError, DatasetError) as refusal:
        return Chosen(refusal=str(refusal.args[0]), hint=refusal.hint)


def scope(
    request: Request, version: DatasetVersion, form: Mapping[str, str], tab: str
) -> Collection[str] | HTMLResponse | None:
    """The pictures that a form means whose outcome is to be previewed: their names, None for all of them; while they
    are being measured for its query, the answer that says how far that is and sends the form again by itself.

    Args:
        request: of the form, whose path is asked again.
        version: where to look.
        form: its fields; the query is ``q``.
        tab: of the frame, where a browser without scripts sees it.

    Raises:
        ConfigError, DatasetError: the query means nothing.
        Stopped: somebody stopped the measuring, and the browser shows whole pages alone.
    """
    if not (q := form.get("q", "")).strip():
        return None
    try:
        chosen = _asked(request, version, q)
    except Stopped:
        if not wants_part(request):
            raise
        sentence = "The measuring was cancelled; what was measured until then is kept."
        return part(request, "parts/refusal.html", sentence=sentence, hint="Press Preview to go on.")
    if chosen.look is None:
        return chosen.names
    context: dict[str, Any] = {"version": version, "look": chosen.look, "form": form, "address": request.url.path}
    if wants_part(request):
        return part(request, "datasets/measuring.html", **context)
    return framed(
        request, "datasets/alone.html", version, tab, "Measuring pictures", inner="datasets/measuring.html", **context
    )


def _asked(request: Request, version: DatasetVersion, q: str, *, wait: bool = False) -> Chosen:
    if not q.strip():
        return Chosen([item.name for item in version.items])
    curate, looks = studio_of(request).curate, looks_of(request)
    asked = curate.asked(version.dataset, q)
    if not asked.measures:
        return Chosen(curate.select(version, q))
    key = (version.dataset, version.number, version.root, "query", asked)
    look = looks.ask(key, lambda look: curate.select(version, q, progress=look.watch), pictures=len(version.items))
    if look.running and not wait:
        return Chosen(look=look)
    try:
        return Chosen(look.result())
    except (Stopped, ConfigError, DatasetError):
        looks.forget(look)  # who asks again begins anew
        raise
