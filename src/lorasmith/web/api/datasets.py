"""``/api/datasets``: what there is, its pictures, their fate, queries and their names."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from lorasmith.datasets.manifest import Fate, FateWord, Item
from lorasmith.datasets.selections import Selection
from lorasmith.errors import ConfigError, DatasetError
from lorasmith.web.api.asking import (
    Asked,
    Clean,
    LensOf,
    Limit,
    Name,
    Offset,
    Page,
    Ref,
    StudioOf,
    Text,
    VersionFacts,
    Where,
    noun,
    piece,
)
from lorasmith.web.api.measuring import MEASURING, chosen

router = noun("/datasets", "datasets")


class Listed(BaseModel):
    """A dataset in the list."""

    name: str
    versions: list[int]
    """Their numbers; not all need lead to the present one."""


class SaveSelection(Asked):
    """A query to be kept under a name."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"query": "tag:cat and not tag:dog"}]})
    query: Text
    replace: bool = False


@router.get("", summary="All datasets")
def list_datasets(
    request: Request, response: Response, studio: StudioOf, limit: Limit = 100, offset: Offset = 0
) -> Page[Listed]:
    """By name."""
    found = [Listed(name=name, versions=versions) for name, versions in studio.datasets().items()]
    return piece(request, response, found, limit, offset)


@router.get("/{ref}", summary="A version")
def get_dataset(studio: StudioOf, ref: Ref) -> VersionFacts:
    """The facts about it; pictures and captions have addresses of their own."""
    return VersionFacts.of(studio.dataset(ref))


@router.delete("/{ref}", status_code=204, summary="Drop a version, or the whole dataset")
def drop_dataset(studio: StudioOf, ref: Ref) -> Response:
    """`name@3` drops that version, `name` all of them. What they hold goes when it is collected."""
    studio.curate.drop(ref)
    return Response(status_code=204)


@router.get("/{ref}/items", summary="Pictures that a query means", responses=MEASURING, response_model=Page[Item])
def list_items(
    request: Request, response: Response, studio: StudioOf, ref: Ref, lens: LensOf, where: Where = "",
    limit: Limit = 100, offset: Offset = 0,
) -> Page[Item] | Response:  # fmt: skip
    """With captions, sizes, roles and provenance; a picture's bytes are at `/pictures/{image}`. 202 while pixels are
    measured for the query: ask again."""
    version = studio.dataset(ref)
    known = {item.name: item for item in version.items}
    names = chosen(request, studio, version, where, lens)
    if isinstance(names, Response):
        return names
    return piece(request, response, names, limit, offset, show=known.__getitem__)


@router.get("/{ref}/items/{item:path}", summary="One picture")
def get_item(studio: StudioOf, ref: Ref, item: Annotated[str, Path(max_length=1000), Clean]) -> Item:
    """By its name, which may hold slashes."""
    version = studio.dataset(ref)
    found = next((one for one in version.items if one.name == item), None)
    if found is None:
        raise DatasetError(f"{version.reference} has no picture '{item}'.", "List its items for those there are.")
    return found


@router.get("/{ref}/select", summary="Names that a query means", responses=MEASURING, response_model=Page[str])
def select_names(
    request: Request, response: Response, studio: StudioOf, ref: Ref, where: Where, lens: LensOf,
    limit: Limit = 1000, offset: Offset = 0,
) -> Page[str] | Response:  # fmt: skip
    """In the query's order; `@name` stands for a saved selection. 202 while pixels are measured for it: ask again."""
    names = chosen(request, studio, studio.dataset(ref), where, lens)
    return names if isinstance(names, Response) else piece(request, response, names, limit, offset)


@router.get("/{ref}/ledger", summary="The fate of every file that was offered")
def list_fates(
    request: Request, response: Response, studio: StudioOf, ref: Ref, fate: FateWord | None = None,
    rule: Annotated[str | None, Query(max_length=100), Clean] = None,
    path: Annotated[str | None, Query(max_length=1000), Clean] = None,
    limit: Limit = 100, offset: Offset = 0,
) -> Page[Fate]:  # fmt: skip
    """What was taken, converted or left out, each with its reason."""
    found = studio.curate.ledger(ref, fate=fate, rule=rule, path=path)
    return piece(request, response, found, limit, offset)


@router.get("/{name}/selections", summary="Saved selections")
def list_selections(studio: StudioOf, name: Name) -> list[Selection]:
    """By name."""
    return studio.curate.selections(name).list()


@router.put("/{name}/selections/{selection}", summary="Save a query under a name")
def save_selection(
    studio: StudioOf, name: Name, selection: Annotated[str, Path(max_length=100), Clean], asked: SaveSelection
) -> Selection:
    """`@selection` then stands for it."""
    if not asked.query.strip():
        raise ConfigError("An empty query selects everything.", "Write a query.")
    return studio.curate.save_selection(name, selection, asked.query, replace=asked.replace)
