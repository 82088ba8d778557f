"""``/api/datasets/.../references``: the pictures that a base which edits is given, by name or one by one."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import Path, Request
from pydantic import BaseModel, ConfigDict, Field

from lorasmith.datasets.partners import MOST_REFERENCES, Mode, Proposal
from lorasmith.web.api.asking import Asked, Clean, Ref, StudioOf, VersionFacts, noun
from lorasmith.web.api.retouching import Names
from lorasmith.web.brought import files_of, forget, laid_out

router = noun("/datasets", "pairs")
_UPLOAD: Final = re.compile(r"[0-9a-f]{32}")
Id = Annotated[str, Field(max_length=64), Clean]


class Give(Asked):
    """Uploads that hold references, and how they are called."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"uploads": ["0123456789abcdef0123456789abcdef"], "suffix": "_start:_end"}]}
    )
    uploads: Annotated[list[Id], Field(min_length=1, max_length=5000)]
    """Ids of whole uploads of yours: a ZIP, or pictures with the folders they lay in."""
    suffix: Annotated[str, Field(max_length=120), Clean] = ""
    mode: Mode = "replace"


class Offer(BaseModel):
    """What a folder would give, or gave."""

    matched: dict[str, list[str]]
    """Pictures with the paths of their references, in order."""
    replaced: list[str]
    unmatched: list[str]
    left_out: dict[str, str]
    mode: Mode

    @classmethod
    def of(cls, proposal: Proposal) -> Offer:
        return cls(
            matched={name: list(paths) for name, paths in proposal.matched.items()}, replaced=list(proposal.replaced),
            unmatched=list(proposal.unmatched), left_out=dict(proposal.left_out), mode=proposal.mode,
        )  # fmt: skip


class Gave(BaseModel):
    """The version that was made, and of what."""

    version: VersionFacts
    offer: Offer


class SetReferences(Asked):
    """All references of a picture, in their order; an empty list removes them."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"references": []}]})
    references: Annotated[list[Id], Field(max_length=MOST_REFERENCES)]
    """Each the SHA-256 of a picture that the version names, or the id of an upload of yours."""


class Swap(Asked):
    """Which pictures change places with which of their references."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": ["one.png"], "number": 1}]})
    items: Names | None = None
    """None: all that have references."""
    number: Annotated[int, Field(ge=1, le=MOST_REFERENCES)] = 1


class SwapDone(BaseModel):
    """What was swapped."""

    version: VersionFacts
    swapped: list[str]
    refused: dict[str, str]


class Remove(Asked):
    """Which pictures lose their references."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": ["one.png"]}]})
    items: Names


@router.post("/{ref}/references/preview", summary="What files would be references of")
def preview_references(request: Request, studio: StudioOf, ref: Ref, asked: Give) -> Offer:
    """Nothing is changed, and the uploads stay for the next call."""
    with laid_out(request, asked.uploads, keep=True) as sources:
        return Offer.of(studio.curate.pairs.preview(ref, sources, suffix=asked.suffix, mode=asked.mode))


@router.post("/{ref}/references", summary="Give pictures their references")
def give_references(request: Request, studio: StudioOf, ref: Ref, asked: Give) -> Gave:
    """By name: `cat.png` becomes the reference of the picture `cat.jpg`. The uploads go when it is done."""
    with laid_out(request, asked.uploads, keep=False) as sources:
        given = studio.curate.pairs.give(ref, sources, suffix=asked.suffix, mode=asked.mode)
    return Gave(version=VersionFacts.of(given.version), offer=Offer.of(given.proposal))


@router.put("/{ref}/references/{item:path}", summary="Set the references of one picture")
def set_references(
    request: Request, studio: StudioOf, ref: Ref, item: Annotated[str, Path(max_length=1000), Clean],
    asked: SetReferences,
) -> VersionFacts:  # fmt: skip
    """So they are added, replaced, moved and removed."""
    ids = [one for one in asked.references if _UPLOAD.fullmatch(one)]
    files = dict(zip(ids, files_of(request, ids), strict=True))
    made = studio.curate.pairs.set(ref, item, [files.get(one, one) for one in asked.references])
    forget(request, list(files))
    return VersionFacts.of(made)


@router.post("/{ref}/swap-references", summary="Let pictures and references change places")
def swap_references(studio: StudioOf, ref: Ref, asked: Swap) -> SwapDone:
    """For pairs that came the wrong way round."""
    done = studio.curate.pairs.swap(ref, asked.items, number=asked.number)
    return SwapDone(version=VersionFacts.of(done.version), swapped=list(done.swapped), refused=done.refused)


@router.post("/{ref}/remove-references", summary="Take references away")
def remove_references(studio: StudioOf, ref: Ref, asked: Remove) -> VersionFacts:
    """All of these pictures."""
    return VersionFacts.of(studio.curate.pairs.remove(ref, asked.items))
