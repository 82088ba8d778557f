"""Which pictures are trained, how often, and what is held out; saved selections; numbered names.

Verbs take the pictures that were chosen in the gallery, or those that a query means.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, get_args
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Form, Request
from starlette.responses import HTMLResponse, Response

from lorasmith.datasets.manifest import DatasetVersion, Role
from lorasmith.datasets.roles import Balance, RolesPreview
from lorasmith.errors import ConfigError
from lorasmith.web.forms import Sent
from lorasmith.web.looks import Look
from lorasmith.web.pages.choosing import Chosen, choose
from lorasmith.web.pages.framing import Names, framed, looked, moved, seen_version, studio_of
from lorasmith.web.rendering import part, wants_part

router = APIRouter(prefix="/datasets/{name}", include_in_schema=False)
_SHOWN: Final = 40
_CHOSEN: Final = "chosen"
"""The selection that edits of what was chosen by hand go on with."""
Number = Annotated[str, Form(max_length=20)]
Where = Annotated[str, Form(max_length=4000)]


@router.get("/arrange")
def arrange(request: Request, name: str, q: str = "") -> HTMLResponse:
    """Roles, repeats, splits and saved selections on one page."""
    studio = studio_of(request)
    version = studio.dataset(name)
    chosen = choose(request, version, q)
    if chosen.refusal:
        raise ConfigError(chosen.refusal, chosen.hint)
    if chosen.look is not None or wants_part(request):
        return _measuring(request, version, chosen, q)
    context: dict[str, Any] = {"q": q, "chosen": len(chosen.names), "roles": get_args(Role)}
    context |= {"selections": studio.curate.selections(name).list()}
    context |= {"concepts": sorted({item.concept for item in version.items if item.role == "train"})}
    context |= {"counts": {role: sum(item.role == role for item in version.items) for role in get_args(Role)}}
    title = f"Roles and splits of {version.dataset}"
    return framed(request, "datasets/arrange.html", version, "arrange", title, **context)


@router.post("/leave-out")
def leave_out(request: Request, name: str, chosen: Names, number: Number = "", q: Where = "") -> Response:
    """A version without these pictures."""
    version = seen_version(request, name, number)
    made = studio_of(request).curate.leave_out(version, _meant(request, version, chosen, q))
    return moved(request, made)


@router.post("/role")
def set_role(
    request: Request, name: str, chosen: Names, role: Annotated[str, Form()], number: Number = "", q: Where = ""
) -> Response:
    """Train with these pictures, hold them out, or let them hold the class."""
    known: Role | None = next((one for one in get_args(Role) if one == role), None)
    if known is None:
        raise ConfigError(f"'{role}' is not a role.", f"Use one of {', '.join(get_args(Role))}.")
    version = seen_version(request, name, number)
    return moved(request, studio_of(request).curate.set_role(version, _meant(request, version, chosen, q), known))


@router.post("/repeats")
def set_repeats(
    request: Request, name: str, chosen: Names, repeats: Annotated[int, Form()], number: Number = "", q: Where = ""
) -> Response:
    """How often an epoch shows these pictures."""
    version = seen_version(request, name, number)
    return moved(request, studio_of(request).curate.set_repeats(version, _meant(request, version, chosen, q), repeats))


@router.post("/selections")
def save_selection(
    request: Request,
    name: str,
    chosen: Names,
    called: Annotated[str, Form(max_length=200)] = "",
    q: Where = "",
    replace: Annotated[str, Form()] = "",
    then: Annotated[Literal["", "edit", "tools"], Form()] = "",
) -> Response:
    """Save what was chosen, or the query, under a name; or go on with it, under a name that is used anew each time."""
    selections = studio_of(request).curate.selections(name)
    if then and chosen:
        selections.save_names(_CHOSEN, chosen, replace=True)
        return moved(request, studio_of(request).dataset(name), f"/{then}?q=%40{_CHOSEN}")
    if chosen:
        selections.save_names(called, chosen, replace=replace == "on")
    elif q.strip():
        selections.save_query(called, q, replace=replace == "on")
    else:
        raise ConfigError("There is nothing to save.", "Choose pictures with x, or ask for some in the query box.")
    return moved(request, studio_of(request).dataset(name), f"?q={quote('@' + called.strip(), safe='')}")


@router.post("/selections/delete")
def delete_selection(request: Request, name: str, called: Annotated[str, Form(max_length=200)]) -> Response:
    """Forget a selection; no picture is touched."""
    studio_of(request).curate.selections(name).delete(called)
    return moved(request, studio_of(request).dataset(name), "/arrange")


@router.get("/arrange/split")
def preview_split(request: Request, name: str, amount: str = "", seed: str = "0") -> HTMLResponse:
    """Which pictures a validation split would hold out; duplicates stay on one side."""
    studio = studio_of(request)
    version = studio.dataset(name)
    options = _split_options(amount, seed)

    def work(look: Look) -> RolesPreview:
        studio.curate.signals(version, progress=look.watch)  # duplicates are told by them; this part takes long
        return studio.curate.preview_split(version, **options)

    def shape(preview: RolesPreview) -> dict[str, Any]:
        held = {item.name for item in preview.items if item.role == "validation"}
        items = [item for item in version.items if item.name in held]
        return {"preview": preview, "items": items[:_SHOWN], "held": len(held), "amount": amount, "seed": seed}

    def page_of(**context: Any) -> HTMLResponse:
        return framed(request, "datasets/step.html", version, "arrange", "Validation split", **context)

    key = ("split", amount, seed)
    return looked(request, version, page_of, key, work, "datasets/split.html", shape)


@router.post("/arrange/split")
def split(request: Request, name: str, form: Sent) -> Response:
    """Hold them out, as one version."""
    version = seen_version(request, name, form.get("number", ""))
    options = _split_options(form.get("amount", ""), form.get("seed", "0"))
    return moved(request, studio_of(request).curate.split(version, **options), "?q=role%3Avalidation")


@router.get("/arrange/balance")
def preview_balance(request: Request, name: str) -> HTMLResponse:
    """Repeats that show every concept as often as wanted, before they are set."""
    studio = studio_of(request)
    version = studio.dataset(name)
    shares = _shares(dict(request.query_params))
    balance: Balance = studio.curate.preview_balance(version, shares=shares)
    context: dict[str, Any] = {
        "balance": balance,
        "shares": shares or {},
        "look": None,
        "inner": "datasets/balance.html",
    }
    return framed(request, "datasets/step.html", version, "arrange", "Balance", **context)


@router.post("/arrange/balance")
def balance(request: Request, name: str, form: Sent) -> Response:
    """Set those repeats, as one version."""
    version = seen_version(request, name, form.get("number", ""))
    return moved(request, studio_of(request).curate.balance(version, shares=_shares(form)), "/arrange")


@router.post("/rename")
def rename(
    request: Request,
    name: str,
    number: Number = "",
    digits: Annotated[int, Form()] = 4,
    start: Annotated[int, Form()] = 1,
    prefix: Annotated[str, Form(max_length=80)] = "",
    folders: Annotated[str, Form()] = "",
) -> Response:
    """Name all pictures by number in their order; each keeps its former name in its provenance."""
    version = seen_version(request, name, number)
    options: dict[str, Any] = {"digits": digits, "start": start, "prefix": prefix, "folders": folders == "on"}
    return moved(request, studio_of(request).curate.rename(version, **options))


def _measuring(request: Request, version: DatasetVersion, chosen: Chosen, q: str) -> HTMLResponse:
    """How far the pictures are measured that a query asks about; once they are, the way back to the page."""
    again = f"/datasets/{quote(version.dataset)}/arrange?{urlencode({'q': q})}"
    if chosen.look is None:
        return HTMLResponse("", headers={"HX-Redirect": again})
    context: dict[str, Any] = {"look": chosen.look, "running": True, "again": again}
    if wants_part(request):
        return part(request, "datasets/looking.html", version=version, **context)
    context["inner"] = "datasets/looking.html"
    title = f"Roles and splits of {version.dataset}"
    return framed(request, "datasets/step.html", version, "arrange", title, **context)


def _meant(request: Request, version: DatasetVersion, chosen: list[str], q: str) -> list[str]:
    """The pictures a verb is for: those chosen by hand, else those that a query means."""
    if chosen:
        return chosen
    if not q.strip():
        raise ConfigError("No picture was chosen.", "Choose some with x in the gallery, or write a query.")
    found = studio_of(request).curate.select(version, q)
    if not found:
        raise ConfigError("No picture is like that.", "Write another query.")
    return found


def _split_options(amount: str, seed: str) -> dict[str, Any]:
    """``10%`` is a share, ``12`` a number of pictures."""
    text, drawn = amount.strip(), seed.strip() or "0"
    try:
        number = float(text.removesuffix("%")) / 100 if text.endswith("%") else int(text)
        options: dict[str, Any] = {"seed": int(drawn)}
    except (ValueError, OverflowError) as cause:
        raise ConfigError(f"'{text or drawn}' is no amount to hold out.", "Write for example 10% or 12.") from cause
    return options | ({"fraction": number} if text.endswith("%") else {"count": number})


def _shares(sent: dict[str, str]) -> dict[str, float] | None:
    """Fields ``share.<concept>``; None when there is none, for equal shares."""
    given = {key.removeprefix("share."): value for key, value in sent.items() if key.startswith("share.")}
    try:
        return {concept: float(value) for concept, value in given.items()} or None
    except ValueError as cause:
        raise ConfigError("A share is not a number.", "Write for example 1 or 0.5 for every concept.") from cause
