"""Who is asking: a start-up token becomes a cookie, and programs on this machine bring a key from a file.

On one's own machine nobody types a password: the server prints and opens an address with a token that works once,
and gives a cookie for it. Programs of the same user read ``web-key`` in the home (0600) instead.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from lorasmith.credentials.store import write_closed
from lorasmith.files import read_json

COOKIE: Final = "lorasmith_session"
IDLE: Final = 12 * 3600.0  # seconds without a request
ABSOLUTE: Final = 30 * 24 * 3600.0
_KEY_FILE: Final = "web-key"
_SESSIONS_FILE: Final = "web-sessions.json"
_SAVED_EVERY: Final = 600.0

Role = Literal["admin", "member", "viewer"]


@dataclass(frozen=True)
class Actor:
    """Somebody who may ask something."""

    name: str
    role: Role


@dataclass(frozen=True)
class Sitting:
    """A session as its owner sees it."""

    id: str
    """Tells it apart and opens nothing: the beginning of the hash of its hash."""
    actor: Actor
    began: float
    """Seconds ago."""
    seen: float
    """Seconds ago."""
    mine: bool


@dataclass
class _Session:
    actor: Actor
    began: float
    seen: float


class Sessions:
    """Sessions, held by the hash of their secret. Times are monotonic: no clock ends a session early.

    They are kept in ``web-sessions.json`` (0600, hashes only), so that a server that comes back knows who was there.
    """

    def __init__(self, home: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._file = home / _SESSIONS_FILE
        self._saved = clock()
        self._sessions: dict[str, _Session] = dict(self._kept())
        self._tokens: set[str] = set()
        self._key = _program_key(home)

    def invite(self) -> str:
        """A token that opens one session of the owner of this machine."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._tokens.add(_digest(token))
        return token

    def accept(self, token: str) -> str | None:
        """The secret of a new session for a token of ``invite``; None when it is none, or was used."""
        with self._lock:
            if _digest(token) not in self._tokens:
                return None
            self._tokens.discard(_digest(token))
        return self.open(Actor("you", "admin"))

    def open(self, actor: Actor) -> str:
        """The secret of a new session."""
        secret, now = secrets.token_urlsafe(32), self._clock()
        with self._lock:
            self._sessions[_digest(secret)] = _Session(actor, now, now)
            self._save(now)
        return secret

    def actor(self, secret: str | None) -> Actor | None:
        """Whose session that is; None when there is none, or it has ended."""
        if not secret:
            return None
        with self._lock:
            session = self._sessions.get(_digest(secret))
            now = self._clock()
            if session is None:
                return None
            if now - session.seen > IDLE or now - session.began > ABSOLUTE:
                del self._sessions[_digest(secret)]
                return None
            session.seen = now
            if now - self._saved > _SAVED_EVERY:
                self._save(now)
            return session.actor

    def close(self, secret: str) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(_digest(secret), None)
            self._save(self._clock())

    def _save(self, now: float) -> None:
        self._saved = now
        kept = {
            digest: {"name": one.actor.name, "role": one.actor.role, "age": now - one.began, "idle": now - one.seen}
            for digest, one in self._sessions.items()
        }
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_closed(self._file, json.dumps({"at": time.time(), "sessions": kept}).encode())

    def _kept(self) -> Iterator[tuple[str, _Session]]:
        """The sessions of the server before, less the time that has gone by."""
        document, now = read_json(self._file), self._clock()
        try:
            passed = max(0.0, time.time() - float(document.get("at", 0.0)))
            for digest, one in document.get("sessions", {}).items():
                actor = Actor(str(one["name"]), one["role"] if one["role"] in get_args(Role) else "viewer")
                yield digest, _Session(actor, now - passed - float(one["age"]), now - passed - float(one["idle"]))
        except (AttributeError, KeyError, TypeError, ValueError):
            return  # damaged: whoever was there comes in anew

    def sittings(self, secret: str | None = None) -> tuple[Sitting, ...]:
        """Sessions that go on, the one that was used last first.

        Args:
            secret: of whoever asks, to tell theirs.
        """
        now, mine = self._clock(), _digest(secret) if secret else ""
        with self._lock:
            found = [
                Sitting(_digest(key)[:16], one.actor, now - one.began, now - one.seen, key == mine)
                for key, one in self._sessions.items()
                if now - one.seen <= IDLE and now - one.began <= ABSOLUTE
            ]
        return tuple(sorted(found, key=lambda one: one.seen))

    def end(self, id: str) -> bool:
        """End the session of that ``Sitting.id``; whether there was one."""
        with self._lock:
            key = next((key for key in self._sessions if _digest(key)[:16] == id), None)
            ended = key is not None and self._sessions.pop(key, None) is not None
            self._save(self._clock())
        return ended

    def program(self, key: str) -> Actor | None:
        """The owner of this machine, for a program that brings the key of ``web-key``."""
        return Actor("you", "admin") if hmac.compare_digest(_digest(key), _digest(self._key)) else None


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
