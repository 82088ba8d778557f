"""Models: what was trained and taken in, how it is used elsewhere, and what people say of it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote

from fastapi import APIRouter, File, Form, Query, Request, UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse

from lorasmith.errors import AdapterError, BaseError, LorasmithError
from lorasmith.library import KINDS
from lorasmith.models import WholeModel, uploaded
from lorasmith.studio import Studio
from lorasmith.web.rendering import page

router = APIRouter(prefix="/models", include_in_schema=False)
_CHUNK: Final = 1 << 20


@router.get("")
def models(request: Request, q: Annotated[str, Query(max_length=200)] = "", kind: str = "") -> HTMLResponse:
    """All of them, the newest first."""
    studio = _studio(request)
    everything = studio.models.list()
    wanted = q.strip().casefold()
    chosen = [
        one
        for one in everything
        if (not kind or one.about.kind == kind)
        and wanted in f"{one.name}\n{one.title}\n{one.trigger_word}\n{one.base}\n{one.about.description}".casefold()
    ]
    return page(
        request, "models/list.html", title="Models", area="models", models=chosen, total=len(everything), q=q,
        kind=kind, kinds=KINDS[1:], trash=studio.library.trash(),
    )  # fmt: skip


@router.get("/import")
def import_page(request: Request) -> HTMLResponse:
    """Where a LoRA of somebody else is taken in."""
    return page(
        request, "models/import.html", title="Import a model", area="models", bases=_bases(_studio(request)),
        sentence="", hint="",
    )  # fmt: skip


@router.post("/import", response_model=None)
def take_in(
    request: Request,
    file: Annotated[UploadFile | None, File()] = None,
    name: Annotated[str, Form(max_length=200)] = "",
    base: Annotated[str, Form(max_length=1000)] = "",
) -> HTMLResponse | RedirectResponse:
    """Take in a file; it is looked at first, and certified when the base that was chosen is here."""
    studio = _studio(request)
    place = studio.home / "registering"
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as folder:
        try:
            arrived = uploaded(file.filename or "" if file else "", _chunks(file), Path(folder))
            there = studio.models.register(arrived, name)
        except LorasmithError as refusal:
            return page(
                request, "models/import.html", 422, title="Import a model", area="models", bases=_bases(studio),
                sentence=refusal.message, hint=refusal.hint,
            )  # fmt: skip
    if base:
        studio.models.certify(there, base)
    return RedirectResponse(_address(there), 303)


@router.post("/trash")
def trash(
    request: Request, verb: Annotated[str, Form()], id: Annotated[str, Form(max_length=300)] = ""
) -> RedirectResponse:
    """Put a model back, or empty the trash."""
    library = _studio(request).library
    if verb == "restore":
        return RedirectResponse(_address(library.restore(id)), 303)
    if verb == "empty":
        library.empty_trash()
        return RedirectResponse("/models", 303)
    raise HTTPException(404)


@router.get("/{name}")
def model(request: Request, name: str) -> HTMLResponse:
    """One model with everything about it."""
    studio = _studio(request)
    try:
        whole = studio.models.get(name)
    except AdapterError as missing:
        return page(
            request, "refusal.html", 404, title="No such model", area="models", sentence=missing.message,
            hint=missing.hint,
        )  # fmt: skip
    painted, _ = studio.easel.history(limit=6, adapter=name)
    return page(
        request, "models/model.html", title=whole.model.title, area="models", whole=whole, model=whole.model,
        about=whole.model.about, kinds=KINDS[1:], bases=_bases(studio), likely=_likely(studio, whole), painted=painted,
        certifying=_certifying(studio, name),
        config=json.dumps(dict(whole.run.config), indent=2, ensure_ascii=False, default=str) if whole.run else "",
    )  # fmt: skip


@router.get("/{name}/download")
def download(request: Request, name: str) -> FileResponse:
    """The file."""
    path = _studio(request).library.path(name)
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)


@router.post("/{name}/about")
def describe(
    request: Request,
    name: str,
    title: Annotated[str, Form()] = "",
    description: Annotated[str, Form()] = "",
    visibility: Annotated[str, Form()] = "private",
    kind: Annotated[str, Form()] = "",
    license: Annotated[str, Form()] = "",
) -> RedirectResponse:
    """Change the words beside it."""
    words = {"title": title, "description": description, "visibility": visibility, "kind": kind, "license": license}
    _studio(request).models.describe(name, **words)
    return RedirectResponse(_address(name), 303)


@router.post("/{name}/certify")
def certify(request: Request, name: str, base: Annotated[str, Form(max_length=1000)]) -> RedirectResponse:
    """Load it into a base once more and keep what that shows."""
    job = _studio(request).models.certify(name, base)
    return RedirectResponse(f"/jobs/{job.id}", 303)


@router.post("/{name}/delete")
def delete(request: Request, name: str) -> RedirectResponse:
    """Move it to the trash."""
    _studio(request).models.remove(name)
    return RedirectResponse("/models#trash", 303)


def _chunks(file: UploadFile | None) -> Iterator[bytes]:
    while file is not None and (chunk := file.file.read(_CHUNK)):
        yield chunk


def _bases(studio: Studio) -> list[tuple[str, str]]:
    """References and words of the bases that can be opened here."""
    shelf = studio.bases
    here = [one for one in shelf.list() if one.kind == "base" and shelf.trainable(one.family) and one.present()]
    return [("sandbox", "sandbox"), *((one.name, f"{one.name} ({one.title})") for one in here)]


def _likely(studio: Studio, whole: WholeModel) -> str:
    """The base here that it was trained on; empty where none of them is it."""
    names = [reference for reference, _ in _bases(studio)]
    run = whole.run.config.get("base", "") if whole.run else ""
    said = [whole.model.base, str(run).replace("\\", "/").rpartition("/")[2]]
    try:
        shelf = {one.path: one.name for one in studio.bases.list()}
    except BaseError:
        shelf = {}
    said.append(shelf.get(str(run), ""))
    return next((name for name in said if name and name in names), "")


def _certifying(studio: Studio, name: str) -> str:
    """The job that certifies it now, if there is one."""
    path = str(studio.library.path(name))
    for row in studio.queue.list({"queued", "starting", "running", "held", "blocked"}):
        if row.kind == "certify" and studio.job(row.id).record().payload.get("adapter") == path:
            return row.id
    return ""


def _address(name: str) -> str:
    return f"/models/{quote(name, safe='')}"


def _studio(request: Request) -> Studio:
    studio: Studio = request.app.state.studio
    return studio
