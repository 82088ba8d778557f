"""What the tour saw: everything the report shows, and nothing it would have to compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

    from lorasmith.evaluation.verdict import Verdict


@dataclass(frozen=True)
class Station:
    """One step of the straight line. ``seconds`` is wall clock."""

    title: str
    detail: str
    seconds: float


@dataclass(frozen=True)
class LedgerRow:
    """The fate of one file, with its picture if it became one."""

    path: str
    fate: str  # taken, converted, left_out
    rule: str
    detail: str
    thumbnail: Image | None = None


@dataclass(frozen=True)
class CaptionRow:
    """One picture's caption as it came, as the captioner wrote it, and as it was trained."""

    name: str
    thumbnail: Image
    came: str
    tagged: str
    trained: str


@dataclass(frozen=True)
class FindingRow:
    """One thing the checks said before training."""

    severity: str  # error, warning, info
    message: str
    fix: str


@dataclass(frozen=True)
class Curves:
    """What training measured: (step, value) pairs, and moments worth a mark as (step, words)."""

    loss: tuple[tuple[int, float], ...]
    validation: tuple[tuple[int, float], ...] = ()
    marks: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class PreviewRow:
    """The previews of one moment of training."""

    step: int
    pictures: tuple[tuple[str, Image], ...]  # (prompt, picture)


@dataclass(frozen=True)
class Judged:
    """A generated picture and what the detector says of it."""

    picture: Image
    prompt: str
    seed: int
    found: bool


@dataclass(frozen=True)
class Record:
    """One tour. The three sets of pictures stand in the same order: the n-th share seed and scene."""

    subject: str
    trigger_word: str
    created: str
    verdict: Verdict
    stations: tuple[Station, ...]
    peak_memory: int  # bytes, of the whole process family; 0 when it was not measured
    ledger: tuple[LedgerRow, ...]
    findings: tuple[FindingRow, ...]
    captions: tuple[CaptionRow, ...]
    curves: Curves
    previews: tuple[PreviewRow, ...]
    with_trigger: tuple[Judged, ...]
    without_trigger: tuple[Judged, ...]
    base: tuple[Judged, ...]
    certificate: Mapping[str, Any]
    config: str  # the resolved one, YAML
    machine: tuple[tuple[str, str], ...]
    commands: tuple[str, ...]
    adapter_file: str = "adapter.safetensors"

    @property
    def seconds(self) -> float:
        return sum(station.seconds for station in self.stations)
