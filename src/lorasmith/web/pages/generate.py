"""Generate: pictures from a base and adapters, as they come; prompts worth keeping; everything painted before."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse

from lorasmith.easel import Painting
from lorasmith.errors import ConfigError, LorasmithError
from lorasmith.generation.request import GenerateRequest, is_hash, reference_path
from lorasmith.generation.schedulers import AS_THE_BASE, SCHEDULERS
from lorasmith.jobs import Job
from lorasmith.studio import Studio
from lorasmith.web.lending import checked, lend, may_edit
from lorasmith.web.pages.imports import Parts, take_files, upload_ids, uploaded_parts
from lorasmith.web.rendering import page, part

router = APIRouter(prefix="/generate", include_in_schema=False)
SHOWN: Final = 48
_MOST_ADAPTERS: Final = 200
_SCALE: Final = (0.0, 2.0)
_SEEDS: Final = 2**32
_PICKED: Final = 60
_SAFE: Final = {"content-security-policy": "sandbox", "x-content-type-options": "nosniff"}
Sent = Annotated[Parts, Depends(uploaded_parts)]
_NUMBERS: Final = ("guidance_scale", "steps", "count", "width", "height", "batch_size", "guidance_rescale")


@dataclass
class Filled:
    """What the form shows."""

    base: str = "sandbox"
    prompt: str = ""
    negative_prompt: str = ""
    references: list[str] = field(default_factory=list)
    """Hashes of the pictures to edit, in order."""
    scales: dict[str, float] = field(default_factory=dict)
    """Adapters that are chosen."""
    seed: str = ""
    """Empty: a new one every time."""
    values: dict[str, str] = field(default_factory=dict)
    grid: str = ""
    compare: bool = False


@router.get("")
def generate(
    request: Request,
    job: Annotated[str, Query(max_length=200)] = "",
    again: Annotated[int, Query(ge=0)] = -1,
    saved: Annotated[str, Query(max_length=40)] = "",
    adapter: Annotated[str, Query(max_length=300)] = "",
    base: Annotated[str, Query(max_length=1000)] = "",
    reference: Annotated[str, Query(max_length=1200)] = "",
    seeding: Annotated[str, Query(max_length=10)] = "",
) -> HTMLResponse:
    """The form, and what it painted last; a seed that was drawn is drawn anew the next time."""
    studio = _studio(request)
    filled = Filled(base=base or "sandbox", references=_hashes(reference))
    if saved:
        filled = _filled(studio, studio.easel.prompt(saved).request)
    elif job and again >= 0:
        filled = _filled(studio, studio.easel.again(job, again))
    elif job:
        filled = _filled(studio, studio.job(job).record().payload)
        filled.seed = "" if seeding == "random" else filled.seed
    elif adapter in studio.library.names():
        whole = studio.models.get(adapter)
        filled.scales = {adapter: 1.0}
        filled.prompt = whole.model.trigger_word
        filled.base = _base_for(studio, whole.run.config.get("base", "") if whole.run else "", whole.model.base)
    return _page(request, filled, job)


@router.post("", response_model=None)
def start(request: Request, sent: Sent) -> HTMLResponse | RedirectResponse:
    """Paint: a job that waits for its turn."""
    studio, fields = _studio(request), sent.fields
    filled = Filled()
    try:
        filled = _sent(fields)
        filled.references += _given(request, sent)
        asked = request_from(filled)
        asked["references"] = checked(request, filled.references)
        job = studio.enqueue.generate(asked)
    except LorasmithError as refusal:
        return _page(request, filled, "", status=422, sentence=refusal.message, hint=refusal.hint)
    drawn = "" if fields.get("seeding") == "fixed" else "&seeding=random"
    return RedirectResponse(f"/generate?job={job.id}{drawn}", 303)


@router.get("/history")
def history(
    request: Request,
    offset: Annotated[int, Query(ge=0)] = 0,
    adapter: Annotated[str, Query(max_length=300)] = "",
) -> HTMLResponse:
    """Everything that was painted, the newest first."""
    studio = _studio(request)
    pictures, more = studio.easel.history(limit=SHOWN, offset=offset, adapter=adapter)
    return page(
        request, "generate/history.html", title="Pictures", area="generate", pictures=pictures, more=more,
        offset=offset, step=SHOWN, adapter=adapter, adapters=studio.library.names(), datasets=studio.datasets(),
    )  # fmt: skip


@router.post("/prompts")
def save(
    request: Request,
    name: Annotated[str, Form(max_length=200)] = "",
    job: Annotated[str, Form(max_length=200)] = "",
    index: Annotated[int, Form(ge=0)] = 0,
) -> RedirectResponse:
    """Keep the prompt of a picture, with its settings."""
    easel = _studio(request).easel
    easel.save(name, easel.again(job, index), (job, index))
    return RedirectResponse("/generate#saved", 303)


@router.post("/prompts/{id}/delete")
def forget(request: Request, id: str) -> RedirectResponse:
    """Delete a saved prompt."""
    _studio(request).easel.forget(id)
    return RedirectResponse("/generate#saved", 303)


@router.get("/pick")
def pick(request: Request, dataset: Annotated[str, Query(max_length=200)] = "") -> HTMLResponse:
    """Pictures of a dataset to choose from."""
    studio = _studio(request)
    version = studio.dataset(dataset) if dataset else None
    items = version.items[:_PICKED] if version else ()
    return part(request, "generate/pick.html", items=items, version=version)


@router.get("/lent/{sha256}.png")
def lent(request: Request, sha256: str) -> FileResponse:
    """A picture that whoever asks gave to be edited."""
    path = _studio(request).lending.path(sha256)
    if not is_hash(sha256) or not may_edit(request, sha256) or not path.is_file():
        raise HTTPException(404)
    return FileResponse(path, media_type="image/png", headers=_SAFE)


@router.get("/{job_id}/reference/{number}.png")
def edited(request: Request, job_id: str, number: int) -> FileResponse:
    """A picture that a job edits, for whoever sees the job."""
    studio = _studio(request)
    told = studio.job(job_id).record().payload.get("references", ())
    if not 0 <= number < len(told) or not is_hash(str(told[number])):
        raise HTTPException(404)
    path = reference_path(str(told[number]), studio.home)
    if not path.is_file():
        raise HTTPException(404)
    return FileResponse(path, media_type="image/png", headers=_SAFE)


@router.get("/{job_id}/pictures")
def pictures(request: Request, job_id: str) -> HTMLResponse:
    """What a job has painted so far; asks again by itself until it has ended."""
    studio = _studio(request)
    return part(request, "generate/pictures.html", **_painting(studio, studio.job(job_id)))


@router.get("/{job_id}/{index}.png")
def picture(request: Request, job_id: str, index: int) -> FileResponse:
    """One picture."""
    path = _studio(request).easel.picture(job_id, index)
    headers = {"content-security-policy": "sandbox", "cache-control": "private, max-age=31536000, immutable"}
    return FileResponse(path, media_type="image/png", headers=headers)


@router.get("/{job_id}/grid.png")
def grid(request: Request, job_id: str) -> FileResponse:
    """The labelled picture of a grid."""
    studio = _studio(request)
    job = studio.job(job_id)
    if not studio.easel.painting(job.id).grid:
        raise ConfigError(f"Job {job.id} painted no grid.", "Ask for one with adapters and weights.")
    return FileResponse(
        job.folder.path / "grid.png", media_type="image/png", headers={"content-security-policy": "sandbox"}
    )


@router.post("/{job_id}/{index}/without")
def without(request: Request, job_id: str, index: int) -> RedirectResponse:
    """The same picture by the base alone, beside it."""
    studio = _studio(request)
    first = studio.easel.again(job_id, index)
    prompt, uses = first["prompts"][0], first.pop("adapters")
    mentions = " ".join(f"<lora:{use['name']}:{use['weight']:g}>" for use in uses)
    both = {**first, "prompts": [f"{prompt} {mentions}".strip(), prompt] if uses else [prompt]}
    return RedirectResponse(f"/generate?job={studio.enqueue.generate(both).id}", 303)


@router.post("/{job_id}/{index}/keep")
def keep(request: Request, job_id: str, index: int, dataset: Annotated[str, Form(max_length=200)]) -> RedirectResponse:
    """Add the picture to a dataset."""
    reference = _studio(request).easel.keep(job_id, index, dataset)
    return RedirectResponse(f"/datasets/{reference.partition('@')[0]}", 303)


def request_from(filled: Filled) -> dict[str, Any]:
    """What the form asks for, but for the pictures to edit.

    Raises:
        ConfigError: a number that is none, a scale beyond 0 to 2, nothing to paint.
    """
    prompts = [line.strip() for line in filled.prompt.splitlines() if line.strip()]
    if not prompts:
        raise ConfigError("There is no prompt.", "Write what the picture shall show.")
    asked: dict[str, Any] = {"base": filled.base, "negative_prompt": filled.negative_prompt}
    for key in _NUMBERS:
        if text := filled.values.get(key, ""):
            asked[key] = _number(text, key.replace("_", " "))
    if scheduler := filled.values.get("scheduler", ""):
        asked["scheduler"] = scheduler
    asked["seed"] = int(_number(filled.seed, "seed")) if filled.seed else secrets.randbelow(_SEEDS)
    uses = [{"name": name, "weight": scale} for name, scale in filled.scales.items()]
    if filled.grid:
        if not uses:
            raise ConfigError("A grid needs adapters.", "Choose at least one, or leave the weights of the grid empty.")
        weights = [_number(text, "weight of the grid") for text in re.split(r"[,\s]+", filled.grid) if text]
        asked["grid"] = {"adapters": [use["name"] for use in uses], "weights": weights}
    elif filled.compare and uses:
        mentions = " ".join(f"<lora:{use['name']}:{use['weight']:g}>" for use in uses)
        prompts = [
            each for prompt in prompts for each in (f"{prompt} {mentions}", re.sub(r"<lora:[^>]*>", "", prompt).strip())
        ]
    else:
        asked["adapters"] = uses
    return {**asked, "prompts": prompts}


def _hashes(text: str) -> list[str]:
    return list(dict.fromkeys(text.replace(",", " ").split()))


def _given(request: Request, sent: Parts) -> list[str]:
    """Pictures that came with the form, kept to be edited."""
    owner = request.state.actor.name
    ids = [*upload_ids(sent.fields.get("uploads", "")), *take_files(_studio(request), sent.files, owner)]
    return lend(request, ids)


def _sent(sent: Mapping[str, str]) -> Filled:
    scales: dict[str, float] = {}
    for number in range(_MOST_ADAPTERS):
        name = sent.get(f"adapter.{number}.name")
        if name is None:
            break
        if sent.get(f"adapter.{number}.on"):
            scale = _number(sent.get(f"adapter.{number}.scale", "1"), f"scale of '{name}'")
            if not _SCALE[0] <= scale <= _SCALE[1]:
                raise ConfigError(
                    f"The scale of '{name}' is {scale:g}, and goes from 0 to 2 here.",
                    f"Write <lora:{name}:{scale:g}> into the prompt if you mean it.",
                )
            scales[name] = scale
    keys = (*_NUMBERS, "scheduler")
    return Filled(
        base=sent.get("base", "") or "sandbox",
        prompt=sent.get("prompt", ""),
        negative_prompt=sent.get("negative_prompt", ""),
        references=list(dict.fromkeys(value for key, value in sent.items() if key.startswith("reference.") and value)),
        scales=scales,
        seed=sent.get("seed", "").strip() if sent.get("seeding") == "fixed" else "",
        values={key: sent[key].strip() for key in keys if sent.get(key, "").strip()},
        grid=sent.get("grid", "").strip(),
        compare=bool(sent.get("compare")),
    )


def _filled(studio: Studio, request: Mapping[str, Any]) -> Filled:
    """The form as a request would have it."""
    scales = {
        str(use["name"]).replace("\\", "/").rpartition("/")[2].removesuffix(".safetensors"): float(use.get("weight", 1))
        for use in request.get("adapters", ())
    }
    grid = request.get("grid") or {}
    for name in grid.get("adapters", ()):
        scales[str(name).replace("\\", "/").rpartition("/")[2].removesuffix(".safetensors")] = 1.0
    keys = (*_NUMBERS, "scheduler")
    return Filled(
        base=_base_for(studio, str(request.get("base", "")), ""),
        prompt="\n".join(str(one) for one in request.get("prompts", ())),
        negative_prompt=str(request.get("negative_prompt", "")),
        references=[str(one) for one in request.get("references", ()) if is_hash(str(one))],
        scales={name: min(max(scale, _SCALE[0]), _SCALE[1]) for name, scale in scales.items()},
        seed=str(request.get("seed", "")),
        values={key: f"{request[key]:g}" if isinstance(request[key], float) else str(request[key])
                for key in keys if request.get(key) is not None},
        grid=", ".join(f"{float(weight):g}" for weight in grid.get("weights", ())),
    )  # fmt: skip


def _page(
    request: Request, filled: Filled, job: str, *, status: int = 200, sentence: str = "", hint: str = ""
) -> HTMLResponse:
    studio = _studio(request)
    shown = _painting(studio, studio.job(job)) if job else None
    fields = GenerateRequest.model_fields
    defaults = {key: fields[key].default for key in _NUMBERS}
    return page(
        request, "generate/generate.html", status, title="Generate", area="generate", filled=filled, shown=shown,
        adapters=_adapters(studio, filled), bases=_bases(studio, filled.base), schedulers=(AS_THE_BASE, *SCHEDULERS),
        references=_shown(request, filled.references),
        saved=studio.easel.prompts(), sentence=sentence, hint=hint, defaults=defaults, scale=_SCALE,
        datasets=studio.datasets(),
    )  # fmt: skip


def _shown(request: Request, references: Sequence[str]) -> list[tuple[str, str, str]]:
    """Hash, address and name of each picture to edit; of one that may not be seen, no address."""
    found = []
    for one in references:
        about = _studio(request).lending.about(one)
        seen = may_edit(request, one)
        address = (f"/generate/lent/{one}.png" if about else f"/thumbnails/{one}") if seen else ""
        found.append((one, address, about.name if about and seen else ""))
    return found


def _painting(studio: Studio, job: Job) -> dict[str, Any]:
    """What the part of the pictures shows."""
    painting = studio.easel.painting(job.id)
    row = studio.queue.get(job.id)
    ended = row.state in ("succeeded", "failed", "cancelled", "lost", "paused")
    done = sum(one.there for one in painting.pictures)
    return {
        "job": job,
        "row": row,
        "ended": ended,
        "painting": painting,
        "done": done,
        "share": _share(painting, done, row.done, row.total),
        "datasets": studio.datasets(),
    }


def _share(painting: Painting, done: int, steps: int, total: int) -> float:
    whole = done / len(painting.pictures) if painting.pictures else 0.0
    return max(whole, steps / total if total else 0.0)


def _adapters(studio: Studio, filled: Filled) -> list[tuple[str, str, float | None]]:
    """Name, trigger word and scale; those that are chosen first."""
    known = {one: model for model in studio.models.list() for one in model.versions}
    names = sorted(known, key=lambda name: (name not in filled.scales, name.casefold()))[:_MOST_ADAPTERS]
    words = {name: known[name].trigger_word for name in names}
    return [(name, words[name], filled.scales.get(name)) for name in names]


def _bases(studio: Studio, chosen: str) -> list[tuple[str, str]]:
    shelf = studio.bases
    here = [one for one in shelf.list() if one.kind == "base" and shelf.trainable(one.family) and one.present()]
    found = [
        ("sandbox", "sandbox: a tiny world of shapes"),
        *((one.name, f"{one.name} ({one.title})") for one in here),
    ]
    return found if chosen in {reference for reference, _ in found} else [*found, (chosen, chosen)]


def _base_for(studio: Studio, reference: str, name: str) -> str:
    """A base as the form names it: registered ones by name, whatever path a job was given."""
    for one in studio.bases.list():
        if reference in (one.path, one.name) or (name and name == one.name):
            return one.name
    return reference or "sandbox"


def _number(text: str, what: str) -> float:
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError as cause:
        raise ConfigError(f"The {what} '{text[:40]}' is not a number.", "Write a number such as 7 or 0.8.") from cause
    if not math.isfinite(value):
        raise ConfigError(f"The {what} '{text[:40]}' is not a number.", "Write a number such as 7 or 0.8.")
    return int(value) if value.is_integer() else value


def _studio(request: Request) -> Studio:
    studio: Studio = request.app.state.studio
    return studio
