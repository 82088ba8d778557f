"""What follows a job when it has succeeded: what it made is filed, then the rest of a plan is queued.

The plan is ``sequel.json``: steps that each take what the one before made. When the queue files what a job made, the
next step becomes a job whose folder holds the rest; so a plan survives whatever its server does not.

    caption    a caption job on the dataset that was made       edit       an operation on its captions, at once
    train      a training on it                                 generate   pictures with the adapter that was made
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NotRequired, TypedDict, cast

from lorasmith.errors import LorasmithError
from lorasmith.events import Notice
from lorasmith.files import read_json, write_json

if TYPE_CHECKING:
    from lorasmith.jobs import Job
    from lorasmith.queue.records import QueuedJob
    from lorasmith.studio import Studio

FILE: Final = "sequel.json"
COMMIT: Final = "commit.json"
"""In a caption job's folder: what to do with its captions."""
ABOUT: Final = "about.json"
"""In a train job's folder: what its adapter is said to be."""
FILED: Final = "filed.json"
"""In the folder of a job that made a base: where that lies now."""
_KINDS: Final = {"caption": "caption", "train": "train", "generate": "generate"}
_WORDS: Final = {
    "caption": "captions",
    "edit": "its captions edited",
    "train": "the training",
    "generate": "pictures with it",
}


class Step(TypedDict):
    """One step: its verb, and the arguments of that verb of ``Studio.enqueue`` besides what the last step made."""

    verb: Literal["caption", "edit", "train", "generate"]
    values: dict[str, Any]
    about: NotRequired[dict[str, Any]]
    """What the adapter of a training is said to be."""


def write(folder: Path, steps: Sequence[Step]) -> None:
    """Put a plan into a job's folder; none, and nothing is written."""
    if steps:
        write_json(folder / FILE, {"steps": list(steps)})


def read(folder: Path) -> list[Step]:
    """The plan in a job's folder; empty where there is none."""
    found: list[Any] = read_json(folder / FILE).get("steps", []) if (folder / FILE).exists() else []
    return [cast(Step, step) for step in found if isinstance(step, dict) and step.get("verb") in _WORDS]


def words(steps: Sequence[Step]) -> list[str]:
    """A plan for people."""
    return [_WORDS[step["verb"]] for step in steps]


def follow(studio: Studio, job: Job, made: Mapping[str, Any]) -> dict[str, Any]:
    """Queue the next step of a job that has succeeded; asked twice, it does so once.

    Args:
        studio: where.
        job: the one that has ended.
        made: what was filed of it: ``dataset`` or ``adapter``.

    Returns:
        ``next``, the id of the next job; or ``next_refused``, the sentence why there is none. A job that succeeded does
        not fail because of what should follow it: the sentence is said as a notice too.
    """
    steps = read(job.folder.path)
    if not steps:
        return {}
    try:
        there = _queued_before(studio, job, steps)
        return {"next": (there or _take(studio, job, steps, dict(made))).id}
    except LorasmithError as refusal:
        said = f"What should have followed was refused: {refusal.message}"
        job.folder.emit(Notice(said, refusal.hint))
        return {"next_refused": f"{said} {refusal.hint}".strip()}


def _queued_before(studio: Studio, job: Job, steps: Sequence[Step]) -> QueuedJob | None:
    kind = next((_KINDS[step["verb"]] for step in steps if step["verb"] in _KINDS), "")
    return next((row for row in studio.queue.list() if row.parent == job.id and row.kind == kind), None)


def _take(studio: Studio, job: Job, steps: Sequence[Step], made: dict[str, Any]) -> QueuedJob:
    from lorasmith.errors import ConfigError
    from lorasmith.queue.verbs import Placement

    place = Placement(parent=job.id)
    for number, step in enumerate(steps):
        rest, values = steps[number + 1 :], step["values"]
        if step["verb"] == "edit":
            edited = studio.curate.edit(_head(made), str(values["operation"]), values["arguments"])
            made["dataset"] = edited.reference
        elif step["verb"] == "caption":
            return studio.enqueue.caption(_head(made), placement=place, then=rest, **values)
        elif step["verb"] == "train":
            return studio.enqueue.train(str(made["dataset"]), values, place, then=rest, about=step.get("about"))
        else:
            with_it = {"adapters": [{"name": made.get("called", made["adapter"])}], **values}
            return studio.enqueue.generate(with_it, placement=place)
    raise ConfigError("The plan ends without a job.", "Start the training from the workspace.")


def _head(made: Mapping[str, Any]) -> str:
    """The dataset by its name: what is captioned is joined with what was edited meanwhile."""
    return str(made["dataset"]).partition("@")[0]


def collect_ended(studio: Studio, job: Job) -> dict[str, Any] | None:
    """File what a queued job that succeeded has made where it belongs, and queue what follows it; asked again it says
    the same.

    Raises:
        LorasmithError: it cannot be filed: an adapter failed its certificate, captions were edited meanwhile.
    """
    made = _filed(studio, job)
    return made if made is None else made | follow(studio, job, made) | _proven(studio, job, made)


def _filed(studio: Studio, job: Job) -> dict[str, Any] | None:
    record, output = job.record(), job.output()
    if record.kind == "train":
        return _trained(studio, job, output)
    if record.kind == "caption":
        there = (job.folder.path / COMMIT).exists()
        return {"dataset": studio.collect_captions(job).reference} if there else None
    if record.kind == "generate":
        return {"images": [image["path"] for image in output["images"]]}
    if record.kind == "tool":
        return _made(studio, job, output)
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
    }[record.kind]
    return {ours: output[theirs]}


def _trained(studio: Studio, job: Job, output: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a training made, by its name in the library."""
    if "adapter" not in output:
        return None
    adapter = studio.collect(job)
    studio.library.introduce(adapter.stem, read_json(job.folder.path / ABOUT))
    expert = str(output.get("expert", ""))  # both adapters of a pair are called up by the name before its word
    both = {"called": adapter.stem.removesuffix(f"_{expert}")} if expert else {}
    return {"adapter": adapter.stem, **both}


def _made(studio: Studio, job: Job, output: Mapping[str, Any]) -> dict[str, Any]:
    """What a tool made, by its name in the library or among the bases."""
    if "base" in output:
        return {"base": _shelved(studio, job, str(output["base"]))}
    return {"adapter": _kept(studio, job, str(output["adapter"]))}


def _kept(studio: Studio, job: Job, made: str) -> str:
    """The name in the library of a LoRA that a tool made."""
    name = str(job.record().payload["name"])
    return studio.library.add(job.folder.path / made, None, name=name, job=job.id).stem


def _shelved(studio: Studio, job: Job, made: str) -> str:
    """The name among the bases of what a tool made."""
    payload, place, note = job.record().payload, job.folder.path / made, job.folder.path / FILED
    return studio.bases.move_in(place, note, name=str(payload["name"]), like=str(payload["request"]["base"])).name


def _proven(studio: Studio, job: Job, made: Mapping[str, Any]) -> dict[str, Any]:
    """Queue the certificate that was asked for with a tool; asked twice, once."""
    base = str(job.record().payload.get("certify", ""))
    if not base:
        return {}
    there = next((row for row in studio.queue.list() if row.parent == job.id and row.kind == "certify"), None)
    from lorasmith.queue.verbs import Placement

    try:
        place = Placement(parent=job.id)
        return {"next": (there or studio.enqueue.certify(str(made["adapter"]), base, place)).id}
    except LorasmithError as refusal:
        said = f"It could not be certified: {refusal.message}"
        job.folder.emit(Notice(said, refusal.hint))
        return {"next_refused": f"{said} {refusal.hint}".strip()}
