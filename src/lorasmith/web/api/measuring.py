"""Queries that measure pixels: an answer of the API that waits for nobody, and says how far it is."""

from __future__ import annotations

from typing import Any, Final

from fastapi import Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import JSONResponse

from lorasmith.datasets.manifest import DatasetVersion
from lorasmith.errors import LorasmithError
from lorasmith.studio import Studio
from lorasmith.web.api.asking import LensAsked
from lorasmith.web.looks import Looks

AGAIN: Final = 1
"""Seconds after which asking again may tell more."""


class Underway(BaseModel):
    """The pictures are being measured; the same request tells the names when they are."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"done": 240, "total": 10000}]})
    done: int
    total: int
    """0 until it is known."""


MEASURING: Final[dict[int | str, dict[str, Any]]] = {
    202: {"model": Underway, "description": "Pixels are being measured for the query; ask again."}
}


def chosen(
    request: Request, studio: Studio, version: DatasetVersion, where: str, lens: LensAsked
) -> list[str] | JSONResponse:
    """The names that a query means, all without one; 202 while pixels are measured for it.

    Raises:
        LorasmithError: the query means nothing.
    """
    if not where.strip():
        return [item.name for item in version.items]
    curate, through = studio.curate, lens.lens(studio.curate)
    asked = curate.asked(version.dataset, where)
    if not asked.measures:
        return curate.select(version, where, through)
    looks: Looks = request.app.state.looks
    key = (version.dataset, version.number, version.root, "query", asked, lens.model_dump_json())
    look = looks.ask(key, lambda look: curate.select(version, where, through, progress=look.watch))
    if look.running:
        told = Underway(done=look.done, total=look.total).model_dump()
        return JSONResponse(told, 202, headers={"retry-after": str(AGAIN)})
    try:
        found: list[str] = look.result()
        return found
    except LorasmithError:
        looks.forget(look)  # who asks again begins anew
        raise
