"""``/api/datasets/.../captions``: one caption by hand, many by an operation."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from fastapi import Header, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from lorasmith.datasets.captions.bulk import BulkPreview
from lorasmith.datasets.captions.operations import OPERATIONS
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.errors import ConflictError, DatasetError
from lorasmith.fields import OneField, fields_of
from lorasmith.web.api.asking import (
    Asked,
    Clean,
    Limit,
    Name,
    Offset,
    Page,
    Ref,
    Refusal,
    StudioOf,
    Text,
    VersionFacts,
    Where,
    noun,
    piece,
)

router = noun("", "captions")
ItemName = Annotated[str, Path(max_length=1000, description="Name of a picture", examples=["one.png"]), Clean]


class Caption(BaseModel):
    """What is written about a picture."""

    item: str
    caption: str
    version: str = ""
    """The version it was read in."""


class NewCaption(Asked):
    """What shall be written."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"caption": "ohwx, a cat on a red chair"}]})
    caption: Annotated[str, Field(max_length=1_000_000), Clean]


class BothTexts(Refusal):
    """Somebody else wrote the same caption meanwhile."""

    mine: str
    """What was sent."""
    theirs: str
    """What stands there now."""
    etag: str
    """Of theirs: send it as ``If-Match`` to write over it."""


class Edit(Asked):
    """A caption operation, and on which pictures."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"operation": "add_trigger_word", "arguments": {"word": "ohwx"}, "where": "", "version": "cats"}
            ]
        }
    )
    operation: Annotated[str, Field(max_length=100), Clean]
    arguments: dict[str, Any] = {}
    where: Text = ""


class OperationFacts(BaseModel):
    """An operation and what it takes."""

    name: str
    about: str
    fields: list[OneField]


@router.get("/operations", summary="Operations on captions")
def list_operations() -> list[OperationFacts]:
    """With their fields."""
    return [
        OperationFacts(name=name, about=_words(kind.__doc__), fields=list(fields_of(kind)))
        for name, kind in OPERATIONS.items()
    ]


@router.get("/datasets/{ref}/captions", summary="Captions of a version")
def list_captions(
    request: Request, response: Response, studio: StudioOf, ref: Ref, where: Where = "",
    limit: Limit = 1000, offset: Offset = 0,
) -> Page[Caption]:  # fmt: skip
    """By name of picture."""
    version = studio.dataset(ref)
    known = {item.name: item.caption for item in version.items}
    names = studio.curate.select(version, where) if where.strip() else list(known)
    return piece(request, response, names, limit, offset, show=lambda name: Caption(item=name, caption=known[name]))


@router.get("/datasets/{ref}/captions/{item:path}", summary="One caption")
def get_caption(response: Response, studio: StudioOf, ref: Ref, item: ItemName) -> Caption:
    """With an `ETag` that changes when the text does."""
    version = studio.dataset(ref)
    found = _item(version, item)
    response.headers["etag"] = _tag(found)
    return Caption(item=item, caption=found.caption, version=version.reference)


@router.put(
    "/datasets/{name}/captions/{item:path}",
    summary="Write a caption",
    responses={
        409: {"model": BothTexts, "description": "Somebody wrote it at the same moment."},
        412: {"model": BothTexts, "description": "It was changed since you read it."},
        428: {"model": Refusal, "description": "If-Match is missing."},
    },
)
def put_caption(
    response: Response,
    studio: StudioOf,
    name: Name,
    item: ItemName,
    asked: NewCaption,
    if_match: Annotated[str | None, Header(max_length=200, examples=['"3b5d5c3712955042"'])] = None,
) -> Caption:
    """On the present version. `If-Match` is the `ETag` of what you read; `*` writes whatever stands there."""
    seen = studio.dataset(name)
    found = _item(seen, item)
    text = asked.caption.replace("\r\n", "\n")
    if if_match is None:
        refusal = Refusal(
            error="If-Match is missing.", hint="Send the ETag of the caption you read.", kind="ConfigError"
        )
        return JSONResponse(refusal.model_dump(), 428)  # type: ignore[return-value]
    if if_match.strip() != "*" and _tag(found) not in [one.strip() for one in if_match.split(",")]:
        return _both(412, text, found)  # type: ignore[return-value]
    try:
        version = studio.curate.set_captions(seen if "@" not in name else name, {item: text})
    except ConflictError:
        return _both(409, text, _item(studio.dataset(name), item))  # type: ignore[return-value]
    written = _item(version, item)
    response.headers["etag"] = _tag(written)
    return Caption(item=item, caption=written.caption, version=version.reference)


@router.post("/datasets/{ref}/edit/preview", summary="What an operation would do")
def preview_edit(studio: StudioOf, ref: Ref, asked: Edit) -> BulkPreview:
    """In words, numbers and examples; nothing is written."""
    return studio.curate.preview_edit(ref, asked.operation, asked.arguments, asked.where)


@router.post("/datasets/{ref}/edit", summary="Carry an operation out")
def edit_captions(studio: StudioOf, ref: Ref, asked: Edit) -> VersionFacts:
    """As one new version. A name alone joins what others did meanwhile; `name@3` goes on from there."""
    return VersionFacts.of(studio.curate.edit(ref, asked.operation, asked.arguments, asked.where))


def _item(version: DatasetVersion, name: str) -> Item:
    found = next((one for one in version.items if one.name == name), None)
    if found is None:
        raise DatasetError(f"{version.reference} has no picture '{name}'.", "List its items for those there are.")
    return found


def _tag(item: Item) -> str:
    digest = hashlib.sha256(f"{item.name}\0{item.caption}".encode("utf-8", "surrogatepass")).hexdigest()
    return f'"{digest[:16]}"'


def _both(status: int, mine: str, theirs: Item) -> JSONResponse:
    refusal = BothTexts(
        error=f"Somebody else wrote the caption of '{theirs.name}' meanwhile.",
        hint="Put both together, and send it with the ETag of theirs.",
        kind="ConflictError", mine=mine, theirs=theirs.caption, etag=_tag(theirs),
    )  # fmt: skip
    return JSONResponse(refusal.model_dump(), status, {"etag": _tag(theirs)})


def _words(text: str | None) -> str:
    return " ".join((text or "").replace("``", "").split())
