"""Answers that were given under an ``Idempotency-Key``, for a day, in a small database of the home."""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.responses import JSONResponse, Response

from lorasmith.databases import rebuildable

_KEPT_FOR: Final = 24 * 3600.0  # seconds


@dataclass(frozen=True)
class Known:
    """What is known of a key."""

    request: str
    """Hash of what was asked under it."""
    status: int | None
    """None while it is being answered, or for ever if the server died."""
    headers: Mapping[str, str]
    body: bytes
    here: bool
    """Whether this server is at it."""

    def replay(self) -> Response:
        """The answer once more."""
        if self.status is None:
            sentence = "This request is being answered." if self.here else "Whether this was carried out is not known."
            hint = "Ask again in a moment." if self.here else "Look whether it was done; if not, take a new key."
            return JSONResponse({"error": sentence, "hint": hint, "kind": "JobError"}, 409)
        return Response(self.body, self.status, {**self.headers, "idempotency-replayed": "true"})


class Answers:
    """The keys of a home."""

    def __init__(self, home: Path) -> None:
        self._path = home / "web-answers.db"
        self._server = secrets.token_hex(8)
        self._lock = threading.Lock()

    def begin(self, actor: str, key: str, request: str) -> Known | None:
        """Take a key; None when it was free, else what is known of it."""
        now = time.time()
        with self._lock, rebuildable(self._path, _prepare) as database, database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("DELETE FROM answer WHERE begun < ?", (now - _KEPT_FOR,))
            row = database.execute(
                "SELECT request, status, headers, body, server FROM answer WHERE actor = ? AND key = ?", (actor, key)
            ).fetchone()
            if row is None:
                database.execute(
                    "INSERT INTO answer (actor, key, request, server, begun) VALUES (?, ?, ?, ?, ?)",
                    (actor, key, request, self._server, now),
                )
                return None
        return Known(row[0], row[1], json.loads(row[2]), row[3], row[4] == self._server)

    def end(self, actor: str, key: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Keep an answer."""
        with self._lock, rebuildable(self._path, _prepare) as database, database:
            database.execute(
                "UPDATE answer SET status = ?, headers = ?, body = ? WHERE actor = ? AND key = ?",
                (status, json.dumps(dict(headers)), body, actor, key),
            )

    def forget(self, actor: str, key: str) -> None:
        """Free a key: nothing was done under it."""
        with self._lock, rebuildable(self._path, _prepare) as database, database:
            database.execute("DELETE FROM answer WHERE actor = ? AND key = ?", (actor, key))


def _prepare(database: sqlite3.Connection) -> None:
    database.execute(
        "CREATE TABLE IF NOT EXISTS answer (actor TEXT, key TEXT, request TEXT, status INTEGER, "
        "headers TEXT DEFAULT '{}', body BLOB DEFAULT x'', server TEXT, begun REAL, PRIMARY KEY (actor, key))"
    )
