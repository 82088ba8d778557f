"""SQLite files that several processes use at once and that a kill leaves whole."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from lorasmith.errors import EnvironmentProblem, OutOfDisk

_WAIT: Final = 60.0  # seconds for another process that is writing
_REST: Final = 0.02
_NO_DATABASE: Final = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
Prepare = Callable[[sqlite3.Connection], object]
"""Makes the tables that are not there."""


def connect(path: Path, prepare: Prepare = lambda database: None) -> sqlite3.Connection:
    """A database with a write-ahead log; the caller closes it.

    Raises:
        sqlite3.Error: it is none, or cannot be used.
    """
    database = sqlite3.connect(path, timeout=_WAIT)
    try:
        _write_ahead(database)
        database.execute("PRAGMA synchronous = NORMAL")
        prepare(database)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _write_ahead(database: sqlite3.Connection) -> None:
    """Switch the log on. Only the first connection of a new file does so, and SQLite lets the others that try at the
    same moment fail in place of waiting."""
    for waited in range(int(_WAIT / _REST) + 1):
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as cause:
            if getattr(cause, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY or waited * _REST >= _WAIT:
                raise
            time.sleep(_REST)


@contextmanager
def rebuildable(path: Path, prepare: Prepare) -> Iterator[sqlite3.Connection]:
    """A database that holds nothing but what can be made again: where it is damaged it is made anew.

    Raises:
        OutOfDisk, EnvironmentProblem: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            database = connect(path, prepare)
        except sqlite3.DatabaseError as cause:
            if getattr(cause, "sqlite_errorcode", 0) not in _NO_DATABASE:
                raise
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            database = connect(path, prepare)
        with closing(database):
            yield database
    except sqlite3.OperationalError as cause:
        if getattr(cause, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
            raise OutOfDisk(f"The disk that holds {path} is full.", "Free some space and try again.") from cause
        message = f"{path} cannot be used: {cause}."
        raise EnvironmentProblem(message, "Mend its permissions, or delete it; it is made again.") from cause
