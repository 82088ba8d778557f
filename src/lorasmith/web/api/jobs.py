"""``/api/jobs``: what waits, runs and has ended, its order, and what is said to it. ``/api/lanes``: where it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal

from fastapi import Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import FileResponse

from lorasmith.errors import JobError
from lorasmith.queue.records import Happening, Lane, QueuedJob
from lorasmith.queue.states import State
from lorasmith.remedies import Diagnosis
from lorasmith.web.api.asking import Admin, Asked, Clean, Limit, Offset, Page, StudioOf, noun, piece_of
from lorasmith.web.api.placing import Place
from lorasmith.web.job_files import JobFile, file_answer, files_of

router = noun("", "jobs")
Id = Annotated[str, Path(max_length=200, description="An id, an unmistakable part of one, or `last`"), Clean]
RemedyId = Annotated[str, Path(max_length=100), Clean]
Verb = Literal[
    "release", "front", "back", "pause", "resume", "cancel", "finish", "retry", "save_now", "sample_now"
]  # fmt: skip
_FURTHEST: Final = 2**62


class JobFacts(BaseModel):
    """A job with its frozen payload and what became of it."""

    job: QueuedJob
    payload: dict[str, Any]
    needs: tuple[str, ...]
    """Jobs that have to succeed first."""
    result: dict[str, Any] | None
    """Outcome, message, hint and output; null until it has ended."""


class Hold(Asked):
    """Why."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "until the night"}]})
    reason: Annotated[str, Field(max_length=500), Clean] = ""


class Prioritise(Asked):
    """Higher goes first."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"priority": 10}]})
    priority: Annotated[int, Field(ge=-100, le=100)]


class Clone(Asked):
    """Other values, of trainings; a checkpoint to begin at."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"changes": {"max_train_steps": 4000}, "newest": True}]})
    changes: dict[str, Any] = {}
    step: Annotated[int, Field(ge=0, le=10**9)] | None = None
    """Of the checkpoint."""
    newest: bool = False
    """Whether to begin at the newest checkpoint."""
    place: Place = Place()


class Drain(Asked):
    """Which lane; left out, all."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"lane": "cuda:0", "reason": "a game"}]})
    lane: Annotated[str, Field(max_length=100), Clean] = ""
    reason: Annotated[str, Field(max_length=500), Clean] = ""


class Journal(BaseModel):
    """What happened, and how to ask for what follows."""

    name: str
    """Ids of a journal of another name mean nothing here."""
    entries: Sequence[Happening]


@router.get("/jobs", summary="All jobs")
def list_jobs(
    request: Request, response: Response, studio: StudioOf,
    state: Annotated[list[State] | None, Query(description="Only these; may be repeated")] = None,
    in_turn: Annotated[bool, Query(description="In the order in which they would run")] = False,
    limit: Limit = 100, offset: Offset = 0,
) -> Page[QueuedJob]:  # fmt: skip
    """The newest first."""
    counts = studio.queue.counts()
    total = sum(number for known, number in counts.items() if state is None or known in state)
    rows = studio.queue.list(state, in_turn=in_turn, newest=not in_turn, limit=limit, offset=offset)
    return piece_of(request, response, rows, total, limit, offset)


@router.get("/jobs/counts", summary="How many jobs there are in each state")
def count_jobs(studio: StudioOf) -> dict[str, int]:
    """That has any."""
    return {str(state): number for state, number in studio.queue.counts().items()}


@router.get("/jobs/{job}", summary="One job")
def get_job(studio: StudioOf, job: Id) -> JobFacts:
    """With its payload and result."""
    row = studio.queue.get(job)
    folder = studio.job(row.id)
    result = folder.result()
    return JobFacts(
        job=row,
        payload=folder.record().payload,
        needs=studio.queue.needs(row.id),
        result=result.model_dump(mode="json") if result else None,
    )


@router.get("/jobs/{job}/log", summary="The end of its log")
def get_log(studio: StudioOf, job: Id, lines: Annotated[int, Query(ge=1, le=2000)] = 200) -> list[str]:
    """Oldest line first."""
    return studio.job(job).log_tail(lines)


@router.get("/jobs/{job}/journal", summary="What became of it so far")
def get_job_journal(
    studio: StudioOf, job: Id, after: Annotated[int, Query(ge=0, le=_FURTHEST)] = 0, limit: Limit = 1000
) -> Sequence[Happening]:
    """Oldest first."""
    return studio.queue.journal(after, limit=limit, job=studio.queue.get(job).id)


@router.post("/jobs/{job}/hold", summary="Keep a waiting job from being started")
def hold_job(studio: StudioOf, job: Id, asked: Hold) -> QueuedJob:
    """Until it is released."""
    return studio.queue.hold(job, asked.reason)


@router.post("/jobs/{job}/priority", summary="Give a job another priority")
def prioritise_job(studio: StudioOf, job: Id, asked: Prioritise) -> QueuedJob:
    """It goes behind those that have it already."""
    return studio.queue.prioritise(job, asked.priority)


@router.post("/jobs/{job}/clone", status_code=202, summary="The same once more")
def clone_job(studio: StudioOf, job: Id, asked: Clone) -> QueuedJob:
    """With other values, or from a checkpoint; the job it comes from stays as it is."""
    placement = asked.place.placement()
    if asked.newest or asked.step is not None:
        return studio.enqueue.continue_from(job, asked.step, asked.changes, placement)
    return studio.enqueue.clone(job, asked.changes, placement)


@router.post("/jobs/{job}/do/{verb}", summary="Speak to a job")
def speak_to_job(studio: StudioOf, job: Id, verb: Verb) -> QueuedJob:
    """`pause` lets it save and free its device, `cancel` lets it save and end, `finish` keeps what it has made;
    `resume` goes on before the others, `retry` behind them."""
    act: Callable[[str], QueuedJob] = getattr(studio.queue, verb)
    return act(job)


@router.get("/jobs/{job}/remedies", summary="What a failed job died of, and what helps")
def diagnose_job(studio: StudioOf, job: Id) -> Diagnosis:
    """The class of the failure, the line that proves it, and what can be done; also for a worker that stands still."""
    row = studio.queue.get(job)
    found = studio.remedies.diagnose(row)
    if found is None:
        raise JobError(f"Job {row.id} is {row.state} and needs no remedy.", "Ask again when it has failed.")
    return found


@router.post("/jobs/{job}/remedies/{remedy}", status_code=202, summary="Do what helps, and try again")
def apply_remedy(studio: StudioOf, job: Id, remedy: RemedyId) -> QueuedJob:
    """The job that runs then, the same one or a new one; a remedy with an `address` is a page, and not done here."""
    return studio.remedies.apply(job, remedy)


@router.get("/jobs/{job}/files", summary="Files that a job has made")
def list_job_files(studio: StudioOf, job: Id) -> list[JobFile]:
    """Its adapter and certificate, what it was asked and said, previews and pictures."""
    return files_of(studio.job(job))


@router.get(
    "/jobs/{job}/files/{path:path}",
    summary="One of them",
    response_class=FileResponse,
    responses={200: {"content": {"application/octet-stream": {}, "image/png": {}}}},
)
def get_job_file(studio: StudioOf, job: Id, path: Annotated[str, Path(max_length=1000), Clean]) -> FileResponse:
    """Its bytes."""
    return file_answer(studio.job(job), path)


@router.get("/journal", summary="What happened in the queue")
def read_journal(
    studio: StudioOf, after: Annotated[int, Query(ge=0, le=_FURTHEST)] = 0, limit: Limit = 1000
) -> Journal:
    """Behind an id, oldest first; `/api/events` says the same live."""
    return Journal(name=studio.queue.journal_end()[0], entries=studio.queue.journal(after, limit=limit))


@router.get("/lanes", summary="Where jobs run")
def list_lanes(studio: StudioOf) -> Sequence[Lane]:
    """One per device, one for light work."""
    return studio.queue.lanes()


@router.post("/lanes/drain", summary="Start nothing more on a lane")
def drain_lane(studio: StudioOf, admin: Admin, asked: Drain) -> Sequence[Lane]:
    """What runs there goes on."""
    return studio.queue.drain(asked.lane, asked.reason)


@router.post("/lanes/open", summary="Start jobs on a lane again")
def open_lane(studio: StudioOf, admin: Admin, asked: Drain) -> Sequence[Lane]:
    """Or on all."""
    return studio.queue.open_lane(asked.lane)
