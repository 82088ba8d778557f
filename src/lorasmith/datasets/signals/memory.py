"""What was measured, kept in ``<home>/signals.db``, so that a picture is decoded once in its life.

The file can be deleted at any time: it holds nothing that the pictures do not. Rows are keyed by the picture's
SHA-256 and the version of the algorithm, so neither an edit nor an update can bring back a stale number.
"""

from __future__ import annotations

import dataclasses
import os
import sqlite3
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Final

from lorasmith.databases import rebuildable
from lorasmith.datasets.manifest import Item
from lorasmith.datasets.signals.measuring import jpeg_quality_of, measure
from lorasmith.datasets.signals.values import ALGORITHM, Signals
from lorasmith.errors import DatasetError

Progress = Callable[[int, int, str], None]
"""Pictures done, pictures in all, SHA-256 of the last one. An exception it raises stops the work."""
Unreadable = Callable[[str, DatasetError], None]
"""Called with the SHA-256 of a picture that cannot be measured, and why."""
BlobPath = Callable[[str], Path]

_PLAIN: Final = tuple(
    field.name for field in dataclasses.fields(Signals) if field.name not in ("borders", "phash", "phash_orientations")
)
_COLUMNS: Final = (*_PLAIN, "borders", "hashes")
_TABLE: Final = f"""
CREATE TABLE IF NOT EXISTS signals (
    sha256 TEXT NOT NULL, algorithm INTEGER NOT NULL, {", ".join(_COLUMNS)}, PRIMARY KEY (sha256, algorithm)
) WITHOUT ROWID"""
_BORDERS: Final = struct.Struct("<4I")
_HASHES: Final = struct.Struct("<8Q")
_ASKED_AT_ONCE: Final = 500  # SQLite takes 999 parameters and more, depending on how it was built
_SAVED_AT_ONCE: Final = 32
_MOST_WORKERS: Final = 8


class SignalStore:
    """The signals of all pictures of a home. Any number of processes may use one home at once."""

    def __init__(self, home: Path) -> None:
        self.path = Path(home) / "signals.db"

    def of(
        self,
        shas: Iterable[str],
        blob_path: BlobPath,
        *,
        progress: Progress | None = None,
        unreadable: Unreadable | None = None,
        workers: int | None = None,
    ) -> dict[str, Signals]:
        """The signals of pictures by SHA-256, in the order asked for; what is not known yet is measured, in threads.

        When it is stopped, by an exception of ``progress`` or Ctrl-C, what was measured so far is kept.

        Args:
            shas: of the pictures; repetitions count once.
            blob_path: where the bytes of a SHA-256 lie, ``DatasetStore.blob_path``.
            progress: called in the calling thread for each picture measured; known ones count as done before.
            unreadable: called for each picture that is missing or damaged, which is then not in the result; without
                it, the first of them is raised once the others are measured.
            workers: threads; left out, one for each processor, at most 8.

        Raises:
            DatasetError: a picture is missing or damaged and ``unreadable`` is not given.
            OutOfDisk, EnvironmentProblem: the home cannot be written to.
        """
        wanted = list(dict.fromkeys(shas))
        failures: list[DatasetError] = []
        with rebuildable(self.path, _prepare) as database:
            found = _read(database, wanted)
            missing = [sha for sha in wanted if sha not in found]
            fresh: list[tuple[str, Signals]] = []
            try:
                for done, (sha, result) in enumerate(_measured(missing, blob_path, workers), len(found) + 1):
                    if isinstance(result, Signals):
                        found[sha] = result
                        fresh.append((sha, result))
                    elif unreadable is not None:
                        unreadable(sha, result)
                    else:
                        failures.append(result)
                    if len(fresh) >= _SAVED_AT_ONCE:
                        _write(database, fresh)
                        fresh.clear()
                    if progress is not None:
                        progress(done, len(wanted), sha)
            finally:
                _write(database, fresh)
        if failures:
            raise failures[0]
        return {sha: found[sha] for sha in wanted if sha in found}

    def of_items(
        self,
        items: Iterable[Item],
        blob_path: BlobPath,
        *,
        progress: Progress | None = None,
        unreadable: Unreadable | None = None,
    ) -> dict[str, Signals]:
        """The signals of items by name, with the JPEG quality of the file as it came.

        A picture that was turned or converted is stored as PNG; how strongly its original was compressed is read from
        the original's header.
        """
        listed = list(items)
        by_sha = self.of((item.image for item in listed), blob_path, progress=progress, unreadable=unreadable)
        found = {}
        for item in listed:
            signals = by_sha.get(item.image)
            if signals is None:
                continue
            if item.original != item.image and blob_path(item.original).is_file():
                quality = _quality(blob_path(item.original))
                signals = dataclasses.replace(signals, jpeg_quality=quality)
            found[item.name] = signals
        return found

    def known(self) -> int:
        """How many pictures have been measured."""
        with rebuildable(self.path, _prepare) as database:
            (number,) = database.execute("SELECT count(*) FROM signals WHERE algorithm = ?", (ALGORITHM,)).fetchone()
            return int(number)

    def forget(self, shas: Iterable[str]) -> None:
        """Drop what is known of pictures that are gone."""
        with rebuildable(self.path, _prepare) as database, database:
            database.executemany("DELETE FROM signals WHERE sha256 = ?", ((sha,) for sha in shas))


def _prepare(database: sqlite3.Connection) -> None:
    database.execute(_TABLE)
    names = {row[1] for row in database.execute("PRAGMA table_info(signals)")}
    if names != {"sha256", "algorithm", *_COLUMNS}:  # written by a version that measured other things
        with database:
            database.execute("DROP TABLE signals")
            database.execute(_TABLE)


def _read(database: sqlite3.Connection, shas: Sequence[str]) -> dict[str, Signals]:
    found = {}
    for at in range(0, len(shas), _ASKED_AT_ONCE):
        some = shas[at : at + _ASKED_AT_ONCE]
        marks = ",".join("?" * len(some))
        query = f"SELECT sha256, {', '.join(_COLUMNS)} FROM signals WHERE algorithm = ? AND sha256 IN ({marks})"  # noqa: S608
        for sha, *values in database.execute(query, (ALGORITHM, *some)):
            found[sha] = _signals(values)
    return found


def _signals(values: Sequence[Any]) -> Signals:
    *plain, borders, hashes = values
    left, top, right, bottom = _BORDERS.unpack(borders)
    turned = _HASHES.unpack(hashes)
    named = dict(zip(_PLAIN, plain, strict=True))
    named["is_gray"] = bool(named["is_gray"])
    return Signals(**named, borders=(left, top, right, bottom), phash=turned[0], phash_orientations=turned)


def _write(database: sqlite3.Connection, fresh: Sequence[tuple[str, Signals]]) -> None:
    if not fresh:
        return
    rows = [
        (
            sha,
            ALGORITHM,
            *(getattr(signals, name) for name in _PLAIN),
            _BORDERS.pack(*signals.borders),
            _HASHES.pack(*signals.phash_orientations),
        )
        for sha, signals in fresh
    ]
    marks = ",".join("?" * (len(_COLUMNS) + 2))
    with database:
        database.executemany(f"INSERT OR REPLACE INTO signals VALUES ({marks})", rows)  # noqa: S608


def _measured(
    shas: Sequence[str], blob_path: BlobPath, workers: int | None
) -> Iterator[tuple[str, Signals | DatasetError]]:
    """In the order given. Few are under way at once, so that memory does not grow with the set."""
    if not shas:
        return
    threads = workers or min(_MOST_WORKERS, os.cpu_count() or 1)
    left = iter(shas)
    with ThreadPoolExecutor(threads, thread_name_prefix="signals") as pool:

        def submitted(sha: str) -> tuple[str, Future[Signals | DatasetError]]:
            return sha, pool.submit(_measure_one, sha, blob_path)

        under_way = deque(submitted(sha) for sha in islice(left, 2 * threads))
        try:
            while under_way:
                sha, future = under_way.popleft()
                yield sha, future.result()
                under_way.extend(submitted(following) for following in islice(left, 1))
        finally:
            for _, future in under_way:
                future.cancel()


def _measure_one(sha: str, blob_path: BlobPath) -> Signals | DatasetError:
    try:
        return measure(blob_path(sha))
    except DatasetError as error:
        return error


def _quality(path: Path) -> int | None:
    try:
        return jpeg_quality_of(path)
    except DatasetError:  # formats that only an extra reads; their pictures are measured from the converted copy
        return None
