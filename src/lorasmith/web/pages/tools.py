"""Image tools over a whole dataset or a part of it: seen on a few pictures first, then one version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from lorasmith.datasets.pictures import TOOLS, tool_from
from lorasmith.datasets.pictures.work import ToolOutcome
from lorasmith.errors import ConfigError
from lorasmith.fields import fields_of
from lorasmith.markup import Markup, picture
from lorasmith.web.forms import Sent, nested, values_from
from lorasmith.web.looks import Look
from lorasmith.web.pages.choosing import scope
from lorasmith.web.pages.framing import framed, looks_of, seen_version, studio_of, told
from lorasmith.web.rendering import part, wants_part

router = APIRouter(prefix="/datasets/{name}", include_in_schema=False)
_SIDE: Final = 256  # pixels of an example's longer side
_REFUSED: Final = 200
TITLES: Final[Mapping[str, str]] = {
    "resize": "Batch resize",
    "to_bucket": "Crop to buckets",
    "crop": "Crop",
    "rotate": "Rotate",
    "flip": "Flip",
    "trim_borders": "Trim borders",
    "split_strips": "Split strips",
    "convert": "Convert the format",
    "compress": "Compression",
    "strip_metadata": "Strip metadata",
    "mask_from_alpha": "Masks from transparency",
    "mask_from_files": "Masks from files",
    "mask_rectangle": "Mask a rectangle",
    "mask_subject": "Mask the subject",
    "mask_faces": "Face detection: masks of faces",
    "remove_mask": "Remove masks",
    "trim": "Clips: trim",
    "cut_windows": "Clips: cut into windows",
    "cut_scenes": "Clips: cut into scenes",
    "set_rate": "Clips: frame rate",
}


@router.get("/tools")
def tools(request: Request, name: str, tool: str = "resize", q: str = "") -> HTMLResponse:
    """The form of an image tool, on the pictures a query means."""
    version = studio_of(request).dataset(name)
    if tool not in TOOLS:
        tool_from(tool, {})  # says which there are
    kind = TOOLS[tool]
    return framed(
        request, "datasets/tools.html", version, "tools", f"Image tools for {version.dataset}",
        tool=tool, kind=kind, fields=list(fields_of(kind)), q=q,
        tools={key: TITLES.get(key, key.replace("_", " ").capitalize()) for key in TOOLS},
    )  # fmt: skip


@router.post("/tools/preview")
def preview(request: Request, name: str, form: Sent) -> HTMLResponse:
    """What a tool would do, on a few pictures."""
    studio = studio_of(request)
    version = studio.dataset(name)
    tool, options = _asked(request, form)
    tool_from(tool, options)  # refused now, and not when pictures have been measured for it
    names = scope(request, version, form, "tools")
    if isinstance(names, HTMLResponse):
        return names
    shown = studio.curate.preview_tool(version, tool, options, names=names)
    examples: list[dict[str, Any]] = []
    for one in shown.examples:
        after: list[tuple[Markup, Markup | None, str]] = []
        for image, mask in zip(one.after[:4], one.masks, strict=False):
            drawn = picture(mask, f"mask of {one.item}", side=_SIDE) if mask is not None else None
            after.append((picture(image, f"{one.item} after", side=_SIDE), drawn, f"{image.width}×{image.height}"))
        before = picture(one.before, f"{one.item} before", side=_SIDE)
        size = f"{one.before.width}×{one.before.height}"
        examples.append({"one": one, "before": before, "size": size, "after": after})
    context: dict[str, Any] = {"version": version, "preview": shown, "examples": examples, "form": form}
    if wants_part(request):
        return part(request, "datasets/tool_preview.html", **context)
    context["inner"] = "datasets/tool_preview.html"
    return framed(request, "datasets/alone.html", version, "tools", "Preview", **context)


@router.post("/tools/use")
def use(request: Request, name: str, form: Sent) -> Response:
    """Begin to use a tool on the version that was previewed; the page it leads to says how far it is."""
    studio = studio_of(request)
    version = seen_version(request, name, form.get("number", ""))
    tool, options = _asked(request, form)
    tool_from(tool, options)  # refused here, and not in a thread
    where = form.get("q", "")

    def work(look: Look) -> ToolOutcome:
        return studio.curate.use_tool(version, tool, options, where, progress=look.watch)

    asked = (tool, json.dumps(options, sort_keys=True, default=str), where)
    look = looks_of(request).ask((version.dataset, version.number, version.root, "tool", *asked), work)
    address = f"/datasets/{version.dataset}/tools/{look.id}"
    if wants_part(request):
        return Response(status_code=204, headers={"HX-Redirect": address})
    return RedirectResponse(address, 303)


@router.get("/tools/{id}")
def outcome(request: Request, name: str, id: str) -> HTMLResponse:
    """How far a tool is, and what it did."""
    version = studio_of(request).dataset(name)
    look = looks_of(request).find(id)
    if look is None:
        raise HTTPException(404)

    def shape(done: ToolOutcome) -> dict[str, Any]:
        return {"done": done, "refused": list(done.refused.items())[:_REFUSED]}

    def page_of(**context: Any) -> HTMLResponse:
        return framed(request, "datasets/step.html", version, "tools", "Image tool", **context)

    return told(request, version, page_of, look, "datasets/tool_done.html", shape)


def _asked(request: Request, form: dict[str, str]) -> tuple[str, dict[str, Any]]:
    """Tool and options of a form. Paths of this machine are for whoever runs the server to name."""
    tool = form.get("tool", "")
    if tool not in TOOLS:
        tool_from(tool, {})
    values = values_from(TOOLS[tool], form, prefix="o.")
    paths = [field.label for field in fields_of(TOOLS[tool]) if field.kind == "path" and field.key in values]
    if paths and getattr(request.state.actor, "role", "") != "admin":
        raise ConfigError(f"{paths[0]} is a path of the server's machine.", "Ask whoever runs it.")
    return tool, nested(values)
