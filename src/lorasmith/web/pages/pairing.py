"""References of pictures: every pair side by side, given by name, changed by hand, swapped. A save is a version."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from lorasmith.curation.pairs import Given
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.datasets.partners import MOST_REFERENCES, Mode, Proposal
from lorasmith.errors import ConfigError
from lorasmith.web.brought import files_of, forget
from lorasmith.web.looks import Look
from lorasmith.web.pages.framing import Names, framed, item_of, looks_of, moved, seen_version, studio_of, told
from lorasmith.web.pages.imports import Parts, take_files, upload_ids, uploaded_parts

router = APIRouter(prefix="/datasets/{name}/references", include_in_schema=False)
_SHOWN: Final = 48
_LISTED: Final = 200
Sent = Annotated[Parts, Depends(uploaded_parts)]


@dataclass(frozen=True)
class _Looked:
    """A proposal with what was asked for."""

    proposal: Proposal
    uploads: str
    suffix: str
    mode: Mode


@router.get("")
def overview(request: Request, name: str, at: Annotated[int, Query(ge=0)] = 0, show: str = "") -> HTMLResponse:
    """Every pair, and how pictures get references."""
    version = studio_of(request).dataset(name)
    wanted = [item for item in version.items if show != "none" or not item.references]
    counts = sorted(Counter(len(item.references) for item in version.items).items())
    return framed(
        request, "pairs/overview.html", version, "references", f"References of {version.dataset}",
        counts=counts, items=wanted[at : at + _SHOWN], total=len(wanted), at=at, step=_SHOWN, show=show,
    )  # fmt: skip


@router.post("/look")
def look(request: Request, name: str, form: Sent) -> Response:
    """Begin to look which pictures the files would be references of."""
    studio, owner = studio_of(request), request.state.actor.name
    version = studio.dataset(name)
    suffix, mode = _asked(form.fields)
    ids = [*upload_ids(form.fields.get("uploads", "")), *take_files(studio, form.files, owner)]
    _whole(request, ids)
    key = ("references", *sorted(ids), suffix, mode)

    def work(looking: Look) -> _Looked:
        verbs = studio.curate.pairs
        ready = studio.lay_out_uploads(ids, owner)
        try:
            found = verbs.preview(version, ready.sources, suffix=suffix, mode=mode, progress=looking.watch)
            return _Looked(found, ".".join(ids), suffix, mode)
        finally:
            studio.release_uploads(ready)

    begun = looks_of(request).ask((version.dataset, version.number, version.root, *key), work)
    return RedirectResponse(f"/datasets/{quote(version.dataset)}/references/look/{begun.id}", 303)


@router.get("/look/{id}")
def proposed(request: Request, name: str, id: str) -> HTMLResponse:
    """What the files would be references of, with the button that does it."""
    version = studio_of(request).dataset(name)
    found = looks_of(request).find(id)
    if found is None:
        raise HTTPException(404)

    def shape(looked: _Looked) -> dict[str, Any]:
        known = {item.name: item for item in version.items}
        proposal = looked.proposal
        matched = [(known[one], paths) for one, paths in proposal.matched.items() if one in known]
        left_out = list(proposal.left_out.items())[:_LISTED]
        return {"looked": looked, "proposal": proposal, "matched": matched[:_LISTED], "left_out": left_out}

    def page_of(**context: Any) -> HTMLResponse:
        return framed(request, "datasets/step.html", version, "references", "References", **context)

    return told(request, version, page_of, found, "pairs/proposed.html", shape)


@router.post("/give")
def give(
    request: Request,
    name: str,
    uploads: Annotated[str, Form(max_length=200_000)],
    number: Annotated[str, Form()] = "",
    suffix: Annotated[str, Form(max_length=120)] = "",
    mode: Annotated[Mode, Form()] = "replace",
    verb: Annotated[str, Form()] = "give",
) -> Response:
    """Begin to give the references that were looked at; or remove the files that were sent."""
    studio, owner = studio_of(request), request.state.actor.name
    ids = [one for one in uploads.split(".") if one]
    if verb == "discard":
        _whole(request, ids)
        forget(request, ids)
        return RedirectResponse(f"/datasets/{quote(studio.dataset(name).dataset)}/references", 303)
    version = seen_version(request, name, number)
    _whole(request, ids)

    def work(looking: Look) -> Given:
        ready = studio.lay_out_uploads(ids, owner)
        try:
            given = studio.curate.pairs.give(version, ready.sources, suffix=suffix, mode=mode, progress=looking.watch)
        finally:
            studio.release_uploads(ready)
        for id in ids:
            studio.uploads.abandon(id)
        return given

    asked = hashlib.sha256(uploads.encode()).hexdigest()
    begun = looks_of(request).ask((version.dataset, version.number, version.root, "give", asked, suffix, mode), work)
    return RedirectResponse(f"/datasets/{quote(version.dataset)}/references/given/{begun.id}", 303)


@router.get("/given/{id}")
def given(request: Request, name: str, id: str) -> HTMLResponse:
    """How far it is, and what was given."""
    version = studio_of(request).dataset(name)
    found = looks_of(request).find(id)
    if found is None:
        raise HTTPException(404)

    def shape(done: Given) -> dict[str, Any]:
        return {"done": done, "left_out": list(done.proposal.left_out.items())[:_LISTED]}

    def page_of(**context: Any) -> HTMLResponse:
        return framed(request, "datasets/step.html", version, "references", "References", **context)

    return told(request, version, page_of, found, "pairs/given.html", shape)


@router.get("/item")
def editor(request: Request, name: str, item: str) -> HTMLResponse:
    """One picture with its references."""
    version = studio_of(request).dataset(name)
    one = item_of(version, item)
    names = [other.name for other in version.items]
    place = names.index(item)
    return framed(
        request, "pairs/item.html", version, "references", f"References of {item}", item=one, most=MOST_REFERENCES,
        before=names[place - 1] if place else None, after=names[place + 1] if place + 1 < len(names) else None,
        others=[other for other in names if other != item][:2000], told=one.provenance.get("references", ()),
    )  # fmt: skip


@router.post("/item")
def change(request: Request, name: str, form: Sent) -> Response:
    """Add, replace, move, remove or swap a reference of one picture."""
    studio = studio_of(request)
    fields = form.fields
    item = fields.get("item", "")
    version = seen_version(request, name, fields.get("number", ""))
    one = item_of(version, item)
    verb, _, place = fields.get("verb", "").partition(":")
    at = int(place) - 1 if place.isascii() and place.isdigit() and len(place) < 4 else -1
    if verb == "swap":
        made = studio.curate.pairs.swap(version, [item], number=at + 1).version
    elif verb in ("add", "replace"):
        made = _added(request, version, one, form, at if verb == "replace" else None)
    else:
        made = studio.curate.pairs.set(version, item, _rearranged(one, verb, at))
    return moved(request, made, f"/references/item?item={quote(item, safe='')}")


@router.post("/swap")
def swap(request: Request, name: str, names: Names, number: Annotated[str, Form()] = "") -> Response:
    """Let pictures and their first references change places; all of them when none is named."""
    version = seen_version(request, name, number)
    done = studio_of(request).curate.pairs.swap(version, names or None)
    return moved(request, done.version, "/references")


@router.post("/remove")
def remove(request: Request, name: str, number: Annotated[str, Form()] = "") -> Response:
    """Take all references away."""
    version = seen_version(request, name, number)
    having = [item.name for item in version.items if item.references]
    return moved(request, studio_of(request).curate.pairs.remove(version, having), "/references")


def _whole(request: Request, ids: Sequence[str]) -> None:
    """Refuse here, and not in a thread, what is not there, of somebody else, or nothing."""
    if not files_of(request, ids):
        raise ConfigError("No file was chosen.", "Choose a ZIP, a folder or pictures.")


def _added(request: Request, version: DatasetVersion, one: Item, form: Parts, at: int | None) -> DatasetVersion:
    """The version with pictures that were sent, or one of the dataset, behind the references or in the place of one."""
    studio = studio_of(request)
    ids = [*upload_ids(form.fields.get("uploads", "")), *take_files(studio, form.files, request.state.actor.name)]
    chosen: list[str | Path] = list(files_of(request, ids))
    if other := form.fields.get("other", "").strip():
        chosen.append(item_of(version, other).image)
    if not chosen:
        raise ConfigError("No picture was chosen.", "Choose a file, or a picture of the dataset by its name.")
    try:
        return studio.curate.pairs.set(version, one.name, _with(one.references, chosen, at))
    finally:
        forget(request, ids)


def _with(references: Sequence[str], chosen: Sequence[str | Path], at: int | None) -> list[str | Path]:
    if at is None:
        return [*references, *chosen]
    if not 0 <= at < len(references):
        raise ConfigError("There is no such reference.", "Look at the picture anew.")
    return [*references[:at], *chosen, *references[at + 1 :]]


def _rearranged(one: Item, verb: str, at: int) -> list[str | Path]:
    references: list[str | Path] = list(one.references)
    if not 0 <= at < len(references):
        raise ConfigError("There is no such reference.", "Look at the picture anew.")
    moved_one = references.pop(at)
    if verb == "remove":
        return references
    if verb not in ("earlier", "later"):
        raise ConfigError(f"There is no way '{verb}' to change references.", "Use a button of the page.")
    references.insert(max(0, at - 1) if verb == "earlier" else at + 1, moved_one)
    return references


def _asked(fields: dict[str, str]) -> tuple[str, Mode]:
    mode: Mode = "append" if fields.get("mode") == "append" else "replace"
    suffix = fields.get("suffix", "").strip()
    if len(suffix) > 120:
        raise ConfigError("That suffix is too long.", "Write _control, or _start:_end.")
    return suffix, mode
