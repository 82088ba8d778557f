"""What others see: one thing, read only, by a link that was given away or because it is public.

A model or a run never shows the pictures it was trained on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, Response

from lorasmith.chronicle import chronicle_of
from lorasmith.errors import LorasmithError
from lorasmith.studio import Studio
from lorasmith.web.owning import OwnedStudio
from lorasmith.web.pages.pictures import picture_answer
from lorasmith.web.people import Actor, Kind, acting, changing
from lorasmith.web.rendering import page

router = APIRouter(include_in_schema=False)
_PAGE: Final = 200
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
Token = Annotated[str, Path(max_length=2000)]
Name = Annotated[str, Path(max_length=300)]
At = Annotated[int, Query(ge=0, le=10**9)]


@dataclass(frozen=True)
class Shown:
    """What is shown, and the address it has here."""

    kind: Kind
    name: str
    root: str


@router.get("/shared/{token}")
def shared(request: Request, token: Token, at: At = 0) -> HTMLResponse:
    """By a link that was given away."""
    return _page(request, _by_token(request, token), at)


@router.get("/shared/{token}/pictures/{sha256}")
def shared_picture(request: Request, token: Token, sha256: str) -> Response:
    """A picture of it."""
    return _picture(request, _by_token(request, token), sha256)


@router.get("/shared/{token}/samples/{path:path}")
def shared_sample(request: Request, token: Token, path: str) -> Response:
    """A sample of it."""
    return _sample(request, _by_token(request, token), path)


@router.get("/shared/{token}/file")
def shared_file(request: Request, token: Token) -> Response:
    """Its file."""
    return _file(request, _by_token(request, token))


@router.get("/public/{kind}/{name}")
def public(request: Request, kind: Kind, name: Name, at: At = 0) -> HTMLResponse:
    """Because its owner lets everybody see it."""
    return _page(request, _public(request, kind, name), at)


@router.get("/public/{kind}/{name}/pictures/{sha256}")
def public_picture(request: Request, kind: Kind, name: Name, sha256: str) -> Response:
    """A picture of it."""
    return _picture(request, _public(request, kind, name), sha256)


@router.get("/public/{kind}/{name}/samples/{path:path}")
def public_sample(request: Request, kind: Kind, name: Name, path: str) -> Response:
    """A sample of it."""
    return _sample(request, _public(request, kind, name), path)


@router.get("/public/{kind}/{name}/file")
def public_file(request: Request, kind: Kind, name: Name) -> Response:
    """Its file."""
    return _file(request, _public(request, kind, name))


def _by_token(request: Request, token: str) -> Shown:
    share = request.app.state.shares.read(token)
    if share is None:
        raise HTTPException(404)
    return _as_guest(Shown(share.kind, share.name, f"/shared/{token}"))


def _public(request: Request, kind: Kind, name: str) -> Shown:
    studio: OwnedStudio = request.app.state.studio
    if studio.rules.of(kind, name).visibility != "public":
        raise HTTPException(404)
    return _as_guest(Shown(kind, name, str(request.url_for("public", kind=kind, name=name).path)))


def _as_guest(shown: Shown) -> Shown:
    """From here on this request sees that one thing and nothing else."""
    acting.set(Actor("guest", "viewer", (shown.kind, shown.name)))
    changing.set(False)
    return shown


def _page(request: Request, shown: Shown, at: int) -> HTMLResponse:
    studio: Studio = request.app.state.studio
    facts: Mapping[str, Any]
    try:
        if shown.kind == "dataset":
            version = studio.dataset(shown.name)
            more = at + _PAGE if at + _PAGE < len(version.items) else None
            facts = {"version": version, "cards": version.items[at : at + _PAGE], "more": more}
        elif shown.kind == "adapter":
            facts = {"report": studio.inspect(shown.name)}
        else:
            job = studio.job(shown.name)
            told = chronicle_of(job.folder)
            config = job.record().payload.get("config", {})
            recipe = {key: value for key, value in config.items() if key not in ("dataset", "base")}
            facts = {"job": job, "state": job.state(), "samples": told.samples[-60:], "recipe": recipe}
    except LorasmithError as gone:
        raise HTTPException(404) from gone
    return page(request, "shown/one.html", title=shown.name, area="", shown=shown, facts=facts)


def _picture(request: Request, shown: Shown, sha256: str) -> Response:
    """Only pictures of the present version."""
    studio: Studio = request.app.state.studio
    if shown.kind != "dataset" or not _SHA256.fullmatch(sha256):
        raise HTTPException(404)
    if sha256 not in {item.image for item in studio.dataset(shown.name).items}:
        raise HTTPException(404)
    return picture_answer(studio, sha256)


def _sample(request: Request, shown: Shown, path: str) -> Response:
    studio: Studio = request.app.state.studio
    if shown.kind != "job":
        raise HTTPException(404)
    folder = studio.job(shown.name).folder
    whole = (folder.path / path).resolve()
    painted = path in {sample.path for sample in chronicle_of(folder).samples}
    if not painted or not whole.is_relative_to(folder.path.resolve()) or whole.suffix != ".png" or not whole.is_file():
        raise HTTPException(404)
    return FileResponse(whole, media_type="image/png", headers={"content-security-policy": "sandbox"})


def _file(request: Request, shown: Shown) -> Response:
    studio: Studio = request.app.state.studio
    if shown.kind != "adapter":
        raise HTTPException(404)
    path = studio.adapter(shown.name)
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)
