"""Checks of a dataset: what was found, with its pictures and reasons; repairs, seen before they are made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from lorasmith.datasets.captions.worddiff import word_diff
from lorasmith.datasets.checks import CHECKS, Finding, Report
from lorasmith.datasets.lens import Lens
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.errors import ConfigError
from lorasmith.studio import Studio
from lorasmith.web.looks import Look
from lorasmith.web.pages.framing import (
    Lensed,
    Through,
    framed,
    lens_choices,
    looked,
    looks_of,
    moved,
    seen_version,
    studio_of,
)
from lorasmith.web.rendering import part, wants_part

router = APIRouter(prefix="/datasets/{name}", include_in_schema=False)
_STRIP: Final = 12  # pictures shown beside a finding
_FILES: Final = 6
_MANY: Final = 300  # pictures; of more, what needs no pixels is shown first


@dataclass(frozen=True)
class Shown:
    """One finding as it is shown; ``mark`` tells it from all others of its report."""

    mark: str
    finding: Finding
    title: str
    items: list[Item]
    count: int
    """Of its pictures that are in the version."""
    files: list[str]
    more_files: int


@router.get("/checks")
def checks(request: Request, name: str, through: Lensed) -> HTMLResponse:
    """What is wrong or doubtful, gravest first."""
    studio = studio_of(request)
    version = studio.dataset(name)
    lens = through.lens(studio)
    aside = frozenset(studio.curate.ignored(version.dataset))

    def shape(report: Report) -> dict[str, Any]:
        items = {item.name: item for item in version.items}
        shown = [_shown(one, items) for one in report.findings if one.id not in aside]
        heeded = Report(tuple(one.finding for one in shown), report.ran, report.not_run)
        return {
            "report": report,
            "findings": shown,
            "health": studio.curate.health(version, heeded),
            "put_aside": [one for one in report.findings if one.id in aside],
            "lens": lens,
            "through": through,
            "trigger": studio.curate.verify_trigger(version, lens.trigger_word) if lens.trigger_word else None,
            "titles": {id: check.title for id, check in CHECKS.items()},
        }

    def page_of(**context: Any) -> HTMLResponse:
        choices = lens_choices(request)
        context = {"through": through, "choices": choices} | context
        return framed(request, "datasets/checks.html", version, "checks", f"Checks of {version.dataset}", **context)

    context = {"key": _key(through), "work": _work(studio, version, lens), "shape": shape}
    return looked(request, version, page_of, inner="datasets/findings.html", **context)


@router.post("/checks/preview")
def preview(
    request: Request,
    name: str,
    through: Lensed,
    mark: Annotated[str, Form(max_length=64)],
    number: Annotated[str, Form()] = "",
) -> HTMLResponse:
    """What the repair of a finding would change."""
    studio = studio_of(request)
    version = seen_version(request, name, number)
    finding = _finding(request, version, through, mark)
    proposed = studio.curate.preview_repair(version, finding, lens=through.lens(studio))
    examples = [(one.item, word_diff(one.before, one.after)) for one in proposed.examples]
    context: dict[str, Any] = {"version": version, "finding": finding, "mark": mark, "through": through}
    context |= {"preview": proposed, "examples": examples}
    if wants_part(request):
        return part(request, "datasets/repair.html", **context)
    context["inner"] = "datasets/repair.html"
    return framed(request, "datasets/alone.html", version, "checks", f"Repair of {finding.id}", **context)


@router.post("/checks/repair")
def repair(
    request: Request,
    name: str,
    through: Lensed,
    mark: Annotated[str, Form(max_length=64)],
    number: Annotated[str, Form()] = "",
) -> Response:
    """Carry it out as one new version."""
    studio = studio_of(request)
    version = seen_version(request, name, number)
    finding = _finding(request, version, through, mark)
    made = studio.curate.repair(version, finding, lens=through.lens(studio))
    return moved(request, made, f"/checks{through.after}")


@router.post("/checks/ignore")
def ignore(
    request: Request, name: str, through: Lensed, check: Annotated[str, Form()], off: Annotated[str, Form()] = ""
) -> Response:
    """Put the findings of a check aside, or heed them again."""
    studio = studio_of(request)
    studio.curate.ignore(name, check, on=not off)
    return moved(request, studio.dataset(name), f"/checks{through.after}")


@router.get("/looks/{id}")
def look_line(request: Request, name: str, id: str, again: str = "") -> HTMLResponse:
    """How far a look is; at its end, the way to its answer."""
    version = studio_of(request).dataset(name)
    if not again.startswith((f"/datasets/{version.dataset}/", f"/datasets/{version.dataset}?")):
        raise ConfigError("This look belongs to no page of the dataset.", "Go back to the page.")
    look = next((one for one in looks_of(request).running() if one.id == id), None)
    return part(request, "datasets/look_line.html", version=version, look=look, again=again)


@router.post("/looks/{id}/cancel")
def cancel_look(request: Request, name: str, id: str) -> Response:
    """End a look at its next word."""
    looks_of(request).cancel(id)
    if wants_part(request):
        return Response(status_code=204)
    return RedirectResponse(f"/datasets/{studio_of(request).dataset(name).dataset}", 303)


def _key(through: Through) -> tuple[str, Through]:
    return "checks", through


def _work(studio: Studio, version: DatasetVersion, lens: Lens) -> Any:
    """The checks through a lens that whoever asks has made: a look's own thread is nobody's, who may name any base."""

    def work(look: Look) -> Report:
        if len(version.items) > _MANY:
            look.watch(0, len(version.items), "what needs no pixels")
            look.early = studio.curate.inspect(version, lens, pictures=False)
        return studio.curate.inspect(version, lens, progress=look.watch)

    return work


def _finding(request: Request, version: DatasetVersion, through: Through, mark: str) -> Finding:
    """The finding that was shown under that mark, from the look that showed it."""
    key = (version.dataset, version.number, version.root, *_key(through))
    studio = studio_of(request)
    look = looks_of(request).ask(key, _work(studio, version, through.lens(studio)))
    report = look.early if look.running else look.result()
    if report is None:
        raise ConfigError("The checks are not done yet.", "Wait for them and press the button again.")
    found: Finding | None = next((one for one in report.findings if _mark(one) == mark), None)
    if found is None:
        raise ConfigError("There is no such finding any more.", "Look at the checks again.")
    return found


def _mark(finding: Finding) -> str:
    return hashlib.sha256(f"{finding.id}\0{finding.message}".encode("utf-8", "replace")).hexdigest()[:16]


def _shown(finding: Finding, items: Mapping[str, Item]) -> Shown:
    names = dict.fromkeys(finding.items)
    known = [items[name] for name in names if name in items]
    files = [name for name in names if name not in items]
    title = CHECKS[finding.id].title
    return Shown(
        _mark(finding), finding, title, known[:_STRIP], len(known), files[:_FILES], max(0, len(files) - _FILES)
    )
