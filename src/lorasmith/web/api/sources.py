"""``/api/sources``: what there is at a place, and how it becomes a dataset."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from lorasmith.datasets.manifest import Fate
from lorasmith.fields import OneField, fields_of
from lorasmith.gathering import Unfinished
from lorasmith.queue.records import QueuedJob
from lorasmith.studio import Studio
from lorasmith.web.api.asking import ActorOf, Admin, Asked, Clean, StudioOf, VersionFacts, noun
from lorasmith.web.api.placing import Place
from lorasmith.web.sessions import Actor

router = noun("", "sources")
_OF_THE_SERVER: Final = ("folder", "zip", "uploads")
"""Sources that read files of the server's machine."""


class SourceListed(BaseModel):
    """A source, what it takes and can use."""

    name: str
    title: str
    about: str
    examples: tuple[str, ...]
    services: tuple[str, ...]
    """Whose secrets it can use."""
    options: list[OneField]


class Location(Asked):
    """Where to look."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"location": "https://example.org/cats.zip"}]})
    location: Annotated[str, Field(min_length=1, max_length=4000), Clean]
    source: Annotated[str, Field(max_length=50), Clean] | None = None
    options: dict[str, Any] = {}


class Fetch(Location):
    """What to bring, and what it becomes."""

    name: Annotated[str, Field(max_length=200), Clean] | None = None
    into: Annotated[str, Field(max_length=200), Clean] | None = None
    """A dataset to add to."""


class ImportAsked(Asked):
    """Files of the server's machine."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"sources": ["/data/cats"], "name": "cats"}]})
    sources: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=4000), Clean]], Field(min_length=1, max_length=100)
    ]
    name: Annotated[str, Field(max_length=200), Clean] | None = None
    place: Place = Place()


class OneOffered(BaseModel):
    """A file that would be brought."""

    path: str
    url: str
    size: int | None
    caption: str


class Found(BaseModel):
    """What would be brought."""

    source: str
    location: str
    name: str
    count: int
    bytes_known: int
    files: list[OneOffered]
    """The first thousand."""
    left_out: list[Fate]
    said: tuple[str, ...]


@router.get("/sources", summary="Where pictures can come from")
def list_sources(studio: StudioOf) -> list[SourceListed]:
    """With examples and options."""
    facts = [studio.sources.about(name) for name in studio.sources.names()]
    return [
        SourceListed(
            name=one.name, title=one.title, about=one.about, examples=one.examples, services=one.services,
            options=list(fields_of(one.options)),
        )
        for one in facts
    ]  # fmt: skip


@router.post("/sources/look", summary="What there is at a place")
def look_at_source(studio: StudioOf, actor: ActorOf, asked: Location) -> Found:
    """Nothing but metadata is fetched."""
    _refuse_files_of_the_server(studio, actor, asked)
    listing = studio.sources.look(asked.location, asked.source, **asked.options)
    return Found(
        source=listing.source, location=listing.location, name=listing.name, count=len(listing.files),
        bytes_known=listing.bytes_known, left_out=list(listing.left_out), said=listing.said,
        files=[
            OneOffered(path=one.path, url=one.url, size=one.size, caption=one.caption) for one in listing.files[:1000]
        ],
    )  # fmt: skip


@router.post("/sources/fetch", status_code=201, summary="Bring pictures and import them")
def fetch_source(studio: StudioOf, actor: ActorOf, asked: Fetch) -> VersionFacts:
    """Answers when they are imported; an interrupted fetch goes on when it is asked for again."""
    _refuse_files_of_the_server(studio, actor, asked)
    return VersionFacts.of(
        studio.sources.fetch(asked.location, asked.source, name=asked.name, into=asked.into, **asked.options)
    )


@router.get("/sources/unfinished", summary="Fetches that were interrupted")
def list_unfinished(studio: StudioOf, admin: Admin) -> list[Unfinished]:
    """The latest last."""
    return studio.sources.unfinished()


@router.delete("/sources/unfinished/{id}", summary="Remove what one has brought")
def give_up_fetch(studio: StudioOf, admin: Admin, id: Annotated[str, Path(max_length=200), Clean]) -> Unfinished:
    """It begins anew when it is asked for again."""
    return studio.sources.give_up(id)


@router.post("/datasets", status_code=202, summary="Import files of the server's machine")
def import_dataset(studio: StudioOf, admin: Admin, asked: ImportAsked) -> QueuedJob:
    """A job. Files of yours are uploaded instead."""
    return studio.enqueue.import_dataset(list(asked.sources), name=asked.name, placement=asked.place.placement())


def _refuse_files_of_the_server(studio: Studio, actor: Actor, asked: Location) -> None:
    """Only admins may read the server's own files."""
    if actor.role != "admin" and (asked.source or studio.sources.source_of(asked.location)) in (None, *_OF_THE_SERVER):
        raise HTTPException(403)
