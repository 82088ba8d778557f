"""Datasets: the list, the gallery, captions by hand and in bulk, undo."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from lorasmith.datasets.captions.operations import OPERATIONS, operation_from
from lorasmith.datasets.captions.worddiff import word_diff
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.datasets.tokens import counter_for
from lorasmith.errors import ConfigError, ConflictError, DatasetError
from lorasmith.fields import fields_of
from lorasmith.web.forms import Sent, values_from
from lorasmith.web.pages.choosing import choose, scope
from lorasmith.web.pages.framing import framed, looks_of, moved, studio_of
from lorasmith.web.rendering import page, part, wants_part

router = APIRouter(prefix="/datasets", include_in_schema=False)
CARDS: Final = 200
"""Cards that the gallery asks for at once; the browser draws only those that are seen."""
_TAGS: Final = 300
_SUGGESTED: Final = 20

Where = Annotated[str, Query(max_length=4000)]


@router.get("")
def all_datasets(request: Request) -> HTMLResponse:
    """Every dataset with a few of its pictures."""
    studio = studio_of(request)
    versions = [studio.dataset(name) for name in studio.datasets()]
    return page(request, "datasets/list.html", title="Datasets", area="datasets", versions=versions)


@router.get("/{name}")
def gallery(request: Request, name: str, q: Where = "") -> HTMLResponse:
    """The pictures of a dataset that a query means, all without one."""
    version = studio_of(request).dataset(name)
    chosen = choose(request, version, q)
    address = f"/datasets/{quote(version.dataset)}?{urlencode({'q': q})}"
    waiting: dict[str, Any] = {"look": chosen.look, "running": chosen.look is not None, "again": address}
    if wants_part(request):  # a page that waited for pictures to be measured asks again
        if chosen.refusal:
            return part(request, "parts/refusal.html", sentence=chosen.refusal, hint=chosen.hint)
        if chosen.look is None:
            return HTMLResponse("", headers={"HX-Redirect": address})
        return part(request, "datasets/looking.html", version=version, **waiting)
    context: dict[str, Any] = {
        "chosen": chosen,
        "cards": _cards(version, chosen.names[:CARDS]),
        "at": 0,
        "next": CARDS,
    }
    saved = studio_of(request).curate.selections(name).list()
    context |= {"q": q, "tags": _tags(request, version, ""), "selections": saved} | waiting
    return framed(request, "datasets/gallery.html", version, "pictures", version.dataset, **context)


@router.get("/{name}/cards")
def more_cards(request: Request, name: str, q: Where = "", at: Annotated[int, Query(ge=0)] = 0) -> HTMLResponse:
    """The next cards of the gallery."""
    version = studio_of(request).dataset(name)
    chosen = choose(request, version, q)
    cards = _cards(version, chosen.names[at : at + CARDS])
    return part(
        request,
        "datasets/cards.html",
        version=version,
        chosen=chosen,
        cards=cards,
        q=q,
        at=at,
        next=at + CARDS,
    )


@router.get("/{name}/names")
def names(request: Request, name: str, q: Where = "") -> JSONResponse:
    """The names of all pictures that a query means, for whoever chooses them at once."""
    version = studio_of(request).dataset(name)
    return JSONResponse(choose(request, version, q, wait=True).names)


@router.get("/{name}/item")
def item_panel(request: Request, name: str, item: str, q: Where = "") -> HTMLResponse:
    """One picture and its caption, beside the gallery."""
    version = studio_of(request).dataset(name)
    return _panel(request, version, item, q)


@router.post("/{name}/caption")
def save_caption(
    request: Request,
    name: str,
    item: Annotated[str, Form()],
    number: Annotated[int, Form()],
    caption: Annotated[str, Form(max_length=1_000_000)] = "",
    then: Annotated[str, Form()] = "",
    q: Annotated[str, Form()] = "",
) -> HTMLResponse:
    """Write a caption that was edited in version ``number``; what others wrote meanwhile is kept, or shown."""
    studio = studio_of(request)
    seen = studio.dataset(f"{name}@{number}")
    text = caption.replace("\r\n", "\n")
    try:
        version = studio.curate.set_captions(seen, {item: text})
    except ConflictError as conflict:
        theirs = next((one.theirs for one in conflict.conflicts if one.item == item), None)
        now = studio.dataset(name)
        return _panel(request, now, item, q, mine=text, theirs=theirs.caption if theirs else "", status=409)
    if then:
        chosen = choose(request, version, q, wait=True).names
        place = chosen.index(item) if item in chosen else -1
        item = chosen[min(place + 1, len(chosen) - 1)] if chosen else item
    return _panel(request, version, item, q, saved=True)


@router.get("/{name}/tags")
def tag_list(request: Request, name: str, find: Annotated[str, Query(max_length=200)] = "") -> HTMLResponse:
    """Tags with how often they occur, the most frequent first."""
    version = studio_of(request).dataset(name)
    return part(request, "datasets/tags.html", version=version, tags=_tags(request, version, find))


@router.get("/{name}/suggestions")
def suggestions(request: Request, name: str, find: Annotated[str, Query(max_length=200)] = "") -> JSONResponse:
    """Tags that begin with, or hold, what is being written."""
    wanted = find.strip().casefold()
    counts = _counted(request, studio_of(request).dataset(name))
    found = [tag for tag in counts if wanted in tag.casefold()]
    found.sort(key=lambda tag: (not tag.casefold().startswith(wanted), -counts[tag], tag))
    return JSONResponse([{"tag": tag, "count": counts[tag]} for tag in found[:_SUGGESTED]])


@router.get("/{name}/edit")
def edit_form(request: Request, name: str, operation: str = "add_trigger_word", q: Where = "") -> HTMLResponse:
    """The form of a caption operation, on the pictures a query means."""
    version = studio_of(request).dataset(name)
    if operation not in OPERATIONS:
        operation_from(operation, {})  # says which there are
    kind = OPERATIONS[operation]
    return framed(
        request, "datasets/edit.html", version, "edit", f"Edit captions of {version.dataset}",
        q=q, operation=operation, kind=kind, fields=list(fields_of(kind)), operations=OPERATIONS,
    )  # fmt: skip


@router.post("/{name}/preview")
def preview(request: Request, name: str, form: Sent) -> HTMLResponse:
    """What an operation would do."""
    studio = studio_of(request)
    version = studio.dataset(name)
    operation = form.get("operation", "")
    arguments = _arguments(operation, form)
    operation_from(operation, arguments)  # refused now, and not when pictures have been measured for it
    names = scope(request, version, form, "edit")
    if isinstance(names, HTMLResponse):
        return names
    shown = studio.curate.preview_edit(version, operation, arguments, names=names)
    examples = [(one.item, word_diff(one.before, one.after)) for one in shown.examples]
    context: dict[str, Any] = {"preview": shown, "examples": examples, "version": version, "form": form}
    return part(request, "datasets/preview.html", **context)


@router.post("/{name}/apply")
def apply(request: Request, name: str, form: Sent) -> Response:
    """Carry an operation out as a new version, on just the version that was previewed."""
    studio = studio_of(request)
    operation = form.get("operation", "")
    if not form.get("number", "").isdigit():
        raise ConfigError("Look at what would change first.", "Press Preview.")
    seen = studio.dataset(f"{name}@{form['number']}")
    version = studio.curate.edit(seen, operation, _arguments(operation, form), form.get("q", ""))
    return moved(request, version)


@router.post("/{name}/undo")
def undo(request: Request, name: str) -> Response:
    """One step back."""
    version = studio_of(request).curate.undo(name)
    return moved(request, version)


@router.post("/{name}/redo")
def redo(request: Request, name: str) -> Response:
    """One step forth again."""
    version = studio_of(request).curate.redo(name)
    return moved(request, version)


def _arguments(operation: str, form: dict[str, str]) -> dict[str, Any]:
    if operation not in OPERATIONS:
        operation_from(operation, {})
    return values_from(OPERATIONS[operation], form, prefix="o.")


def _panel(
    request: Request,
    version: DatasetVersion,
    name: str,
    q: str,
    *,
    saved: bool = False,
    mine: str | None = None,
    theirs: str | None = None,
    status: int = 200,
) -> HTMLResponse:
    item = next((one for one in version.items if one.name == name), None)
    if item is None:
        raise DatasetError(f"{version.reference} has no picture {name}.", "It may have been left out; see the history.")
    names = choose(request, version, q, wait=True).names
    place = names.index(name) if name in names else -1
    around = {
        "place": place + 1,
        "count": len(names),
        "before": names[place - 1] if place > 0 else None,
        "after": names[place + 1] if 0 <= place < len(names) - 1 else None,
    }
    counter = counter_for("sd")
    text = item.caption if mine is None else mine
    tokens = {"count": counter.count(text), "limit": counter.limit, "name": counter.name}
    return part(
        request, "datasets/item.html", status, version=version, item=item, text=text, tokens=tokens, q=q, saved=saved,
        conflict=word_diff(theirs or "", mine) if mine is not None else None, theirs=theirs, **around,
    )  # fmt: skip


def _cards(version: DatasetVersion, names: list[str]) -> list[Item]:
    known = {item.name: item for item in version.items}
    return [known[name] for name in names]


def _tags(request: Request, version: DatasetVersion, find: str) -> list[tuple[str, int]]:
    wanted = find.strip().casefold()
    return [pair for pair in _counted(request, version).most_common() if wanted in pair[0].casefold()][:_TAGS]


def _counted(request: Request, version: DatasetVersion) -> Counter[str]:
    """How often each tag occurs; counted once per version."""

    def count() -> Counter[str]:
        from lorasmith.datasets.captions.index import count_tags

        return count_tags(item.caption for item in version.items)

    counted: Counter[str] = looks_of(request).at_once((version.dataset, version.number, version.root, "tags"), count)
    return counted
