"""``/api/bases``: the base weights of this home."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import ConfigDict, Field

from lorasmith.bases.assembling import Plan
from lorasmith.bases.catalogue import Catalogue
from lorasmith.bases.recognition import Recognition
from lorasmith.bases.registry import RegisteredBase
from lorasmith.queue.records import QueuedJob
from lorasmith.web.api.asking import Admin, Asked, Clean, StudioOf, noun
from lorasmith.web.api.placing import Place

router = noun("/bases", "bases")
BaseName = Annotated[str, Path(max_length=200, examples=["sd15"]), Clean]


class AddBase(Asked):
    """A link or a path."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"link": "https://huggingface.co/stabilityai/sd-turbo", "name": "turbo"}]}
    )
    link: Annotated[str, Field(min_length=1, max_length=4000), Clean]
    name: Annotated[str, Field(max_length=200), Clean] = ""
    place: Place = Place()


class Assemble(Asked):
    """Files of text encoders and a VAE, and folders of tokenizers, on the server's machine; names of bases too."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"files": ["/models/text_encoders/clip_l.safetensors", "ae"]}]}
    )
    files: Annotated[list[Annotated[str, Field(min_length=1, max_length=4000), Clean]], Field(max_length=20)] = []


class Answer(Asked):
    """One of the question's choices; an empty one takes the answer back."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"choice": "v_prediction"}]})
    choice: Annotated[str, Field(max_length=200), Clean]


@router.get("/families", summary="What can be trained")
def list_families(
    studio: StudioOf, name: Annotated[str, Query(max_length=100, description="Only this one"), Clean] = ""
) -> list[dict[str, Any]]:
    """Each family with its defaults, licences and predicted memory."""
    return [fact.to_dict() for fact in studio.bases.families(name)]


@router.get("", summary="All bases that this home knows")
def list_bases(studio: StudioOf) -> Sequence[RegisteredBase]:
    """By name."""
    return studio.bases.list()


@router.get("/catalogue", summary="Well-known bases")
def get_catalogue(studio: StudioOf) -> Catalogue:
    """With licences, and the day on which the list was gone through."""
    return studio.bases.catalogue()


@router.get("/recognise", summary="What weights are, by their header")
def recognise_base(
    studio: StudioOf, admin: Admin, path: Annotated[str, Query(min_length=1, max_length=4000), Clean]
) -> Recognition:
    """A name, or a path on the server's machine."""
    return studio.bases.recognise(path)[1]


@router.get("/{name}", summary="One base")
def get_base(studio: StudioOf, name: BaseName) -> RegisteredBase:
    """What is known of it."""
    return studio.bases.get(name)


@router.put("/{name}/answers/{question}", summary="Answer what the tensors of a base leave open")
def answer_base(
    studio: StudioOf, admin: Admin, name: BaseName, question: Annotated[str, Path(max_length=200), Clean], asked: Answer
) -> RegisteredBase:
    """Runs that need it use it."""
    return studio.bases.answer(name, question, asked.choice)


@router.get("/{name}/parts", summary="What a denoiser needs to be a base")
def get_parts(studio: StudioOf, name: BaseName) -> Plan:
    """Each part with where it comes from; what is missing says what to do."""
    return studio.bases.parts(studio.bases.get(name).name)


@router.put("/{name}/parts", summary="Put a base together from files")
def assemble_base(studio: StudioOf, admin: Admin, name: BaseName, asked: Assemble) -> RegisteredBase:
    """Nothing is copied but tokenizers and small configs."""
    return studio.bases.assemble(studio.bases.get(name).name, asked.files).base


@router.post("", status_code=202, summary="Make a base known")
def add_base(studio: StudioOf, admin: Admin, asked: AddBase) -> QueuedJob:
    """A job: fetched from a link, or referred to where it lies."""
    return studio.enqueue.fetch_base(asked.link, asked.name, asked.place.placement())


@router.delete("/{name}", summary="Forget a base")
def forget_base(
    studio: StudioOf, admin: Admin, name: BaseName,
    delete: Annotated[bool, Query(description="Its files too, where they lie in the home")] = False,
) -> RegisteredBase:  # fmt: skip
    """Weights of other programs are never touched."""
    return studio.bases.forget(name, delete=delete)
