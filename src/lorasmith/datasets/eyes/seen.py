"""What a trainer makes of a picture and its caption, as values; the differences to what is meant, counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from lorasmith.datasets.eyes import Note, Outcome, Severity
from lorasmith.datasets.eyes.fitting import Fit
from lorasmith.datasets.eyes.picture_file import Reading

_TOLD: Final = 4  # frames by number, before the last
_ORDER: Final = ("info", "warning", "error")


@dataclass(frozen=True)
class Seen:
    """One picture and its caption through the eye of one trainer."""

    item: str
    trainer: str
    outcome: Outcome
    path: Path
    """The file the trainer would open."""
    size: tuple[int, int]
    """Width and height on disk, before any turning; (0, 0) when it cannot be read."""
    orientation: int
    """EXIF orientation on disk, 1 to 8."""
    reading: Reading | None
    """How its pixels are decoded; None when they are not."""
    fit: Fit | None
    """Crop box in the decoded picture's pixels, target size, scale; None when it is not trained."""
    texts: tuple[str, ...]
    """What the text encoder really reads; several when one is drawn at each exposure."""
    cut: tuple[str, ...]
    """What is cut off each text, empty strings mostly."""
    differences: tuple[Note, ...]
    """The difference to what is meant, worst first."""

    frames: tuple[tuple[int, ...], ...] = ()
    """Of each window of a clip the frames that are shown, from 0; none for pictures."""
    mask: Path | None = None
    """The file whose black parts the trainer does not learn from; None when it learns from all of the picture."""

    @property
    def frames_in_words(self) -> str:
        """Which frames the first window shows, counted from 1: ``1 to 33``, ``1, 3, 5 ... 65``; empty for pictures."""
        if not self.frames:
            return ""
        window = [number + 1 for number in self.frames[0]]
        if len(window) == 1 or window == list(range(window[0], window[-1] + 1)):
            return f"{window[0]} to {window[-1]}" if len(window) > 1 else str(window[0])
        few = ", ".join(map(str, window[:_TOLD]))
        return few if len(window) <= _TOLD else f"{few} ... {window[-1]}"

    @property
    def severity(self) -> Severity | None:
        """The worst of the differences; None when it sees what is meant."""
        return self.differences[0].severity if self.differences else None

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values, the derived figures too."""
        fit = None if self.fit is None else {"scale": self.fit.scale, "crop_loss": self.fit.crop_loss}
        plain = asdict(self) | {"path": str(self.path), "mask": self.mask and str(self.mask), "severity": self.severity}
        return plain | {"fit": None if fit is None else plain["fit"] | fit}


@dataclass(frozen=True)
class Tally:
    """One kind of difference over many pictures."""

    id: str
    severity: Severity
    """The worst it is anywhere."""
    items: tuple[str, ...]
    example: str
    """The sentence of the first picture of that severity."""


def tally(found: Sequence[Seen]) -> list[Tally]:
    """Which differences there are, the worst first and then those of most pictures."""
    notes: dict[str, list[tuple[str, Note]]] = {}
    for one in found:
        for note in one.differences:
            notes.setdefault(note.id, []).append((one.item, note))
    tallies = []
    for id, entries in notes.items():
        worst = max(entries, key=lambda entry: _ORDER.index(entry[1].severity))[1]
        names = tuple(dict.fromkeys(item for item, _ in entries))
        tallies.append(Tally(id, worst.severity, names, worst.sentence))
    return sorted(tallies, key=lambda one: (-_ORDER.index(one.severity), -len(one.items), one.id))


def worst_first(notes: tuple[Note, ...]) -> tuple[Note, ...]:
    """The notes by their severity; those of one stay in their order."""
    return tuple(sorted(notes, key=lambda note: -_ORDER.index(note.severity)))
