"""Duplicates of a dataset side by side: the one to keep marked, the others left out in one version."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Final, get_args

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse, Response

from lorasmith.datasets.duplicates import DuplicateGroup, Kind
from lorasmith.datasets.manifest import DatasetVersion
from lorasmith.errors import ConfigError
from lorasmith.studio import Studio
from lorasmith.web.forms import Sent
from lorasmith.web.looks import Look
from lorasmith.web.pages.framing import framed, looked, looks_of, moved, seen_version, studio_of

router = APIRouter(prefix="/datasets/{name}", include_in_schema=False)
_GROUPS: Final = 30  # shown at once
_MEMBERS: Final = 24  # of one group
KINDS: Final[dict[str, str]] = {
    "bytes": "the same file",
    "pixels": "the same pixels",
    "near": "nearly the same",
    "similar": "alike",
    "turned": "mirrored or turned",
}


@router.get("/duplicates")
def duplicates(request: Request, name: str, kind: str = "", at: Annotated[int, Query(ge=0)] = 0) -> HTMLResponse:
    """Groups of pictures that show the same."""
    studio = studio_of(request)
    version = studio.dataset(name)
    if kind and kind not in get_args(Kind):
        raise ConfigError(f"There is no kind '{kind}' of duplicates.", f"There are: {', '.join(get_args(Kind))}.")

    def shape(groups: list[DuplicateGroup]) -> dict[str, Any]:
        items = {item.name: item for item in version.items}
        ours = [(place, group) for place, group in enumerate(groups) if kind in ("", group.kind)]
        shown = [(place, group, [items[one] for one in group.members[:_MEMBERS]]) for place, group in ours]
        return {
            "counts": Counter(group.kind for group in groups),
            "groups": shown[at : at + _GROUPS],
            "all_groups": len(ours),
            "others": sum(len(group.others) for _, group in ours),
            "items": items,
            "kinds": KINDS,
            "kind": kind,
            "at": at,
            "next": at + _GROUPS if at + _GROUPS < len(ours) else None,
        }

    def page_of(**context: Any) -> HTMLResponse:
        title = f"Duplicates in {version.dataset}"
        return framed(request, "datasets/duplicates.html", version, "duplicates", title, **context)

    return looked(request, version, page_of, ("duplicates",), _work(studio, version), "datasets/groups.html", shape)


@router.post("/duplicates")
def leave_out_others(request: Request, name: str, form: Sent) -> Response:
    """Leave out all but the kept ones: of the groups that were ticked, or of every group with ``every``."""
    studio = studio_of(request)
    version = seen_version(request, name, form.get("number", ""))
    look = looks_of(request).ask((version.dataset, version.number, version.root, "duplicates"), _work(studio, version))
    if look.running:
        raise ConfigError("The pictures are still being compared.", "Wait for it and press the button again.")
    groups: list[DuplicateGroup] = look.result()
    out: set[str] = set()
    for place, group in enumerate(groups):
        chosen = form.get(f"use.{place}") == "on" or (form.get("every") and form.get("kind", "") in ("", group.kind))
        if chosen:
            keeper = form.get(f"keep.{place}", group.keeper)
            if keeper not in group.members:
                raise ConfigError(f"'{keeper}' is not in that group.", "Look at the duplicates again.")
            out.update(one for one in group.members if one != keeper)
    if not out:
        raise ConfigError("No group was chosen.", "Tick the groups whose others shall be left out.")
    return moved(request, studio.curate.leave_out(version, out), "/duplicates")


def _work(studio: Studio, version: DatasetVersion) -> Any:
    def work(look: Look) -> list[DuplicateGroup]:
        return studio.curate.duplicates(version, progress=look.watch)

    return work
