"""From a ZIP to a training in three steps: captioning, loading what came out of it, and a form that recipes fill."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response

from lorasmith.datasets.manifest import DatasetVersion, Fate
from lorasmith.datasets.names import safe_dataset_name
from lorasmith.errors import InputError
from lorasmith.fields import OneField, fields_of
from lorasmith.studio import Studio
from lorasmith.web.pages.captioning import agree, asked, captioners, run_state, said, takes, undoing
from lorasmith.web.pages.imports import WAITING, Parts, import_state_of, take_files, upload_ids, uploaded_parts
from lorasmith.web.rendering import page, part

router = APIRouter(include_in_schema=False)
PROMPTS: Final = (
    "Describe this image in detail, focusing on style, mood, and composition",
    "Describe this portrait in detail, including lighting, mood, pose, and artistic style",
)
FIRST: Final = (
    "prompt", "temperature", "top_p", "max_new_tokens", "max_tokens", "batch_size", "concurrency", "base_url", "model",
    "general_threshold",
)  # fmt: skip
"""Options that are shown at once, where a captioner has them; the others are folded away."""
_BEGIN: Final = {"prompt": PROMPTS[0], "temperature": 0.7, "top_p": 0.9, "max_new_tokens": 1024, "max_tokens": 1024}
_BATCH: Final = 4
_PAIRS: Final = 60
_LISTED: Final = 300
_FILES: Final = ("captions.txt", "captions.json", "processed_images.zip")
_ALONE: Final = ("orphan_caption", "unreadable_caption", "duplicate_caption")
_VALUES: Final = (
    ("max_train_steps", "Steps"),
    ("optimizer.learning_rate", "Learning rate"),
    ("adapter.rank", "LoRA rank"),
)


@router.get("/captioning")
def captioning(request: Request, captioner: Annotated[str, Query(alias="with")] = "joycaption") -> HTMLResponse:
    """A ZIP in, captions and renamed pictures out; or both in, and a dataset out."""
    studio = _studio(request)
    fields = [one for one in fields_of(studio.captions.options_of(captioner)) if one.key != "pairs"]  # a ZIP has none
    begin = {field.key: _first_value(field) for field in fields}
    shown = sorted((f for f in fields if f.key in FIRST), key=lambda field: FIRST.index(field.key))
    return page(
        request, "workflow/captioning.html", title="Captioning", area="datasets", captioner=captioner,
        captioners=captioners(studio), shown_fields=shown, more=[f for f in fields if f.key not in FIRST], begin=begin,
        prompts=PROMPTS, **takes(studio, captioner, {}),
    )  # fmt: skip


@router.post("/captioning/need")
def need(request: Request, form: Annotated[Parts, Depends(uploaded_parts)]) -> HTMLResponse:
    """What the captioner would take."""
    studio = _studio(request)
    captioner, options = asked(studio, form.fields)
    return part(request, "captioning/need.html", **takes(studio, captioner, options))


@router.post("/captioning")
def start(request: Request, form: Annotated[Parts, Depends(uploaded_parts)]) -> Response:
    """Take the ZIP in, and caption it as soon as it is there; what could not be captioned is refused now."""
    studio, owner = _studio(request), request.state.actor.name
    captioner, options = asked(studio, form.fields)
    agree(studio, captioner, options, form.fields)
    download = "download" in form.fields
    studio.captions.check(captioner, download=download, **options)
    values = {"captioner": captioner, "existing": "replace", "download": download, **options}
    job = _import(studio, owner, form, then=[{"verb": "caption", "values": values}])
    return RedirectResponse(f"/captioning/runs/{job}", 303)


@router.get("/captioning/runs/{job_id}")
def run(request: Request, job_id: str) -> HTMLResponse:
    """The ZIP taken in, its captions as they come, then the three files."""
    context = _run(_studio(request), job_id)
    return page(request, "workflow/run.html", title="Captioning", area="datasets", **context)


@router.get("/captioning/runs/{job_id}/state")
def run_part(request: Request, job_id: str) -> HTMLResponse:
    """The same as a part."""
    return part(request, "workflow/state.html", **_run(_studio(request), job_id))


@router.post("/captioning/load")
def load(request: Request, form: Annotated[Parts, Depends(uploaded_parts)]) -> Response:
    """Take processed pictures and their captions in."""
    job = _import(_studio(request), request.state.actor.name, form)
    return RedirectResponse(f"/datasets/imports/{job}?then=pairs", 303)


@router.get("/datasets/{name}/pairs")
def pairs(request: Request, name: str, at: Annotated[int, Query(ge=0)] = 0) -> HTMLResponse:
    """Every picture beside its caption, with figures, and what found no partner."""
    studio = _studio(request)
    version = studio.dataset(name)
    key = (version.dataset, version.number, version.root, "pairs")
    told: _Told = request.app.state.looks.at_once(key, lambda: _tell(version))
    context: dict[str, Any] = {
        "version": version,
        "pairs": [(item, told.files.get(item.name, "")) for item in version.items[at : at + _PAIRS]],
        "next": at + _PAIRS,
        "more": at + _PAIRS < len(version.items),
    }
    if request.headers.get("hx-request") == "true":
        return part(request, "workflow/pairs_part.html", **context)
    return page(
        request, "workflow/pairs.html", title=f"Pictures and captions of {version.dataset}", area="datasets",
        tab="pairs", facts=told.facts, orphans=told.orphans,
        said=[str(one) for one in version.operation.arguments.get("said", ())], **context, **undoing(studio, version),
    )  # fmt: skip


@router.get("/captioning/{name}/downloads")
def downloads(request: Request, name: str) -> HTMLResponse:
    """The three files."""
    studio = _studio(request)
    version = studio.dataset(name)
    context: dict[str, Any] = {"version": version, **_bundle(studio, version)}
    if request.headers.get("hx-request") == "true":
        return part(request, "workflow/downloads_part.html", **context)
    return page(request, "workflow/downloads.html", title=f"Files of {version.dataset}", area="datasets", **context)


@router.post("/captioning/{name}/downloads")
def make_downloads(request: Request, name: str) -> Response:
    """Have the three files made, unless they are there or being made."""
    studio = _studio(request)
    version = studio.dataset(name)
    there = _bundle(studio, version)
    if not there["files"] and not there["waiting"]:
        studio.enqueue.export(version.reference, "bundle", _place(studio, version), force=True)
    if request.headers.get("hx-request") == "true":
        return part(request, "workflow/downloads_part.html", version=version, **_bundle(studio, version))
    return RedirectResponse(f"/captioning/{version.dataset}/downloads", 303)


@router.get("/captioning/{name}/downloads/{file}")
def download(request: Request, name: str, file: str) -> FileResponse:
    """One of the three files."""
    studio = _studio(request)
    version = studio.dataset(name)
    found = {path.name: path for path in _bundle(studio, version)["files"]}
    if file not in found:
        raise HTTPException(404)
    return FileResponse(found[file], filename=file, headers={"content-security-policy": "sandbox"})


@router.get("/captioning/train")
def training(request: Request, dataset: str = "", recipe: str = "") -> HTMLResponse:
    """The training form, filled by a recipe."""
    studio = _studio(request)
    known = studio.recipes.all()
    chosen = studio.recipes.get(recipe) if recipe else None
    values = dict(chosen.values) if chosen else known["style"].values
    extra = {
        key: value for key, value in values.items() if key not in dict(_VALUES) and key != "gradient_checkpointing"
    }
    return page(
        request, "workflow/training.html", title="Training", area="workspace", recipes=known, recipe=chosen,
        values=values, extra=extra, dataset=dataset, datasets=list(studio.datasets()), fields=_VALUES,
        offer=studio.workbench.offer(),
    )  # fmt: skip


@router.get("/captioning/recipes/{name}.toml")
def export_recipe(request: Request, name: str) -> PlainTextResponse:
    """A recipe as a file."""
    text = _studio(request).recipes.export(name)
    headers = {"content-disposition": f'attachment; filename="{safe_dataset_name(name)}.toml"'}
    return PlainTextResponse(text, headers=headers, media_type="application/toml")


@router.post("/captioning/recipes")
def add_recipe(request: Request, form: Annotated[Parts, Depends(uploaded_parts)]) -> Response:
    """Take a recipe in."""
    if not form.files:
        raise InputError("There is no file.", "Choose a recipe, a .toml file.")
    file = form.files[0]
    name = form.fields.get("name", "").strip() or Path(file.filename or "").stem
    recipe = _studio(request).recipes.add(file.file.read(200_000), name, replace="replace" in form.fields)
    return RedirectResponse(f"/captioning/train?recipe={recipe.name}", 303)


@router.post("/captioning/recipes/{name}/remove")
def remove_recipe(request: Request, name: str) -> Response:
    """Remove one of one's own."""
    _studio(request).recipes.remove(name)
    return RedirectResponse("/captioning/train", 303)


def _import(studio: Studio, owner: str, form: Parts, then: Any = ()) -> str:
    ids = [*upload_ids(form.fields.get("uploads", "")), *take_files(studio, form.files, owner)]
    ready = studio.lay_out_uploads(ids, owner)
    name = form.fields.get("name", "").strip()
    stem = next((path.stem for path in ready.sources if path.suffix.lower() == ".zip"), ready.name)
    title = safe_dataset_name(name or stem.removesuffix("_processed_images"))
    job = studio.enqueue.import_dataset(ready.sources, title, then=then)
    for id in ids:
        studio.uploads.abandon(id)
    return job.id


def _run(studio: Studio, job_id: str) -> dict[str, Any]:
    """Both jobs of a run: the import, then the captions."""
    context = import_state_of(studio, job_id)
    following = str((context["job"].output or {}).get("next", ""))
    refused = str((context["job"].output or {}).get("next_refused", ""))
    captions: dict[str, Any] = {}
    if following:
        captions = run_state(studio, following) | said(studio, following, 0)
    waiting = context["waiting"] or bool(following and captions["waiting"])
    return {"importing": context, "captions": captions, "refused": refused, "waiting": waiting, "id": job_id}


def _bundle(studio: Studio, version: DatasetVersion) -> dict[str, Any]:
    """The three files of a version, or how their making stands."""
    folder = _place(studio, version)
    rows = [row for row in studio.queue.list(newest=True, limit=500) if row.kind == "export"]
    mine = (row for row in rows if studio.job(row.id).record().payload.get("folder") == str(folder))
    row = next(mine, None)
    files = [folder / f"{version.dataset}_{end}" for end in _FILES]
    ready = row is not None and row.state == "succeeded" and all(path.is_file() for path in files)
    sizes = [(path.name, path.stat().st_size) for path in files] if ready else []
    waiting = row is not None and row.state in WAITING
    return {"files": files if ready else [], "sizes": sizes, "row": row, "waiting": waiting}


def _place(studio: Studio, version: DatasetVersion) -> Path:
    return studio.home / "exports" / f"bundle-{version.reference}"


@dataclass(frozen=True)
class _Told:
    """What the ledger of a version tells about its captions, read once."""

    files: dict[str, str]
    """The file that a picture's caption came from, by the picture's name."""
    orphans: list[Fate]
    facts: dict[str, int]


def _tell(version: DatasetVersion) -> _Told:
    files: dict[str, str] = {}
    orphans: list[Fate] = []
    left_out = 0
    for fate in version.ledger:
        left_out += fate.fate == "left_out"
        if fate.rule == "caption" and fate.item is not None:
            files[fate.item] = fate.path
        elif fate.rule in _ALONE and len(orphans) < _LISTED:
            orphans.append(fate)
    captions = [item.caption for item in version.items if item.caption.strip()]
    facts = {
        "Pictures": len(version.items),
        "With a caption": len(captions),
        "Without": len(version.items) - len(captions),
        "Words a caption": round(sum(len(text.split()) for text in captions) / len(captions)) if captions else 0,
        "Left out": left_out,
    }
    return _Told(files, orphans, facts)


def _first_value(field: OneField) -> Any:
    if field.key == "batch_size":
        return _BATCH
    return _BEGIN.get(field.key, field.default)


def _studio(request: Request) -> Studio:
    studio: Studio = request.app.state.studio
    return studio
