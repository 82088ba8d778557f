"""What the nouns of the API share: who is asked, what is refused and how, lists in pieces, bodies that are strict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Generic, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.datastructures import URL
from starlette.exceptions import HTTPException

from lorasmith.curation import Curation
from lorasmith.datasets.lens import Lens
from lorasmith.datasets.manifest import DatasetVersion, Operation
from lorasmith.studio import Studio
from lorasmith.web.api.once import OnceRoute
from lorasmith.web.sessions import Actor

One = TypeVar("One")
_MOST: Final = 1000
_FURTHEST: Final = 10**9
_LONGEST_NAME: Final = 300
_LONGEST_QUERY: Final = 4000


class Refusal(BaseModel):
    """Every error: what is wrong, and the next thing to do."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "error": "There is no dataset 'cats'.",
                    "hint": "`lorasmith datasets` lists them.",
                    "kind": "DatasetError",
                }
            ]
        },
    )
    error: str
    hint: str = ""
    kind: str = ""
    """Class of the error in ``lorasmith.errors``."""


REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": Refusal, "description": words}
    for status, words in {
        400: "The body cannot be read, or this server does not answer to that name.",
        401: "You are not signed in.",
        403: "You may not do that, or it did not come from a page of lorasmith.",
        404: "There is nothing at this address, or no such job.",
        409: "Others changed the same, or a job stands differently.",
        413: "The body is too large.",
        422: "What was asked cannot be; the sentence says why.",
        503: "This machine lacks something; the hint says what to do.",
    }.items()
}


class Asked(BaseModel):
    """A body; a key that nobody knows is refused."""

    model_config = ConfigDict(extra="forbid")


class Page(BaseModel, Generic[One]):
    """A piece of a list. ``Link`` in the headers leads to the next and the one before."""

    total: int
    """Of the whole list."""
    offset: int
    items: Sequence[One]


class VersionFacts(BaseModel):
    """A version of a dataset, without its pictures."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "reference": "cats@2",
                    "dataset": "cats",
                    "number": 2,
                    "parent": 1,
                    "operation": {"name": "add_trigger_word", "arguments": {"word": "ohwx"}},
                    "created": "2026-11-21T18:00:00+00:00",
                    "pictures": 24,
                    "fingerprint": "9b1c...",
                }
            ]
        }
    )
    reference: str
    dataset: str
    number: int
    parent: int | None
    operation: Operation
    created: str
    pictures: int
    fingerprint: str

    @classmethod
    def of(cls, version: DatasetVersion) -> VersionFacts:
        return cls(
            reference=version.reference,
            dataset=version.dataset,
            number=version.number,
            parent=version.parent,
            operation=version.operation,
            created=version.created,
            pictures=len(version.items),
            fingerprint=version.fingerprint,
        )


def noun(path: str, tag: str, **settings: Any) -> APIRouter:
    """A router of the API: documented refusals, POSTs that can be repeated."""
    return APIRouter(prefix=f"/api{path}", tags=[tag], responses=REFUSALS, route_class=OnceRoute, **settings)


def _studio(request: Request) -> Studio:
    studio: Studio = request.app.state.studio
    return studio


def _admin(request: Request) -> Actor:
    actor: Actor = request.state.actor
    if actor.role != "admin":
        raise HTTPException(403)
    return actor


def _actor(request: Request) -> Actor:
    actor: Actor = request.state.actor
    return actor


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL character")
    return text


Clean = AfterValidator(_without_nul)
Admin = Annotated[Actor, Depends(_admin)]
"""Only admins: it touches this machine, or everybody's things."""
ActorOf = Annotated[Actor, Depends(_actor)]
StudioOf = Annotated[Studio, Depends(_studio)]
Ref = Annotated[
    str,
    Path(max_length=_LONGEST_NAME, description="`name`, the present version, or `name@3`", examples=["cats"]),
    Clean,
]
Name = Annotated[str, Path(max_length=_LONGEST_NAME, description="Name of a dataset", examples=["cats"]), Clean]
Text = Annotated[str, Field(max_length=_LONGEST_QUERY), Clean]
Where = Annotated[
    str, Query(max_length=_LONGEST_QUERY, description="A query; empty means all", examples=["tag:cat"]), Clean
]
Limit = Annotated[int, Query(ge=1, le=_MOST, description="At most so many")]
Offset = Annotated[int, Query(ge=0, le=_FURTHEST, description="How many to pass over")]


class LensAsked(BaseModel):
    """What a dataset is looked at for; left out, Stable Diffusion at 512 pixels."""

    model_config = ConfigDict(extra="forbid")
    base: Annotated[str, Field(max_length=_LONGEST_NAME), Clean] = ""
    family: Annotated[str, Field(max_length=100), Clean] = ""
    resolution: Annotated[int, Field(ge=64, le=16_384)] | None = None
    trigger_word: Annotated[str, Field(max_length=200), Clean] = ""
    goal: Annotated[str, Field(max_length=20), Clean] = ""
    trainer: Annotated[str, Field(max_length=50), Clean] = "lorasmith"
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 1
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    steps: Annotated[int, Field(ge=1, le=100_000_000)] | None = None

    def lens(self, curate: Curation) -> Lens:
        """As ``Studio.curate`` takes it."""
        values = self.model_dump(exclude={"base", "family", "resolution"})
        values["goal"] = values["goal"] or None
        return curate.lens(base=self.base, family=self.family, resolution=self.resolution, **values)


class LensQuery(LensAsked):
    """The same beside other parameters of an address."""

    model_config = ConfigDict(extra="ignore")


LensOf = Annotated[LensQuery, Query()]


def piece(
    request: Request,
    response: Response,
    found: Sequence[One],
    limit: int,
    offset: int,
    show: Callable[[One], Any] = lambda one: one,
) -> Page[Any]:
    """A piece of a list that is at hand."""
    return piece_of(request, response, [show(one) for one in found[offset : offset + limit]], len(found), limit, offset)


def piece_of(
    request: Request, response: Response, items: Sequence[One], total: int, limit: int, offset: int
) -> Page[One]:
    """A piece that was cut already, with the links to its neighbours."""
    links = []
    if offset + limit < total:
        links.append((offset + limit, "next"))
    if offset > 0:
        links.append((max(0, offset - limit), "prev"))
    if links:
        here = f"{request.url.path}?{request.url.query}"
        response.headers["link"] = ", ".join(
            f'<{URL(here).include_query_params(limit=limit, offset=place)}>; rel="{word}"' for place, word in links
        )
    return Page(total=total, offset=offset, items=items)
