"""What became of every file, and what was done since."""

from __future__ import annotations

from typing import Final

from lorasmith.datasets.report.parts import counted, section, table
from lorasmith.datasets.report.record import CaptionRow, DatasetPage, HistoryRow
from lorasmith.markup import Markup, element

_CONTEXT: Final = 60  # letters of what stayed that are shown around a change
_CHANGED: Final = {
    "added": ("picture added", "pictures added"),
    "removed": ("picture removed", "pictures removed"),
    "renamed": ("picture renamed", "pictures renamed"),
    "pixels": ("picture changed", "pictures changed"),
    "masks": ("mask changed", "masks changed"),
    "references": ("references changed", "references changed"),
    "captions": ("caption changed", "captions changed"),
    "settings": ("setting changed", "settings changed"),
    "provenance": ("note of origin changed", "notes of origin changed"),
}


def ledger(page: DatasetPage) -> Markup:
    """The fate of every file that was offered."""
    counts = [(f"{fate.replace('_', ' ')}: {rule.replace('_', ' ')}", f"{n:,}") for fate, rule, n in page.ledger_counts]
    all_left = sum(number for fate, _, number in page.ledger_counts if fate == "left_out")
    rows = [(row.path, row.rule.replace("_", " "), row.detail) for row in page.left_out]
    more = f", the first {len(rows):,} of them here" if all_left > len(rows) else ""
    left = (
        element(
            "details",
            element("summary", f"{counted(all_left, 'file was', 'files were')} left out{more}"),
            table("Files that were left out", ("file", "rule", "why"), rows, numbers=False),
        )
        if rows
        else None
    )
    offered = sum(number for _, _, number in page.ledger_counts)
    said = (
        f"{counted(offered, 'file was', 'files were')} offered, and this became of {'it' if offered == 1 else 'them'}."
    )
    figures = table("Files by what became of them", ("", "files"), counts) if counts else None
    return section("ledger", "Ledger", said, figures, left)


def history(page: DatasetPage) -> Markup:
    """The versions that led here."""
    said = "Every change made a version, the newest first; none is lost by undoing it."
    rows = [_version(row, row.reference == page.reference) for row in page.history]
    return section("history", "History", said, element("ol", *rows, class_="line"))


def _version(row: HistoryRow, is_this: bool) -> Markup:
    changed = [counted(number, *_CHANGED.get(kind, (kind, kind))) for kind, number in row.changed]
    day, _, clock = row.created.partition("T")
    return element(
        "li",
        element(
            "p",
            element("strong", row.reference),
            " " if is_this else None,
            element("span", "this page", class_="pill") if is_this else None,
            element("span", f" {row.what}", class_="what"),
        ),
        element("p", " · ".join((f"{day} {clock[:5]}", counted(row.items, "picture"), *changed)), class_="muted"),
        *(_caption(caption) for caption in row.captions),
    )


def _caption(row: CaptionRow) -> Markup:
    marks = {"removed": "del", "added": "ins", "same": "span"}
    last = len(row.steps) - 1
    words = [
        element(marks[kind], text if kind != "same" else _context(text, at == 0, at == last))
        for at, (kind, text) in enumerate(row.steps)
    ]
    return element("p", element("code", row.name), " ", *words, class_="difference", dir="auto")


def _context(text: str, first: bool, last: bool) -> str:
    """What stayed, shortened to what stands beside a change."""
    head = "" if first else text[:_CONTEXT]
    tail = "" if last else text[-_CONTEXT:]
    if len(text) <= len(head) + len(tail) or (first and last):
        return text
    return f"{head}…{tail}"
