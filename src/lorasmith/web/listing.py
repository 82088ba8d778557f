"""Jobs as rows of a page: what the database knows, and the little that only their folders tell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from lorasmith.errors import LorasmithError
from lorasmith.queue.records import QueuedJob
from lorasmith.studio import Studio
from lorasmith.web.verbs import Verb, verbs_of

SIGNS: Final = {
    "queued": ("○", ""),
    "held": ("⏸", ""),
    "blocked": ("⏳", ""),
    "starting": ("◔", "busy"),
    "running": ("▶", "busy"),
    "pausing": ("⏸", "busy"),
    "paused": ("⏸", ""),
    "cancelling": ("■", "busy"),
    "succeeded": ("✓", "good"),
    "failed": ("✕", "bad"),
    "cancelled": ("■", ""),
    "lost": ("?", "bad"),
}
"""State to sign and tone."""


@dataclass(frozen=True)
class Row:
    """One line of a list."""

    job: QueuedJob
    model: str
    """The base it is about, as people call it."""
    verbs: tuple[Verb, ...]
    download: str
    """Address of what it made; empty where it made nothing that can be downloaded."""

    @property
    def sign(self) -> str:
        return SIGNS[self.job.state][0]

    @property
    def tone(self) -> str:
        return SIGNS[self.job.state][1]

    @property
    def share(self) -> float:
        """How much of it is done, 0 to 1, of the present phase."""
        if self.job.state == "succeeded":
            return 1.0
        return self.job.done / self.job.total if self.job.total else 0.0

    @property
    def words(self) -> str:
        """What it is at."""
        job = self.job
        parts = [job.phase, f"{job.done:,} of {job.total:,}" if job.total else ""] if job.state != "queued" else []
        return " · ".join(part for part in parts if part)


def rows_of(studio: Studio, jobs: Iterable[QueuedJob], *verbs: str) -> list[Row]:
    """Rows with their verbs, or those of them that are named."""
    return [Row(job, model_of(studio, job), verbs_of(job, *verbs), download_of(job)) for job in jobs]


def model_of(studio: Studio, job: QueuedJob) -> str:
    """The base a job is about; for captions the captioner. Empty where its folder cannot tell."""
    try:
        payload: dict[str, Any] = studio.queue.job(job.id).record().payload
    except LorasmithError:  # listed by fsck, and said on its own page
        return ""
    config = payload.get("config")
    base = (config.get("base") if isinstance(config, dict) else None) or payload.get("base") or payload.get("captioner")
    return str(base or "").replace("\\", "/").rpartition("/")[2]


def download_of(job: QueuedJob) -> str:
    """Where the LoRA of a training can be downloaded."""
    made = job.kind == "train" and job.state == "succeeded" and bool(job.output)
    return f"/jobs/{job.id}/files/adapter.safetensors" if made else ""
