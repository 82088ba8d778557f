"""What makes another file of LoRAs or bases: each tool seen before it is used, and carried out by a job."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from lorasmith.adapters.dialects.formats import FORMATS
from lorasmith.adapters.tools.checkpoints import saved_steps
from lorasmith.adapters.tools.leaks import KINDS
from lorasmith.adapters.tools.requests import REQUESTS, Merge, request_of
from lorasmith.errors import AdapterError, LorasmithError
from lorasmith.studio import Studio
from lorasmith.web.looks import Look
from lorasmith.web.pages.framing import studio_of
from lorasmith.web.pages.lora_forms import Fields, Given, Row, picture_in, rows_of, said_of, values_of
from lorasmith.web.pages.loras import (
    Lora,
    aside,
    bases,
    families,
    fitting,
    in_fields,
    likely_base,
    placed,
    stamp,
    tool,
    watch_of,
)
from lorasmith.web.rendering import page, part, wants_part

router = APIRouter(prefix="/loras", include_in_schema=False)
_LIVE: Final = 200_000_000  # bytes of files up to which a preview follows every change
_WORDS: Final = {
    "resize": "Resize", "merge": "Merge LoRAs", "convert": "Convert", "scale": "Make stronger or weaker",
    "edit": "Edit", "average": "Average checkpoints", "extract": "Extract a LoRA", "bake": "Bake into a base",
}  # fmt: skip
_SEVERAL: Final = ("merge", "average", "bake")


@router.get("/outlook")
def outlook(request: Request, lora: Lora, base: Annotated[str, Query(max_length=1000)] = "") -> HTMLResponse:
    """What each way of resizing would leave."""
    studio = studio_of(request)
    path, place = studio.adapter(lora), placed(studio, base)

    def work(look: Look) -> Any:
        return studio.toolbox.outlook(path, base=place, watch=watch_of(look))

    def shape(found: Any) -> dict[str, Any]:
        return {"prospects": found, "size": path.stat().st_size, "base": base}

    return aside(request, "resize", lora, ("outlook", stamp(path), place), work, "loras/outlook.html", shape)


@router.get("/foresee")
def foresee(request: Request, given: Given) -> HTMLResponse:
    """What the chosen weights make of the LoRAs together; the files are read once, whatever is chosen then."""
    studio = studio_of(request)
    toolbox = studio.toolbox
    try:
        asked = request_of("merge", values_of(studio, "merge", given))
        located = toolbox.located(asked)
    except LorasmithError as refusal:
        return _refused(request, refusal)
    assert isinstance(located, Merge)
    key = ("products", located.files, located.family, located.base, *map(stamp, map(Path, located.files)))

    def work(look: Look) -> Any:
        return toolbox.products(located.files, family=located.family, base=located.base, watch=watch_of(look))

    def shape(measured: Any) -> dict[str, Any]:
        found = toolbox.foresee(located, measured)
        weights = iter(found.weights)
        query = [(name, f"{next(weights):g}" if name == "weight" else value) for name, value in _weighed(given)]
        return {"found": found, "names": asked.files, "even": urlencode(query), "method": located.method}

    return aside(request, "merge", "", key, work, "loras/foresee.html", shape)


@router.get("/preview/{verb}")
@router.post("/preview/{verb}")
def preview(request: Request, verb: str, given: Given) -> HTMLResponse:
    """What a tool would make; nothing is written."""
    studio = studio_of(request)
    try:
        asked = request_of(_known(verb), values_of(studio, verb, given))
        located = studio.toolbox.located(asked)
    except LorasmithError as refusal:
        return _refused(request, refusal)
    out = studio.home / "adapters" / f".preview-{verb}.safetensors"  # never written
    if verb == "bake" and Path(str(getattr(located, "base", ""))).is_dir():
        out = out.with_suffix("")
    files = [Path(one) for one in located.files]
    weights = [Path(str(named)) for field in located.bases if (named := getattr(located, field, ""))]

    def work(look: Look) -> Any:
        return studio.toolbox.carry_out(located, out, dry_run=True, watch=watch_of(look))

    key = ("preview", verb, located.model_dump_json(), *(stamp(path) for path in (*files, *weights)))
    lora = asked.files[0] if asked.files else ""
    before = files[0].stat().st_size if files else 0
    return aside(
        request,
        verb,
        lora,
        key,
        work,
        "loras/preview.html",
        lambda made: {"made": made, "verb": verb, "before": before, "given": given},
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
        values = values_of(studio, verb, given)
        with tempfile.TemporaryDirectory() as folder:
            picture = picture_in(given.picture, Path(folder)) if verb == "edit" else None
            certify = given.one("certify")
            row = studio.enqueue.tool(verb, values, given.one("name"), thumbnail=picture, certify=certify)
    except LorasmithError as refusal:
        return _form(request, verb, given, refusal)
    return RedirectResponse(f"/jobs/{quote(row.id)}", 303)


def _refused(request: Request, refusal: LorasmithError) -> HTMLResponse:
    """A refusal beside the form that it is about."""
    if not wants_part(request):
        raise refusal
    sentence, hint = in_fields(refusal.message), in_fields(refusal.hint)
    return part(request, "parts/refusal.html", sentence=sentence, hint=hint)


def _weighed(given: Fields) -> list[tuple[str, str]]:
    """The form of a merge as an address has it, with one weight for each LoRA."""
    rows = rows_of(given)
    together = [pair for row in rows for pair in (("lora", row.lora), ("weight", row.weight), ("blocks", row.blocks))]
    return together + [pair for pair in given.pairs if pair[0] not in ("lora", "weight", "blocks", "add", "drop")]


def _form(request: Request, verb: str, given: Fields, refusal: LorasmithError | None = None) -> HTMLResponse:
    studio = studio_of(request)
    said = (in_fields(refusal.message), in_fields(refusal.hint)) if refusal else ("", "")
    shown: dict[str, Any] = {
        "verb": verb, "words": _WORDS, "given": given, "sentence": said[0], "hint": said[1],
        "names": studio.library.names(), "families": families(studio), "dialects": tuple(FORMATS),
        "refused": refusal is not None,
    }  # fmt: skip
    status = 422 if refusal else 200
    if verb in (*_SEVERAL, "extract"):
        rows = rows_of(given) if verb in _SEVERAL else []
        shown |= _of_run(studio, given) if verb == "average" and given.one("run") else _together(studio, rows)
        shown["may_bake"] = getattr(request.state, "actor", None) is None or request.state.actor.role == "admin"
        return page(request, f"loras/{verb}.html", status, title=_WORDS[verb], area="models", rows=rows, **shown)
    lora = given.one("lora")
    if not lora:
        return page(request, "loras/which.html", status, title=_WORDS[verb], area="models", **shown)
    found = studio.inspect(lora)
    shown |= {"found": found, "live": found.size < _LIVE, "bases": bases(studio, fitting(found.kind))}
    shown["likely"] = likely_base(found.base, shown["bases"])
    if verb == "convert":
        shown |= _choices(studio, lora, given.one("family"))
    if verb == "edit":
        shown |= {"kinds": KINDS, "fields": said_of(found.metadata)}
    return tool(request, f"loras/{verb}.html", verb, lora, status, **shown)


def _together(studio: Studio, rows: list[Row]) -> dict[str, Any]:
    """What is known of the chosen LoRAs before they are read: sizes, families, the steps that they say."""
    size, families_of, steps, likely = 0, [], {}, ""
    for row in rows:
        size += studio.adapter(row.lora).stat().st_size
        try:
            told = studio.inspect(row.lora)
        except AdapterError:  # its own refusal comes with the preview
            continue
        families_of.append(set(fitting(told.kind)))
        steps[row.lora] = told.metadata.get("ss_steps", "")
        likely = likely or told.base
    shared = sorted(set.intersection(*families_of)) if families_of else []
    choices = bases(studio, shared)
    base = likely_base(likely, choices)
    family = next((one.family for one in choices if one.name == base), "")
    return {"live": size < _LIVE, "fitting": shared, "steps": steps, "bases": choices, "likely": base,
            "likely_family": family, "run": ""}  # fmt: skip


def _of_run(studio: Studio, given: Fields) -> dict[str, Any]:
    """The checkpoints of a run, of which all are chosen to begin with."""
    job = studio.job(given.one("run"))
    there = saved_steps(job.folder.path)
    chosen = set(given.all("step")) if given.sent("chosen") else {str(step) for step in there}
    choices = bases(studio, ())
    config = job.record().payload.get("config", {})
    likely = likely_base(str(config.get("base", "")), choices)
    return {"run": job.id, "saved": [(step, str(step) in chosen) for step in there], "live": True, "fitting": (),
            "steps": {}, "bases": choices, "likely": likely, "likely_family": ""}  # fmt: skip


def _choices(studio: Studio, lora: str, family: str) -> dict[str, Any]:
    """Which dialects a file can be written in; or what has to be said first."""
    try:
        return {"choices": studio.toolbox.dialects(lora, family=family), "open": "", "family": family}
    except LorasmithError as refusal:
        return {"choices": (), "open": in_fields(refusal.message), "family": family}


def _known(verb: str) -> str:
    if verb not in REQUESTS:
        raise HTTPException(404)
    return verb
