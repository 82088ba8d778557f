"""``/api/captioners``: who can describe pictures, what that takes, and the job that does it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field

from lorasmith.fields import OneField, fields_of
from lorasmith.queue.records import QueuedJob
from lorasmith.web.api.asking import Asked, Clean, Limit, Ref, StudioOf, VersionFacts, noun
from lorasmith.web.api.placing import Place

router = noun("", "captioners")
Captioner = Annotated[str, Path(max_length=100, examples=["wd_tagger"]), Clean]


class CaptionerFacts(BaseModel):
    """A captioner and its other names."""

    name: str
    title: str
    aliases: tuple[str, ...]


class FileWanted(BaseModel):
    """A file that would be downloaded."""

    url: str
    size: int | None


class NeedFacts(BaseModel):
    """What it takes before it starts."""

    downloads: list[FileWanted]
    source: str
    licence: str
    memory: int | None
    sends_to: str
    """The host that pictures would leave for."""
    sends_references: bool
    """Whether their references would leave with them."""
    lacks: bool
    """Whether anything would be downloaded."""


class Options(Asked):
    """Options of the captioner."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"options": {"general_threshold": 0.35}}]})
    options: dict[str, Any] = {}


class CaptionAsked(Options):
    """A caption job."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"captioner": "wd_tagger", "existing": "keep", "options": {}},
                {"captioner": "vllm", "options": {"pairs": True}},
            ]
        }
    )
    captioner: Annotated[str, Field(max_length=100), Clean] = "wd_tagger"
    existing: Literal["replace", "keep", "append", "prepend"] = "replace"
    as_line: bool = False
    lines: Annotated[int, Field(ge=1, le=16)] = 1
    fresh: bool = False
    download: bool = False
    """Whether a model that is not here may be downloaded."""
    device: Annotated[str, Field(max_length=20), Clean] = "auto"
    place: Place = Place()


class UnsureTag(BaseModel):
    """A tag that is nearly in, or nearly out."""

    model_config = ConfigDict(from_attributes=True)
    item: str
    tag: str
    category: str
    probability: float
    threshold: float
    present: bool
    """Whether the caption has it now."""


class Verdict(BaseModel):
    """What somebody says of one tag of one picture."""

    model_config = ConfigDict(extra="forbid")
    item: Annotated[str, Field(max_length=1000), Clean]
    tag: Annotated[str, Field(min_length=1, max_length=500), Clean]
    there: bool


class Verdicts(Asked):
    """Decided tags; later thresholds obey them too."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"verdicts": [{"item": "1.png", "tag": "solo", "there": True}]}]}
    )
    verdicts: Annotated[list[Verdict], Field(min_length=1, max_length=10_000)]


class Rule(Asked):
    """Kept tags under another rule."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"rule": {"general_threshold": 0.5}}]})
    rule: dict[str, Any] = {}
    taggers: Annotated[list[Annotated[str, Field(max_length=200), Clean]], Field(max_length=20)] = []
    merge: Literal["mean", "max"] = "mean"
    existing: Literal["replace", "keep", "append", "prepend"] = "replace"


@router.get("/captioners", summary="Who can describe pictures")
def list_captioners(studio: StudioOf) -> list[CaptionerFacts]:
    """With their other names, most of them models."""
    titles, others = studio.captions.names(), studio.captions.other_names()
    return [CaptionerFacts(name=name, title=titles[name], aliases=aliases) for name, aliases in others.items()]


@router.get("/captioners/{captioner}/options", summary="What can be chosen for one")
def list_captioner_options(studio: StudioOf, captioner: Captioner) -> list[OneField]:
    """Typed and bounded."""
    return list(fields_of(studio.captions.options_of(captioner)))


@router.post("/captioners/{captioner}/need", summary="What one would take")
def tell_need(studio: StudioOf, captioner: Captioner, asked: Options) -> NeedFacts:
    """Downloads with size and licence, memory, and where pictures would go."""
    need = studio.captions.need(captioner, **asked.options)
    files = [FileWanted(url=one.url, size=one.size) for one in need.downloads]
    return NeedFacts(
        downloads=files, source=need.source, licence=need.licence, memory=need.memory, sends_to=need.sends_to,
        sends_references=need.sends_references, lacks=need.lacks,
    )  # fmt: skip


@router.post("/datasets/{ref}/caption", status_code=202, summary="Let a captioner describe the pictures")
def caption_dataset(studio: StudioOf, ref: Ref, asked: CaptionAsked) -> QueuedJob:
    """A job; its captions become a version when it has succeeded."""
    return studio.enqueue.caption(
        ref, asked.captioner, existing=asked.existing, as_line=asked.as_line, lines=asked.lines, fresh=asked.fresh,
        download=asked.download, device=asked.device, placement=asked.place.placement(), **asked.options,
    )  # fmt: skip


@router.post("/datasets/{ref}/tags/preview", summary="Kept tags under another rule")
def preview_tags(studio: StudioOf, ref: Ref, asked: Rule) -> dict[str, str]:
    """Captions by name of picture; the model is not needed."""
    return studio.captions.preview_tags(ref, asked.rule, taggers=asked.taggers, merge=asked.merge)


@router.post("/datasets/{ref}/tags", summary="Write kept tags under another rule")
def retag_dataset(studio: StudioOf, ref: Ref, asked: Rule) -> VersionFacts:
    """As a new version."""
    made = studio.captions.retag(ref, asked.rule, taggers=asked.taggers, merge=asked.merge, existing=asked.existing)
    return VersionFacts.of(made)


@router.get("/datasets/{ref}/unsure", summary="Tags that are nearly in, or nearly out")
def list_unsure(
    studio: StudioOf, ref: Ref,
    within: Annotated[float, Query(ge=0, le=1, description="How near to the threshold")] = 0.1,
    taggers: Annotated[list[Annotated[str, Query(max_length=200), Clean]] | None, Query(max_length=20)] = None,
    merge: Literal["mean", "max"] = "mean",
    limit: Limit = 200,
) -> list[UnsureTag]:  # fmt: skip
    """Of those that a tagger's kept probabilities tell of, the nearest first; without what was decided already."""
    found = studio.captions.unsure(ref, within=within, most=limit, taggers=taggers or (), merge=merge)
    return [UnsureTag.model_validate(one) for one in found]


@router.post("/datasets/{ref}/decide", summary="Accept or reject tags")
def decide_tags(studio: StudioOf, ref: Ref, asked: Verdicts) -> VersionFacts:
    """As a new version, whose captions have the accepted and lack the rejected ones."""
    said = {(one.item, one.tag): one.there for one in asked.verdicts}
    return VersionFacts.of(studio.captions.decide(ref, said))
