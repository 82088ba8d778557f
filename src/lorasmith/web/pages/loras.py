"""LoRA files: what each is and says, how two get on, how they are used elsewhere; what takes long comes aside."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from lorasmith.adapters.dialects.recognition import AdapterKind
from lorasmith.errors import AdapterError, LorasmithError, Stopped
from lorasmith.studio import Studio
from lorasmith.toolbox import Watch
from lorasmith.web.looks import Look
from lorasmith.web.pages.framing import looks_of, studio_of
from lorasmith.web.rendering import page, part, wants_part

router = APIRouter(prefix="/loras", include_in_schema=False)
Lora = Annotated[str, Query(max_length=4000)]
Loras = Annotated[list[str] | None, Query(max_length=32)]
Weights = Annotated[list[float] | None, Query(max_length=32)]
Word = Annotated[str, Query(max_length=1000)]
SHOWN_TAGS: Final = 40
_OPTION: Final = re.compile(r"--([a-z][a-z-]+)(?: ([0-9][\w.,]*\w|[0-9]))?")
SHOWN_LAYERS: Final = 60


@router.get("")
def library(request: Request) -> HTMLResponse:
    """Every file of the library, with what can be done with one and with several."""
    files = studio_of(request).models.files()
    return page(request, "loras/list.html", title="LoRA files", area="models", files=files)


@router.post("/take-in")
def take_in(request: Request, lora: Annotated[str, Form(max_length=4000)]) -> RedirectResponse:
    """Copy a file of this machine into the library."""
    studio = studio_of(request)
    name = studio.models.register(studio.adapter(lora))
    return RedirectResponse(f"/loras/inspect?{urlencode({'lora': name})}", 303)


@router.get("/inspect")
def inspect(request: Request, lora: Lora, base: Word = "") -> HTMLResponse:
    """What one file is and says of itself; what its matrices are like comes as a part of its own."""
    studio = studio_of(request)
    found = studio.inspect(lora)
    certificate = studio.library.certificate(lora) if lora in studio.library.names() else None
    choices = bases(studio, fitting(found.kind))
    return tool(
        request, "loras/inspect.html", "inspect", lora, found=found, base=base, bases=choices,
        likely=likely_base(found.base, choices), certificate=certificate, shown_tags=SHOWN_TAGS,
        record=json.dumps(dict(found.record), indent=2, ensure_ascii=False),
    )  # fmt: skip


@router.get("/deep")
def deep(request: Request, lora: Lora, base: Word = "") -> HTMLResponse:
    """Hashes, ranks, norms, spectra and damage, with a picture."""
    studio = studio_of(request)
    path, place = studio.adapter(lora), placed(studio, base)

    def work(look: Look) -> Any:
        return studio.toolbox.inspect(path, deep=True, base=place, watch=watch_of(look))

    def shape(found: Any) -> dict[str, Any]:
        drawn = studio.toolbox.picture(found) if found.depth is not None and found.depth.blocks else ""
        return {"found": found, "depth": found.depth, "drawn": drawn}

    return aside(request, "inspect", lora, ("deep", stamp(path), place), work, "loras/deep.html", shape)


@router.post("/certify")
def certify(
    request: Request, lora: Annotated[str, Form(max_length=4000)], base: Annotated[str, Form(max_length=1000)]
) -> RedirectResponse:
    """Load it into a base and keep what that shows."""
    return RedirectResponse(f"/jobs/{studio_of(request).enqueue.certify(lora, base).id}", 303)


@router.get("/compare")
def compare(request: Request, lora: Loras = None, first: Lora = "", second: Lora = "", base: Word = "") -> HTMLResponse:
    """Two files beside each other."""
    studio = studio_of(request)
    chosen = [one for one in (first, second, *(lora or ())) if one][:2]
    for one in chosen:
        studio.adapter(one)
    pair = [*chosen, "", ""][:2]
    families = {family for one in chosen for family in _candidates(studio, one)}
    return page(
        request, "loras/compare.html", title="Compare LoRAs", area="models", first=pair[0], second=pair[1], base=base,
        names=studio.library.names(), bases=bases(studio, families),
    )  # fmt: skip


@router.get("/diff")
def diff(request: Request, first: Lora, second: Lora, base: Word = "") -> HTMLResponse:
    """What differs between two files, layer by layer."""
    return _pair(request, "diff", first, second, base)


@router.get("/interfere")
def interfere(request: Request, first: Lora, second: Lora, base: Word = "") -> HTMLResponse:
    """How two LoRAs get on, and with which weights to use them together."""
    return _pair(request, "interfere", first, second, base)


@router.get("/use")
def use(
    request: Request, lora: Loras = None, weight: Weights = None, family: Word = "", base: Word = "", prompt: Word = ""
) -> HTMLResponse:
    """Ready text for other programs."""
    studio = studio_of(request)
    chosen = _weighed(lora, weight)
    sentence = hint = ""
    usage = None
    if chosen:
        try:
            usage = studio.toolbox.use(chosen, family=family, base=base, prompt=prompt, beside=True)
        except AdapterError as refusal:
            sentence, hint = in_fields(refusal.message), in_fields(refusal.hint)
            for one, _ in chosen:
                studio.adapter(one)
    query = urlencode([("lora", one) for one, _ in chosen] + [("weight", f"{w:g}") for _, w in chosen]
                      + [(n, v) for n, v in (("family", family), ("base", base), ("prompt", prompt)) if v])  # fmt: skip
    return page(
        request, "loras/use.html", 422 if sentence else 200, title="Use LoRAs", area="models", chosen=chosen,
        usage=usage, sentence=sentence, hint=hint, family=family, base=base,
        prompt=prompt, query=query, names=studio.library.names(), families=families(studio),
    )  # fmt: skip


@router.get("/use/workflow.json")
def workflow(
    request: Request, lora: Loras = None, weight: Weights = None, family: Word = "", base: Word = "", prompt: Word = ""
) -> Response:
    """A workflow with the loader nodes, to drop on ComfyUI's window."""
    studio = studio_of(request)
    usage = studio.toolbox.use(_weighed(lora, weight), family=family, base=base, prompt=prompt, beside=True)
    headers = {"content-disposition": 'attachment; filename="workflow.json"'}
    return Response(usage.workflow, media_type="application/json", headers=headers)


@router.post("/looks/{id}/cancel")
def cancel_look(request: Request, id: str) -> Response:
    """End a look at its next word."""
    looks_of(request).cancel(id)
    return Response(status_code=204) if wants_part(request) else RedirectResponse("/loras", 303)


# What the pages of LoRA files share


def tool(
    request: Request, template: str, tab: str, lora: str, status: int = 200, /, **context: Any
) -> HTMLResponse:  # fmt: skip
    """A page about one file, in the frame with everything that can be done with it."""
    studio = studio_of(request)
    called = Path(lora).name if lora not in studio.library.names() else lora
    context = {"lora": lora, "called": called, "tab": tab, "here": lora in studio.library.names()} | context
    return page(request, template, status, title=f"{called}: {tab}", area="models", **context)


def aside(
    request: Request,
    tab: str,
    lora: str,
    key: tuple[Any, ...],
    work: Callable[[Look], Any],
    inner: str,
    shape: Callable[[Any], dict[str, Any]],
) -> HTMLResponse:
    """The answer to a look as a part, or as a page of its own where no script asks for it.

    Args:
        request: of the part or the page.
        tab: which page of the file's it belongs to.
        lora: the file that the page is about; empty where it is about none.
        key: what the answer depends on.
        work: carries it out.
        inner: the part's template.
        shape: its context.
    """
    looks = looks_of(request)
    look = looks.ask(("lora", *key), work)
    again = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    context: dict[str, Any] = {"look": look, "again": again, "running": look.running, "lora": lora}
    status = 200
    if not look.running:
        try:
            context |= shape(look.result())
        except Stopped:
            looks.forget(look)
            inner = "loras/stopped.html"
        except LorasmithError as refusal:
            looks.forget(look)
            context |= {"sentence": in_fields(refusal.message), "hint": in_fields(refusal.hint)}
            inner, status = "parts/refusal.html", 200 if wants_part(request) else 422
    else:
        inner = "loras/looking.html"
    if wants_part(request):
        return part(request, inner, **context)
    if not lora:
        return page(request, "loras/aside.html", status, title=tab, area="models", tab=tab, inner=inner, **context)
    return tool(request, "loras/alone.html", tab, lora, status, inner=inner, **context)


def in_fields(text: str) -> str:
    """A sentence that names options of the command line, for people before a form."""

    def field(hit: re.Match[str]) -> str:
        return f"the field {hit[1].replace('-', ' ').capitalize()}{f' ({hit[2]})' if hit[2] else ''}"

    return _OPTION.sub(field, re.sub(r"\bSay --", "Fill in --", text))


def watch_of(look: Look) -> Watch:
    """How a tool tells a look how far it is, and hears that it shall stop."""
    return Watch(look.watch, lambda: look.stopped)


def stamp(path: Path) -> tuple[Any, ...]:
    """A file, or the weights of a folder, as they are now."""
    files = sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]
    return str(path), *((facts.st_size, facts.st_mtime_ns) for facts in (one.stat() for one in files))


@dataclass(frozen=True)
class BaseChoice:
    """A base that can be chosen."""

    name: str
    family: str
    fits: bool
    """Whether a LoRA of the families that were asked for can belong to it."""


def bases(studio: Studio, families: Collection[str] = ()) -> list[BaseChoice]:
    """Bases whose weights are here, those of the families first; with no family all fit."""
    there = [
        (one.name, one.family) for one in studio.bases.list() if one.kind in ("base", "denoiser") and one.present()
    ]
    made = [
        BaseChoice(name, family, not families or family in families) for name, family in [*there, ("sandbox", "sd")]
    ]
    return sorted(made, key=lambda one: not one.fits)


def fitting(kind: AdapterKind) -> tuple[str, ...]:
    """The families that a file can be of: the one that it names, else all whose layers are alike."""
    return (kind.family,) if kind.family else kind.candidates


def likely_base(said: str, choices: Sequence[BaseChoice]) -> str:
    """The base of a file's own words, if it is here and fits."""
    names = {one.name for one in choices if one.fits}
    plain = said.replace("\\", "/").rpartition("/")[2].removesuffix(".safetensors")
    return next((name for name in (said, plain) if name in names), "")


def families(studio: Studio) -> list[str]:
    """Families that a file can be of."""
    from lorasmith.adapters.dialects.formats import READ_BY_DIFFUSERS

    return sorted({*READ_BY_DIFFUSERS, *(one.name for one in studio.bases.families())})


def placed(studio: Studio, base: str) -> str:
    """Where a base lies, asked before a look begins: a look's own thread is nobody's, and nobody is refused there.

    Raises:
        BaseError: there is none of that name, or it is a path and whoever asks is no admin.
    """
    return str(studio.base_place(base)) if base else ""


def _pair(request: Request, verb: str, first: str, second: str, base: str) -> HTMLResponse:
    studio = studio_of(request)
    here, there, place = studio.adapter(first), studio.adapter(second), placed(studio, base)

    def work(look: Look) -> Any:
        tools = {"diff": studio.toolbox.diff, "interfere": studio.toolbox.interfere}
        return tools[verb](here, there, base=place, watch=watch_of(look))

    def shape(found: Any) -> dict[str, Any]:
        return {"found": found, "first": first, "second": second, "shown_layers": SHOWN_LAYERS}

    return aside(request, "compare", first, (verb, stamp(here), stamp(there), place), work, f"loras/{verb}.html", shape)


def _candidates(studio: Studio, lora: str) -> tuple[str, ...]:
    """The families that a file fits; none where it cannot be read, which its own part says."""
    try:
        return fitting(studio.inspect(lora).kind)
    except AdapterError:
        return ()


def _weighed(loras: list[str] | None, weights: list[float] | None) -> list[tuple[str, float]]:
    """Chosen files with their strengths; 1 where none is said, and none where it is 0."""
    given = [*(weights or ())]
    names = [one for one in loras or () if one]
    return [(one, given[place] if place < len(given) else 1.0) for place, one in enumerate(names)]
