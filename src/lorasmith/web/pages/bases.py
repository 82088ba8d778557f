"""Bases: what is here, what can be had, what weights are and what they leave open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse

from lorasmith.bases.assembling import Need
from lorasmith.bases.links import LocalPath
from lorasmith.bases.needs import verdict
from lorasmith.bases.parts import EXPERT
from lorasmith.bases.registry import RegisteredBase
from lorasmith.bases.scanning import worth_keeping
from lorasmith.credentials import WANTED, Credentials
from lorasmith.errors import BaseError, LorasmithError
from lorasmith.studio import Studio
from lorasmith.web.rendering import page, part
from lorasmith.web.roles import require_admin

router = APIRouter(prefix="/bases", include_in_schema=False)
_PARTS: Final = ("vae", "text_encoder", "image_encoder")
_FILES: Final = (".safetensors", ".gguf")


@dataclass(frozen=True)
class Line:
    """A base as the list shows it."""

    base: RegisteredBase
    state: str
    tone: str
    here: str
    """What this machine can make of it."""


@router.get("")
def bases(request: Request, link: Annotated[str, Query(max_length=2000)] = "") -> HTMLResponse:
    """What is here, and a way to more."""
    return _list(request, link=link)


@router.post("/look")
def look(
    request: Request, link: Annotated[str, Form(max_length=2000)], name: Annotated[str, Form(max_length=100)] = ""
) -> HTMLResponse:
    """What a link means, before anything is fetched: files, sizes, licence, what is missing."""
    studio = _studio(request)
    if not isinstance(studio.bases.link(link), LocalPath):
        return part(request, "bases/wanted.html", **_wanted(request, link, name))
    require_admin(request)
    path, found = studio.bases.recognise(link.strip())
    return part(
        request, "bases/wanted.html", link=str(path), name=name, path=path, found=found, wanted=None, service="",
        trainable=studio.bases.trainable(found.family), sentence="", hint="", missing="",
    )  # fmt: skip


@router.post("", response_model=None)
def add(
    request: Request, link: Annotated[str, Form(max_length=2000)], name: Annotated[str, Form(max_length=100)] = ""
) -> HTMLResponse | RedirectResponse:
    """Add it: a job fetches what a link means; weights on this machine are referred to at once."""
    studio = _studio(request)
    try:
        if isinstance(studio.bases.link(link), LocalPath):
            require_admin(request)
            added = studio.bases.add(link.strip(), name=name)
            return RedirectResponse(_address(added.base.name), 303)
        job = studio.enqueue.fetch_base(link.strip(), name)
    except LorasmithError as refusal:
        return _list(request, link=link, status=422, sentence=refusal.message, hint=refusal.hint)
    return RedirectResponse(f"/jobs/{job.id}", 303)


@router.post("/scan")
def scan(
    request: Request, folders: Annotated[str, Form(max_length=10_000)] = "", remember: Annotated[str, Form()] = ""
) -> HTMLResponse:
    """Look into the folders of other programs; nothing is copied."""
    require_admin(request)
    studio = _studio(request)
    places = [line.strip() for line in folders.splitlines() if line.strip()]
    result = studio.bases.scan(places, add=bool(remember))
    rows = []
    for seen in result.sightings:
        found = seen.found
        usable = found is not None and worth_keeping(found)
        alone = usable and found is not None and not found.is_base
        can = found is not None and usable and studio.bases.trainable(found.family)
        state = "a part of a base" if alone else "can be trained" if can else ""
        rows.append((seen, usable, state))
    known = {base.path for base in studio.bases.list()}
    return part(
        request, "bases/scanned.html", result=result, rows=rows, known=known, folders=folders,
        new=[row for row in rows if row[1] and str(row[0].path) not in known],
    )  # fmt: skip


@router.get("/catalogue")
def catalogue(
    request: Request, family: Annotated[str, Query(max_length=60)] = "", trainable: bool = False
) -> HTMLResponse:
    """Well-known bases, their licences, and what this machine can make of them."""
    shelf = _studio(request).bases
    book, machine = shelf.catalogue(), shelf.machine()
    rows = [
        (entry, verdict(int(entry.parameters_b * 1e9), machine), shelf.trainable(entry.family))
        for entry in book.entries
        if (not family or entry.family == family) and (not trainable or shelf.trainable(entry.family))
    ]
    return page(
        request, "bases/catalogue.html", title="Catalogue of bases", area="bases", rows=rows, date=book.date,
        families=sorted({entry.family for entry in book.entries}), family=family, trainable=trainable,
        machine=machine, secret=_has_secret(_studio(request), "huggingface"),
    )  # fmt: skip


@router.get("/{name}")
def base(request: Request, name: str) -> HTMLResponse:
    """One base: what it is, the evidence, and what it leaves open."""
    try:
        record = _studio(request).bases.get(name)
    except BaseError as missing:
        return page(
            request, "refusal.html", 404, title="No such base", area="bases", sentence=missing.message,
            hint=missing.hint,
        )  # fmt: skip
    return _base(request, record)


async def _named(request: Request) -> list[str]:
    """What stands in the fields of the parts, whatever the family calls them."""
    form = await request.form()
    named = [value.strip() for key, value in form.multi_items() if key.startswith("part-") and isinstance(value, str)]
    return [file[:4000] for file in named if file]


@router.post("/{name}/parts", response_model=None)
def assemble(
    request: Request, name: str, files: Annotated[list[str], Depends(_named)]
) -> HTMLResponse | RedirectResponse:
    """Put it together from the files that were named; where something is missing, the page says what."""
    require_admin(request)
    studio = _studio(request)
    record = studio.bases.get(name)
    try:
        studio.bases.assemble(record.name, files)
    except LorasmithError as refusal:
        return _base(request, record, given=files, refusal=refusal)
    return RedirectResponse(_address(record.name), 303)


def _base(
    request: Request, record: RegisteredBase, *, given: Sequence[str] = (), refusal: LorasmithError | None = None
) -> HTMLResponse:
    """The page of a base; what was named for its parts stays in their fields."""
    studio = _studio(request)
    sentence, hint = (refusal.message, refusal.hint) if refusal is not None else ("", "")
    asked: Any = ()
    try:
        asked = studio.bases.questions(record.name)
    except BaseError as gone:
        sentence, hint = gone.message, gone.hint
    needs: tuple[Need, ...] = ()
    reason = ""
    if record.kind in ("base", "denoiser") and record.present() and record.path.endswith(_FILES):
        try:
            needs = studio.bases.parts(record.name, [] if record.parts else given).needs
        except LorasmithError as unable:
            if given:  # one of the files is none of its parts, which the refusal above says
                needs = studio.bases.parts(record.name).needs
            else:
                reason = f"{unable.message} {unable.hint}"
    offered = {need.component: _offered(studio, record, need) for need in needs}
    return page(
        request, "bases/base.html", 422 if refusal is not None else 200, title=record.name, area="bases", record=record,
        asked=asked, sentence=sentence, hint=hint, line=_line(studio, record), needs=needs, offered=offered,
        reason=reason if record.kind == "denoiser" and not record.parts else "", given=list(given),
    )  # fmt: skip


def _offered(studio: Studio, record: RegisteredBase, need: Need) -> list[RegisteredBase]:
    """What is here and may take a place: the parts of that kind, or the other denoisers of the same variant."""
    if need.kind == EXPERT:
        same = (record.family, record.variant, "denoiser")
        others = [one for one in studio.bases.list() if (one.family, one.variant, one.kind) == same]
        return [one for one in others if one.name != record.name]
    return [one for one in studio.bases.list() if one.variant == need.kind and one.kind in _PARTS]


@router.post("/{name}/answer")
def answer(
    request: Request,
    name: str,
    question: Annotated[str, Form(max_length=100)],
    choice: Annotated[str, Form(max_length=100)] = "",
) -> RedirectResponse:
    """Keep the answer to a question."""
    _studio(request).bases.answer(name, question, choice)
    return RedirectResponse(_address(name), 303)


@router.post("/{name}/forget")
def forget(request: Request, name: str, delete: Annotated[str, Form()] = "") -> RedirectResponse:
    """Take it off the list; its weights go only if that is asked for and they lie in the home."""
    if delete:
        require_admin(request)
    _studio(request).bases.forget(name, delete=bool(delete))
    return RedirectResponse("/bases", 303)


def _list(request: Request, *, link: str = "", status: int = 200, sentence: str = "", hint: str = "") -> HTMLResponse:
    studio = _studio(request)
    fetching = [row for row in studio.queue.list({"queued", "starting", "running", "paused"}) if row.kind == "fetch"]
    return page(
        request, "bases/list.html", status, title="Bases", area="bases", machine=studio.bases.machine(), link=link,
        lines=[_line(studio, record) for record in studio.bases.list()], fetching=fetching, sentence=sentence,
        hint=hint,
    )  # fmt: skip


def _line(studio: Studio, record: RegisteredBase) -> Line:
    here = verdict(record.parameters, studio.bases.machine()) if record.kind in ("base", "denoiser") else ""
    if not record.present():
        return Line(record, "moved or changed", "bad", here)
    if record.kind in _PARTS:
        return Line(record, "a part of a base", "", here)
    trainable = studio.bases.trainable(record.family)
    if record.kind == "denoiser" and trainable and not record.parts:
        return Line(record, "a denoiser alone", "busy", here)
    return Line(record, "can be trained" if trainable else "not trainable here yet", "good" if trainable else "", here)


def _wanted(request: Request, link: str, name: str) -> dict[str, Any]:
    """What the service says; where it refuses, why, and the secret that would open it."""
    studio = _studio(request)
    shown: dict[str, Any] = {"link": link, "name": name, "path": None, "found": None, "trainable": False}
    shown |= {"wanted": None, "service": "", "missing": "", "sentence": "", "hint": ""}
    try:
        wanted = studio.bases.wanted(link)
    except LorasmithError as refusal:
        service = (
            "huggingface" if "huggingface" in link or "://" not in link else "civitai" if "civitai" in link else ""
        )
        missing = service if service and not _has_secret(studio, service) else ""
        return shown | {"sentence": refusal.message, "hint": refusal.hint, "missing": missing}
    assert not isinstance(wanted, Path)
    missing = wanted.service if wanted.service in WANTED and not _has_secret(studio, wanted.service) else ""
    return shown | {"wanted": wanted, "missing": missing, "size": wanted.size or wanted.about_bytes}


def _has_secret(studio: Studio, service: str) -> bool:
    return service in {one.service for one in Credentials(studio.home).services()}


def _address(name: str) -> str:
    return f"/bases/{quote(name, safe='')}"


def _studio(request: Request) -> Studio:
    studio: Studio = request.app.state.studio
    return studio
