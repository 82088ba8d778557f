"""``/api/datasets/...``: checks, figures, duplicates, buckets, what a trainer would see."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from lorasmith.datasets.bucket_plan import BucketPlan
from lorasmith.datasets.captions.bulk import Example
from lorasmith.datasets.checks import Report
from lorasmith.datasets.checks.finding import Finding
from lorasmith.datasets.checks.health import Health
from lorasmith.datasets.duplicates import DuplicateGroup
from lorasmith.datasets.eyes.seen import Seen
from lorasmith.datasets.history import VersionDiff
from lorasmith.datasets.statistics import Statistics
from lorasmith.errors import ConfigError
from lorasmith.studio import Studio
from lorasmith.web.api.asking import (
    Asked,
    Clean,
    LensAsked,
    LensOf,
    Limit,
    Offset,
    Page,
    Ref,
    StudioOf,
    VersionFacts,
    Where,
    noun,
    piece,
)

router = noun("/datasets", "looking")
Pictures = Annotated[bool, Query(description="Whether to look at the pixels too")]


class Checked(BaseModel):
    """What the checks say."""

    report: Report
    health: Health
    score: int
    """0 to 100."""


class Mend(Asked):
    """Which finding, and on which of its pictures."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"finding": "C1"}]})
    finding: Annotated[str, Field(max_length=50), Clean]
    """Its id."""
    message: Annotated[str, Field(max_length=4000), Clean] = ""
    """Tells two findings of one check apart; may be left out."""
    items: list[Annotated[str, Field(max_length=1000), Clean]] | None = None
    lens: LensAsked = LensAsked()
    pictures: bool = True


class RepairFacts(BaseModel):
    """A repair as it would be carried out."""

    finding: str
    sentence: str
    scope: str
    total: int
    in_scope: int
    changed: int
    examples: tuple[Example, ...]
    difference: VersionDiff


@router.get("/{ref}/check", summary="What is wrong or doubtful")
def check_dataset(studio: StudioOf, ref: Ref, lens: LensOf, pictures: Pictures = True) -> Checked:
    """Errors first, with what mends each."""
    curate = studio.curate
    report = curate.inspect(ref, lens.lens(curate), pictures=pictures)
    health = curate.health(ref, report)
    plain = replace(report, findings=tuple(map(_plain, report.findings)), not_run=dict(report.not_run))
    return Checked(report=plain, health=health, score=health.score)


@router.post("/{ref}/repair/preview", summary="What a repair would do")
def preview_repair(studio: StudioOf, ref: Ref, asked: Mend) -> RepairFacts:
    """In words, numbers and examples."""
    lens = asked.lens.lens(studio.curate)
    made = studio.curate.preview_repair(ref, _finding(studio, ref, asked), asked.items, lens)
    return RepairFacts(**{name: getattr(made, name) for name in RepairFacts.model_fields})


@router.post("/{ref}/repair", summary="Mend a finding")
def repair_dataset(studio: StudioOf, ref: Ref, asked: Mend) -> VersionFacts:
    """By the one operation that the finding names."""
    lens = asked.lens.lens(studio.curate)
    return VersionFacts.of(studio.curate.repair(ref, _finding(studio, ref, asked), asked.items, lens))


@router.get("/{ref}/statistics", summary="Figures")
def describe_dataset(studio: StudioOf, ref: Ref, lens: LensOf) -> Statistics:
    """Captions, tags, sizes, what is complete and consistent."""
    return studio.curate.statistics(ref, lens.lens(studio.curate))


@router.get("/{ref}/duplicates", summary="Pictures that are the same or nearly so")
def list_duplicates(
    request: Request, response: Response, studio: StudioOf, ref: Ref, limit: Limit = 100, offset: Offset = 0
) -> Page[DuplicateGroup]:
    """In groups, each with the one to keep."""
    return piece(request, response, studio.curate.duplicates(ref), limit, offset)


@router.get("/{ref}/buckets", summary="Which bucket each picture lands in")
def plan_buckets(studio: StudioOf, ref: Ref, lens: LensOf) -> BucketPlan:
    """What is cut and enlarged, and the exact steps."""
    return studio.curate.buckets(ref, lens.lens(studio.curate))


@router.get("/{ref}/see/{trainer}", summary="What a trainer would really see")
def see_dataset(
    request: Request,
    response: Response,
    studio: StudioOf,
    ref: Ref,
    trainer: Annotated[str, Clean],
    lens: LensOf,
    where: Where = "",
    originals: Annotated[bool, Query(description="The files as they came")] = False,
    limit: Limit = 100,
    offset: Offset = 0,
) -> Page[dict[str, Any]]:
    """Of each picture and caption, the differences to what is meant first."""
    seen = studio.curate.see(ref, trainer, lens.lens(studio.curate), originals=originals, where=where)
    return piece(request, response, seen, limit, offset, show=_without_places)


def _without_places(seen: Seen) -> dict[str, Any]:
    """Where files lie on this machine is nobody's business."""
    return {key: value for key, value in seen.to_dict().items() if key not in ("path", "mask")}


def _plain(finding: Finding) -> Finding:
    """With arguments that are a plain mapping."""
    repair = finding.repair
    return finding if repair is None else replace(finding, repair=replace(repair, arguments=dict(repair.arguments)))


def _finding(studio: Studio, ref: str, asked: Mend) -> Finding:
    report = studio.curate.inspect(ref, asked.lens.lens(studio.curate), pictures=asked.pictures)
    for finding in report.findings:
        if finding.id == asked.finding and asked.message in ("", finding.message):
            return finding
    raise ConfigError(f"There is no finding '{asked.finding}' now.", "Check the dataset for those there are.")
