"""The page of one job: how it stands, what was measured and painted, its log, config and files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse

from lorasmith.chronicle import Chronicle, chronicle_of, config_difference
from lorasmith.errors import ConfigError, JobError
from lorasmith.jobs import Job
from lorasmith.queue.records import QueuedJob
from lorasmith.studio import Studio
from lorasmith.web.job_files import DOWNLOADS, file_answer, files_of
from lorasmith.web.rendering import page, part
from lorasmith.web.verbs import ask, verbs_of

router = APIRouter(prefix="/jobs", include_in_schema=False)
ENDED: Final = ("succeeded", "failed", "cancelled", "paused")
_BACK: Final = ("/", "/queue")  # pages that speak to jobs
_LOG_LINES: Final = 400
_LOOK: Final = 0.1  # seconds between two looks at what a job has said
_SIGN_OF_LIFE: Final = 15.0  # seconds after which a quiet stream says something, so that proxies keep it
TIPS: Final = {
    "queued": "It starts by itself when its lane is free. On the queue page it can be put first.",
    "held": "Nothing happens until it is released.",
    "starting": "A process of its own is being started; it goes on if the browser or the server is closed.",
    "loading": "The base is read into memory. Large ones take a minute or two, the more so from a slow disk.",
    "caching": "Every picture and caption goes through the base once and is kept, so that no later step repeats it.",
    "training": "Loss jumps from step to step; look at the smoothed line and, above all, at the samples. Validation "
    "loss that rises while training loss falls means that pictures are being learned by heart.",
    "sampling": "The same prompts with the same seeds each time: compare a column with the one before it.",
    "validating": "Pictures that are not trained on are measured. This line tells learning from remembering.",
    "saving": "A checkpoint: from here the run can go on exactly as if it had never stopped.",
    "exporting": "The adapter is written in the one form that diffusers, ComfyUI and A1111 all read.",
    "certifying": "The file is loaded into a fresh base and compared with what was trained, layer by layer.",
    "captioning": "Every answer is kept at once; what was captioned is not captioned again after an interruption.",
    "generating": "Pictures appear below as they are done.",
    "paused": "Its device is free. Continue goes on from the checkpoint it saved.",
    "succeeded": "Put the trigger word into your prompts, and begin with a scale of 1.",
}
"""What is worth knowing at each stage."""


@router.get("/{job_id}")
def run_page(request: Request, job_id: str, against: str = "") -> HTMLResponse:
    """Everything about one job on one page; scripts keep it up to date."""
    studio = _studio(request)
    row, end = studio.queue.get(job_id), studio.queue.journal_end()
    job, state = studio.queue.job(row.id), row.state
    record, told = job.record(), chronicle_of(job.folder)
    result = job.folder.result() if state != "lost" else None
    parent = _parent(studio, job, against)
    before = parent.record().payload.get("config", {}) if parent else {}
    differences = config_difference(before, record.payload.get("config", {})) if parent else []
    further = _checkpoints(job) if record.kind == "train" and state in ENDED else []
    return page(
        request, "jobs/run.html", title=job.id, area="queue", job=job, record=record, told=told, state=state,
        row=row, journal=f"{end[0]}.{end[1]}", further=further, needs=studio.queue.needs(row.id),
        tips=TIPS, tip=TIPS.get(told.phase if state == "running" else state, ""), sequel=studio.enqueue.sequel(job),
        result=result, matrix=_matrix(told), files=_files(job), certificate=_certificate(job), log=job.log_tail(60),
        parent=parent, differences=differences, config=json.dumps(record.payload, indent=2, ensure_ascii=False),
        verbs=verbs_of(row), diagnosis=studio.remedies.diagnose(row), **_made(studio, row, job),
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
def act(request: Request, job_id: str, verb: Annotated[str, Form()], back: Annotated[str, Form()] = "") -> Response:
    """Speak to the job, and show the page it was spoken to from."""
    job = ask(_studio(request), job_id, verb)
    return RedirectResponse(back if back in _BACK else f"/jobs/{quote(job.id)}", 303)


@router.post("/{job_id}/place")
def place(
    request: Request, job_id: str, priority: Annotated[int | None, Form()] = None, before: Annotated[str, Form()] = ""
) -> Response:
    """Give it another priority, or a place before another job."""
    queue = _studio(request).queue
    if before:
        queue.move_before(job_id, before)
    elif priority is not None:
        queue.prioritise(job_id, priority)
    else:
        raise ConfigError("It was not said where the job shall go.", "Give a priority, or the job it goes before.")
    return RedirectResponse("/queue", 303)


@router.post("/{job_id}/further")
def further(
    request: Request, job_id: str, steps: Annotated[int, Form(ge=1)], step: Annotated[int | None, Form()] = None
) -> Response:
    """A new training from a checkpoint of this one, up to so many steps in all."""
    row = _studio(request).enqueue.continue_from(job_id, step, {"max_train_steps": steps})
    return RedirectResponse(f"/jobs/{quote(row.id)}", 303)


@router.post("/{job_id}/cure")
def cure(request: Request, job_id: str, remedy: Annotated[str, Form()]) -> Response:
    """Apply a remedy to a failed job and try again."""
    row = _studio(request).remedies.apply(job_id, remedy)
    return RedirectResponse(f"/jobs/{quote(row.id)}", 303)


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
    return file_answer(_studio(request).job(job_id), path)


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
    return [(one.path, one.size) for one in files_of(job) if one.path in DOWNLOADS]


def _certificate(job: Job) -> dict[str, Any] | None:
    path = job.folder.path / "certificate.json"
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as cause:
        raise JobError(f"The certificate of {job.id} is damaged.", "Certify the file again.") from cause
    return found


def _made(studio: Studio, row: QueuedJob, job: Job) -> dict[str, Any]:
    """What a tool made, as it told it, with the certificate that the library has of it by now."""
    none: dict[str, Any] = {"made": None, "kept": None}
    if row.kind != "tool" or row.state != "succeeded":
        return none
    payload, report = job.record().payload, job.output().get("report")
    name = str((row.output or {}).get("adapter", ""))
    kept = None
    if name in studio.library.names():
        kept = {"name": name, "certificate": studio.library.certificate(name)}
    verb, request = str(payload.get("verb", "")), payload.get("request", {})
    before = Path(str(request.get("lora", "")))
    size = before.stat().st_size if before.is_file() else 0
    return {"made": report, "kept": kept, "verb": verb, "given": Asked(request), "before": size}


@dataclass(frozen=True)
class Asked:
    """What a job was asked, as the part that shows a preview reads a form."""

    values: Mapping[str, Any]

    def one(self, name: str) -> str:
        """A value in words; empty when there is none."""
        return str(self.values.get(name) or "")


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


def _checkpoints(job: Job) -> list[int]:
    """Steps that a new training can begin at, the newest first."""
    names = (path.name for path in (job.folder.path / "checkpoints").glob("*"))
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def _studio(request: Request) -> Studio:
    studio: Studio = request.app.state.studio
    return studio
