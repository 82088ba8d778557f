"""The section of all pictures, and the data that its script draws them from.

The words about the pictures are one block of JSON. Thumbnails lie in blocks of their own, and the script reads a block
when a picture of it is shown first, so that a page of ten thousand is ready as soon as the words are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from lorasmith.datasets.report.parts import WORDS, section
from lorasmith.datasets.report.record import DatasetPage, PictureRow
from lorasmith.markup import Markup, element, join, verbatim, visible

_BLOCK: Final = 100  # thumbnails per block
_LONGEST: Final = 4_000  # letters of a caption that stand in the page
_OPTION: Final = 60
_TAGS: Final = 14
_SORTS: Final = (
    ("", "as in the set"),
    ("name", "name"),
    ("findings", "most findings first"),
    ("short", "shortest caption first"),
    ("long", "longest caption first"),
    ("small", "smallest picture first"),
    ("large", "largest picture first"),
)


def gallery(page: DatasetPage) -> Markup:
    """The frame of the gallery; hidden until its script runs, so that without scripts nothing promises too much."""
    found = [("", "any"), ("*", "with a finding"), ("-", "without one")]
    named = {place for row in page.pictures for place in row.findings}
    found += [(str(place), _option(page, place)) for place in sorted(named)]
    selects = [
        _select("finding", "Finding", found),
        _select("role", "Role", _choices(row.role for row in page.pictures)),
        _select("concept", "Concept", _choices(row.concept for row in page.pictures)),
        _select("bucket", "Bucket", _choices(row.bucket for row in page.pictures)),
        _select("sort", "Sorted by", _SORTS),
    ]
    words = element(
        "label",
        "Words in names and captions",
        element(
            "input", type="search", id="filter-words", placeholder='star -blue "gray background"', autocomplete="off"
        ),
    )
    frame = section(
        "gallery",
        "Gallery",
        "Every picture. Arrow keys go from one to the next, Enter opens one, Escape closes it again.",
        element(
            "div",
            words,
            *selects,
            element("button", "Clear", type="button", id="filter-clear", class_="button"),
            class_="filters",
            role="search",
            aria_label="Filter the gallery",
        ),
        _tags(page),
        element("p", id="count", class_="count", role="status"),
        element("ul", id="grid", class_="grid", aria_label="Pictures"),
        element("p", "No picture is like that.", id="none", class_="none", hidden="hidden"),
        _pager(),
        element("dialog", id="detail", aria_labelledby="detail-name"),
    )
    return join(
        element("div", frame, id="gallery-frame", hidden="hidden"),
        element(
            "noscript", element("section", element("p", "The gallery needs scripts; all else on this page does not."))
        ),
    )


def gallery_data(page: DatasetPage) -> Iterator[Markup]:
    """What the script reads."""
    told = {
        "severities": [finding.severity for finding in page.findings],
        "findings": [f"{finding.id} · {visible(finding.message)}" for finding in page.findings],
        "block": _BLOCK,
    }
    yield _data("about", told)
    yield _data("pictures", [_row(row) for row in page.pictures])
    for start in range(0, len(page.pictures), _BLOCK):
        entries = (_images(row) for row in page.pictures[start : start + _BLOCK])
        # Nothing but letters, digits and "+/=| ": no text of a stranger, and one byte a letter in the browser too.
        yield element("script", verbatim(" ".join(entries)), type="text/plain", id=f"thumbnails-{start // _BLOCK}")


def _images(row: PictureRow) -> str:
    """Picture, mask, references and frames of one row; what is missing at the end is left out."""
    shown = row.thumbnail.data if row.thumbnail is not None else "-"
    more = row.mask is not None or row.references or row.frames
    further = [row.mask.data if row.mask is not None else ""] if more else []
    references = [one.data if one is not None else "-" for one in row.references]
    return "|".join([shown, *further, *references, *(one.data for one in row.frames)])


def _data(key: str, value: Any) -> Markup:
    """A block of JSON that no text in it can end."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return element("script", verbatim(text), type="application/json", id=key)


def _row(row: PictureRow) -> dict[str, Any]:
    """One picture; what is usual is left out."""
    caption = visible(row.caption[:_LONGEST].replace("\r\n", "\n"))
    shown: dict[str, Any] = {"n": visible(row.name), "c": caption, "w": row.width, "h": row.height}
    optional = {
        "l": len(row.caption) if len(row.caption) > _LONGEST else 0,
        "r": "" if row.role == "train" else row.role,
        "k": visible(row.concept),
        "x": 0 if row.repeats == 1 else row.repeats,
        "b": row.bucket,
        "f": list(row.findings),
        "m": 1 if row.has_mask else 0,
        "v": row.moves,
        "z": len(row.frames),
    }
    return shown | {key: value for key, value in optional.items() if value}


def _option(page: DatasetPage, place: int) -> str:
    finding = page.findings[place]
    words = finding.message if len(finding.message) <= _OPTION else finding.message[: _OPTION - 1] + "…"
    return f"{WORDS[finding.severity]} {finding.id}: {words}"


def _choices(values: Iterable[str]) -> list[tuple[str, str]]:
    return [("", "any"), *((visible(value), value) for value in sorted(set(values)) if value)]


def _select(name: str, words: str, choices: Sequence[tuple[str, str]]) -> Markup | None:
    """A choice; none where all pictures are alike."""
    if len(choices) <= 2 and name in ("role", "concept", "bucket"):
        return None
    options = [element("option", shown, value=value) for value, shown in choices]
    return element("label", words, element("select", *options, id=f"filter-{name}"))


def _tags(page: DatasetPage) -> Markup | None:
    """The most frequent tags that tell pictures apart, as buttons."""
    counts, all_of_them = page.statistics.tags.counts, page.statistics.counts.items
    telling = [one for one in counts if 1 < one.items < all_of_them and '"' not in one.tag][:_TAGS]
    buttons = [
        element(
            "button",
            one.tag,
            element("span", f" {one.items:,}", class_="muted"),
            type="button",
            class_="chip",
            data_tag=visible(one.tag),
            aria_pressed="false",
        )
        for one in telling
    ]
    return element("div", *buttons, class_="chips", role="group", aria_label="Frequent tags") if buttons else None


def _pager() -> Markup:
    return element(
        "div",
        element("button", "Previous", element("span", " page", class_="unseen"), type="button", id="page-back",
                class_="button"),
        element("label", "Page ", element("select", id="page-number"), element("span", id="page-all")),
        element("button", "Next", element("span", " page", class_="unseen"), type="button", id="page-forth",
                class_="button"),
        class_="pager",
        role="group",
        aria_label="Pages of the gallery",
    )  # fmt: skip
