"""``/api/train``: what a run would be, a rehearsal, and the run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from lorasmith.collecting import Rehearsal
from lorasmith.queue.records import QueuedJob
from lorasmith.web.api.asking import Asked, Clean, StudioOf, noun
from lorasmith.web.api.placing import Place

router = noun("/train", "training")
_EXAMPLE: Final[dict[str, Any]] = {
    "dataset": "cats",
    "config": {"base": "sandbox", "trigger_word": "ohwx", "max_train_steps": 40},
}


class Run(Asked):
    """What to learn from, and how: ``TrainConfig`` values, nested or dotted."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})
    dataset: Annotated[str, Field(min_length=1, max_length=300), Clean]
    config: dict[str, Any]


class Submission(Run):
    """A run, and where in the queue it goes."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE | {"place": {"priority": 0}}]})
    place: Place = Place()


class Said(BaseModel):
    """A notice about a run."""

    message: str
    hint: str


class Prepared(BaseModel):
    """The resolved run."""

    config: dict[str, Any]
    dataset: str
    fingerprint: str
    family: str
    notices: list[Said]


@router.get("/settings", summary="Fields of a config")
def list_train_settings() -> dict[str, Any]:
    """As JSON Schema, with bounds and defaults."""
    from lorasmith.config import TrainConfig

    return TrainConfig.model_json_schema()


@router.post("/prepare", summary="The resolved run with its notices")
def prepare_run(studio: StudioOf, asked: Run) -> Prepared:
    """Nothing is written."""
    recipe = studio.prepare(asked.dataset, asked.config)
    return Prepared(
        config=recipe.config.model_dump(mode="json"),
        dataset=recipe.version.reference,
        fingerprint=recipe.version.fingerprint,
        family=recipe.family.name,
        notices=[Said(message=one.message, hint=one.hint) for one in recipe.notices],
    )


@router.post("/plan", summary="What training would do")
def plan_run(studio: StudioOf, asked: Run) -> dict[str, Any]:
    """Buckets, steps, exposures, disk."""
    return asdict(studio.plan(asked.dataset, asked.config))


@router.post("/rehearse", summary="The whole way with two steps")
def rehearse_run(studio: StudioOf, asked: Run) -> Rehearsal:
    """Answers when it is done, with the time that the run would take."""
    return studio.rehearse(asked.dataset, asked.config)


@router.post("", status_code=202, summary="Train")
def submit_run(studio: StudioOf, asked: Submission) -> QueuedJob:
    """A job; its output name is made unique among adapters and jobs."""
    return studio.enqueue.train(asked.dataset, asked.config, asked.place.placement())
