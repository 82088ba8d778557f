"""``/api/adapters``, ``/api/generate``, ``/api/certify``: what was trained, and what is made with it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import FileResponse

from lorasmith.adapters.tools.describing import Description
from lorasmith.queue.records import QueuedJob
from lorasmith.web.api.asking import Asked, Clean, StudioOf, noun
from lorasmith.web.api.placing import Place

router = noun("", "adapters")
AdapterName = Annotated[str, Path(max_length=300, examples=["cats"]), Clean]


class GenerateAsked(Asked):
    """Fields of ``GenerateRequest``, and where in the queue."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "request": {
                        "base": "sandbox", "prompts": ["ohwx on red"], "adapters": [{"name": "cats", "weight": 0.8}],
                    }
                }
            ]
        }
    )  # fmt: skip
    request: dict[str, Any]
    place: Place = Place()


class Lend(Asked):
    """A whole upload of yours."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"upload": "0123456789abcdef0123456789abcdef"}]})
    upload: Annotated[str, Field(min_length=1, max_length=64), Clean]


class LentPicture(BaseModel):
    """A picture to edit."""

    sha256: str


class CertifyAsked(Asked):
    """Which file, into which base."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"adapter": "cats", "base": "sandbox"}]})
    adapter: Annotated[str, Field(min_length=1, max_length=4000), Clean]
    base: Annotated[str, Field(min_length=1, max_length=4000), Clean]
    place: Place = Place()


class AdapterListed(BaseModel):
    """An adapter of the library."""

    name: str


@router.get("/adapters", summary="The library")
def list_adapters(studio: StudioOf) -> list[AdapterListed]:
    """By name."""
    return [AdapterListed(name=name) for name in studio.library.names()]


@router.get("/adapters/{name}", summary="What a LoRA file says of itself")
def inspect_adapter(
    studio: StudioOf,
    name: AdapterName,
    deep: Annotated[bool, Query(description="Read all of it: hashes, norms, spectra, damage")] = False,
    base: Annotated[str, Query(max_length=1000, description="Whose weights the norms are told against"), Clean] = "",
) -> Description:
    """From its header alone, or from all of it."""
    return studio.toolbox.inspect(named(name), deep=deep, base=base)


@router.get("/adapters/{name}/file", summary="The file", response_class=FileResponse)
def download_adapter(studio: StudioOf, name: AdapterName) -> FileResponse:
    """As safetensors."""
    path = studio.adapter(named(name))
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)


@router.post("/lent", summary="Keep an upload as a picture to edit")
def lend_picture(request: Request, asked: Lend) -> LentPicture:
    """Its hash then names it among the `references` or as `first_frame`. It goes a week after nothing names it."""
    from lorasmith.web.lending import lend

    return LentPicture(sha256=lend(request, [asked.upload])[0])


@router.post("/generate", status_code=202, summary="Paint pictures")
def generate_pictures(request: Request, studio: StudioOf, asked: GenerateAsked) -> QueuedJob:
    """A job; its pictures are among its files."""
    from lorasmith.web.lending import checked

    told = asked.request.get("references") or ()
    references = [str(one) for one in (told if isinstance(told, list | tuple) else (told,))]
    checked(request, [*references, *(str(first) for first in (asked.request.get("first_frame"),) if first)])
    return studio.enqueue.generate(asked.request, placement=asked.place.placement())


@router.post("/certify", status_code=202, summary="Prove that a LoRA file loads and counts")
def certify_adapter(studio: StudioOf, asked: CertifyAsked) -> QueuedJob:
    """A job; the certificate is its output."""
    return studio.enqueue.certify(asked.adapter, asked.base, asked.place.placement())


def named(name: str) -> str:
    """A name of the library; a path would be a file of the server."""
    from lorasmith.errors import AdapterError

    if name in (".", "..") or any(mark in name for mark in "/\\:"):
        raise AdapterError(f"There is no adapter '{name}' in the library.", "List the adapters for those there are.")
    return name
