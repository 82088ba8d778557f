"""What the pages of one dataset have in common: the frame with undo, what it is looked at for, looks that take long."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass, fields
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import Depends, Form, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from lorasmith.datasets.eyes import eye_name, eyes
from lorasmith.datasets.lens import Lens
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.datasets.tokens import READERS
from lorasmith.errors import ConfigError, DatasetError, LorasmithError, Stopped
from lorasmith.studio import Studio
from lorasmith.web.looks import Look, Looks
from lorasmith.web.rendering import page, part, wants_part

GOALS: Final = ("character", "style", "concept", "object")
Short = Annotated[str, Query(max_length=200)]


@dataclass(frozen=True)
class Through:
    """What a dataset is looked at for, as an address says it. Empty fields are left to lorasmith."""

    base: str = ""
    family: str = ""
    resolution: str = ""
    goal: str = ""
    trigger_word: str = ""
    trainer: str = ""
    batch_size: str = ""
    epochs: str = ""

    @property
    def query(self) -> str:
        """The fields that are set, as the query of an address; empty when none is."""
        return urlencode({one.name: value for one in fields(self) if (value := getattr(self, one.name))})

    @property
    def after(self) -> str:
        """The query as it follows a path."""
        return f"?{self.query}" if self.query else ""

    def lens(self, studio: Studio) -> Lens:
        """The lens.

        Raises:
            ConfigError, BaseError: a field that cannot be used.
        """
        values: dict[str, Any] = {"goal": self.goal or None, "trigger_word": self.trigger_word.strip()}
        values["trainer"] = eye_name(self.trainer) if self.trainer else "lorasmith"
        values["batch_size"] = _number("batch size", self.batch_size) or 1
        values["epochs"] = _number("number of epochs", self.epochs)
        family = "" if self.base else self.family
        resolution = _number("resolution", self.resolution)
        return studio.curate.lens(base=self.base, family=family, resolution=resolution, **values)


def _through(
    base: Short = "",
    family: Short = "",
    resolution: Short = "",
    goal: Short = "",
    trigger_word: Short = "",
    trainer: Short = "",
    batch_size: Short = "",
    epochs: Short = "",
) -> Through:
    return Through(base, family, resolution, goal, trigger_word, trainer, batch_size, epochs)


Lensed = Annotated[Through, Depends(_through)]
"""The fields of the lens in an address, for a route."""


def studio_of(request: Request) -> Studio:
    """What the server shows."""
    studio: Studio = request.app.state.studio
    return studio


def looks_of(request: Request) -> Looks:
    """What the server looks at just now."""
    looks: Looks = request.app.state.looks
    return looks


def undoing(request: Request, version: DatasetVersion) -> dict[str, Any]:
    """What undo and redo would do, in words."""
    history = studio_of(request).curate.history(version.dataset)
    head = next((entry for entry in history if entry.is_head), None)
    forth = next((entry for entry in history if entry.redo), None)
    undoable = head is not None and head.parent is not None
    return {"undo": head.words if head and undoable else "", "redo": forth.words if forth else ""}


def framed(
    request: Request, template: str, version: DatasetVersion, tab: str, title: str, /, **context: Any
) -> HTMLResponse:
    """A page about a dataset."""
    context = undoing(request, version) | {"through": Through(), "version": version} | context
    return page(request, template, title=title, area="datasets", tab=tab, **context)


def lens_choices(request: Request) -> dict[str, Any]:
    """What the form of the lens offers."""
    bases = ["sandbox", *(base.name for base in studio_of(request).bases.list() if base.name != "sandbox")]
    return {
        "bases": bases,
        "families": sorted(READERS),
        "goals": GOALS,
        "trainers": {name: eye.title for name, eye in eyes().items()},
    }


def looked(
    request: Request,
    version: DatasetVersion,
    page_of: Callable[..., HTMLResponse],
    key: tuple[Hashable, ...],
    work: Callable[[Look], Any],
    inner: str,
    shape: Callable[[Any], dict[str, Any]],
) -> HTMLResponse:
    """The answer to a look, inside its page or as the part that the page asks for again until it is there.

    Args:
        request: of the page, or by htmx for the part alone.
        version: what is looked at.
        page_of: makes the page around a part; takes ``inner`` and the part's context.
        key: what else the answer depends on.
        work: carries the look out.
        inner: the part's template.
        shape: its context, from the answer or what is known early.
    """
    of = (version.dataset, version.number, version.root, *key)
    look = looks_of(request).ask(of, work, pictures=len(version.items))
    return told(request, version, page_of, look, inner, shape)


def told(
    request: Request,
    version: DatasetVersion,
    page_of: Callable[..., HTMLResponse],
    look: Look,
    inner: str,
    shape: Callable[[Any], dict[str, Any]],
) -> HTMLResponse:
    """How a look stands; the arguments are those of ``looked``."""
    looks = looks_of(request)
    context: dict[str, Any] = {"version": version, "look": look, "again": request.url.path + _query(request)}
    context["running"] = False
    try:
        if look.running:
            context["running"] = True
            template = inner if look.early is not None else "datasets/looking.html"
            context |= shape(look.early) if look.early is not None else {}
        else:
            template, answer = inner, look.result()
            context |= shape(answer)
    except Stopped:
        looks.forget(look)
        template = "datasets/stopped.html"
    except LorasmithError as refusal:
        looks.forget(look)
        if not wants_part(request):
            raise
        return part(request, "parts/refusal.html", sentence=str(refusal.args[0]), hint=refusal.hint)
    if wants_part(request):
        return part(request, template, **context)
    return page_of(inner=template, **context)


def moved(request: Request, version: DatasetVersion, path: str = "") -> Response:
    """To a page of the dataset, which shows the new version; htmx follows its own header."""
    address = f"/datasets/{version.dataset}{path}"
    if request.headers.get("hx-request") == "true":
        return Response(status_code=204, headers={"HX-Redirect": address})
    return RedirectResponse(address, 303)


def seen_version(request: Request, name: str, number: str) -> DatasetVersion:
    """The version that a form was made from, so that what others did since is joined and never overwritten.

    Raises:
        ConfigError: the form does not say which.
    """
    if not (number.isascii() and number.isdigit()):
        raise ConfigError("Look at what would change first.", "Press Preview.")
    return studio_of(request).dataset(f"{name}@{number}")


def item_of(version: DatasetVersion, name: str) -> Item:
    """The picture of that name.

    Raises:
        DatasetError: there is none.
    """
    found = next((item for item in version.items if item.name == name), None)
    if found is None:
        raise DatasetError(f"{version.reference} has no picture {name}.", "It may have been left out; see the history.")
    return found


def _chosen(names: Annotated[list[str] | None, Form()] = None) -> list[str]:
    """Names of pictures as JSON, in one field or in several: a form of ten thousand fields is refused by the server,
    and so is a field of more than a megabyte."""
    found: list[str] = []
    for text in filter(None, names or ()):
        try:
            some = json.loads(text)
        except ValueError as cause:
            raise ConfigError("The names of the pictures are not JSON.", 'Send a list such as ["a.png"].') from cause
        if not isinstance(some, list) or not all(isinstance(one, str) for one in some):
            raise ConfigError("The names of the pictures are not a list of texts.", 'Send a list such as ["a.png"].')
        found += some
    return list(dict.fromkeys(found))


Names = Annotated[list[str], Depends(_chosen)]
"""Pictures that were chosen in the browser, for a route."""


def _number(what: str, text: str) -> int | None:
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ConfigError(f"'{text}' is no {what}.", "Give a whole number, or leave it empty.")
    return int(text)


def _query(request: Request) -> str:
    return f"?{request.url.query}" if request.url.query else ""
