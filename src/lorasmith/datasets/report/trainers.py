"""The section of trainers' eyes: what each program would make of the files as they came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lorasmith.datasets.report.parts import counted, pill, section, table
from lorasmith.datasets.report.record import SeenRow, Severity, TrainerRow
from lorasmith.markup import Markup, element, join, picture

_SIDE: Final = 200  # pixels of the longer side
_LONGEST: Final = 600  # letters of a text that is shown
_LEVELS: Final[tuple[Severity, ...]] = ("error", "warning", "info")


def trainers(rows: Sequence[TrainerRow], pictures: int) -> Markup | None:
    """All of them, those that see what is meant in one line."""
    if not rows:
        return None
    looked = max(row.looked_at for row in rows)
    said = (
        "The files as they came, as each program would really read them without lorasmith between. "
        "Picture and caption are shown where that differs from what is meant."
    )
    if looked < pictures:
        said += f" Looked at were {looked:,} of {pictures:,} pictures, evenly chosen."
    return section("trainers", "Trainers’ eyes", said, _overview(rows), *(_trainer(row) for row in rows if row.notes))


def _overview(rows: Sequence[TrainerRow]) -> Markup:
    """Which program sees how many kinds of difference, in how many pictures at most."""
    cells = [[row.title, *(_level(row, level) for level in _LEVELS)] for row in rows]
    return table("Differences to what is meant, by kind", ("program", "errors", "warnings", "notes"), cells)


def _level(row: TrainerRow, level: Severity) -> Markup:
    counts = [count for severity, _, count in row.notes if severity == level]
    if not counts:
        return element("span", "none", class_="muted")
    return join(pill(level, f"{len(counts)}"), element("span", f" in up to {max(counts):,}", class_="muted"))


def _trainer(row: TrainerRow) -> Markup:
    notes = [
        element(
            "li", pill(severity), element("span", sentence), element("span", counted(count, "picture"), class_="muted")
        )
        for severity, sentence, count in row.notes
    ]
    pairs = [_seen(example) for example in row.examples]
    looks = element("details", element("summary", f"{counted(len(pairs), 'example')}"), *pairs) if pairs else None
    return element("article", element("h3", row.title), element("ul", *notes, class_="notes"), looks, class_="trainer")


def _seen(row: SeenRow) -> Markup:
    texts = [element("p", _short(text), dir="auto", class_="text") for text in row.texts if text]
    cut = element("p", "Not read: ", element("del", _short(row.cut)), class_="text") if row.cut.strip() else None
    notes = [element("li", pill(severity), element("span", sentence)) for severity, sentence in row.notes]
    return element(
        "div",
        element("p", element("code", row.name), class_="pair-name"),
        _figure(row.meant, f"{row.name} as it is meant", "meant"),
        _figure(row.seen, f"{row.name} as it is seen", "seen"),
        element(
            "div",
            element("ul", *notes, class_="notes"),
            element("p", "Its text encoder reads", class_="muted") if texts else None,
            *(texts or [element("p", "It reads no caption.", class_="muted")]),
            cut,
            class_="words",
        ),
        class_="pair",
    )


def _figure(image: object, alt: str, words: str) -> Markup:
    from PIL.Image import Image

    drawn = (
        picture(image, alt, side=_SIDE)
        if isinstance(image, Image)
        else element("span", "not read" if words == "seen" else "no picture", class_="missing")
    )
    return element("figure", drawn, element("figcaption", words))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… and {len(text) - _LONGEST:,} letters more"
