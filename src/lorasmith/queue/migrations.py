"""Versions of the tables. A step is only ever added; before the first of several is taken, a backup is written.

The database is an index: a backup that cannot be used is made up for by ``fsck --rebuild``. It keeps the journal.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, inspect, select

from lorasmith.errors import EnvironmentProblem
from lorasmith.files import write_json
from lorasmith.queue import tables
from lorasmith.queue.database import Database

Step = Callable[[Connection], None]


def _make_tables(connection: Connection) -> None:
    tables.metadata.create_all(connection)
    connection.execute(tables.meta.insert().values(key="journal", value=secrets.token_hex(4)))


STEPS: Final[Sequence[Step]] = (_make_tables,)
"""Step n leads from version n to n + 1; version 0 is an empty database."""


def migrate(database: Database, backups: Path, steps: Sequence[Step] = STEPS) -> Path | None:
    """Bring the tables up to date; the backup that was written on the way, if there was anything to lose.

    Raises:
        EnvironmentProblem: a newer lorasmith made them.
    """
    with database.engine.connect() as connection:
        if _refuse_newer(_version(connection), steps) == len(steps):
            return None
    backup = None
    with database.engine.connect().execution_options(writes=True) as connection, connection.begin():
        if database.path is None:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(1835625577)")
        version = _refuse_newer(_version(connection), steps)  # again: another process may have been quicker
        if 0 < version < len(steps):
            backup = back_up(database, backups, f"version-{version}", connection)
        for number in range(version, len(steps)):
            steps[number](connection)
            connection.execute(tables.meta.delete().where(tables.meta.c.key == "version"))
            connection.execute(tables.meta.insert().values(key="version", value=str(number + 1)))
    return backup


def back_up(database: Database, backups: Path, label: str, connection: Connection | None = None) -> Path:
    """Write a copy of the whole database: a database file for SQLite, one JSON document for Postgres.

    Raises:
        OSError: it cannot be written.
    """
    backups.mkdir(parents=True, exist_ok=True)
    if database.path is not None:
        target = _free(backups, label, ".db")
        # a connection of its own: what an open transaction has changed does not belong into the copy
        with closing(sqlite3.connect(database.path)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
        return target
    if connection is None:
        with database.read() as reading:
            return back_up(database, backups, label, reading)
    target = _free(backups, label, ".json")
    content: dict[str, Any] = {}
    for table in tables.metadata.sorted_tables:
        if inspect(connection).has_table(table.name):
            rows = connection.exec_driver_sql(f'SELECT * FROM "{table.name}"')  # noqa: S608  our own table's name
            content[table.name] = [dict(row._mapping) for row in rows]
    write_json(target, json.loads(json.dumps(content, default=str)))
    return target


def _version(connection: Connection) -> int:
    if not inspect(connection).has_table(tables.meta.name):
        return 0
    value = connection.scalar(select(tables.meta.c.value).where(tables.meta.c.key == "version"))
    return int(value or 0)


def _refuse_newer(version: int, steps: Sequence[Step]) -> int:
    if version > len(steps):
        raise EnvironmentProblem(
            f"The queue's database has version {version}, and this lorasmith knows {len(steps)}.",
            "Update lorasmith; a backup of the older version lies in the folder backups of the home.",
        )
    return version


def _free(folder: Path, label: str, suffix: str) -> Path:
    number = 1
    while (path := folder / f"studio-{label}-{number}{suffix}").exists():
        number += 1
    return path
