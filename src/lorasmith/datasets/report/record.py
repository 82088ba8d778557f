"""What a dataset's page shows, gathered before it is drawn: plain values, so that the page can be drawn from any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL.Image import Image

    from lorasmith.datasets.checks import Finding
    from lorasmith.datasets.checks.health import Health
    from lorasmith.datasets.statistics import Statistics

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Thumbnail:
    """A small WebP, base64, and its size in pixels."""

    data: str
    width: int
    height: int


@dataclass(frozen=True)
class PictureRow:
    """One picture of the gallery."""

    name: str
    caption: str
    width: int
    height: int
    role: str = "train"
    concept: str = ""
    repeats: int = 1
    bucket: str = ""
    """Width x height in pixels of the bucket it is trained in; empty when it is in none."""
    findings: tuple[int, ...] = ()
    """Places in the page's findings of those that name it."""
    thumbnail: Thumbnail | None = None
    """None when its file is missing or damaged."""
    has_mask: bool = False
    mask: Thumbnail | None = None
    """None when it has none, or its file is missing or damaged."""
    references: tuple[Thumbnail | None, ...] = ()
    """Of the pictures it is made from, in order; None where the file is missing or damaged."""
    moves: str = ""
    """How long a clip is, in words; empty for pictures."""
    frames: tuple[Thumbnail, ...] = ()
    """A few frames of a clip after its first, which is the picture."""


@dataclass(frozen=True)
class SeenRow:
    """One picture as it is meant, beside what a trainer makes of it."""

    name: str
    meant: Image | None
    """None when its file is missing or damaged."""
    seen: Image | None
    """None when the trainer would not read it at all."""
    texts: tuple[str, ...]
    """What of its caption the model reads."""
    cut: str
    """What of its caption is not read."""
    notes: tuple[tuple[Severity, str], ...]
    """(severity, sentence) of every difference."""


@dataclass(frozen=True)
class TrainerRow:
    """A trainer's eye over the whole set."""

    trainer: str
    title: str
    looked_at: int
    """How many pictures; of a large set an even choice."""
    notes: tuple[tuple[Severity, str, int], ...]
    """(severity, one of the sentences, of how many pictures it is true), gravest first."""
    examples: tuple[SeenRow, ...]


@dataclass(frozen=True)
class LedgerRow:
    """One file of the ledger."""

    path: str
    fate: str
    rule: str
    detail: str


@dataclass(frozen=True)
class CaptionRow:
    """One caption that a version changed, word by word."""

    name: str
    steps: tuple[tuple[Literal["same", "removed", "added"], str], ...]


@dataclass(frozen=True)
class HistoryRow:
    """One version in the line that led here."""

    reference: str
    what: str
    created: str
    items: int
    changed: tuple[tuple[str, int], ...] = ()
    """(kind, how many) of what differs from the version before; empty when it was not compared."""
    captions: tuple[CaptionRow, ...] = ()
    """A few of the captions it changed."""


@dataclass(frozen=True)
class BucketRow:
    """One bucket; sizes in pixels."""

    width: int
    height: int
    pictures: int
    batches: int
    """Whole batches in one epoch."""
    left_over: int
    """Pictures that fill no batch of their own."""
    cropped: float
    """The greatest share of a picture that is cut away, 0 to 1."""
    enlarged: int
    """Pictures that are enlarged."""


@dataclass(frozen=True)
class DatasetPage:
    """Everything the page shows."""

    reference: str
    created: str
    settings: str
    """For what it was looked at, in words: goal, resolution, tokenizer."""
    pictures: tuple[PictureRow, ...]
    findings: tuple[Finding, ...]
    not_run: tuple[tuple[str, str], ...]
    """(id, reason) of checks that could not be carried out."""
    health: Health
    statistics: Statistics
    buckets: tuple[BucketRow, ...]
    trainers: tuple[TrainerRow, ...]
    ledger_counts: tuple[tuple[str, str, int], ...]
    """(fate, rule, files)."""
    left_out: tuple[LedgerRow, ...]
    """The first of the files that were left out."""
    history: tuple[HistoryRow, ...]
    """The newest first."""
