"""What the tour saw: everything the report shows, and nothing it would have to compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

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
class Shown:
    """A picture with its name in the dataset."""

    name: str
    picture: Image


@dataclass(frozen=True)
class FindingRow:
    """One thing the checks said, with a few of the pictures or files it is about."""

    severity: str  # error, warning, info
    message: str
    fix: str
    id: str = ""
    why: str = ""
    source: str = ""
    repair: str = ""
    """What its one operation does, in words; empty when there is none."""
    pictures: tuple[Shown, ...] = ()
    files: tuple[str, ...] = ()
    more: int = 0
    """How many it is about that are not named here."""


@dataclass(frozen=True)
class PartRow:
    """One part of a health score."""

    name: str
    points: float
    most: float
    sentence: str


@dataclass(frozen=True)
class Checkup:
    """One pass over the checks."""

    reference: str  # name@number
    score: int  # 0 to 100
    parts: tuple[PartRow, ...]
    findings: tuple[FindingRow, ...]
    ran: int
    not_run: tuple[tuple[str, str], ...] = ()  # (id, reason)


@dataclass(frozen=True)
class GroupRow:
    """Pictures that show the same, the best of them first."""

    kind: str  # bytes, pixels, near, turned
    bits: int
    """By how many of 64 bits they differ at most."""
    reason: str
    """Why the first is the best."""
    members: tuple[Shown, ...]
    left_out: tuple[str, ...]


Step = tuple[Literal["same", "removed", "added"], str]


@dataclass(frozen=True)
class EditExample:
    """One caption's way through an edit, word by word."""

    name: str
    picture: Image
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class EditRow:
    """One operation on all captions, as its preview said it."""

    words: str
    scope: str
    changed: int
    unchanged: int
    tags: tuple[tuple[str, int, int], ...]
    """Tags whose number changes: (tag, before, afterwards), the largest changes first."""
    examples: tuple[EditExample, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class VersionRow:
    """One version of the dataset. ``fingerprint`` is over everything that training sees."""

    number: int
    words: str
    pictures: int
    fingerprint: str
    is_trained: bool


@dataclass(frozen=True)
class UndoRow:
    """What the last version was, what stood after one step back, and after the step forward again."""

    before: VersionRow
    undone: VersionRow
    redone: VersionRow

    @property
    def is_exact(self) -> bool:
        return self.before.fingerprint == self.redone.fingerprint != self.undone.fingerprint


@dataclass(frozen=True)
class EyeRow:
    """One file as it is meant, and as trainers would see it that were given the files as they came."""

    name: str
    meant: Image
    seen: Image
    sentence: str
    trainers: tuple[str, ...]
    """Those that would see it so."""
    others: tuple[str, ...]


@dataclass(frozen=True)
class Curation:
    """What was done between import and training."""

    before: Checkup
    after: Checkup
    eye: EyeRow | None
    groups: tuple[GroupRow, ...]
    edits: tuple[EditRow, ...]
    versions: tuple[VersionRow, ...]
    undo: UndoRow


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
    captions: tuple[CaptionRow, ...]
    curation: Curation
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
