"""The workspace: a model, pictures and a few numbers on the left, what they mean in the middle, jobs at the bottom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Form, Request
from starlette.datastructures import QueryParams
from starlette.responses import HTMLResponse, RedirectResponse, Response

from lorasmith.config import TrainConfig
from lorasmith.errors import ConfigError, LorasmithError
from lorasmith.studio import Studio
from lorasmith.web.forms import OneField, Sent, values_from
from lorasmith.web.listing import rows_of
from lorasmith.web.model_options import model_options, preview_of
from lorasmith.web.rendering import page, part
from lorasmith.workbench import ModelChoice, Readiness

router = APIRouter(include_in_schema=False)
JOBS_SHOWN: Final = 12
JOB_VERBS: Final = ("cancel", "retry", "continue", "release")
CORE: Final = ("max_train_steps", "optimizer.learning_rate", "adapter.rank", "train_batch_size", "data.resolution")
"""What everybody looks at, in this order."""
USUAL: Final = (
    "adapter.alpha", "adapter.targets", "data.repeats", "data.flip", "data.caption_dropout", "data.validation_fraction",
    "optimizer.lr_scheduler", "gradient_checkpointing", "mixed_precision", "sample.every_steps",
    "checkpoint.every_steps", "seed",
)  # fmt: skip
"""What the simple form shows besides."""
APART: Final = ("base", "dataset", "output_name", "trigger_word", "sample.prompts")
"""What has a place of its own."""
SECTIONS: Final = {
    "": "The run",
    "adapter": "The LoRA",
    "data": "Pictures and captions",
    "optimizer": "Optimizer",
    "objective": "What the loss weighs",
    "sample": "Previews",
    "checkpoint": "Checkpoints",
    "export": "The file that comes out",
}
CURES: Final = {
    "dataset": ("/datasets/new", "Bring pictures in"),
    "base": ("/bases", "Add a base"),
    "machine": ("/help", "What this machine needs"),
    "disk": ("/settings", "Storage"),
}
"""Where a reason is dealt with: address and words. One about an option leads to its input."""


@dataclass(frozen=True)
class Setup:
    """What the form begins with."""

    model: ModelChoice | None
    dataset: str
    values: Mapping[str, Any]
    """Dotted keys, where they differ from the model's own."""
    defaults: Mapping[str, Any]
    """Dotted keys of the model's family."""
    expert: bool

    def value(self, key: str) -> Any:
        """What its input holds; None where the default shows through."""
        return self.values.get(key)


@router.get("/")
def workspace(
    request: Request,
    model: str = "",
    dataset: str | None = None,
    form: str = "",
    began: str = "",
) -> HTMLResponse:
    """Everything that a training needs, and every job there is. ``from=JOB`` begins with the values of a job, and every
    option can stand in the address under its own key."""
    studio = _studio(request)
    datasets, offer = studio.datasets(), studio.workbench.offer()
    source = request.query_params.get("from", "")
    copied = _values_of(studio, source) if source else {}
    choice = offer.get(model) or offer.get(str(copied.get("base", ""))) or offer.choices[0]
    if dataset is None:  # nobody has chosen yet
        dataset = str(copied.get("dataset", "")) or (min(datasets) if len(datasets) == 1 else "")
    typed = _typed(request.query_params)
    values = {**copied, **typed}
    of = model_options(studio, choice, values)
    setup, fields = Setup(choice, dataset, values, of.defaults, form == "expert"), of.fields
    shown = _jobs(studio)
    return page(
        request, "workspace/workspace.html", title="Workspace", area="workspace", offer=offer, datasets=datasets,
        setup=setup, core=[fields[key] for key in CORE if key in fields], fields=fields,
        sections=sections_of(fields, {*USUAL, *of.own, *values}, expert=setup.expert), takes=of.takes, began=began,
        preview=preview_of(studio, dataset, of.takes), first_run=not datasets and not shown["total"], **shown,
    )  # fmt: skip


@router.get("/workspace/jobs")
def jobs(request: Request) -> HTMLResponse:
    """The list at the bottom."""
    return part(request, "workspace/jobs.html", **_jobs(_studio(request)))


@router.post("/workspace/readiness")
def readiness(request: Request, sent: Sent) -> HTMLResponse:
    """What is in the way of a start, and what it would do."""
    studio = _studio(request)
    dataset, values, broken = _asked(studio, sent)
    ready = Readiness(broken) if broken else studio.workbench.readiness(dataset, values)
    return part(request, "workspace/readiness.html", ready=ready, cures=CURES, address=_address)


@router.post("/train")
def train(request: Request, sent: Sent) -> Response:
    """Queue the training."""
    studio = _studio(request)
    dataset, values, broken = _asked(studio, sent)
    ready = Readiness(broken) if broken else studio.workbench.readiness(dataset, values)
    if ready.reasons:
        first, *more = ready.reasons
        rest = "".join(f" {reason.sentence}" for reason in more)
        raise ConfigError(first.sentence + rest, first.hint)
    row = studio.enqueue.train(dataset, values)
    return RedirectResponse(f"/?dataset={quote(dataset)}&began={quote(row.id)}#jobs", 303)


@router.post("/rehearse")
def rehearse(request: Request, sent: Sent) -> Response:
    """Measure two steps on this machine."""
    studio = _studio(request)
    dataset, values, broken = _asked(studio, sent)
    if broken:
        raise ConfigError(broken[0].sentence, broken[0].hint)
    row = studio.enqueue.rehearse(dataset, values)
    return RedirectResponse(f"/jobs/{quote(row.id)}", 303)


@router.post("/sandbox")
def sandbox(request: Request, steps: Annotated[int, Form(ge=1, le=5000)] = 60) -> Response:
    """The whole way with nothing brought along."""
    row = _studio(request).workbench.try_sandbox(steps)
    return RedirectResponse(f"/?began={quote(row.id)}#jobs", 303)


def _asked(studio: Studio, sent: Mapping[str, str]) -> tuple[str, dict[str, Any], tuple[Any, ...]]:
    """Dataset, config values and what could not even be read of a form."""
    from lorasmith.workbench import Reason

    choice = studio.workbench.offer().get(sent.get("model", ""))
    trainer = choice.trainer if choice is not None else "native"
    known = {field.key for field in studio.workbench.fields(trainer)}
    try:
        read = values_from(TrainConfig, sent)
    except ConfigError as error:
        return "", {}, (Reason(error.message, error.hint, "field"),)
    values = {key: value for key, value in read.items() if key in known and key not in ("base", "dataset")}
    if "sample.prompts" in values:
        values["sample.prompts"] = [line for line in sent["sample.prompts"].splitlines() if line.strip()]
    if choice is not None:
        values["base"] = choice.base
    return sent.get("dataset", "").strip(), values, ()


def _typed(query: QueryParams) -> dict[str, Any]:
    """Options that stand in the address."""
    typed = values_from(TrainConfig, query)
    if "sample.prompts" in typed:
        typed["sample.prompts"] = [
            line for text in query.getlist("sample.prompts") for line in text.splitlines() if line.strip()
        ]
    return {key: value for key, value in typed.items() if key not in ("base", "dataset")}


def _address(cure: str, field: str) -> tuple[str, str]:
    """Where a reason is dealt with."""
    if cure == "field":
        return (f"#{field.replace('.', '-')}", "Change it") if field else ("#setup", "Change it")
    return CURES[cure]


def sections_of(fields: Mapping[str, OneField], usual: set[str], *, expert: bool) -> dict[str, list[OneField]]:
    """Options by the section they stand in: all of them, or the usual ones and those that are the model's own."""
    found: dict[str, list[OneField]] = {}
    for key, field in fields.items():
        if key not in CORE and key not in APART and (expert or key in usual):
            found.setdefault(SECTIONS.get(field.section, field.section), []).append(field)
    return found


def _values_of(studio: Studio, reference: str) -> dict[str, Any]:
    """The config of a job, dotted, where it differs from what its base begins with."""
    config = studio.queue.job(studio.queue.get(reference).id).record().payload.get("config", {})
    if not isinstance(config, dict):
        return {}
    flat = dict(_flat(config))
    defaults = studio.workbench.defaults(str(flat["base"])) if _opens(studio, str(flat.get("base"))) else {}
    keep = ("base", "dataset", *CORE)
    return {key: value for key, value in flat.items() if key in keep or value != defaults.get(key)}


def _opens(studio: Studio, base: str) -> bool:
    try:
        studio.workbench.defaults(base)
    except LorasmithError:
        return False
    return True


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Any:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _jobs(studio: Studio) -> dict[str, Any]:
    """The newest jobs with their verbs, and where the journal stands."""
    name, number = studio.queue.journal_end()
    newest = studio.queue.list(newest=True, limit=JOBS_SHOWN)
    counts = studio.queue.counts()
    return {"rows": rows_of(studio, newest, *JOB_VERBS), "journal": f"{name}.{number}", "total": sum(counts.values())}


def _studio(request: Request) -> Studio:
    studio: Studio = request.app.state.studio
    return studio
