"""Where one can go: what the palette offers besides the pages."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from lorasmith.studio import Studio
from lorasmith.web import helping

router = APIRouter(include_in_schema=False)
_MOST: Final = 200  # jobs; the newest


@router.get("/places")
def places(request: Request) -> JSONResponse:
    """Datasets, models and jobs, each with its address."""
    studio: Studio = request.app.state.studio
    found = [{"word": name, "address": f"/datasets/{name}", "kind": "dataset"} for name in studio.datasets()]
    found += [{"word": name, "address": f"/models/{name}", "kind": "model"} for name in studio.library.names()]
    found += [{"word": job.id, "address": f"/jobs/{job.id}", "kind": "job"} for job in studio.jobs()[-_MOST:]]
    found += helping.places()
    return JSONResponse(found)
