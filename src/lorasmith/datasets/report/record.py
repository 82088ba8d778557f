"""What a dataset's page shows, gathered before it is drawn: plain values, so that the page can be drawn from any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

    from lorasmith.datasets.checks import Finding
    from lorasmith.datasets.checks.health import Health
    from lorasmith.datasets.statistics import Statistics


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
    role: str
    concept: str
    bucket: str
    """Width x height in pixels of the bucket it is trained in."""
    findings: tuple[str, ...]
    """Ids of the checks that found something in it."""
    thumbnail: Thumbnail | None
    """None when its file is missing."""


@dataclass(frozen=True)
class SeenRow:
    """One picture as it is meant, beside what a trainer makes of it."""

    name: str
    meant: Image
    seen: Image | None
    """None when the trainer would not read it at all."""
    texts: tuple[str, ...]
    """What of its caption the model reads."""
    cut: str
    """What of its caption is not read."""
    notes: tuple[tuple[str, str], ...]
    """(severity, sentence) of every difference."""


@dataclass(frozen=True)
class TrainerRow:
    """A trainer's eye over the whole set."""

    trainer: str
    title: str
    notes: tuple[tuple[str, str, int], ...]
    """(severity, one of the sentences, of how many pictures it is true), gravest first."""
    examples: tuple[SeenRow, ...]


@dataclass(frozen=True)
class LedgerRow:
    """One line of the ledger."""

    path: str
    fate: str
    rule: str
    detail: str


@dataclass(frozen=True)
class HistoryRow:
    """One version in the line that led here."""

    reference: str
    what: str
    created: str
    items: int
    head: bool


@dataclass(frozen=True)
class BucketRow:
    """One bucket."""

    size: str
    pictures: int
    batches: str
    cropped: str
    enlarged: int


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
    history: tuple[HistoryRow, ...]
