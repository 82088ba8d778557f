"""Answers kept by picture and captioner, so that the same question is never put twice.

``<home>/answers/<key>.sqlite`` holds what one ``Identity`` said, by SHA-256 of the picture: the caption, or what the
captioner wants kept in its place, such as a tagger's probabilities. All of it can be deleted at any time; the pictures
are then looked at anew.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from lorasmith.captioners import Answer, Identity
from lorasmith.databases import connect
from lorasmith.errors import InputError

FOLDER: Final = "answers"
_AT_ONCE: Final = 900  # host parameters that every SQLite takes
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS about (identity TEXT NOT NULL, legend TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS answer (image BLOB, line INTEGER, caption TEXT NOT NULL, kept BLOB NOT NULL,
    PRIMARY KEY (image, line)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Source:
    """Who gave the answers of one store."""

    path: Path
    identity: Identity
    legend: Mapping[str, Any]


class Answers:
    """The answers of one identity."""

    def __init__(self, home: Path, identity: Identity, legend: Mapping[str, Any] = MappingProxyType({})) -> None:
        self._path = home / FOLDER / f"{identity.key[:40]}.sqlite"
        self._identity, self._legend = identity, dict(legend)

    def get(self, images: Sequence[str], line: int = 0) -> dict[str, Answer]:
        """What is known of these pictures, by SHA-256; ``Answer.kept`` or ``Answer.caption`` is filled."""
        if not self._path.exists():
            return {}
        with closing(open_database(self._path)) as database:
            return {image: Answer(caption, (), kept) for image, caption, kept in rows(database, images, line)}

    def put(self, answers: Mapping[str, Answer], line: int = 0) -> None:
        """Keep answers, by SHA-256 of the picture; on disk when it returns."""
        if not answers:
            return
        fresh = not self._path.exists()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with closing(open_database(self._path)) as database, database:
            if fresh:
                database.executescript(_TABLES)
                identity = json.dumps(asdict(self._identity), default=str)
                database.execute(
                    "INSERT INTO about SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM about)",
                    (identity, json.dumps(self._legend)),
                )
            database.executemany(
                "INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?)",
                [
                    (bytes.fromhex(image), line, "" if answer.kept else answer.caption, answer.kept)
                    for image, answer in answers.items()
                ],
            )


def sources(home: Path) -> Iterator[Source]:
    """Everybody whose answers are kept, in order of the newest answer last."""
    files = sorted((home / FOLDER).glob("*.sqlite"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    for path in files:
        with closing(open_database(path)) as database:
            known = database.execute("SELECT name FROM sqlite_master WHERE name = 'about'").fetchone()
            row = database.execute("SELECT identity, legend FROM about").fetchone() if known else None
        if row is not None:
            yield Source(path, Identity(**json.loads(row[0])), json.loads(row[1]))


def kept_of(source: Source, images: Sequence[str]) -> dict[str, bytes]:
    """What a source kept of these pictures, by SHA-256; pictures that it never saw are missing."""
    with closing(open_database(source.path)) as database:
        return {image: kept for image, _, kept in rows(database, images, 0) if kept}


def rows(database: sqlite3.Connection, images: Sequence[str], line: int) -> Iterator[tuple[str, str, bytes]]:
    """Picture, caption and what was kept, of the pictures that are known."""
    wanted = list(dict.fromkeys(images))
    for start in range(0, len(wanted), _AT_ONCE):
        some = [bytes.fromhex(image) for image in wanted[start : start + _AT_ONCE]]
        marks = ",".join("?" * len(some))
        found = database.execute(
            f"SELECT image, caption, kept FROM answer WHERE image IN ({marks}) AND line = ?",  # noqa: S608  only marks
            (*some, line),
        )
        for image, caption, kept in found:
            yield image.hex(), caption, kept


def open_database(path: Path, mend: str = "Delete that file; the pictures are looked at anew.") -> sqlite3.Connection:
    """A database that several processes may use and that survives a kill.

    Raises:
        InputError: the file is damaged; ``mend`` is what to do then.
    """
    try:
        return connect(path)
    except sqlite3.DatabaseError as cause:
        raise InputError(f"What is kept in {path} cannot be read: {cause}.", mend) from cause
