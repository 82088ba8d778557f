"""The section of findings: gravest first, each with its pictures, its reason and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lorasmith.datasets.checks import Finding
from lorasmith.datasets.report.parts import WORDS, counted, pill, section, thumbnail_image
from lorasmith.datasets.report.record import DatasetPage, PictureRow
from lorasmith.markup import Markup, element

_WORST: Final = 8  # pictures shown beside a finding
_FILES: Final = 5
_OPEN_NOTES: Final = 4  # more notes than this are folded away


def findings(page: DatasetPage) -> Markup:
    """Everything the checks said."""
    rows = {row.name: (place, row) for place, row in enumerate(page.pictures)}
    grave: list[Markup] = []
    notes: list[Markup] = []
    for place, finding in enumerate(page.findings):
        (notes if finding.severity == "info" else grave).append(_finding(place, finding, rows))
    folded = len(notes) > _OPEN_NOTES and bool(grave)
    if folded:
        notes = [element("details", element("summary", f"{counted(len(notes), 'note')}: good to know"), *notes)]
    skipped = [element("li", element("code", id_), f" {reason}") for id_, reason in page.not_run]
    unrun = (
        element(
            "details",
            element("summary", f"{counted(len(skipped), 'check')} could not be run"),
            element("ul", *skipped),
        )
        if skipped
        else None
    )
    nothing = element("p", "Nothing was found. ", pill("info", "all clear")) if not page.findings else None
    said = "Gravest first. Each says what it rests on and what to do."
    return section("findings", "Findings", said, nothing, *grave, *notes, unrun)


def _finding(place: int, finding: Finding, rows: Mapping[str, tuple[int, PictureRow]]) -> Markup:
    pictures = [rows[name] for name in dict.fromkeys(finding.items) if name in rows]
    files = [name for name in dict.fromkeys(finding.items) if name not in rows]
    more = f" and {len(files) - _FILES:,} more" if len(files) > _FILES else ""
    words = element(
        "div",
        element("h3", finding.message),
        element(
            "p",
            pill(finding.severity),
            " ",
            element("code", finding.id),
            f" · {_extent(pictures, files)}",
            class_="tag",
        ),
        element("p", element("strong", "What to do "), finding.fix) if finding.fix else None,
        element("p", element("strong", "In one step "), finding.repair.sentence)
        if finding.repair is not None
        else None,
        element("p", element("strong", "Why "), finding.why, class_="muted") if finding.why else None,
        element("p", finding.source, class_="source") if finding.source else None,
        element("p", element("strong", "Files "), f"{', '.join(files[:_FILES])}{more}", class_="muted")
        if files
        else None,
        class_="words",
    )
    return element("article", words, _strip(place, finding, pictures), class_=f"finding {finding.severity}")


def _extent(pictures: list[tuple[int, PictureRow]], files: list[str]) -> str:
    said = [counted(len(pictures), "picture")] if pictures else []
    said += [counted(len(files), "file")] if files else []
    return " and ".join(said) or "the whole set"


def _strip(place: int, finding: Finding, pictures: list[tuple[int, PictureRow]]) -> Markup | None:
    """The first of its pictures, the worst first where it is a matter of degree, and the way to all of them."""
    shown = [(number, row) for number, row in pictures if row.thumbnail is not None][:_WORST]
    if not pictures:
        return None
    images = [
        element(
            "li",
            element(
                "button",
                thumbnail_image(row.thumbnail, row.name),
                type="button",
                class_="shot",
                data_open=number,
                title=row.name,
            ),
        )
        for number, row in shown
        if row.thumbnail is not None
    ]
    several = f"all {len(pictures):,}" if len(pictures) > 1 else "it"
    button = element(
        "button",
        f"Show {several} in the gallery",
        element("span", f": {WORDS[finding.severity]} {finding.id}", class_="unseen"),
        type="button",
        class_="link",
        data_show_finding=place,
    )
    return element("div", element("ul", *images, class_="strip") if images else None, button, class_="pictures")
