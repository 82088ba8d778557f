"""The page of one job: how it stands, what was measured and painted, its log, config and files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Form, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse

from lorasmith.chronicle import Chronicle, chronicle_of, config_difference
from lorasmith.errors import JobError
from lorasmith.jobs import Job
from lorasmith.studio import Studio
from lorasmith.web.rendering import page, part

router = APIRouter(prefix="/jobs", include_in_schema=False)
ENDED: Final = ("succeeded", "failed", "stopped", "cancelled")
_LOG_LINES: Final = 400
_LOOK: Final = 0.1  # seconds between two looks at what a job has said
_SIGN_OF_LIFE: Final = 15.0  # seconds after which a quiet stream says something, so that proxies keep it
_DOWNLOADS: Final = {
    "adapter.safetensors": "application/octet-stream",
    "certificate.json": "application/json",
    "job.json": "application/json",
    "result.json": "application/json",
    "events.jsonl": "application/x-ndjson",
    "log.txt": "text/plain; charset=utf-8",
}
Verb = Literal["pause", "stop", "save", "sample", "continue"]


@router.get("/{job_id}")
def run_page(request: Request, job_id: str, against: str = "") -> HTMLResponse:
    """Everything about one job on one page; scripts keep it up to date."""
    studio = _studio(request)
    job = studio.job(job_id)
    record, told, state = job.record(), chronicle_of(job.folder), job.state()
    result = job.folder.result() if state != "lost" else None
    parent = _parent(studio, job, against)
    before = parent.record().payload.get("config", {}) if parent else {}
    differences = config_difference(before, record.payload.get("config", {})) if parent else []
    return page(
        request, "jobs/run.html", title=job.id, area="queue", job=job, record=record, told=told, state=state,
        result=result, matrix=_matrix(told), files=_files(job), certificate=_certificate(job), log=job.log_tail(60),
        parent=parent, differences=differences, config=json.dumps(record.payload, indent=2, ensure_ascii=False),
        can=_can(state),
    )  # fmt: skip


@router.get("/{job_id}/chronicle")
def figures(request: Request, job_id: str) -> JSONResponse:
    """What was measured so far, for the charts."""
    told = chronicle_of(_studio(request).job(job_id).folder)
    return JSONResponse({"steps": told.steps, "figures": told.figures, "offset": told.offset})


@router.get("/{job_id}/events")
async def live(request: Request, job_id: str, after: Annotated[int, Query(ge=0)] = 0) -> StreamingResponse:
    """What the job says, as it says it. An event's id is a byte of ``events.jsonl``: whoever comes back goes on there,
    whatever server answers."""
    job = _studio(request).job(job_id)
    known = request.headers.get("last-event-id", "")
    offset = int(known) if known.isascii() and known.isdigit() else after
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_tail(request, job, offset), media_type="text/event-stream", headers=headers)


@router.post("/{job_id}/do")
def act(request: Request, job_id: str, verb: Annotated[Verb, Form()]) -> Response:
    """Speak to the job."""
    job = _studio(request).job(job_id)
    acts: dict[Verb, Any] = {
        "pause": job.pause,
        "stop": job.stop,
        "save": job.save_now,
        "sample": job.sample_now,
        "continue": job.resume,
    }
    acts[verb]()
    return RedirectResponse(f"/jobs/{job.id}", 303)


@router.get("/{job_id}/samples")
def samples(request: Request, job_id: str) -> HTMLResponse:
    """The table of previews."""
    job = _studio(request).job(job_id)
    return part(request, "jobs/samples.html", job=job, matrix=_matrix(chronicle_of(job.folder)))


@router.get("/{job_id}/log")
def log(request: Request, job_id: str, find: Annotated[str, Query(max_length=200)] = "") -> HTMLResponse:
    """The end of the log, or the lines of it that hold a text."""
    lines = _studio(request).job(job_id).log_tail(_LOG_LINES)
    wanted = find.strip().casefold()
    return part(request, "jobs/log.html", log=[line for line in lines if wanted in line.casefold()])


@router.get("/{job_id}/files/{path:path}")
def file(request: Request, job_id: str, path: str) -> FileResponse:
    """A file of the job: what it made, wrote down and painted, and nothing else of its folder."""
    job = _studio(request).job(job_id)
    folder = job.folder.path
    name = path.rpartition("/")[2]
    if path in _DOWNLOADS and (folder / path).is_file():
        shown = f"{job.id}.safetensors" if path == "adapter.safetensors" else name
        return FileResponse(folder / path, media_type=_DOWNLOADS[path], filename=shown)
    painted = {sample.path for sample in chronicle_of(job.folder).samples} if path.startswith("samples/") else set()
    if path in painted or path in _images(job):
        whole = (folder / path).resolve()
        if whole.is_relative_to(folder.resolve()) and whole.suffix == ".png" and whole.is_file():
            return FileResponse(whole, media_type="image/png", headers={"content-security-policy": "sandbox"})
    raise HTTPException(404)


async def _tail(request: Request, job: Job, offset: int) -> AsyncIterator[str]:
    """Server-sent events from a byte on, until the job has ended and all is said."""
    quiet = 0.0
    looks = 0
    while not await request.is_disconnected():
        ended = looks % 10 == 0 and job.state() != "running"  # looked at before reading: last words come after it
        said = False
        for behind, event in job.folder.read_events(offset):
            offset, said = behind, True
            yield f"id: {behind}\nevent: {event.kind}\ndata: {event.to_json()}\n\n"
        if ended and not said:
            yield "event: ended\ndata: {}\n\n"
            return
        quiet = 0.0 if said else quiet + _LOOK
        if quiet >= _SIGN_OF_LIFE:
            quiet = 0.0
            yield ": still here\n\n"
        looks += 1
        await asyncio.sleep(_LOOK)


def _matrix(told: Chronicle) -> dict[str, Any]:
    """Previews as rows of prompts and columns of steps."""
    rows = told.samples_by_prompt()
    return {"steps": sorted({step for row in rows.values() for step in row}), "rows": rows}


def _files(job: Job) -> list[tuple[str, int]]:
    folder = job.folder.path
    return [(name, (folder / name).stat().st_size) for name in _DOWNLOADS if (folder / name).is_file()]


def _certificate(job: Job) -> dict[str, Any] | None:
    path = job.folder.path / "certificate.json"
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as cause:
        raise JobError(f"The certificate of {job.id} is damaged.", "Certify the file again.") from cause
    return found


def _images(job: Job) -> set[str]:
    """Pictures that a generate job made."""
    result = job.folder.result()
    return {str(one["path"]) for one in (result.output.get("images", ()) if result else ())}


def _parent(studio: Studio, job: Job, against: str) -> Job | None:
    """The run to compare with: the one that was asked for, or the last of the same kind and base before it."""
    if against:
        return studio.job(against)
    record = job.record()
    if record.kind != "train":
        return None
    for other in reversed(studio.jobs()):
        if other.id < job.id:
            payload = other.record()
            same = payload.payload.get("config", {}).get("base") == record.payload.get("config", {}).get("base")
            if payload.kind == "train" and same and not payload.payload.get("rehearse"):
                return other
    return None


def _can(state: str) -> dict[str, bool]:
    running = state == "running"
    going_on = state in ("paused", "stopped", "failed", "lost", "queued")
    return {"pause": running, "stop": running, "save": running, "sample": running, "continue": going_on}


def _studio(request: Request) -> Studio:
    studio: Studio = request.app.state.studio
    return studio
