"""Who is asking: a start-up token or a password becomes a cookie, and programs bring a key.

On one's own machine nobody types a password: the server prints and opens an address with a token that works once,
and gives a cookie for it. Programs of the same user read ``web-key`` in the home (0600) instead. Sessions lie in the
home, by the hash of their secret, so that they outlive the server and can be listed and ended from elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from lorasmith.credentials.store import write_closed
from lorasmith.errors import InputError
from lorasmith.web.accounts import Accounts, opened
from lorasmith.web.people import YOU, Actor, Role

__all__ = ["ABSOLUTE", "COOKIE", "IDLE", "Actor", "Role", "SessionFacts", "Sessions"]

COOKIE: Final = "lorasmith_session"
IDLE: Final = 12 * 3600.0  # seconds without a request
ABSOLUTE: Final = 30 * 24 * 3600.0
_KEY_FILE: Final = "web-key"
_STALE: Final = 60.0  # seconds before it is written down again that a session is in use
_MOST: Final = 100  # sessions of one name; the oldest end


@dataclass(frozen=True)
class SessionFacts:
    """A session as its owner sees it."""

    id: str
    name: str
    kind: Literal["browser", "program"]
    began: float
    seen: float
    said: str
    """What the browser says of itself."""


class Sessions:
    """Sessions and keys of one home."""

    def __init__(self, home: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._home, self._clock = home, clock
        self._lock = threading.Lock()
        self._tokens: set[str] = set()
        self._key = _program_key(home)
        self.accounts = Accounts(home)

    def invite(self) -> str:
        """A token that opens one session of the owner of this machine."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._tokens.add(_digest(token))
        return token

    def accept(self, token: str, said: str = "") -> str | None:
        """The secret of a new session for a token of ``invite``; None when it is none, or was used."""
        with self._lock:
            if _digest(token) not in self._tokens:
                return None
            self._tokens.discard(_digest(token))
        return self.open(YOU, said=said)

    def open(self, actor: Actor, *, kind: Literal["browser", "program"] = "browser", said: str = "") -> str:
        """The secret of a new session; of kind ``program`` it is a key that does not end by itself."""
        secret, now = secrets.token_urlsafe(32), self._clock()
        with opened(self._home) as database, database:
            database.execute("BEGIN IMMEDIATE")
            row = (_digest(secret), actor.name, actor.role, kind, now, now, said[:200])
            database.execute("INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            database.execute(
                "DELETE FROM session WHERE name = ? AND kind = ? AND secret NOT IN (SELECT secret FROM session "
                "WHERE name = ? AND kind = ? ORDER BY seen DESC LIMIT ?)",
                (actor.name, kind, actor.name, kind, _MOST),
            )
        return secret

    def actor(self, secret: str | None, kind: Literal["browser", "program"] = "browser") -> Actor | None:
        """Whose session that is; None when there is none, or it has ended."""
        if not secret:
            return None
        key, now = _digest(secret), self._clock()
        with opened(self._home) as database:
            row = database.execute(
                "SELECT s.name, s.role, s.began, s.seen, a.role FROM session s LEFT JOIN account a ON a.name = s.name "
                "WHERE s.secret = ? AND s.kind = ?",
                (key, kind),
            ).fetchone()
            if row is None:
                return None
            name, given, began, seen, role = row
            if kind == "browser" and (now - seen > IDLE or now - began > ABSOLUTE):
                with database:
                    database.execute("DELETE FROM session WHERE secret = ?", (key,))
                return None
            if now - seen > _STALE:
                with database:
                    database.execute("UPDATE session SET seen = ? WHERE secret = ?", (now, key))
        return Actor(name, role or given)

    def close(self, secret: str) -> None:
        """End a session."""
        with opened(self._home) as database, database:
            database.execute("DELETE FROM session WHERE secret = ?", (_digest(secret),))

    def list(self, name: str | None = None) -> list[SessionFacts]:
        """Sessions and keys of somebody, or of everybody, the latest used first."""
        with opened(self._home) as database:
            rows = database.execute(
                "SELECT secret, name, kind, began, seen, said FROM session WHERE ? IS NULL OR name = ? "
                "ORDER BY seen DESC",
                (name, name),
            ).fetchall()
        now = self._clock()
        return [
            SessionFacts(_digest(row[0])[:16], *row[1:])
            for row in rows
            if row[2] == "program" or (now - row[4] <= IDLE and now - row[3] <= ABSOLUTE)
        ]

    def id_of(self, secret: str) -> str:
        """The ``SessionFacts.id`` of one's own session, which opens nothing."""
        return _digest(_digest(secret))[:16]

    def revoke(self, id: str, name: str | None = None) -> SessionFacts:
        """End a session that ``list`` showed; of ``name`` alone where it is given.

        Raises:
            InputError: there is none.
        """
        found = next((one for one in self.list(name) if one.id == id), None)
        if found is None:
            raise InputError(f"There is no session '{id}'.", "List them; it may have ended.")
        with opened(self._home) as database, database:
            for (secret,) in database.execute("SELECT secret FROM session WHERE name = ?", (found.name,)).fetchall():
                if _digest(secret)[:16] == id:
                    database.execute("DELETE FROM session WHERE secret = ?", (secret,))
        return found

    def program(self, key: str) -> Actor | None:
        """Whose program brings that key: of ``web-key`` the owner's of this machine, else of an account."""
        if hmac.compare_digest(_digest(key), _digest(self._key)):
            return YOU
        return self.actor(key, "program")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _program_key(home: Path) -> str:
    file = home / _KEY_FILE
    try:
        return file.read_text("utf-8").strip()
    except FileNotFoundError:
        key = secrets.token_urlsafe(32)
        home.mkdir(parents=True, exist_ok=True)
        write_closed(file, key.encode())
        return key
