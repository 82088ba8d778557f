"""What ended jobs have made, filed where it belongs: versions, adapters, certificates, and what shall follow them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lorasmith import sequels
from lorasmith.enqueuing import ABOUT, COMMIT
from lorasmith.files import read_json

if TYPE_CHECKING:
    from lorasmith.jobs import Job
    from lorasmith.studio import Studio


def collect_ended(studio: Studio, job: Job) -> dict[str, Any] | None:
    """File what a queued job that succeeded has made where it belongs, and queue what follows it; asked again it says
    the same.

    Raises:
        LorasmithError: it cannot be filed: an adapter failed its certificate, captions were edited meanwhile.
    """
    made = _filed(studio, job)
    return made if made is None else made | sequels.follow(studio, job, made)


def _filed(studio: Studio, job: Job) -> dict[str, Any] | None:
    record, output = job.record(), job.output()
    if record.kind == "train":
        if "adapter" not in output:
            return None
        adapter = studio.collect(job)
        studio.library.introduce(adapter.stem, read_json(job.folder.path / ABOUT))
        return {"adapter": adapter.stem}
    if record.kind == "caption":
        there = (job.folder.path / COMMIT).exists()
        return {"dataset": studio.collect_captions(job).reference} if there else None
    if record.kind == "generate":
        return {"images": [image["path"] for image in output["images"]]}
    if record.kind == "tool":
        output = {**output, "adapter": _kept(studio, job, str(output["adapter"]))}
    if record.kind == "certify":
        studio.models.file_certificate(job)
    if record.kind == "import":
        from lorasmith.sources.upload_sets import release

        release(studio.home, record.payload["sources"])
        return {"dataset": output["reference"]}
    theirs, ours = {
        "gather": ("reference", "dataset"),
        "fetch": ("base", "base"),
        "export": ("folder", "folder"),
        "certify": ("passed", "passed"),
        "tool": ("adapter", "adapter"),
    }[record.kind]
    return {ours: output[theirs]}


def _kept(studio: Studio, job: Job, made: str) -> str:
    """The name in the library of a LoRA that a tool made."""
    name = str(job.record().payload["name"])
    return studio.library.add(job.folder.path / made, None, name=name, job=job.id).stem
