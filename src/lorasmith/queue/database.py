"""SQLite or Postgres behind the same calls.

SQLite runs with a write-ahead log and ``synchronous = FULL``: what was committed survives a power cut. A transaction
that writes takes the write lock when it begins (``BEGIN IMMEDIATE``), so that it can never fail half way because
somebody else wrote meanwhile. On Postgres writers take an advisory lock instead; it also makes the ids of the
journal appear in the order in which they were given, so that a reader who has seen one has seen all before it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError as BadAddress
from sqlalchemy.exc import DatabaseError, DBAPIError, NoSuchModuleError, OperationalError

from lorasmith.errors import ConfigError, EnvironmentProblem, OutOfDisk

FILE: Final = "studio.db"
PATIENCE: Final = 60.0  # seconds for another process that is writing
_SHORTEST_REST, _LONGEST_REST = 0.0003, 0.02  # seconds between two attempts to begin to write
_LOG_PAGES: Final = 4000
"""Pages of the write-ahead log before somebody's commit carries them over, which takes it tens of milliseconds. With
SQLite's own 1000 that is one commit in a hundred."""
_WRITERS_LOCK: Final = 0x6C6F7261  # any number that is ours
_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smbfs", "smb2", "smb3", "afpfs", "webdav", "fuse.sshfs", "ncpfs"})


class DatabaseBusy(EnvironmentProblem):
    """Another process has had the database locked for longer than anybody waits."""


@dataclass(frozen=True)
class Database:
    """The queue's database. ``path`` is None on Postgres."""

    engine: Engine
    path: Path | None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view."""
        with self._explained(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """The only writer, until the end of the block commits; an error takes everything back."""
        with self._explained(), self.engine.connect().execution_options(writes=True) as connection, connection.begin():
            if self.path is None:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS_LOCK})")
            yield connection

    def close(self) -> None:
        self.engine.dispose()

    def damage(self) -> str:
        """What SQLite's own check finds; empty when nothing, and on Postgres, which checks itself."""
        if self.path is None:
            return ""
        with self.read() as connection:
            found = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check(10)")]
        return "" if found == ["ok"] else "; ".join(found)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as cause:
            raise _in_words(self, cause) from cause


def open_database(home: Path, address: str = "", *, patience: float = PATIENCE) -> Database:
    """The database of a home, with its tables brought up to date.

    Args:
        home: of which ``studio.db`` is the database, unless there is an address.
        address: of a Postgres database, ``postgresql://user@host/name``.
        patience: seconds to wait for another process that is writing.

    Raises:
        ConfigError: the address cannot be used.
        EnvironmentProblem: it cannot be opened, lies on a network disk, or was made by a newer lorasmith.
        OutOfDisk: the disk is full.
    """
    from lorasmith.queue.migrations import migrate

    database = _postgres(address) if address else _sqlite(home / FILE, patience)
    try:
        migrate(database, home / "backups")
    except DBAPIError as cause:
        database.close()
        raise _in_words(database, cause) from cause
    except BaseException:
        database.close()
        raise
    return database


def _sqlite(path: Path, patience: float) -> Database:
    path.parent.mkdir(parents=True, exist_ok=True)
    _refuse_network_disk(path)
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": patience}, pool_size=8, max_overflow=24)

    @event.listens_for(engine, "connect")
    def settle(connection: sqlite3.Connection, record: object) -> None:
        del record
        connection.isolation_level = None  # transactions begin where we say so, below
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get("writes", False):
            _take_write_lock(connection, patience)
        else:
            connection.exec_driver_sql("BEGIN")

    return Database(engine, path)


def _take_write_lock(connection: Connection, patience: float) -> None:
    """Begin to write as soon as nobody else does: SQLite itself looks again only after whole milliseconds."""
    raw: Any = connection.connection.driver_connection
    deadline, rest = time.monotonic() + patience, _SHORTEST_REST
    raw.execute("PRAGMA busy_timeout = 0")
    try:
        while time.monotonic() < deadline:
            try:
                raw.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as busy:
                if busy.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
            time.sleep(rest)
            rest = min(rest * 1.3, _LONGEST_REST)
    finally:
        raw.execute(f"PRAGMA busy_timeout = {int(patience * 1000)}")
    connection.exec_driver_sql("BEGIN IMMEDIATE")  # the refusal, if it is still one, in the library's own words


def _postgres(address: str) -> Database:
    hint = "It looks like postgresql://user@host:5432/name."
    try:
        url = make_url(address)
        if url.get_backend_name() != "postgresql":
            raise ConfigError(f"The queue cannot use a {url.get_backend_name()} database.", hint)
        engine = create_engine(url.set(drivername="postgresql+psycopg"), pool_size=8, pool_pre_ping=True)
    except (BadAddress, NoSuchModuleError) as cause:
        raise ConfigError("The address of the database cannot be read.", hint) from cause
    except ModuleNotFoundError as cause:
        raise EnvironmentProblem(
            "The package psycopg is not installed, and Postgres needs it.",
            'Run `python -m pip install "lorasmith[postgres]"`.',
        ) from cause
    return Database(engine, None)


def _refuse_network_disk(path: Path) -> None:
    """A write-ahead log needs memory that all its users share, which a network disk does not give."""
    place = path.parent.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if place.is_relative_to(part.mountpoint)]
    if mounts and (disk := max(mounts, key=lambda part: len(part.mountpoint))).fstype.lower() in _NETWORK:
        raise EnvironmentProblem(
            f"{place} lies on a network disk ({disk.fstype}), where SQLite loses data.",
            "Choose a home on a disk of this machine, or name a Postgres database.",
        )


def _in_words(database: Database, cause: DBAPIError) -> EnvironmentProblem:
    where = database.path or "The Postgres database"
    code = getattr(cause.orig, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return DatabaseBusy(f"{where} is locked by another process.", "Close what has it open, and try again.")
    if code == sqlite3.SQLITE_FULL:
        return OutOfDisk(f"The disk that holds {where} is full.", "Free some space and try again.")
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return EnvironmentProblem(
            f"{where} is damaged.", "`lorasmith queue fsck --rebuild` makes it again from the job folders."
        )
    said: Any = " ".join(str(cause.orig).split())
    kind = "cannot be reached" if isinstance(cause, OperationalError) else "refused a statement"
    hint = "Mend its permissions." if database.path else "Look whether it runs and who may use it."
    return EnvironmentProblem(f"{where} {kind}: {said}.", hint if isinstance(cause, DatabaseError) else "")
