"""Where one can go: what the palette offers besides the pages."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import unquote

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse

from lorasmith.studio import Studio
from lorasmith.web import helping

router = APIRouter(include_in_schema=False)
_MOST: Final = 200  # jobs; the newest
_EDIT: Final = "/edit?operation="
TASKS: Final = (
    ("Add trigger words", _EDIT + "add_trigger_word"),
    ("Find and Replace", _EDIT + "find_and_replace"),
    ("Remove unwanted tags", _EDIT + "remove_tags"),
    ("Sort alphabetically", _EDIT + "sort_tags"),
    ("Duplicate removal: tags in a caption", _EDIT + "remove_duplicates"),
    ("Format standardization, clean up", _EDIT + "clean_up"),
    ("Limit caption length", _EDIT + "limit_tokens"),
    ("Caption management: bulk editing tools", "/edit"),
    ("Tag analysis: frequency, distribution", "/figures"),
    ("Dataset statistics: image count, average caption length, resolution distribution", "/figures"),
    ("Quality control", "/checks"),
    ("Caption quality: length, consistency checking", "/checks"),
    ("Trigger word verification", "/checks"),
    ("Image validation: formats, integrity, sizes", "/ledger"),
    ("Duplicates", "/duplicates"),
    ("Batch resize", "/tools?tool=resize"),
    ("Compression", "/tools?tool=compress"),
    ("Output format", "/tools?tool=convert"),
    ("Crop to buckets", "/tools?tool=to_bucket"),
    ("Face detection, masks of faces", "/tools?tool=mask_faces"),
    ("Masks", "/tools?tool=mask_rectangle"),
    ("Rename in sequence (0001.png)", "/arrange"),
    ("Validation split, balance, repeats", "/arrange"),
    ("Saved selections", "/arrange"),
    ("Buckets and trainers' eyes", "/training"),
    ("History, restore, branch", "/history"),
)
"""What one does with a dataset, in the words people look for, and where."""
PAGES: Final = (
    ("LoRA files: inspect, resize, convert, edit", "/loras"),
    ("Merge LoRAs", "/loras/merge"),
    ("Compare LoRAs: diff, interference", "/loras/compare"),
    ("Use LoRAs in ComfyUI, A1111, diffusers", "/loras/use"),
    ("Calculator: exposures, epochs, steps, time", "/calculator"),
)
"""Pages that the navigation has no room for."""


@router.get("/places")
def places(request: Request, at: Annotated[str, Query(max_length=2000)] = "") -> JSONResponse:
    """Datasets, models and jobs, each with its address; and what can be done with the dataset that ``at`` is about, or
    with the only one there is."""
    studio: Studio = request.app.state.studio
    names = list(studio.datasets())
    here = unquote(at).removeprefix("/datasets/").split("/")[0] if at.startswith("/datasets/") else ""
    here = here if here in names else names[0] if len(names) == 1 else ""
    tasks = [(word, f"/datasets/{here}{path}") for word, path in TASKS] if here else []
    found = [{"word": name, "address": f"/datasets/{name}", "kind": "dataset"} for name in names]
    found += [{"word": name, "address": f"/models/{name}", "kind": "model"} for name in studio.library.names()]
    found += [{"word": word, "address": address, "kind": here} for word, address in tasks]
    found += [{"word": job.id, "address": f"/jobs/{job.id}", "kind": "job"} for job in studio.jobs()[-_MOST:]]
    found += [{"word": word, "address": address, "kind": "page"} for word, address in PAGES]
    found += helping.places()
    return JSONResponse(found)
