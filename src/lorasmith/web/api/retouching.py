"""``/api/datasets/...``: image tools, names, roles, repeats, and the way out."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask
from starlette.responses import FileResponse

from lorasmith.datasets.layouts import Loss, available
from lorasmith.datasets.layouts.record import RECORD_NAME
from lorasmith.datasets.manifest import Role
from lorasmith.datasets.pictures import TOOLS
from lorasmith.fields import OneField, fields_of
from lorasmith.queue.records import QueuedJob
from lorasmith.web.api.asking import Admin, Asked, Clean, LensOf, Ref, StudioOf, Text, VersionFacts, noun
from lorasmith.web.api.placing import Place

router = noun("", "pictures")
ToolName = Annotated[str, Path(max_length=50, examples=["flip"]), Clean]
Names = Annotated[list[Annotated[str, Field(max_length=1000), Clean]], Field(min_length=1, max_length=100_000)]


class ToolFacts(BaseModel):
    """An image tool and what it takes."""

    name: str
    about: str
    fields: list[OneField]


class UseTool(Asked):
    """Options of the tool, and on which pictures."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"options": {}, "where": "width>2000"}]})
    options: dict[str, Any] = {}
    where: Text = ""


class Sizes(BaseModel):
    """A picture before and after, pixels."""

    item: str
    before: tuple[int, int]
    after: list[tuple[int, int]]
    """Several when the tool makes several pictures of one."""


class ToolForecast(BaseModel):
    """What a tool would do."""

    scope: str
    description: str
    in_scope: int
    changed: int | None
    examples: list[Sizes]
    refused: dict[str, str]


class ToolDone(BaseModel):
    """What a tool did."""

    version: VersionFacts
    changed: int
    refused: dict[str, str]


class LeaveOut(Asked):
    """Which pictures."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": ["blurred.png"]}]})
    items: Names


class SetRole(LeaveOut):
    """Which pictures, and what for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": ["one.png"], "role": "validation"}]})
    role: Role


class SetRepeats(LeaveOut):
    """Which pictures, and how often."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": ["one.png"], "repeats": 3}]})
    repeats: Annotated[int, Field(ge=1, le=10_000)]


class Split(Asked):
    """How much is held out."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"fraction": 0.1}]})
    fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    count: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class BalanceAsked(Asked):
    """How much of each concept; left out, equally much."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"shares": {"cat": 2, "dog": 1}}]})
    shares: dict[str, Annotated[float, Field(gt=0, le=1e9)]] | None = None


class Rename(Asked):
    """How names are made."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"digits": 4, "prefix": "cat-"}]})
    digits: Annotated[int, Field(ge=1, le=12)] = 4
    start: Annotated[int, Field(ge=0, le=10**9)] = 1
    prefix: Annotated[str, Field(max_length=100), Clean] = ""
    folders: bool = False


class ExportAsked(Asked):
    """Where to, in which layout."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"layout": "kohya", "folder": "/data/cats-kohya"}]})
    layout: Annotated[str, Field(max_length=50), Clean]
    folder: Annotated[str, Field(min_length=1, max_length=4000), Clean]
    """On the machine of the server."""
    force: bool = False
    place: Place = Place()


@router.get("/tools", summary="Image tools")
def list_tools() -> list[ToolFacts]:
    """With their fields."""
    return [
        ToolFacts(name=name, about=" ".join((tool.__doc__ or "").split()), fields=list(fields_of(tool)))
        for name, tool in TOOLS.items()
    ]


@router.post("/datasets/{ref}/tools/{tool}/preview", summary="What an image tool would do")
def preview_tool(studio: StudioOf, ref: Ref, tool: ToolName, asked: UseTool) -> ToolForecast:
    """With the sizes of a few pictures before and after."""
    made = studio.curate.preview_tool(ref, tool, asked.options, asked.where)
    sizes = [
        Sizes(item=one.item, before=one.before.size, after=[each.size for each in one.after]) for one in made.examples
    ]
    return ToolForecast(
        scope=made.scope, description=made.description, in_scope=made.in_scope, changed=made.changed,
        examples=sizes, refused=made.refused,
    )  # fmt: skip


@router.post("/datasets/{ref}/tools/{tool}", summary="Use an image tool")
def use_tool(studio: StudioOf, ref: Ref, tool: ToolName, asked: UseTool) -> ToolDone:
    """As one new version; pictures that it refuses stay, and are listed."""
    made = studio.curate.use_tool(ref, tool, asked.options, asked.where)
    return ToolDone(version=VersionFacts.of(made.version), changed=made.changed, refused=made.refused)


@router.post("/datasets/{ref}/leave-out", summary="Leave pictures out")
def leave_out(studio: StudioOf, ref: Ref, asked: LeaveOut) -> VersionFacts:
    """They stay in the older versions."""
    return VersionFacts.of(studio.curate.leave_out(ref, asked.items))


@router.post("/datasets/{ref}/role", summary="What pictures are for")
def set_role(studio: StudioOf, ref: Ref, asked: SetRole) -> VersionFacts:
    """Training, validation or regularisation."""
    return VersionFacts.of(studio.curate.set_role(ref, asked.items, asked.role))


@router.post("/datasets/{ref}/repeats", summary="How often an epoch shows pictures")
def set_repeats(studio: StudioOf, ref: Ref, asked: SetRepeats) -> VersionFacts:
    """1 to 10,000."""
    return VersionFacts.of(studio.curate.set_repeats(ref, asked.items, asked.repeats))


@router.post("/datasets/{ref}/split", summary="Hold pictures out for validation")
def split_dataset(studio: StudioOf, ref: Ref, asked: Split) -> VersionFacts:
    """Duplicates stay on one side."""
    return VersionFacts.of(studio.curate.split(ref, **asked.model_dump()))


@router.post("/datasets/{ref}/balance", summary="Show concepts equally often")
def balance_dataset(studio: StudioOf, ref: Ref, asked: BalanceAsked) -> VersionFacts:
    """By repeats."""
    return VersionFacts.of(studio.curate.balance(ref, shares=asked.shares))


@router.post("/datasets/{ref}/rename", summary="Name pictures by number")
def rename_items(studio: StudioOf, ref: Ref, asked: Rename) -> VersionFacts:
    """Each keeps its former name in its provenance."""
    return VersionFacts.of(studio.curate.rename(ref, **asked.model_dump()))


@router.get("/layouts", summary="Layouts of other programs")
def list_layouts() -> dict[str, str]:
    """Names and titles."""
    return {name: layout.title for name, layout in available().items()}


@router.get("/datasets/{ref}/losses/{layout}", summary="What a layout could not hold")
def list_losses(
    studio: StudioOf, ref: Ref, layout: Annotated[str, Path(max_length=50, examples=["kohya"]), Clean]
) -> Sequence[Loss]:
    """Nothing is written."""
    return studio.curate.losses(ref, layout)


@router.post("/datasets/{ref}/export", status_code=202, summary="Write a version for another program")
def export_dataset(studio: StudioOf, admin: Admin, ref: Ref, asked: ExportAsked) -> QueuedJob:
    """A job that writes into a folder of the server, so admins alone may ask for it."""
    return studio.enqueue.export(
        ref, asked.layout, FilePath(asked.folder), force=asked.force, placement=asked.place.placement()
    )


@router.get(
    "/datasets/{ref}/archive",
    summary="A version for another program, as a ZIP",
    response_class=FileResponse,
    responses={200: {"content": {"application/zip": {}}}},
)
def download_archive(
    studio: StudioOf, ref: Ref, layout: Annotated[str, Query(max_length=50, examples=["kohya"]), Clean] = "kohya"
) -> FileResponse:
    """What `losses` says of the layout is what the ZIP cannot hold."""
    place = tempfile.mkdtemp(prefix="lorasmith-archive-")
    try:
        version = studio.dataset(ref)
        folder = FilePath(place) / version.dataset
        studio.curate.export(version, layout.replace("-", "_"), folder)
        archive = FilePath(place) / f"{version.dataset}-{layout}.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:  # pictures are packed already
            flat = available()[layout.replace("-", "_")].archived_flat
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                if not flat or file.name != RECORD_NAME:
                    packed.write(file, file.relative_to(folder if flat else folder.parent))
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    shutil.rmtree(folder)
    done = BackgroundTask(shutil.rmtree, place, ignore_errors=True)
    return FileResponse(archive, media_type="application/zip", filename=archive.name, background=done)


@router.get(
    "/datasets/{ref}/report",
    summary="One HTML page about a version",
    response_class=FileResponse,
    responses={200: {"content": {"text/html": {}}}},
)
def download_report(studio: StudioOf, ref: Ref, lens: LensOf) -> FileResponse:
    """A file to be saved, which needs no network; it is never shown as a page of this server."""
    folder = tempfile.mkdtemp(prefix="lorasmith-report-")
    try:
        version = studio.dataset(ref)
        written = studio.curate.report(version, FilePath(folder) / f"{version.dataset}.html", lens.lens(studio.curate))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    done = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
    headers = {"content-security-policy": "sandbox"}
    return FileResponse(written, media_type="text/html", filename=written.name, background=done, headers=headers)
