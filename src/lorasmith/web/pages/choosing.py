"""Which pictures a query means. One that needs pixels to be measured is a look: the page says how far it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastapi import Request

from lorasmith.datasets.manifest import DatasetVersion
from lorasmith.errors import ConfigError, DatasetError, Stopped
from lorasmith.web.looks import Look
from lorasmith.web.pages.framing import looks_of, studio_of


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
    if not q.strip():
        return Chosen([item.name for item in version.items])
    curate = studio_of(request).curate
    try:
        asked = curate.asked(version.dataset, q)
        if not asked.measures:
            return Chosen(curate.select(version, q))
        key = (version.dataset, version.number, version.root, "query", asked)
        looks = looks_of(request)
        look = looks.ask(key, lambda look: curate.select(version, q, progress=look.watch))
        if look.running and not wait:
            return Chosen(look=look)
        try:
            return Chosen(look.result())
        except (Stopped, ConfigError, DatasetError):
            looks.forget(look)  # who asks again begins anew
            raise
    except (Stopped, ConfigError, DatasetError) as refusal:
        return Chosen(refusal=str(refusal.args[0]), hint=refusal.hint)
