"""A page of a dataset made by hand, with every kind of part and texts by someone who means ill."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser

from PIL import Image

from lorasmith.datasets.checks import Finding, health
from lorasmith.datasets.checks.finding import Repair
from lorasmith.datasets.manifest import DatasetVersion, Item, Operation
from lorasmith.datasets.report.record import (
    BucketRow,
    CaptionRow,
    DatasetPage,
    HistoryRow,
    LedgerRow,
    PictureRow,
    SeenRow,
    Thumbnail,
    TrainerRow,
)
from lorasmith.datasets.statistics import describe
from lorasmith.datasets.tokens import counter_for

HOSTILE = "</script><script>document.title='evil'</script><img src=x onerror=alert(1)>]]><!--<script>&amp;\"'"
UNSEEN = "a\x00b\x07\u202egnp.exe\ud800"
SHAPES = ((640, 480), (480, 640), (512, 512))


def thumbnail(color: tuple[int, int, int] = (40, 90, 200), size: tuple[int, int] = (24, 16)) -> Thumbnail:
    stream = io.BytesIO()
    Image.new("RGB", size, color).save(stream, "WEBP")
    return Thumbnail(base64.b64encode(stream.getvalue()).decode(), *size)


def build_page(pictures: int = 12, *, captions: dict[int, str] | None = None) -> DatasetPage:
    """A page with so many pictures: the first without a file, the second masked, the third of two captions, the fourth
    and fifth hostile, some of other roles."""
    texts = {
        2: "a red star\nan étoile on blue",
        3: HOSTILE,
        4: UNSEEN,
        5: "كلب يلعب, 猫, שלום",
        6: "",
    } | (captions or {})
    small = thumbnail()
    rows = [
        PictureRow(
            name=f"{'1_cats' if n % 2 else '2_dogs'}/picture {n:05d}.png",
            caption=texts.get(n, f"tag {n % 7}, blue sky, solo"),
            width=SHAPES[n % 3][0],
            height=SHAPES[n % 3][1],
            role="validation" if n % 10 == 9 else "regularisation" if n % 10 == 8 else "train",
            concept="cats" if n % 2 else "dogs",
            repeats=1 + n % 2,
            bucket=f"{SHAPES[n % 3][0]}×{SHAPES[n % 3][1]}",
            findings=(0,) if n % 5 == 0 else (1, 2) if n % 5 == 1 else (),
            thumbnail=None if n == 0 else small,
            has_mask=n in (1, 2),
            mask=thumbnail((255, 255, 255)) if n == 1 else None,
        )
        for n in range(pictures)
    ]
    items = tuple(
        Item(row.name, "0" * 64, "0" * 64, row.width, row.height, row.caption, repeats=row.repeats, concept=row.concept)
        for row in rows
    )
    version = DatasetVersion(
        dataset="made-up", number=3, parent=2, operation=Operation(name="x"), created="", items=items
    )
    findings = _findings(rows)
    return DatasetPage(
        reference="made-up@3",
        created="2026-01-02 03:04 UTC",
        settings="Looked at for any goal at 512 pixels.",
        pictures=tuple(rows),
        findings=findings,
        not_run=(("C21", "no list of known tags is loaded"),),
        health=health(findings, version, {"C21": "no list of known tags is loaded"}),
        statistics=describe(version, counter=counter_for("sd"), trigger_word="solo", blob_size=lambda _: 12_345),
        buckets=tuple(BucketRow(w, h, 4, 3, 1, 0.12, 2) for w, h in SHAPES),
        trainers=_trainers(rows),
        ledger_counts=(("taken", "image", len(rows)), ("left_out", "damaged", 2)),
        left_out=(
            LedgerRow(HOSTILE, "left_out", "damaged", UNSEEN),
            LedgerRow("a/" * 120 + "b.png", "left_out", "damaged", "is damaged"),
        ),
        history=(
            HistoryRow("made-up@3", f"caption edit ({HOSTILE})", "2026-01-02T03:04:05+00:00", len(rows),
                       (("captions", 1),), (CaptionRow(rows[-1].name, (("removed", HOSTILE), ("added", "solo"))),)),
            HistoryRow("made-up@1", "import of photos.zip", "2026-01-01T00:00:00+00:00", len(rows)),
        ),
    )  # fmt: skip


def _findings(rows: list[PictureRow]) -> tuple[Finding, ...]:
    def having(place: int) -> tuple[str, ...]:
        return tuple(row.name for row in rows if place in row.findings)

    repair = Repair("add_trigger_word", {"word": "solo"}, "Put 'solo' in front of the captions that lack it.")
    return (
        Finding("C1", "error", "Some pictures without a caption.", having(0), "Write them.", "Because.", "Measured."),
        Finding("C9", "warning", f"A tag: {HOSTILE}", having(1), "Remove it.", "Because.", "Measured.", repair),
        Finding("P4", "info", "Turned upright.", having(2), "Nothing to do."),
        Finding("F1", "warning", "Files were left out.", tuple(f"a/{n}{HOSTILE}" for n in range(9)), "Look at them."),
        Finding("S1", "warning", "Few pictures.", (), "Add more."),
    )


def _trainers(rows: list[PictureRow]) -> tuple[TrainerRow, ...]:
    image = Image.new("RGB", (64, 48), (200, 40, 40))
    seen = SeenRow(rows[-1].name, image, image.rotate(90, expand=True), ("solo", HOSTILE), "cut " * 400,
                   (("error", "It is trained sideways."), ("info", HOSTILE)))  # fmt: skip
    unseen = SeenRow(rows[0].name, None, None, (), "", (("error", "It is not read."),))
    notes = (("error", "It is trained sideways.", 1), ("info", "Crops are random.", 2))
    return (
        TrainerRow("kohya", "sd-scripts", len(rows), notes, (seen, unseen)),  # type: ignore[arg-type]
        TrainerRow("lorasmith", "lorasmith", len(rows), (), ()),
    )


class Reading(HTMLParser):
    """Reads a page as a browser would: elements with what they stand in, text, and the text of scripts."""

    VOID = ("img", "input", "meta", "link", "br", "hr")

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str], tuple[str, ...]]] = []
        self.text: list[str] = []
        self.scripts: list[tuple[dict[str, str], str]] = []
        self.open: list[str] = []
        self._script: dict[str, str] | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.elements.append((tag, attributes, tuple(self.open)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "script":
            self._script = attributes
            self.scripts.append((attributes, ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}, tuple(self.open)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "script":
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts[-1] = (self._script, self.scripts[-1][1] + data)
        else:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes, _ in self.elements if name == tag]

    def data(self, key: str) -> str:
        (found,) = [text for attributes, text in self.scripts if attributes.get("id") == key]
        return found
