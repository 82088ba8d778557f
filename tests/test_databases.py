"""SQLite files: rebuilt where they can be, never where they hold what people did."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from lorasmith.captioners.tagging.review import read_verdicts, write_verdicts
from lorasmith.databases import rebuildable
from lorasmith.errors import EnvironmentProblem, InputError


def prepare(database: sqlite3.Connection) -> None:
    database.execute("CREATE TABLE IF NOT EXISTS number (value INTEGER)")


def numbers(path: Path) -> list[int]:
    with rebuildable(path, prepare) as database:
        return [value for (value,) in database.execute("SELECT value FROM number")]


def test_what_can_be_made_again_is_made_anew_where_it_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "home 家" / "numbers.db"
    with rebuildable(path, prepare) as database, database:
        database.execute("INSERT INTO number VALUES (7)")
    assert numbers(path) == [7]
    path.write_bytes(b"no database at all" * 100)
    assert numbers(path) == []


def test_a_place_that_cannot_hold_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "numbers.db").mkdir()
    with pytest.raises(EnvironmentProblem, match=r"numbers\.db cannot be used"):
        numbers(tmp_path / "numbers.db")


def test_verdicts_of_people_are_never_thrown_away(tmp_path: Path) -> None:
    write_verdicts(tmp_path, [("ab" * 32, "cat", True)])
    assert read_verdicts(tmp_path) == {"ab" * 32: {"cat": True}}
    path = tmp_path / "verdicts.sqlite"
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.write_bytes(os.urandom(4096))
    damaged = path.read_bytes()
    with pytest.raises(InputError, match="cannot be read") as refused:
        read_verdicts(tmp_path)
    assert "what people decided" in refused.value.hint and path.read_bytes() == damaged
