"""Several taggers as one: their probabilities brought together tag by tag.

Tags are the same when they are spelled the same, whatever the case, blanks and underscores (faces excepted). A tagger
that does not know a tag, or never saw the picture, has no say in it; one that knows it and gave it less than is kept
counts as 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from lorasmith.captioners.tagging.kept import FLOOR, Rows, unpack
from lorasmith.captioners.tagging.layouts import Labels
from lorasmith.datasets.captions.spelling import same_spelling
from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Merge = Literal["mean", "max"]


@dataclass(frozen=True)
class Voice:
    """What one tagger says of some pictures."""

    name: str
    labels: Labels
    packed: Sequence[bytes | None]
    """One per picture, all voices in the same order; None for a picture that it never saw."""
    general: float
    """Its own default threshold."""
    character: float
    weight: float = 1.0
    """In a mean, above 0."""


@dataclass(frozen=True)
class Merged:
    """Several voices as one."""

    labels: Labels
    rows: Rows
    general: float
    character: float


def merge(voices: Sequence[Voice], how: Merge = "mean") -> Merged:
    """One voice from several.

    Args:
        voices: of the same pictures.
        how: ``mean``, weighted, for what most agree on; ``max`` for what any of them sees.

    Raises:
        ConfigError: no voice, or a weight that is none.
    """
    if not voices:
        raise ConfigError("No tagger has looked at these pictures.", "Run `lorasmith caption` with one first.")
    if any(not 0 < voice.weight < float("inf") for voice in voices):
        raise ConfigError("A tagger's weight must be above 0.", "Leave a tagger out that should not count.")
    if len(voices) == 1:
        (only,) = voices
        return Merged(only.labels, _rows(only), only.general, only.character)
    labels, places = _union(voices)
    width, count = len(labels), len(voices[0].packed)
    keys, values, weights = [], [], np.zeros(0, np.float64)
    total = np.zeros((len(voices), width), np.float64)
    seen = np.zeros((len(voices), count), bool)
    for number, (voice, place) in enumerate(zip(voices, places, strict=True)):
        rows = _rows(voice)
        keys.append(rows.row * width + place[rows.index])
        values.append(rows.value.astype(np.float64) * (voice.weight if how == "mean" else 1))
        total[number, place] = voice.weight
        seen[number] = [packed is not None for packed in voice.packed]
    flat, value = np.concatenate(keys), np.concatenate(values)
    order = np.argsort(flat, kind="stable")
    found, begins = np.unique(flat[order], return_index=True)
    row, index = np.divmod(found, width)
    if how == "max":
        together = np.maximum.reduceat(value[order], begins) if len(found) else value
    else:
        weights = np.einsum("vn,vn->n", total[:, index], seen[:, row].astype(np.float64))
        together = (np.add.reduceat(value[order], begins) if len(found) else value) / weights
    keep = together >= FLOOR
    keep |= np.array([labels[n][1] == "rating" for n in index.tolist()], dtype=bool)
    merged = Rows(row[keep], index[keep], together[keep].astype(np.float32), count)
    return Merged(labels, merged, _usual(voices, "general", how), _usual(voices, "character", how))


def _rows(voice: Voice) -> Rows:
    return unpack([packed or b"" for packed in voice.packed])


def _union(voices: Sequence[Voice]) -> tuple[Labels, list[NDArray[np.int64]]]:
    """All tags, those of the first voice first, and for each voice where its tags are among them."""
    known: dict[str, int] = {}
    labels: list[tuple[str, str]] = []
    places = []
    for voice in voices:
        mine = []
        for name, category in voice.labels:
            key = f"{category == 'rating'}{same_spelling(name)}"  # "general" is a rating, and may be a tag
            if key not in known:
                known[key] = len(labels)
                labels.append((name, category))
            mine.append(known[key])
        places.append(np.array(mine, dtype=np.int64))
    return tuple(labels), places


def _usual(voices: Sequence[Voice], which: Literal["general", "character"], how: Merge) -> float:
    thresholds = np.array([getattr(voice, which) for voice in voices])
    if how == "max":
        return float(thresholds.max())
    return float(np.average(thresholds, weights=[voice.weight for voice in voices]))
