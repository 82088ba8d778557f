"""The line of versions that led to one, and what the last of them changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lorasmith.datasets.captions.worddiff import word_diff
from lorasmith.datasets.history import VersionDiff, diff
from lorasmith.datasets.report.record import CaptionRow, HistoryRow
from lorasmith.errors import DatasetError

if TYPE_CHECKING:
    from lorasmith.datasets.manifest import DatasetVersion
    from lorasmith.datasets.store import DatasetStore

_COMPARED: Final = 6  # versions, the newest; each has to be read
_CAPTIONS: Final = 3
_LONGEST: Final = 4_000  # letters of a caption that is compared word by word


def past(version: DatasetVersion, store: DatasetStore) -> tuple[HistoryRow, ...]:
    """The version and its ancestors, the newest first. Other branches and what was undone are not among them."""
    entries = {entry.number: entry for entry in store.history(version.dataset)}
    rows: list[HistoryRow] = []
    number: int | None = version.number
    after: DatasetVersion | None = version
    while number is not None and number in entries:
        entry = entries[number]
        before = _read(store, version.dataset, entry.parent) if len(rows) < _COMPARED else None
        changes = diff(before, after) if before is not None and after is not None else None
        rows.append(
            HistoryRow(
                reference=f"{version.dataset}@{number}",
                what=entry.words,
                created=entry.created,
                items=entry.count,
                changed=tuple(changes.counts().items()) if changes is not None else (),
                captions=_captions(changes) if changes is not None else (),
            )
        )
        number, after = entry.parent, before
    return tuple(rows)


def _read(store: DatasetStore, dataset: str, number: int | None) -> DatasetVersion | None:
    """A version; None when it is damaged, as the history says of it."""
    if number is None:
        return None
    try:
        return store.get(f"{dataset}@{number}")
    except DatasetError:
        return None


def _captions(changes: VersionDiff) -> tuple[CaptionRow, ...]:
    short = [one for one in changes.captions if max(len(one.before), len(one.after)) <= _LONGEST]
    return tuple(CaptionRow(one.name, tuple(word_diff(one.before, one.after))) for one in short[:_CAPTIONS])
