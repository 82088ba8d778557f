"""The calculator: exposures, epochs, steps and time of a run, one from another, while one types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from lorasmith.calculator import LENGTHS, Question
from lorasmith.errors import LorasmithError
from lorasmith.web.pages.framing import studio_of
from lorasmith.web.pages.loras import bases
from lorasmith.web.rendering import page, part, wants_part

router = APIRouter(prefix="/calculator", include_in_schema=False)
_NUMBERS: Final = (
    ("repeats", "Repeats", "How often an epoch shows each picture."),
    ("batch_size", "Batch size", "Pictures per batch."),
    ("accumulation", "Accumulation", "Batches per optimizer step."),
)
_FIRST: Final = {
    "pictures": "20",
    "repeats": "10",
    "batch_size": "1",
    "accumulation": "1",
    "by": "epochs",
    "length": "5",
}


@router.get("")
def calculator(request: Request) -> HTMLResponse:
    """The form, and what it comes to. As a part, what it comes to alone."""
    studio = studio_of(request)
    given = _given(request.query_params)
    context: dict[str, Any] = {"given": given, "found": None, "sentence": "", "hint": ""}
    try:
        context["found"] = studio.calculate(**_values(given))
    except LorasmithError as refusal:
        context |= {"sentence": refusal.message, "hint": refusal.hint}
    if wants_part(request):
        return part(request, "calculator/result.html", **context)
    return page(
        request, "calculator/calculator.html", 422 if context["sentence"] else 200, title="Calculator", area="models",
        datasets=list(studio.datasets()), bases=[one.name for one in bases(studio)], numbers=_NUMBERS,
        lengths=LENGTHS, **context,
    )  # fmt: skip


def _given(query: Mapping[str, str]) -> dict[str, str]:
    """The form as the address has it; a length may stand under its own name too."""
    given = {name: value.strip() for name, value in query.items() if value.strip()}
    for name in LENGTHS:
        if name in given and "length" not in given:
            given |= {"by": name, "length": given[name]}
        given.pop(name, None)
    return given if given else dict(_FIRST)


def _values(given: Mapping[str, str]) -> dict[str, str]:
    """What the form says, as the calculator takes it."""
    known = {name: value for name, value in given.items() if name in Question.model_fields}
    if known.get("dataset"):
        known.pop("pictures", None)
        known.pop("regularisation", None)
    if "length" in given:
        known[given.get("by", "epochs") if given.get("by") in LENGTHS else "epochs"] = given["length"]
    return known
