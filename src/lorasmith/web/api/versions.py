"""``/api/datasets/.../history`` and what goes with it: undo, redo, restore, branch, compare."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from lorasmith.datasets.garbage import Garbage
from lorasmith.datasets.history import HistoryEntry, VersionDiff
from lorasmith.web.api.asking import Admin, Asked, Clean, Name, Ref, StudioOf, VersionFacts, noun

router = noun("/datasets", "versions")


class Steps(Asked):
    """How far."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"steps": 1}]})
    steps: Annotated[int, Field(ge=1, le=1_000_000)] = 1


class NewBranch(Asked):
    """What it shall be called."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "cats-cropped"}]})
    name: Annotated[str, Field(min_length=1, max_length=200), Clean]


class Past(BaseModel):
    """A version in the history, with its operation in words."""

    entry: HistoryEntry
    words: str


@router.get("/{name}/history", summary="All versions and what made each")
def list_history(studio: StudioOf, name: Name) -> list[Past]:
    """Oldest first."""
    return [Past(entry=entry, words=entry.words) for entry in studio.curate.history(name)]


@router.get("/{ref}/diff", summary="What differs between two versions")
def diff_versions(
    studio: StudioOf, ref: Ref, against: Annotated[str, Query(max_length=300, examples=["cats@1"]), Clean]
) -> VersionDiff:
    """From `against`, the older one most often, to this one."""
    return studio.curate.diff(against, ref)


@router.post("/{name}/undo", summary="Go back")
def undo_edit(studio: StudioOf, name: Name, asked: Steps) -> VersionFacts:
    """What is passed over stays in the history."""
    return VersionFacts.of(studio.curate.undo(name, asked.steps))


@router.post("/{name}/redo", summary="Take back an undo")
def redo_edit(studio: StudioOf, name: Name, asked: Steps) -> VersionFacts:
    """As far as was undone."""
    return VersionFacts.of(studio.curate.redo(name, asked.steps))


@router.post("/{ref}/restore", status_code=201, summary="A new version with the content of an old one")
def restore_version(studio: StudioOf, ref: Ref) -> VersionFacts:
    """`name@3`."""
    return VersionFacts.of(studio.curate.restore(ref))


@router.post("/{ref}/branch", status_code=201, summary="A new dataset that begins as this version")
def branch_version(studio: StudioOf, ref: Ref, asked: NewBranch) -> VersionFacts:
    """Both share their pictures on disk."""
    return VersionFacts.of(studio.curate.branch(ref, asked.name))


garbage = noun("/garbage", "versions")


class GarbageFacts(BaseModel):
    """How much can go, and what kept everything where it could not be told what is needed."""

    files: int
    bytes: int
    held_by: tuple[str, ...]

    @classmethod
    def of(cls, found: Garbage) -> GarbageFacts:
        return cls(files=len(found.files), bytes=found.bytes, held_by=found.held_by)


@garbage.get("", summary="What no version and no job needs")
def look_at_garbage(studio: StudioOf) -> GarbageFacts:
    """With its size; nothing is changed."""
    return GarbageFacts.of(studio.curate.garbage())


@garbage.post("/collect", summary="Delete what is not needed")
def collect_garbage(studio: StudioOf, admin: Admin) -> GarbageFacts:
    """What was deleted."""
    return GarbageFacts.of(studio.curate.collect(studio.curate.garbage()))
