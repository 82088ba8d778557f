"""Importing: files and folders from the browser, or any source; then every file's fate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.responses import HTMLResponse, RedirectResponse, Response

from lorasmith.datasets.import_options import ImportOptions
from lorasmith.datasets.layouts import available
from lorasmith.datasets.ledger import RULES, totals
from lorasmith.datasets.names import safe_dataset_name
from lorasmith.errors import ConfigError, InputError, JobError
from lorasmith.fields import fields_of
from lorasmith.studio import Studio
from lorasmith.web.forms import Sent, values_from
from lorasmith.web.rendering import page, part, wants_part

router = APIRouter(prefix="/datasets", include_in_schema=False)
WAITING: Final = ("queued", "held", "blocked", "starting", "running", "pausing", "cancelling")
_FILES: Final = 5_000  # in one form; a script sends as many as there are
_LISTED: Final = 300
_LEDGER: Final = 500
_RESERVED: Final = ("new", "imports")
"""Addresses of this page, which no dataset can have."""


@dataclass(frozen=True)
class Parts:
    """A form with files."""

    fields: dict[str, str]
    files: list[UploadFile]


async def uploaded_parts(request: Request) -> Parts:
    """A form with as many files and fields as a folder needs."""
    form = await request.form(max_files=_FILES, max_fields=_FILES)
    fields = {key: value for key, value in form.items() if isinstance(value, str)}
    files = [one for one in form.getlist("files") if isinstance(one, UploadFile) and one.filename]
    return Parts(fields, files)


@router.get("/new")
def new_dataset(
    request: Request,
    source: Annotated[str, Query(alias="from", max_length=60)] = "",
    into: Annotated[str, Query(max_length=200)] = "",
) -> HTMLResponse:
    """Choose pictures: from this computer, or from a source."""
    studio = _studio(request)
    about = studio.sources.about(source) if source else None
    return page(
        request, "imports/new.html", title="Import pictures", area="datasets", source=source, about=about,
        fields=list(fields_of(about.options)) if about else [], values={}, location="",
        secrets=studio.sources.secrets(source) if source else {}, unfinished=studio.sources.unfinished(),
        sources=_elsewhere(studio), **_choices(studio, into),
    )  # fmt: skip


@router.post("/new")
def import_files(request: Request, form: Annotated[Parts, Depends(uploaded_parts)]) -> Response:
    """Import what was uploaded: by a script before, named by ids, or with this very form."""
    studio, owner = _studio(request), request.state.actor.name
    name, into, options = _read_options(studio, form.fields)
    ids = [*upload_ids(form.fields.get("uploads", "")), *take_files(studio, form.files, owner)]
    ready = studio.lay_out_uploads(ids, owner)
    wanted: dict[str, Any] = {"into": into} if into else {}
    title = name or (None if into else safe_dataset_name(ready.name))
    job = studio.enqueue.import_dataset(ready.sources, title, **wanted, **options)
    for id in ids:
        studio.uploads.abandon(id)
    return _to(request, f"/datasets/imports/{job.id}")


@router.post("/new/look")
def look(request: Request, form: Sent) -> HTMLResponse:
    """What a source would bring; nothing is brought."""
    studio = _studio(request)
    source, location, options = _asked(studio, form)
    notices = studio.sources.notices(location, source, **options)
    if notices:
        return _shown(request, "imports/consent.html", notices=notices, form=form)
    listing = studio.sources.look(location, source, **options)
    return _shown(
        request, "imports/listing.html", listing=listing, form=form, files=listing.files[:_LISTED],
        left_out=listing.left_out[:_LISTED], sizes_unknown=sum(file.size is None for file in listing.files),
    )  # fmt: skip


@router.post("/new/agree")
def agree(request: Request, form: Sent) -> HTMLResponse:
    """Agree to one notice, then look."""
    studio = _studio(request)
    source, location, options = _asked(studio, form)
    for notice in studio.sources.notices(location, source, **options):
        if form.get("agree") == f"{notice.id} {notice.digest}":
            studio.sources.agree(notice)
    return look(request, {key: value for key, value in form.items() if key != "agree"})


@router.post("/new/fetch")
def fetch(request: Request, form: Sent) -> Response:
    """Bring it and take it in, as a job."""
    studio = _studio(request)
    source, location, options = _asked(studio, form)
    name, into, importing = _read_options(studio, form)
    job = studio.enqueue.gather(location, source, name=name or None, into=into or None, importing=importing, **options)
    return _to(request, f"/datasets/imports/{job.id}")


@router.post("/new/forget")
def forget(request: Request, form: Sent) -> Response:
    """Remove what an interrupted fetch has brought."""
    _studio(request).sources.give_up(form.get("id", ""))
    return _to(request, "/datasets/new")


@router.get("/imports/{job_id}")
def import_page(request: Request, job_id: str, then: str = "") -> HTMLResponse:
    """How an import stands, and at its end what became of every file."""
    state = import_state_of(_studio(request), job_id)
    return page(request, "imports/import.html", title="Import", area="datasets", goes_to=then, **state)


@router.get("/imports/{job_id}/state")
def import_state(request: Request, job_id: str, then: str = "") -> Response:
    """The same as a part, for as long as it runs; ``then=pairs`` leads on to pictures and captions."""
    state = import_state_of(_studio(request), job_id)
    if then == "pairs" and state["version"] is not None:
        return _to(request, f"/datasets/{state['version'].dataset}/pairs")
    return part(request, "imports/state.html", goes_to=then, **state)


@router.post("/imports/{job_id}/cancel")
def cancel(request: Request, job_id: str) -> Response:
    """Stop it; nothing was changed then."""
    _import_job(_studio(request), job_id)
    _studio(request).queue.cancel(job_id)
    return _to(request, f"/datasets/imports/{job_id}")


@router.post("/imports/{job_id}/retry")
def retry(request: Request, job_id: str) -> Response:
    """Try again, or go on with what was stopped."""
    _import_job(_studio(request), job_id)
    _studio(request).queue.retry(job_id)
    return _to(request, f"/datasets/imports/{job_id}")


def import_state_of(studio: Studio, job_id: str) -> dict[str, Any]:
    """How an import stands, with what became of every file."""
    job = _import_job(studio, job_id)
    folder = studio.job(job.id).folder
    result = folder.result() if job.state in ("failed", "cancelled", "succeeded") else None
    context: dict[str, Any] = {"job": job, "result": result, "waiting": job.state in WAITING, "version": None}
    context |= {"payload": folder.record().payload, "rules": RULES, "then": (job.output or {}).get("then", "")}
    if job.state == "succeeded" and job.output and "dataset" in job.output:
        version = studio.dataset(str(job.output["dataset"]))
        counts = totals(version.ledger)
        repaired = [fate for fate in version.ledger if fate.rule == "repaired"]
        left_out = [fate for fate in version.ledger if fate.fate == "left_out"]
        context |= {"version": version, "totals": counts, "repaired": repaired[:_LEDGER], "said": _said(version)}
        context |= {"left_out": left_out[:_LEDGER], "left_out_count": len(left_out), "repaired_count": len(repaired)}
    return context


def _said(version: Any) -> list[str]:
    return [str(sentence) for sentence in version.operation.arguments.get("said", ())]


def _import_job(studio: Studio, job_id: str) -> Any:
    job = studio.queue.get(job_id)
    if job.kind not in ("import", "gather"):
        raise JobError(f"Job {job.id} is a {job.kind} job.", "Look at it in the queue.")
    return job


def _choices(studio: Studio, into: str) -> dict[str, Any]:
    """What the form of an import offers."""
    fields = [field for field in fields_of(ImportOptions) if field.key != "layout"]
    layouts = {"plain": "no program's: pictures and captions"} | {n: one.title for n, one in available().items()}
    return {"import_fields": fields, "layouts": layouts, "datasets": list(studio.datasets()), "into": into}


def _elsewhere(studio: Studio) -> dict[str, str]:
    """Sources that are not this machine's own files."""
    return {name: title for name, title in studio.sources.names().items() if name not in ("folder", "zip")}


def _read_options(studio: Studio, form: Mapping[str, str]) -> tuple[str, str, dict[str, Any]]:
    """Name, dataset to add to, and options of an import.

    Raises:
        ConfigError: a value that cannot be, or both a name and a dataset.
    """
    name, into = "-".join(form.get("name", "").split()), form.get("into", "").strip()
    if name and into:
        raise ConfigError("An import has a name or a dataset to add to, not both.", "Leave one of them out.")
    if into:
        into = studio.dataset(into).dataset
    if name and safe_dataset_name(name) != name:
        raise InputError(f"'{name}' cannot be the name of a dataset.", f"Use '{safe_dataset_name(name)}'.")
    if name in _RESERVED:
        raise InputError(f"'{name}' is an address of this app and no name for a dataset.", "Choose another name.")
    try:
        options = ImportOptions.model_validate(values_from(ImportOptions, form, prefix="i."))
    except ValidationError as cause:
        fault = cause.errors(include_url=False)[0]
        key = ".".join(map(str, fault["loc"]))
        raise ConfigError(f"The option '{key}' cannot be used: {fault['msg']}.", "Correct it.") from cause
    return name, into, options.model_dump(mode="json", exclude_unset=True)


def _asked(studio: Studio, form: Mapping[str, str]) -> tuple[str, str, dict[str, Any]]:
    """Source, location and the source's own options."""
    source, location = form.get("source", ""), form.get("location", "").strip()
    about = studio.sources.about(source)
    return source, location, values_from(about.options, form, prefix="o.")


def upload_ids(text: str) -> list[str]:
    """Ids of uploads as a script sends them."""
    if not text.strip():
        return []
    try:
        ids = json.loads(text)
    except ValueError as cause:
        raise InputError("The list of uploads cannot be read.", "Choose the files again.") from cause
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise InputError("The list of uploads cannot be read.", "Choose the files again.")
    return ids


def take_files(studio: Studio, files: list[UploadFile], owner: str) -> list[str]:
    """Files of a form as uploads; an empty file has nothing to take."""
    uploads = studio.uploads
    ids = []
    for file in files:
        if not file.size:
            continue
        name = file.filename or "file"
        id = uploads.create(name, file.size, owner=owner, path=name)
        uploads.append(id, 0, file.file)
        ids.append(id)
    return ids


def _shown(request: Request, template: str, **context: Any) -> HTMLResponse:
    """A part for htmx; without scripts a page around it."""
    if wants_part(request):
        return part(request, template, **context)
    return page(request, "imports/alone.html", title="Import pictures", area="datasets", inner=template, **context)


def _to(request: Request, address: str) -> Response:
    if request.headers.get("hx-request") == "true":
        return Response(status_code=204, headers={"HX-Redirect": address})
    return RedirectResponse(address, 303)


def _studio(request: Request) -> Studio:
    studio: Studio = request.app.state.studio
    return studio
