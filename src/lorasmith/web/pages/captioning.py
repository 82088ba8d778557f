"""Captions by machines: choose a captioner, see what it takes, watch it, and bring two of them together."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from lorasmith.captioning import need_in_words
from lorasmith.datasets.manifest import DatasetVersion
from lorasmith.errors import ConfigError, JobError, LorasmithError
from lorasmith.fields import fields_of
from lorasmith.files import bytes_in_words
from lorasmith.studio import Studio
from lorasmith.web.forms import Sent, values_from
from lorasmith.web.pages.imports import WAITING
from lorasmith.web.rendering import page, part

router = APIRouter(prefix="/datasets/{name}/captioning", include_in_schema=False)
MODES: Final = {
    "keep": ("Fill", "Only pictures without a caption get one."),
    "replace": ("Replace", "The old captions stay in the version before."),
    "append": ("Append", "What is new goes behind what is there."),
    "prepend": ("Prepend", "What is new goes before what is there."),
}
"""What becomes of captions that are there."""
_SHOWN: Final = 200
_RUNS: Final = 8

Name = Annotated[str, Query(max_length=200)]


@router.get("")
def captioning(
    request: Request, name: str, captioner: Annotated[str, Query(alias="with")] = "wd_tagger"
) -> HTMLResponse:
    """The form of a captioner, and the runs there were."""
    studio = _studio(request)
    version = studio.dataset(name)
    kind = studio.captions.options_of(captioner)
    missing = sum(not item.caption.strip() for item in version.items)
    return page(
        request, "captioning/form.html", title=f"Caption {version.dataset}", area="datasets", tab="captioning",
        version=version, captioner=captioner, captioners=captioners(studio), fields=list(fields_of(kind)), modes=MODES,
        mode="keep" if 0 < missing < len(version.items) else "replace", missing=missing,
        runs=_runs(studio, version.dataset), kept=studio.captions.taggers(version),
        about=" ".join((kind.__doc__ or "").split()), **takes(studio, captioner, {}, version),
        **undoing(studio, version),
    )  # fmt: skip


@router.post("/need")
def need(request: Request, name: str, form: Sent) -> HTMLResponse:
    """What it would take with these options."""
    studio = _studio(request)
    version = studio.dataset(name)
    captioner, options = asked(studio, form)
    return part(request, "captioning/need.html", version=version, **takes(studio, captioner, options, version))


@router.post("")
def start(request: Request, name: str, form: Sent) -> Response:
    """Caption, as a job."""
    studio = _studio(request)
    captioner, options = asked(studio, form)
    agree(studio, captioner, options, form)
    existing: Any = form.get("existing", "replace")
    if existing not in MODES:
        raise ConfigError(f"'{existing}' says nothing of captions that are there.", f"Choose {', '.join(MODES)}.")
    lines = form.get("lines", "1")
    if not lines.isdigit() or not 1 <= int(lines) <= 10:
        raise ConfigError(f"'{lines}' is no number of captions.", "Write 1 to 10.")
    job = studio.enqueue.caption(
        name, captioner, existing=existing, as_line="as_line" in form, lines=int(lines), fresh="fresh" in form,
        download="download" in form, device=form.get("device", "auto"), **options,
    )  # fmt: skip
    return _to(request, f"/datasets/{studio.dataset(name).dataset}/captioning/jobs/{job.id}")


@router.get("/jobs/{job_id}")
def watch(request: Request, name: str, job_id: str) -> HTMLResponse:
    """A run as it goes: captions appear, failures are listed."""
    studio = _studio(request)
    version = studio.dataset(name)
    return page(
        request, "captioning/run.html", title=f"Caption {version.dataset}", area="datasets", tab="captioning",
        version=version, **run_state(studio, job_id), **said(studio, job_id, 0), **undoing(studio, version),
    )  # fmt: skip


@router.get("/jobs/{job_id}/state")
def state(request: Request, name: str, job_id: str) -> HTMLResponse:
    """How it stands."""
    studio = _studio(request)
    return part(request, "captioning/state.html", version=studio.dataset(name), **run_state(studio, job_id))


@router.get("/jobs/{job_id}/said")
def more(request: Request, name: str, job_id: str, at: Annotated[int, Query(ge=0)] = 0) -> HTMLResponse:
    """Captions that came since."""
    studio = _studio(request)
    context = run_state(studio, job_id) | said(studio, job_id, at)
    return part(request, "captioning/said.html", version=studio.dataset(name), **context)


@router.post("/jobs/{job_id}/cancel")
def cancel(request: Request, name: str, job_id: str) -> Response:
    """Stop it; what was captioned stays in the job and is not asked for again."""
    caption_job(_studio(request), job_id)
    _studio(request).queue.cancel(job_id)
    return _to(request, f"/datasets/{name}/captioning/jobs/{job_id}")


@router.post("/jobs/{job_id}/resume")
def resume(request: Request, name: str, job_id: str) -> Response:
    """Go on with it."""
    caption_job(_studio(request), job_id)
    _studio(request).queue.retry(job_id)
    return _to(request, f"/datasets/{name}/captioning/jobs/{job_id}")


@router.post("/compare")
def compare(request: Request, name: str, form: Sent) -> Response:
    """Let two captioners look at the same pictures; nothing is written yet."""
    studio = _studio(request)
    chosen = [form.get("first", ""), form.get("second", "")]
    if not all(chosen) or chosen[0] == chosen[1]:
        raise ConfigError("Two captioners are compared.", "Choose two different ones.")
    asked_for: dict[str, dict[str, Any]] = {one: {} for one in chosen}
    jobs = studio.enqueue.compare(name, asked_for, download="download" in form)
    return _to(request, f"/datasets/{name}/captioning/compare?" + "&".join(f"job={job.id}" for job in jobs))


@router.get("/compare")
def compared(request: Request, name: str, job: Annotated[list[str], Query(max_length=4)]) -> HTMLResponse:
    """Their captions side by side."""
    studio = _studio(request)
    version = studio.dataset(name)
    rows = [caption_job(studio, one) for one in job]
    context: dict[str, Any] = {
        "jobs": rows,
        "beside": None,
        "pairs": [],
        "waiting": any(r.state in WAITING for r in rows),
    }
    if all(row.state == "succeeded" for row in rows):
        beside = studio.captions.told_by([studio.job(row.id) for row in rows])
        context |= {"beside": beside, "pairs": beside.version.items[:_SHOWN], "count": len(beside.version.items)}
    if request.headers.get("hx-request") == "true":
        return part(request, "captioning/beside.html", version=version, **context)
    return page(
        request, "captioning/compare.html", title=f"Captioners of {version.dataset}", area="datasets",
        tab="captioning", version=version, **context, **undoing(studio, version),
    )  # fmt: skip


@router.post("/combine")
def combine(request: Request, name: str, form: Sent) -> Response:
    """Bring their captions together as one version."""
    studio = _studio(request)
    how: Any = form.get("how", "choose")
    if how not in ("choose", "join", "lines"):
        raise ConfigError(f"Captions are not brought together by '{how}'.", "Take choose, join or lines.")
    beside = studio.captions.told_by([studio.job(one) for one in form.get("jobs", "").split() if one])
    choices = {key.removeprefix("c."): value for key, value in form.items() if key.startswith("c.")}
    order = [one for one in (form.get("order", ""),) if one]
    order += [one for one in beside.captions if one not in order]
    version = studio.captions.combine(beside, how, order=order, choices=choices if how == "choose" else None)
    return _to(request, f"/datasets/{version.dataset}")


def captioners(studio: Studio) -> list[tuple[str, str, tuple[str, ...]]]:
    """Name, title and other names of every captioner."""
    titles = studio.captions.names()
    return [(name, titles[name], others) for name, others in studio.captions.other_names().items()]


def takes(
    studio: Studio, captioner: str, options: dict[str, Any], version: DatasetVersion | None = None
) -> dict[str, Any]:
    """What a captioner takes under its options, or why that cannot be told; and what a version has of pairs."""
    count = studio.captions.pairs(version) if version is not None else None
    told: dict[str, Any] = {"pairs": count, "paired": count is not None and options.get("pairs") is True}
    told["pairs_possible"] = "pairs" in studio.captions.options_of(captioner).model_fields
    try:
        found = studio.captions.need(captioner, **options)
    except LorasmithError as refusal:
        return told | {"need": None, "need_words": "", "need_memory": "", "need_notice": None, "need_refusal": refusal}
    memory = bytes_in_words(found.memory) if found.memory else ""
    words = need_in_words(found, studio.home)
    notice = studio.captions.to_agree(found)
    return told | {
        "need": found, "need_words": words, "need_memory": memory, "need_notice": notice, "need_refusal": None,
    }  # fmt: skip


def asked(studio: Studio, form: dict[str, str]) -> tuple[str, dict[str, Any]]:
    """The captioner of a form and its own options."""
    captioner = form.get("captioner", "")
    return captioner, values_from(studio.captions.options_of(captioner), form, prefix="o.")


def agree(studio: Studio, captioner: str, options: dict[str, Any], form: dict[str, str]) -> None:
    """Keep the consent that a form holds, if it is to just what is asked for."""
    if not form.get("agree"):
        return
    notice = studio.captions.to_agree(studio.captions.need(captioner, **options))
    if notice is not None and form["agree"] == f"{notice.id} {notice.digest}":
        studio.sources.agree(notice)


def caption_job(studio: Studio, job_id: str) -> Any:
    """The row of a caption job.

    Raises:
        JobError: there is none of that id, or it is another kind of job.
    """
    row = studio.queue.get(job_id)
    if row.kind != "caption":
        raise JobError(f"Job {row.id} is a {row.kind} job.", "Look at it in the queue.")
    return row


def run_state(studio: Studio, job_id: str) -> dict[str, Any]:
    """How a caption job stands."""
    row = caption_job(studio, job_id)
    job = studio.job(row.id)
    result = job.folder.result() if row.state not in WAITING else None
    output = result.output if result else {}
    failures: dict[str, str] = dict(output.get("failures", {}))
    made = str((row.output or {}).get("dataset", ""))
    payload = job.folder.record().payload
    return {
        "job": row, "result": result, "failures": failures, "made": made, "payload": payload,
        "waiting": row.state in WAITING,
    }  # fmt: skip


def said(studio: Studio, job_id: str, at: int) -> dict[str, Any]:
    """Captions behind a byte of what a job has written down."""
    job = studio.job(job_id)
    told, behind = studio.captions.told(job, at)
    images = {item.name: item for item in studio.dataset(str(job.record().payload["dataset"])).items} if told else {}
    pairs = [(name, images[name].image if name in images else "", caption) for name, caption in told[-_SHOWN:]]
    return {"pairs": pairs, "skipped": max(0, len(told) - _SHOWN), "at": behind}


def undoing(studio: Studio, version: DatasetVersion) -> dict[str, Any]:
    """What undo and redo would do, in words."""
    history = studio.curate.history(version.dataset)
    head = next((entry for entry in history if entry.is_head), None)
    forth = next((entry for entry in history if entry.redo), None)
    undoable = head is not None and head.parent is not None
    return {"undo": head.words if head and undoable else "", "redo": forth.words if forth else ""}


def _runs(studio: Studio, dataset: str) -> list[Any]:
    rows = studio.queue.list(newest=True, limit=500)
    return [row for row in rows if row.kind == "caption" and row.title.partition("@")[0] == dataset][:_RUNS]


def _to(request: Request, address: str) -> Response:
    if request.headers.get("hx-request") == "true":
        return Response(status_code=204, headers={"HX-Redirect": address})
    return RedirectResponse(address, 303)


def _studio(request: Request) -> Studio:
    studio: Studio = request.app.state.studio
    return studio
