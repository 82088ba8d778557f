"""What became of a dataset: its versions, the difference between any two, its ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, get_args

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import HTMLResponse, Response

from lorasmith.datasets.captions.worddiff import word_diff
from lorasmith.datasets.ledger import RULES, LedgerForm, Totals, fates_that, ledger_text, totals
from lorasmith.datasets.manifest import Fate, FateWord
from lorasmith.errors import ConfigError
from lorasmith.web.pages.framing import framed, looks_of, moved, studio_of

router = APIRouter(prefix="/datasets/{name}", include_in_schema=False)
_CAPTIONS: Final = 60  # compared word by word on one page
_LONGEST: Final = 20_000  # letters of a caption that is compared word by word
_LINES: Final = 250
_SOURCES: Final = 200
_MEDIA: Final = {"csv": "text/csv; charset=utf-8", "json": "application/json", "jsonl": "application/x-ndjson"}
Text = Annotated[str, Query(max_length=1000)]


@router.get("/history")
def history(request: Request, name: str) -> HTMLResponse:
    """All versions, the newest first, with what made each."""
    studio = studio_of(request)
    version = studio.dataset(name)
    entries = sorted(studio.curate.history(name), key=lambda entry: -entry.number)
    before = version.parent or version.number
    title = f"History of {version.dataset}"
    return framed(request, "datasets/history.html", version, "history", title, entries=entries, before=before)


@router.get("/history/diff")
def difference(
    request: Request,
    name: str,
    before: Annotated[int, Query(ge=1)],
    after: Annotated[int, Query(ge=1)],
    at: Annotated[int, Query(ge=0)] = 0,
) -> HTMLResponse:
    """What differs between two versions: pictures, captions word by word, settings."""
    studio = studio_of(request)
    version = studio.dataset(name)
    old, new = (version if one == version.number else studio.dataset(f"{name}@{one}") for one in (before, after))
    found = studio.curate.diff(old, new)
    shown = found.captions[at : at + _CAPTIONS]
    captions = [
        (one.name, word_diff(one.before, one.after) if len(one.before) + len(one.after) <= _LONGEST else None, one)
        for one in shown
    ]
    items_before, items_after = ({item.name: item for item in side.items} for side in (old, new))
    context: dict[str, Any] = {"found": found, "captions": captions, "before": before, "after": after, "at": at}
    context |= {"old": items_before, "new": items_after, "was": {now: then for then, now in found.renamed}}
    context |= {"next": at + _CAPTIONS if at + _CAPTIONS < len(found.captions) else None}
    return framed(
        request, "datasets/diff.html", version, "history", f"{version.dataset}: from {before} to {after}", **context
    )


@router.post("/history/restore")
def restore(request: Request, name: str, number: Annotated[int, Form(ge=1)]) -> Response:
    """A new version with the content of an old one."""
    return moved(request, studio_of(request).curate.restore(f"{name}@{number}"), "/history")


@router.post("/history/branch")
def branch(
    request: Request, name: str, number: Annotated[int, Form(ge=1)], to: Annotated[str, Form(max_length=200)] = ""
) -> Response:
    """A new dataset that begins as a version of this one."""
    if not to.strip():
        raise ConfigError("A branch needs a name.", "Write the name of the new dataset.")
    return moved(request, studio_of(request).curate.branch(f"{name}@{number}", to.strip()))


@router.get("/ledger")
def ledger(
    request: Request,
    name: str,
    fate: str = "",
    rule: str = "",
    path: Text = "",
    source: Text = "",
    at: Annotated[int, Query(ge=0)] = 0,
) -> HTMLResponse:
    """What became of every file that was offered."""
    studio = studio_of(request)
    version = studio.dataset(name)
    key = (version.dataset, version.number, version.root, "ledger")
    fates, there, sources = looks_of(request).at_once(key, lambda: _read(version.ledger))
    lines = fates_that(fates, **_conditions(fate, rule, path, source))
    context: dict[str, Any] = {"fate": fate, "rule": rule, "path": path, "source": source, "at": at}
    context |= {"fates": get_args(FateWord), "rules": RULES, "forms": get_args(LedgerForm), "totals": there}
    context |= {"sources": sources}
    context |= {"lines": lines[at : at + _LINES], "count": len(lines)}
    context |= {"next": at + _LINES if at + _LINES < len(lines) else None, "query": request.url.query}
    title = f"Ledger of {version.dataset}"
    return framed(request, "datasets/ledger.html", version, "history", title, **context)


@router.get("/ledger/export")
def export(
    request: Request,
    name: str,
    form: Literal["csv", "json", "jsonl"] = "csv",
    fate: str = "",
    rule: str = "",
    path: Text = "",
    source: Text = "",
) -> Response:
    """The same lines as a file for other programs."""
    studio = studio_of(request)
    version = studio.dataset(name)
    lines = studio.curate.ledger(version, **_conditions(fate, rule, path, source))
    text = ledger_text(lines, form).encode("utf-8", "surrogatepass" if form != "csv" else "replace")
    said = {"content-disposition": f'attachment; filename="ledger-{version.number}.{form}"'}
    return Response(text, media_type=_MEDIA[form], headers=said)


def _read(ledger: Sequence[Fate]) -> tuple[tuple[Fate, ...], Totals, list[str]]:
    """A ledger, counted, and the sources it names. It is read from the disk once, and not at each of its pages."""
    fates = tuple(ledger)
    return fates, totals(fates), sorted({line.source for line in fates if line.source})[:_SOURCES]


def _conditions(fate: str, rule: str, path: str, source: str) -> dict[str, Any]:
    if fate and fate not in get_args(FateWord):
        raise ConfigError(f"There is no fate '{fate}'.", f"There are: {', '.join(get_args(FateWord))}.")
    pattern = path if not path or any(sign in path for sign in "*?") else f"*{path}*"
    return {
        key: value for key, value in (("fate", fate), ("rule", rule), ("path", pattern), ("source", source)) if value
    }
