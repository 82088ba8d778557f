"""``/api/toolbox``, ``/api/calculate``: what is done with LoRA files, and how long a run shall be."""

from __future__ import annotations

from pathlib import Path as SystemPath
from typing import Annotated, Any, Final, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from lorasmith.adapters.tools.comparing import Difference, Interference
from lorasmith.adapters.tools.converting import DialectChoice
from lorasmith.adapters.tools.foreseeing import Foresight
from lorasmith.adapters.tools.requests import REQUESTS, Bake, Merge, request_of
from lorasmith.adapters.tools.resizing import Prospect
from lorasmith.adapters.tools.using import Usage
from lorasmith.calculator import Calculation, Question
from lorasmith.fields import OneField, fields_of
from lorasmith.queue.records import QueuedJob
from lorasmith.toolbox import told
from lorasmith.web.api.asking import Asked, Clean, StudioOf, noun
from lorasmith.web.api.placing import Place
from lorasmith.web.api.using import AdapterName, named

router = noun("", "toolbox")
Lora = Annotated[str, Field(min_length=1, max_length=4000), Clean]
Word = Annotated[str, Field(max_length=1000), Clean]
Verb = Annotated[
    Literal["resize", "merge", "convert", "scale", "edit", "average", "extract", "bake"], Path(examples=["resize"])
]
_EXAMPLE: Final[dict[str, Any]] = {"request": {"lora": "cats", "rank": 8}}


class Work(Asked):
    """Fields of the tool; ``GET /api/toolbox`` lists them."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})
    request: dict[str, Any]


class WorkAsked(Work):
    """The same, with a name for the result and a place in the queue."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE | {"name": "cats-small"}]})
    name: Annotated[str, Field(max_length=200), Clean] = ""
    """A number is put behind it where it is taken; left out, made of the file's."""
    certify: Word = ""
    """A base to load the result into when it is made; its certificate is then a job of its own."""
    place: Place = Place()


class One(Asked):
    """A LoRA, and a base where its update needs one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"lora": "cats"}]})
    lora: Lora
    base: Word = ""


class OneOf(Asked):
    """A LoRA, and its family where the file leaves that open."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"lora": "cats", "family": "sd"}]})
    lora: Lora
    family: Word = ""


class Two(Asked):
    """Two LoRAs, and a base where an update needs one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"first": "cats", "second": "dogs"}]})
    first: Lora
    second: Lora
    base: Word = ""


class MergeAsked(Asked):
    """A merge, as ``POST /api/toolbox/merge`` takes it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"request": {"loras": [{"lora": "cats"}, {"lora": "dogs", "weight": 0.5}]}}]}
    )
    request: dict[str, Any]


class Strong(Asked):
    """A LoRA with a strength."""

    lora: Lora
    weight: Annotated[float, Field(ge=-10, le=10)] = 1.0


class UseAsked(Asked):
    """Which LoRAs, and for what."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"loras": [{"lora": "cats", "weight": 0.8}]}]})
    loras: Annotated[list[Strong], Field(min_length=1, max_length=32)]
    family: Word = ""
    base: Word = ""
    prompt: Word = ""


class ToolFacts(BaseModel):
    """A tool that writes a file, and what it takes."""

    name: str
    about: str
    fields: list[OneField]


@router.get("/toolbox", summary="Tools that write a file")
def list_lora_tools() -> list[ToolFacts]:
    """With the fields of each."""
    return [
        ToolFacts(name=verb, about=" ".join((kind.__doc__ or "").split()), fields=list(fields_of(kind)))
        for verb, kind in REQUESTS.items()
    ]


@router.post("/toolbox/diff", summary="What differs between two LoRA files")
def diff_adapters(studio: StudioOf, asked: Two) -> Difference:
    """Layer by layer, whatever their dialects."""
    return studio.toolbox.diff(asked.first, asked.second, base=asked.base)


@router.post("/toolbox/interfere", summary="How two LoRAs get on")
def interfere_adapters(studio: StudioOf, asked: Two) -> Interference:
    """With the weights to use them together."""
    return studio.toolbox.interfere(asked.first, asked.second, base=asked.base)


@router.post("/toolbox/outlook", summary="What each way of resizing would leave")
def resize_outlook(studio: StudioOf, asked: One) -> list[Prospect]:
    """From one look at the singular values."""
    return list(studio.toolbox.outlook(asked.lora, base=asked.base))


@router.post("/toolbox/dialects", summary="The dialects a LoRA can be written in")
def list_dialects(studio: StudioOf, asked: OneOf) -> list[DialectChoice]:
    """And which programs then read it."""
    return list(studio.toolbox.dialects(asked.lora, family=asked.family))


@router.post("/toolbox/use", summary="Ready text for other programs")
def use_adapters(studio: StudioOf, asked: UseAsked) -> Usage:
    """ComfyUI with a workflow, A1111, diffusers."""
    chosen = [(one.lora, one.weight) for one in asked.loras]
    return studio.toolbox.use(chosen, family=asked.family, base=asked.base, prompt=asked.prompt, beside=True)


@router.post("/toolbox/foresee", summary="What a weighted sum of LoRAs would be like")
def foresee_merge(studio: StudioOf, asked: MergeAsked) -> Foresight:
    """Norms, what cancels, and how much of each LoRA shows; nothing is written."""
    located = studio.toolbox.located(request_of("merge", asked.request))
    assert isinstance(located, Merge)
    return studio.toolbox.foresee(located)


@router.post("/toolbox/{verb}/preview", summary="What a tool would make")
def preview_work(studio: StudioOf, verb: Verb, asked: Work) -> dict[str, Any]:
    """All of it but the writing."""
    located = studio.toolbox.located(request_of(verb, asked.request))
    out = studio.home / "adapters" / f".preview-{verb}.safetensors"  # never written
    if isinstance(located, Bake) and SystemPath(located.base).is_dir():
        out = out.with_suffix("")
    return told(studio.toolbox.carry_out(located, out, dry_run=True))


@router.post("/toolbox/{verb}", status_code=202, summary="Make another file of LoRAs or bases")
def submit_work(studio: StudioOf, verb: Verb, asked: WorkAsked) -> QueuedJob:
    """A job; its result goes into the library, or among the bases, whose name for it is the job's output."""
    return studio.enqueue.tool(verb, asked.request, asked.name, asked.place.placement(), certify=asked.certify)


@router.get(
    "/adapters/{name}/picture",
    summary="How much each block is changed",
    response_class=Response,
    responses={200: {"content": {"image/svg+xml": {}}}},
)
def picture_adapter(studio: StudioOf, name: AdapterName) -> Response:
    """As SVG."""
    found = studio.toolbox.inspect(named(name), deep=True)
    return Response(studio.toolbox.picture(found), media_type="image/svg+xml")


@router.post("/calculate", summary="Exposures, epochs, steps and time of a run")
def calculate_run(studio: StudioOf, asked: Question) -> Calculation:
    """One length is given, the others follow."""
    return studio.calculate(**asked.model_dump(exclude_unset=True))
