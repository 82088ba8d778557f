"""Files of a job that are given out: what it made, wrote down and painted, and nothing else of its folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse

from lorasmith.chronicle import chronicle_of
from lorasmith.jobs import Job

DOWNLOADS: Final = {
    "adapter.safetensors": "application/octet-stream",
    "certificate.json": "application/json",
    "job.json": "application/json",
    "result.json": "application/json",
    "events.jsonl": "application/x-ndjson",
    "log.txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True)
class JobFile:
    """One of them."""

    path: str
    """In the job's folder."""
    size: int


def files_of(job: Job) -> list[JobFile]:
    """What there is now: files by their kind, then previews and pictures by name."""
    folder = job.folder.path
    there = [name for name in DOWNLOADS if (folder / name).is_file()]
    painted = sorted(path for path in _samples(job) | images_of(job) if _picture(job, path))
    return [JobFile(path, (folder / path).stat().st_size) for path in (*there, *painted)]


def file_answer(job: Job, path: str) -> FileResponse:
    """One of them, as what it is.

    Raises:
        HTTPException: 404; it is none of them.
    """
    file = job.folder.path / path
    if path in DOWNLOADS and file.is_file():
        shown = f"{job.id}.safetensors" if path == "adapter.safetensors" else path
        return FileResponse(file, media_type=DOWNLOADS[path], filename=shown)
    painted = _samples(job) if path.startswith("samples/") else frozenset()
    if (path in painted or path in images_of(job)) and _picture(job, path):
        return FileResponse(file.resolve(), media_type="image/png", headers={"content-security-policy": "sandbox"})
    raise HTTPException(404)


def images_of(job: Job) -> frozenset[str]:
    """Pictures that a generate job made."""
    result = job.folder.result()
    return frozenset(str(one["path"]) for one in (result.output.get("images", ()) if result else ()))


def _samples(job: Job) -> frozenset[str]:
    return frozenset(sample.path for sample in chronicle_of(job.folder).samples)


def _picture(job: Job, path: str) -> bool:
    """Whether it is a picture in the folder, wherever links lead."""
    whole = (job.folder.path / path).resolve()
    return whole.is_relative_to(job.folder.path.resolve()) and whole.suffix == ".png" and whole.is_file()
