"""Who is asking: a start-up token becomes a cookie, and programs on this machine bring a key from a file.

On one's own machine nobody types a password: the server prints and opens an address with a token that works once,
and gives a cookie for it. Programs of the same user read ``web-key`` in the home (0600) instead.
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

COOKIE: Final = "lorasmith_session"
IDLE: Final = 12 * 3600.0  # seconds without a request
ABSOLUTE: Final = 30 * 24 * 3600.0
_KEY_FILE: Final = "web-key"

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
    """Sessions of one server, held by the hash of their secret. Times are monotonic: no clock ends a session early."""

    def __init__(self, home: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, _Session] = {}
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
            return session.actor

    def close(self, secret: str) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(_digest(secret), None)

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
            return key is not None and self._sessions.pop(key, None) is not None

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
