"""What a finished job made, taken into its home: captions become a version, adapters go to the library.

Each of these can be asked again and gives the same answer, so a caller may die between a job and its collection.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorasmith.errors import AdapterError, JobError

if TYPE_CHECKING:
    from lorasmith.datasets.manifest import DatasetVersion
    from lorasmith.datasets.store import DatasetStore
    from lorasmith.jobfolder import JobKind
    from lorasmith.jobs import Job
    from lorasmith.studio import Studio


@dataclass(frozen=True)
class Rehearsal:
    """What two real steps said about a run. Seconds and bytes."""

    seconds_per_step: float
    estimated_seconds: float
    seconds: dict[str, float]
    """How long each stage of the rehearsal took."""
    peak_rss_bytes: int
    peak_device_bytes: int

    @classmethod
    def of(cls, output: Mapping[str, Any]) -> Rehearsal:
        """From what the job put out."""
        return cls(
            seconds_per_step=float(output["seconds_per_step"]),
            estimated_seconds=float(output["estimated_seconds"]),
            seconds=dict(output["seconds"]),
            peak_rss_bytes=int(output["peak_rss_bytes"]),
            peak_device_bytes=int(output["peak_device_bytes"]),
        )


def captions_of(studio: Studio, store: DatasetStore, job: Job) -> DatasetVersion:
    """Commit what a caption job made, once.

    Raises:
        JobError: it is no caption job, or it has not succeeded.
        DatasetError: it captioned nothing.
    """
    from lorasmith.captioning import commit_captions
    from lorasmith.sequels import COMMIT

    payload, output = _payload(job, "caption"), job.output()
    parent = studio.dataset(str(payload["dataset"]))
    for entry in reversed(store.history(parent.dataset)):
        if entry.operation.arguments.get("job") == job.id:
            return studio.dataset(f"{parent.dataset}@{entry.number}")
    arguments = {"captioner": payload["captioner"], "options": payload["options"], "job": job.id}
    plan = json.loads((job.folder.path / COMMIT).read_bytes())
    return commit_captions(store, parent, output, plan, arguments)


def adapter_of(studio: Studio, job: Job) -> Path:
    """Wait for a training job, and file what it made in the library: the first file, of several experts too.

    Raises:
        AdapterError: it failed its certificate, or its bytes are not those the worker wrote.
        LorasmithError: the job did not succeed.
    """
    payload = _payload(job, "train")
    job.wait()
    output = job.output()
    if "adapter" not in output:
        raise JobError(f"Job {job.id} was a rehearsal and made no adapter.", "Name a train job.")
    name = str(payload["config"]["output_name"])
    first, *_ = [_filed(studio, job, made, name) for made in (output, *output.get("more", ()))]
    return first


def _filed(studio: Studio, job: Job, made: Mapping[str, Any], name: str) -> Path:
    """One of the adapters that a job made, in the library; of several experts each under a name of its own."""
    from lorasmith.files import file_digest

    file = job.folder.path / str(made["adapter"])
    certificate: Mapping[str, Any] = made["certificate"]
    if not certificate.get("passed"):
        reason = next(iter(certificate.get("findings") or ()), "see its certificate")
        raise AdapterError(f"The adapter of {job.id} failed its certificate: {reason}", f"It is kept at {file}.")
    if not file.is_file() or file_digest(file) != made["sha256"]:
        raise AdapterError(f"{file} is missing or not what the worker wrote.", "Train it again from its job.json.")
    called = f"{name}_{made['expert']}" if made.get("expert") else name
    return studio.library.add(file, certificate, name=called, job=job.id)


def _payload(job: Job, kind: JobKind) -> dict[str, Any]:
    """The payload of a job of that kind; a ``JobError`` for one of another."""
    record = job.record()
    if record.kind != kind:
        raise JobError(f"Job {job.id} is a {record.kind} job.", f"Name a {kind} job.")
    return record.payload
