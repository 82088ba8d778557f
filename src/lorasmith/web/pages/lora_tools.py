"""What makes another LoRA file: resize, merge, convert, scale, edit. Seen before it is made; made by a job."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from lorasmith.adapters.dialects.formats import FORMATS
from lorasmith.adapters.tools.leaks import KINDS
from lorasmith.adapters.tools.requests import REQUESTS, request_of
from lorasmith.errors import ConfigError, LorasmithError
from lorasmith.studio import Studio
from lorasmith.web.looks import Look
from lorasmith.web.pages.framing import studio_of
from lorasmith.web.pages.loras import Lora, aside, bases, families, in_fields, stamp, tool, watch_of
from lorasmith.web.rendering import page, part, wants_part

router = APIRouter(prefix="/loras", include_in_schema=False)
_MOST: Final = 32  # LoRAs of a merge
_LIVE: Final = 200_000_000  # bytes of files up to which a preview follows every change
_PICTURE: Final = 16 * 2**20
_FIELDS: Final = ("title", "author", "description", "license", "trigger", "usage")
_WORDS: Final = {
    "resize": "Resize", "merge": "Merge", "convert": "Convert", "scale": "Make stronger or weaker", "edit": "Edit",
}  # fmt: skip


@dataclass(frozen=True)
class Fields:
    """A form as it came: names with values, in their order."""

    pairs: tuple[tuple[str, str], ...] = ()
    picture: UploadFile | None = None

    def one(self, name: str) -> str:
        """The first value of a name; empty when there is none."""
        return next((value.strip() for key, value in self.pairs if key == name), "")

    def all(self, name: str) -> list[str]:
        """All values of a name."""
        return [value for key, value in self.pairs if key == name]


async def _fields(request: Request) -> Fields:
    if request.method == "GET":
        return Fields(tuple(request.query_params.multi_items()))
    form = await request.form()
    pairs = tuple((key, value) for key, value in form.multi_items() if isinstance(value, str))
    picture = form.get("thumbnail")
    return Fields(pairs, picture if isinstance(picture, UploadFile) and picture.filename else None)


Given = Annotated[Fields, Depends(_fields)]


@router.get("/outlook")
def outlook(request: Request, lora: Lora, base: Annotated[str, Query(max_length=1000)] = "") -> HTMLResponse:
    """What each way of resizing would leave."""
    studio = studio_of(request)
    path = studio.adapter(lora)

    def work(look: Look) -> Any:
        return studio.toolbox.outlook(path, base=base, watch=watch_of(look))

    def shape(found: Any) -> dict[str, Any]:
        return {"prospects": found, "size": path.stat().st_size, "base": base}

    return aside(request, "resize", lora, ("outlook", stamp(path), base), work, "loras/outlook.html", shape)


@router.get("/preview/{verb}")
@router.post("/preview/{verb}")
def preview(request: Request, verb: str, given: Given) -> HTMLResponse:
    """What a tool would make; nothing is written."""
    studio = studio_of(request)
    try:
        asked = request_of(_known(verb), _values(studio, verb, given))
        files = {one: studio.adapter(one) for one in asked.files}
    except LorasmithError as refusal:
        if not wants_part(request):
            raise
        hint = in_fields(refusal.hint)
        return part(request, "parts/refusal.html", sentence=in_fields(refusal.message), hint=hint)
    located = asked.with_files({one: str(path) for one, path in files.items()})
    out = studio.home / "adapters" / f".preview-{verb}.safetensors"  # never written

    def work(look: Look) -> Any:
        return studio.toolbox.carry_out(located, out, dry_run=True, watch=watch_of(look))

    key = ("preview", verb, located.model_dump_json(), *(stamp(path) for path in files.values()))
    lora = asked.files[0]
    before = files[lora].stat().st_size
    return aside(
        request,
        verb,
        lora,
        key,
        work,
        "loras/preview.html",
        lambda made: {"made": made, "verb": verb, "before": before},
    )


@router.get("/{verb}")
def form(request: Request, verb: str, given: Given) -> HTMLResponse:
    """The form of a tool, filled as the address says."""
    return _form(request, _known(verb), given)


@router.post("/{verb}", response_model=None)
def make(request: Request, verb: str, given: Given) -> Response:
    """Write it down as a job; its result goes into the library."""
    studio = studio_of(request)
    _known(verb)
    try:
        values = _values(studio, verb, given)
        with tempfile.TemporaryDirectory() as folder:
            picture = _picture(given.picture, Path(folder)) if verb == "edit" else None
            row = studio.enqueue.tool(verb, values, given.one("name"), thumbnail=picture)
    except LorasmithError as refusal:
        return _form(request, verb, given, refusal)
    return RedirectResponse(f"/jobs/{quote(row.id)}", 303)


def _form(request: Request, verb: str, given: Fields, refusal: LorasmithError | None = None) -> HTMLResponse:
    studio = studio_of(request)
    said = (in_fields(refusal.message), in_fields(refusal.hint)) if refusal else ("", "")
    shown: dict[str, Any] = {
        "verb": verb, "words": _WORDS, "given": given, "sentence": said[0], "hint": said[1], "bases": bases(studio),
        "names": studio.library.names(), "families": families(studio), "dialects": tuple(FORMATS),
        "refused": refusal is not None,
    }  # fmt: skip
    status = 422 if refusal else 200
    if verb == "merge":
        rows = _rows(given)
        size = sum(studio.adapter(row.lora).stat().st_size for row in rows)
        return page(
            request, "loras/merge.html", status, title="Merge LoRAs", area="models", rows=rows, live=size < _LIVE,
            **shown,
        )  # fmt: skip
    lora = given.one("lora")
    if not lora:
        return page(request, "loras/which.html", status, title=_WORDS[verb], area="models", **shown)
    found = studio.inspect(lora)
    shown |= {"found": found, "live": found.size < _LIVE}
    if verb == "convert":
        shown |= _choices(studio, lora, given.one("family"))
    if verb == "edit":
        shown |= {"kinds": KINDS, "fields": _said(found.metadata)}
    return tool(request, f"loras/{verb}.html", verb, lora, status, **shown)


def _choices(studio: Studio, lora: str, family: str) -> dict[str, Any]:
    """Which dialects a file can be written in; or what has to be said first."""
    try:
        return {"choices": studio.toolbox.dialects(lora, family=family), "open": "", "family": family}
    except LorasmithError as refusal:
        return {"choices": (), "open": in_fields(refusal.message), "family": family}


def _said(metadata: Mapping[str, str]) -> dict[str, str]:
    """What a file says in the fields of the form."""
    names = {"trigger": "trigger_phrase", "usage": "usage_hint"}
    said = {name: metadata.get(f"modelspec.{names.get(name, name)}", "") for name in _FIELDS}
    return said | {"tags": metadata.get("modelspec.tags", "")}


@dataclass(frozen=True)
class Row:
    """One LoRA of the form of a merge."""

    lora: str
    weight: str
    blocks: str


def _rows(given: Fields) -> list[Row]:
    """The chosen LoRAs, with one that is added and without one that is dropped."""
    loras, weights, blocks = given.all("lora"), given.all("weight"), given.all("blocks")
    rows = [
        Row(one, weights[place] if place < len(weights) else "1", blocks[place] if place < len(blocks) else "")
        for place, one in enumerate(loras[:_MOST])
        if one.strip() and given.one("drop") != str(place)
    ]
    added = given.one("add")
    return [*rows, Row(added, "1", "")] if added and len(rows) < _MOST else rows


def _values(studio: Studio, verb: str, given: Fields) -> dict[str, Any]:
    """What a form says, as the request takes it; what is empty is left out."""
    if verb == "merge":
        parts = [
            {"lora": row.lora, "weight": row.weight or "1", "by_block": _lines(row.blocks)} for row in _rows(given)
        ]
        if not parts:
            raise ConfigError("There is nothing to merge.", "Choose two LoRAs or more.")
        names = ("method", "rank", "density", "seed", "dialect", "family", "only_for", "dtype", "base")
        return {"loras": parts} | _filled(given, names)
    values: dict[str, Any] = {"lora": given.one("lora")}
    if verb == "resize":
        if blocks := _lines(given.one("blocks")):
            values["by_block"] = blocks
        return values | _filled(given, ("rank", "method", "value", "dtype", "base"))
    if verb == "convert":
        values["drop_others"] = given.one("drop_others") == "on"
        return values | _filled(given, ("dialect", "family", "rank", "only_for", "dtype", "base"))
    if verb == "scale":
        return values | {"by_block": _lines(given.one("blocks"))} | _filled(given, ("factor",))
    return values | _edits(given, _said(studio.inspect(values["lora"]).metadata))


def _edits(given: Fields, before: Mapping[str, str]) -> dict[str, Any]:
    """Only what a field says otherwise than the file; browsers write lines their own way."""
    sent = {name for name, _ in given.pairs}
    now = {name: given.one(name).replace("\r\n", "\n") for name in (*_FIELDS, "tags") if name in sent}
    other = {name: text for name, text in now.items() if text != before[name].replace("\r\n", "\n").strip()}
    tags = other.pop("tags", None)
    made: dict[str, Any] = {"fields": other, "strip": given.all("strip"), "remove": given.all("remove")}
    if tags is not None:
        made["tags"] = [tag.strip() for tag in tags.split(",") if tag.strip()]
    if values := _lines(given.one("values")):
        made["values"] = values
    return made


def _filled(given: Fields, names: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name in names if (value := given.one(name))}


def _lines(text: str) -> dict[str, str]:
    """``pattern = number`` lines as a table.

    Raises:
        ConfigError: a line without an equals sign.
    """
    found: dict[str, str] = {}
    for line in filter(None, (line.strip() for line in text.splitlines())):
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"The line '{line[:80]}' says nothing.", "Write lines such as up_blocks* = 0.5.")
        found[name.strip()] = value.strip()
    return found


def _picture(sent: UploadFile | None, folder: Path) -> Path | None:
    """An uploaded picture as a file."""
    if sent is None:
        return None
    content = sent.file.read(_PICTURE + 1)
    if len(content) > _PICTURE:
        raise ConfigError("The thumbnail is larger than 16 MB.", "Take a smaller picture; 256 pixels are kept of it.")
    path = folder / "thumbnail"
    path.write_bytes(content)
    return path


def _known(verb: str) -> str:
    if verb not in REQUESTS:
        raise HTTPException(404)
    return verb
