"""Links that show one thing to whoever has them, until a day: signed, listed, and ended at any time."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from lorasmith.credentials.store import write_closed
from lorasmith.errors import ConfigError, InputError
from lorasmith.web.accounts import opened
from lorasmith.web.people import Kind

_KEY_FILE: Final = "share-key"
LONGEST: Final = 90 * 24 * 3600.0  # seconds that a link may work
_LONGEST_TOKEN: Final = 2000


@dataclass(frozen=True)
class Share:
    """A link."""

    id: str
    kind: Kind
    name: str
    by: str
    """Who made it."""
    expires: float
    """Seconds since 1970."""


class Shares:
    """The links of a home."""

    def __init__(self, home: Path, *, now: Callable[[], float] = time.time) -> None:
        self._home, self._now = home, now

    def make(self, kind: Kind, name: str, by: str, seconds: float) -> tuple[Share, str]:
        """A new link and its token.

        Raises:
            ConfigError: it would work too long, or not at all.
        """
        if not 0 < seconds <= LONGEST:
            raise ConfigError("A link works for up to 90 days.", "Give 1 second to 90 days.")
        share = Share(secrets.token_hex(8), kind, name, by, self._now() + seconds)
        with opened(self._home) as database, database:
            database.execute(
                "INSERT INTO share (id, kind, name, by, expires) VALUES (?, ?, ?, ?, ?)",
                (share.id, share.kind, share.name, share.by, share.expires),
            )
        told = json.dumps([share.id, share.kind, share.name, share.expires]).encode()
        return share, f"{_text(told)}.{_text(self._sign(told))}"

    def read(self, token: str) -> Share | None:
        """What a token shows; None when it was not made here, has run out, or was ended."""
        told, _, signature = token.partition(".")
        try:
            if len(token) > _LONGEST_TOKEN or not token.isascii():
                return None
            content, signed = _bytes(told), _bytes(signature)
            if not hmac.compare_digest(self._sign(content), signed):
                return None
            id, kind, name, expires = json.loads(content)
        except (ValueError, TypeError):
            return None
        with opened(self._home) as database:
            row = database.execute("SELECT by, revoked FROM share WHERE id = ?", (id,)).fetchone()
        if row is None or row[1] or self._now() >= float(expires):
            return None
        return Share(id, cast(Kind, kind), name, row[0], float(expires))

    def list(self, by: str | None = None) -> list[Share]:
        """Links that still work, of somebody or of everybody."""
        with opened(self._home) as database:
            rows = database.execute(
                "SELECT id, kind, name, by, expires FROM share "
                "WHERE NOT revoked AND expires > ? AND (? IS NULL OR by = ?) ORDER BY expires",
                (self._now(), by, by),
            ).fetchall()
        return [Share(*row) for row in rows]

    def revoke(self, id: str, by: str | None = None) -> Share:
        """End a link.

        Raises:
            InputError: there is none, or it is somebody else's.
        """
        found = next((one for one in self.list(by) if one.id == id), None)
        if found is None:
            raise InputError(f"There is no link '{id}'.", "List them; it may have run out.")
        with opened(self._home) as database, database:
            database.execute("UPDATE share SET revoked = 1 WHERE id = ?", (id,))
        return found

    def _sign(self, content: bytes) -> bytes:
        file = self._home / _KEY_FILE
        try:
            key = file.read_bytes()
        except FileNotFoundError:
            key = secrets.token_bytes(32)
            self._home.mkdir(parents=True, exist_ok=True)
            write_closed(file, key)
        return hmac.new(key, content, hashlib.sha256).digest()


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
