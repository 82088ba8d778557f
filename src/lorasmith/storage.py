"""What a home takes of the disk, by what it is for."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PLACES: Final[tuple[tuple[str, str, tuple[str, ...], str], ...]] = (
    ("pictures", "Pictures", ("blobs",), "Every picture once, whatever datasets and versions it is in."),
    ("versions", "Versions of datasets", ("datasets", "pieces"), "Captions and lists; versions share what is alike."),
    ("jobs", "Jobs", ("jobs",), "Checkpoints, previews, painted pictures and logs."),
    ("models", "Models", ("adapters",), "LoRAs with their certificates."),
    ("trash", "Trash", ("adapters/.trash",), "Deleted models, until the trash is emptied."),
    ("bases", "Bases", ("bases",), "Weights that were downloaded; those of other programs lie with them."),
    ("cache", "What can be made again", ("signals.db", "thumbnails.db", "answers", "cache"),
     "Measurements, thumbnails, answers of captioners."),
    ("lent", "Pictures to edit", ("lent",), "Given to be edited, in no dataset; gone a week after nothing names them."),
    ("arriving", "Arriving", ("fetched", "uploads", "incoming", "registering"), "What is not imported yet."),
)  # fmt: skip


@dataclass(frozen=True)
class Share:
    """One kind of content."""

    key: str
    title: str
    bytes: int
    files: int
    about: str


@dataclass(frozen=True)
class Usage:
    """The whole home."""

    home: Path
    shares: tuple[Share, ...]
    """The largest first."""
    free: int
    """Bytes that the disk has left."""

    @property
    def bytes(self) -> int:
        return sum(share.bytes for share in self.shares)


def usage(home: Path) -> Usage:
    """Look at every file of a home once. Links are counted and not followed; what vanishes meanwhile counts nothing."""
    known: set[Path] = set()
    shares: list[Share] = []
    for key, title, places, about in _PLACES:
        size = count = 0
        for place in places:
            beside = [home / inner for _, _, others, _ in _PLACES for inner in others if inner.startswith(f"{place}/")]
            found = _measure(home / place, frozenset(beside))
            size, count = size + found[0], count + found[1]
            known.add(home / place)
        shares.append(Share(key, title, size, count, about))
    size, count = _measure(home, frozenset(known))
    shares.append(Share("rest", "Everything else", size, count, "The queue, settings, and what lies between."))
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    order = sorted(shares, key=lambda share: share.bytes, reverse=True)
    return Usage(home, tuple(order), shutil.disk_usage(existing).free)


def _measure(place: Path, passed_over: frozenset[Path]) -> tuple[int, int]:
    """Bytes and number of the files under a place; a database is counted with its journal beside it."""
    if place.suffix == ".db":
        parts = [part for part in place.parent.glob(f"{place.name}*") if part.is_file()]
        return sum(part.stat().st_size for part in parts), len(parts)
    size = count = 0
    pending = [place]
    while pending:
        folder = pending.pop()
        try:
            entries = list(os.scandir(folder))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        for entry in entries:
            path = Path(entry.path)
            if path in passed_over or any(
                path.name.startswith(f"{one.name}-") and one.suffix == ".db" for one in passed_over
            ):
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                else:
                    size, count = size + entry.stat(follow_symlinks=False).st_size, count + 1
            except FileNotFoundError:
                continue
    return size, count
