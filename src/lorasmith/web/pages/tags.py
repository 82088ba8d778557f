"""Tags without the tagger: thresholds over kept probabilities with a live preview, and a review of unsure ones."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from lorasmith.captioning import Kept
from lorasmith.datasets.captions import split_tags
from lorasmith.datasets.captions.worddiff import word_diff
from lorasmith.datasets.manifest import DatasetVersion
from lorasmith.errors import ConfigError
from lorasmith.studio import Studio
from lorasmith.web.forms import Sent
from lorasmith.web.pages.captioning import MODES, undoing
from lorasmith.web.rendering import page, part

router = APIRouter(prefix="/datasets/{name}/captioning", include_in_schema=False)
_EXAMPLES: Final = 8
_TAGS: Final = 60
_UNSURE: Final = 200
_MERGES: Final = ("mean", "max")


@router.get("/tags")
def sliders(request: Request, name: str) -> HTMLResponse:
    """Thresholds as sliders; what would change is shown at once."""
    studio = _studio(request)
    version = studio.dataset(name)
    kept = studio.captions.taggers(version)
    last = kept[-1] if kept else None
    context: dict[str, Any] = {"kept": kept, "last": last, "modes": MODES, "merges": _MERGES, "preview": None}
    if last:
        context["categories"] = [one for one in last.categories if one != "rating"] or ["general"]
        context |= {"defaults": _defaults(last), **_preview(studio, version, {})}
    return page(
        request, "captioning/tags.html", title=f"Thresholds of {version.dataset}", area="datasets", tab="captioning",
        version=version, **context, **undoing(studio, version),
    )  # fmt: skip


@router.post("/tags/preview")
def preview(request: Request, name: str, form: Sent) -> HTMLResponse:
    """What the captions would be."""
    studio = _studio(request)
    version = studio.dataset(name)
    return part(request, "captioning/tags_preview.html", version=version, **_preview(studio, version, form))


@router.post("/tags/apply")
def apply(request: Request, name: str, form: Sent) -> Response:
    """Write them, as one version, on just the version that was looked at."""
    studio = _studio(request)
    if not form.get("number", "").isdigit():
        raise ConfigError("Look at what would change first.", "Open the thresholds again.")
    existing: Any = form.get("existing", "replace")
    if existing not in MODES:
        raise ConfigError(f"'{existing}' says nothing of captions that are there.", f"Choose {', '.join(MODES)}.")
    seen = studio.dataset(f"{name}@{form['number']}")
    made = studio.captions.retag(seen, rule_of(form), existing=existing, **_voices(studio, seen, form))
    return RedirectResponse(f"/datasets/{made.dataset}", 303)


@router.get("/review")
def review(request: Request, name: str) -> HTMLResponse:
    """Tags that are nearly in or nearly out, one after the other, by keys."""
    studio = _studio(request)
    version = studio.dataset(name)
    within, form = request.query_params.get("within", "0.1"), dict(request.query_params)
    try:
        near = float(within)
    except ValueError as cause:
        raise ConfigError(f"'{within}' is no distance.", "Write a number from 0 to 1.") from cause
    images = {item.name: item for item in version.items}
    kept = studio.captions.taggers(version)
    rule, voices = rule_of(form), _voices(studio, version, form)
    unsure = studio.captions.unsure(version, rule, within=near, most=_UNSURE, **voices) if kept else []
    return page(
        request, "captioning/review.html", title=f"Unsure tags of {version.dataset}", area="datasets",
        tab="captioning", version=version, unsure=unsure, images=images, kept=kept, within=near,
        keys=[json.dumps([one.item, one.tag]) for one in unsure], **undoing(studio, version),
    )  # fmt: skip


@router.post("/review")
def decide(request: Request, name: str, form: Sent) -> Response:
    """Write what was decided, as one version."""
    studio = _studio(request)
    verdicts: dict[tuple[str, str], bool] = {}
    for key, value in form.items():
        if key.startswith("v.") and value in ("yes", "no"):
            try:
                item, tag = json.loads(key.removeprefix("v."))
            except (ValueError, TypeError) as cause:
                raise ConfigError("A decision cannot be read.", "Open the review again.") from cause
            verdicts[str(item), str(tag)] = value == "yes"
    if not verdicts:
        raise ConfigError("Nothing was decided.", "Press y or n at some tags first.")
    made = studio.captions.decide(name, verdicts)
    return RedirectResponse(f"/datasets/{made.dataset}/captioning/review", 303)


def rule_of(form: Mapping[str, str]) -> dict[str, Any]:
    """Fields of a tag rule from the sliders and lists of a form.

    Raises:
        ConfigError: a number that is none.
    """
    rule: dict[str, Any] = {}
    others: dict[str, float] = {}
    for key, value in form.items():
        if key.startswith("t.") and value.strip():
            category, number = key.removeprefix("t."), _number(value)
            if category in ("general", "character"):
                rule[f"{category}_threshold"] = number
            else:
                others[category] = number
    if others:
        rule["thresholds"] = others
    if form.get("mcut"):
        rule["mcut"] = True
    if lines := [line for line in form.get("tag_thresholds", "").splitlines() if line.strip()]:
        rule["tag_thresholds"] = dict(_tag_rule(line) for line in lines)
    if out := [tag.strip() for tag in form.get("exclude_tags", "").replace("\n", ",").split(",") if tag.strip()]:
        rule["exclude_tags"] = out
    if form.get("order"):
        rule["order"] = form["order"]
    return rule


def _tag_rule(line: str) -> tuple[str, float]:
    tag, separator, number = line.rpartition("=")
    if not separator or not tag.strip():
        raise ConfigError(f"'{line.strip()[:80]}' is no rule for a tag.", "Write: tag = 0.6, one a line.")
    return tag.strip(), _number(number)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError as cause:
        raise ConfigError(f"'{text.strip()[:40]}' is no probability.", "Write a number from 0 to 1.") from cause
    if not 0 <= value <= 1:
        raise ConfigError(f"{text.strip()[:40]} is no probability.", "Write a number from 0 to 1.")
    return value


def _voices(studio: Studio, version: DatasetVersion, form: Mapping[str, str]) -> dict[str, Any]:
    """Which taggers are asked, and how they are brought together."""
    merge = form.get("merge") or "mean"
    if merge not in _MERGES:
        raise ConfigError(f"Taggers are not merged by '{merge}'.", f"Choose {', '.join(_MERGES)}.")
    known = [one.model for one in studio.captions.taggers(version)]
    wanted = [model for place, model in enumerate(known) if f"tagger.{place}" in form]
    return {"taggers": wanted, "merge": merge}


def _preview(studio: Studio, version: DatasetVersion, form: Mapping[str, str]) -> dict[str, Any]:
    rule = rule_of(form)
    captions = studio.captions.preview_tags(version, rule, **_voices(studio, version, form))
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    examples: list[tuple[Any, Any]] = []
    changed, empty = 0, 0
    for item in version.items:
        old, new = split_tags(item.caption), split_tags(captions.get(item.name, ""))
        before.update(set(old))
        after.update(set(new))
        if item.name not in captions:
            continue
        empty += not new
        if new and captions[item.name] != item.caption:
            changed += 1
            if len(examples) < _EXAMPLES:
                examples.append((item, word_diff(item.caption, captions[item.name])))
    seen = max(1, len(captions))
    most = max(after.values(), default=1)
    rows = [(tag, count, before[tag], count / most) for tag, count in after.most_common(_TAGS)]
    gone = [(tag, count) for tag, count in before.most_common() if tag not in after][:_TAGS]
    return {
        "preview": captions, "changed": changed, "empty": empty, "examples": examples, "rows": rows, "gone": gone,
        "each": sum(after.values()) / seen, "distinct": len(after), "seen": len(captions), "form": form,
    }  # fmt: skip


def _defaults(kept: Kept) -> dict[str, float]:
    return {one: kept.character_threshold if one == "character" else kept.general_threshold for one in kept.categories}


def _studio(request: Request) -> Studio:
    studio: Studio = request.app.state.studio
    return studio
