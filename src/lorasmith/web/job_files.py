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
    "adapter_high_noise.safetensors": "application/octet-stream",
    "adapter_low_noise.safetensors": "application/octet-stream",
    "certificate.json": "application/json",
    "certificate_high_noise.json": "application/json",
    "certificate_low_noise.json": "application/json",
    "job.json": "application/json",
    "result.json": "application/json",
    "events.jsonl": "application/x-ndjson",
    "log.txt": "text/plain; charset=utf-8",
}
_SHOWN: Final = {".png": "image/png", ".webp": "image/webp", ".mp4": "video/mp4"}


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
    if (path in painted or path in images_of(job)) and (kind := _picture(job, path)):
        return FileResponse(file.resolve(), media_type=kind, headers={"content-security-policy": "sandbox"})
    raise HTTPException(404)


def images_of(job: Job) -> frozenset[str]:
    """Pictures and clips that a generate job made."""
    result = job.folder.result()
    made = result.output.get("images", ()) if result else ()
    return frozenset(str(one[name]) for one in made for name in ("path", "clip", "video") if one.get(name))


def _samples(job: Job) -> frozenset[str]:
    told = chronicle_of(job.folder).samples
    return frozenset(sample.path for sample in told) | frozenset(sample.clip for sample in told if sample.clip)


def _picture(job: Job, path: str) -> str:
    """What kind of picture or clip it is; empty where it is none, or lies outside the folder, wherever links lead."""
    whole = (job.folder.path / path).resolve()
    inside = whole.is_relative_to(job.folder.path.resolve()) and whole.is_file()
    return _SHOWN.get(whole.suffix, "") if inside else ""
