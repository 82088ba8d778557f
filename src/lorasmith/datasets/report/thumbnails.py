"""Small pictures for the page, kept in ``<home>/thumbnails.db`` so that a second page of the same pictures is quick.

The file can be deleted at any time: rows are keyed by the SHA-256 of the picture, the side and the way of encoding.
"""

from __future__ import annotations

import base64
import io
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from PIL import Image

from lorasmith.databases import rebuildable
from lorasmith.datasets.report.record import Thumbnail

Progress = Callable[[int, int], None]
BlobPath = Callable[[str], Path]

SIDES: Final = (256, 192, 160, 128, 112, 96, 80, 64)
"""Pixels of the longer side, from which ``fitting_side`` chooses."""
_ALL_BYTES: Final = 14_000_000  # of WebP in one page; base64 adds a third
_EACH_BYTES: Final = 12_000
_SAMPLE: Final = 48  # pictures that tell how large the others will be
_ENCODING: Final = 1  # raise it whenever the bytes made below change
_QUALITY: Final = 58
_THREADS: Final = 4
_CHUNK: Final = 64
_ASKED_AT_ONCE: Final = 500
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS thumbnails (
    sha256 TEXT NOT NULL, side INTEGER NOT NULL, encoding INTEGER NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, webp BLOB NOT NULL, PRIMARY KEY (sha256, side, encoding)
) WITHOUT ROWID"""


class ThumbnailStore:
    """The thumbnails of a home. Any number of processes may use one home at once."""

    def __init__(self, home: Path) -> None:
        self.path = Path(home) / "thumbnails.db"

    def of(
        self, shas: Sequence[str], blob_path: BlobPath, side: int, *, progress: Progress | None = None
    ) -> dict[str, Thumbnail]:
        """Thumbnails by SHA-256; a picture that is missing or damaged, and was never seen before, has none.

        Args:
            shas: of the pictures; repetitions count once.
            blob_path: where the bytes of a SHA-256 lie.
            side: pixels of the longer side; smaller pictures stay as they are.
            progress: called with (done, all) after every few. An exception it raises stops the work; what was made so
                far is kept.

        Raises:
            OutOfDisk, EnvironmentProblem: the home cannot be written to.
        """
        wanted = list(dict.fromkeys(shas))
        with rebuildable(self.path, _prepare) as database:
            found = _read(database, wanted, side)
            missing = [sha for sha in wanted if sha not in found]
            done = len(found)
            with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), thread_name_prefix="thumbnail") as pool:
                for chunk in _chunks(missing):
                    made = list(pool.map(lambda sha: thumbnail(blob_path(sha), side), chunk))
                    fresh = {sha: one for sha, one in zip(chunk, made, strict=True) if one is not None}
                    _write(database, fresh, side)
                    found |= fresh
                    done += len(chunk)
                    if progress is not None:
                        progress(done, len(wanted))
        return found

    def fitting_side(self, shas: Sequence[str], blob_path: BlobPath) -> int:
        """The largest of ``SIDES`` with which all of them fit into one page, judged by an even choice of them."""
        wanted = list(dict.fromkeys(shas))
        chosen = wanted[:: max(1, len(wanted) // _SAMPLE)][:_SAMPLE]
        most = min(_EACH_BYTES, _ALL_BYTES // max(1, len(wanted)))
        for side in SIDES[:-1]:
            sizes = [len(one.data) * 3 // 4 for one in self.of(chosen, blob_path, side).values()]
            if sum(sizes) <= most * len(sizes):
                return side
        return SIDES[-1]


def thumbnail(path: Path, side: int) -> Thumbnail | None:
    """One thumbnail; None when the file is missing or damaged."""
    try:
        with Image.open(path) as image:
            image.draft(None, (side, side))
            image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
            return _encoded(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def reduced(image: Image.Image, side: int) -> Thumbnail:
    """One thumbnail of a picture that is open already; its longer side gets at most so many pixels."""
    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return _encoded(small)


def _encoded(image: Image.Image) -> Thumbnail:
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=_QUALITY, method=3)
    return Thumbnail(base64.b64encode(stream.getvalue()).decode("ascii"), image.width, image.height)


def _prepare(database: sqlite3.Connection) -> None:
    database.execute(_TABLE)


def _read(database: sqlite3.Connection, shas: Sequence[str], side: int) -> dict[str, Thumbnail]:
    found = {}
    for at in range(0, len(shas), _ASKED_AT_ONCE):
        some = shas[at : at + _ASKED_AT_ONCE]
        marks = ",".join("?" * len(some))
        query = f"SELECT sha256, width, height, webp FROM thumbnails WHERE side = ? AND encoding = ? AND sha256 IN ({marks})"  # noqa: S608, E501
        for sha, width, height, webp in database.execute(query, (side, _ENCODING, *some)):
            found[sha] = Thumbnail(base64.b64encode(webp).decode("ascii"), width, height)
    return found


def _write(database: sqlite3.Connection, fresh: dict[str, Thumbnail], side: int) -> None:
    rows = [(sha, side, _ENCODING, t.width, t.height, base64.b64decode(t.data)) for sha, t in fresh.items()]
    with database:
        database.executemany("INSERT OR REPLACE INTO thumbnails VALUES (?, ?, ?, ?, ?, ?)", rows)


def _chunks(shas: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(shas), _CHUNK):
        yield shas[start : start + _CHUNK]
