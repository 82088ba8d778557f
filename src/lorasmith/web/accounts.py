"""Accounts of people, where more than one uses a server: names, roles and hashed passwords in the home.

On one's own machine there are none, and nobody types a password. As soon as there is one, the server may listen where
others reach it. Passwords are hashed with Argon2; guessing is slowed down by account and by address.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from lorasmith.databases import connect
from lorasmith.errors import ConfigError, EnvironmentProblem, InputError
from lorasmith.library import Library
from lorasmith.web.people import Role

if TYPE_CHECKING:
    from pwdlib import PasswordHash

DATABASE: Final = "web.db"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_RESERVED: Final = frozenset({"you", "guest", "nobody"})
_SHORTEST: Final = 10  # characters of a password
_LONGEST: Final = 1024


@dataclass(frozen=True)
class Account:
    """Somebody who can sign in."""

    name: str
    role: Role
    created: float
    """Seconds since 1970."""


class Accounts:
    """The accounts of a home. Whatever changes them is seen by a running server at its next request."""

    def __init__(self, home: Path, *, now: Callable[[], float] = time.time) -> None:
        self._home, self._now = home, now
        self._passwords_made: PasswordHash | None = None

    def exist(self) -> bool:
        """Whether there are any; asking creates nothing."""
        return (self._home / DATABASE).is_file() and bool(self.list())

    def list(self) -> list[Account]:
        """All of them, by name."""
        with self._open() as database:
            rows = database.execute("SELECT name, role, created FROM account ORDER BY name").fetchall()
        return [Account(name, cast(Role, role), created) for name, role, created in rows]

    def find(self, name: str) -> Account | None:
        """The account of that name."""
        with self._open() as database:
            row = database.execute("SELECT name, role, created FROM account WHERE name = ?", (name,)).fetchone()
        return Account(row[0], row[1], row[2]) if row else None

    def add(self, name: str, password: str, role: str = "member") -> Account:
        """A new account; the first one is an admin.

        Raises:
            ConfigError: the name, role or password cannot be used, or the name is taken.
        """
        self._refuse_name(name)
        hashed = self._passwords.hash(_checked(password))
        with self._open() as database, database:
            database.execute("BEGIN IMMEDIATE")
            first = database.execute("SELECT COUNT(*) FROM account").fetchone()[0] == 0
            if database.execute("SELECT 1 FROM account WHERE name = ?", (name,)).fetchone():
                raise ConfigError(f"There is an account '{name}' already.", "Choose another name.")
            made = Account(name, "admin" if first else _role(role), self._now())
            database.execute("INSERT INTO account VALUES (?, ?, ?, ?)", (made.name, made.role, hashed, made.created))
        return made

    def remove(self, name: str) -> None:
        """Remove an account and end its sessions; what it owns is then the admins'.

        Raises:
            InputError: there is none.
            ConfigError: it is the last admin, and others are left.
        """
        with self._open() as database, database:
            database.execute("BEGIN IMMEDIATE")
            self._refuse_last_admin(database, name, leaving=True)
            database.execute("DELETE FROM account WHERE name = ?", (name,))
            database.execute("DELETE FROM session WHERE name = ?", (name,))
            database.execute("UPDATE possession SET owner = '' WHERE owner = ?", (name,))
        Library(self._home).disown(name)

    def set_role(self, name: str, role: str) -> Account:
        """Give an account another role.

        Raises:
            InputError: there is none.
            ConfigError: no such role, or no admin would be left.
        """
        wanted = _role(role)
        with self._open() as database, database:
            database.execute("BEGIN IMMEDIATE")
            if wanted != "admin":
                self._refuse_last_admin(database, name, leaving=False)
            elif not database.execute("SELECT 1 FROM account WHERE name = ?", (name,)).fetchone():
                raise _unknown(name)
            database.execute("UPDATE account SET role = ? WHERE name = ?", (wanted, name))
        found = self.find(name)
        assert found is not None
        return found

    def set_password(self, name: str, password: str) -> None:
        """Give an account another password; its sessions end.

        Raises:
            InputError: there is none.
            ConfigError: the password cannot be used.
        """
        hashed = self._passwords.hash(_checked(password))
        with self._open() as database, database:
            changed = database.execute("UPDATE account SET password = ? WHERE name = ?", (hashed, name)).rowcount
            if not changed:
                raise _unknown(name)
            database.execute("DELETE FROM session WHERE name = ?", (name,))

    def verify(self, name: str, password: str) -> Account | None:
        """The account, when the password is right. Takes as long for a name that is not there."""
        with self._open() as database:
            row = database.execute("SELECT password FROM account WHERE name = ?", (name,)).fetchone()
        hashed = row[0] if row else self._nobodys
        right = len(password) <= _LONGEST and self._passwords.verify(unicodedata.normalize("NFKC", password), hashed)
        return self.find(name) if row and right else None

    @property
    def _passwords(self) -> PasswordHash:
        if self._passwords_made is None:
            try:
                from pwdlib import PasswordHash
            except ImportError as cause:
                raise EnvironmentProblem(
                    f"Accounts need the extra 'web': {cause}.", "Install it with `pip install lorasmith[web]`."
                ) from cause
            self._passwords_made = PasswordHash.recommended()
            self._nobody = self._passwords_made.hash("the password of nobody")
        return self._passwords_made

    @property
    def _nobodys(self) -> str:
        """A hash that costs as much to look at as a real one."""
        return self._nobody if self._passwords else ""

    def _refuse_name(self, name: str) -> None:
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise ConfigError(
                f"'{name}' cannot be the name of an account.",
                "Use 1 to 64 small letters, digits, dots and dashes; 'you', 'guest' and 'nobody' are taken.",
            )

    def _refuse_last_admin(self, database: sqlite3.Connection, name: str, *, leaving: bool) -> None:
        roles: dict[str, str] = dict(database.execute("SELECT name, role FROM account").fetchall())
        if name not in roles:
            raise _unknown(name)
        others = [role for other, role in roles.items() if other != name]
        if roles[name] == "admin" and "admin" not in others and (others or not leaving):
            raise ConfigError(f"'{name}' is the only admin.", "Make somebody else an admin first.")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with opened(self._home) as database:
            yield database


@contextmanager
def opened(home: Path) -> Iterator[sqlite3.Connection]:
    """The database of accounts, sessions and possessions.

    Raises:
        EnvironmentProblem: it cannot be used. It is never made anew: that would open what is closed.
    """
    path = home / DATABASE
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.touch(0o600)
        with closing(connect(path, _prepare)) as database:
            yield database
    except (sqlite3.Error, OSError) as cause:
        raise EnvironmentProblem(
            f"The accounts in {path} cannot be used: {cause}.", "Mend its permissions, or restore it from a backup."
        ) from cause


def _prepare(database: sqlite3.Connection) -> None:
    database.executescript(
        """
        CREATE TABLE IF NOT EXISTS account (name TEXT PRIMARY KEY, role TEXT, password TEXT, created REAL);
        CREATE TABLE IF NOT EXISTS session (secret TEXT PRIMARY KEY, name TEXT, role TEXT, kind TEXT, began REAL,
            seen REAL, said TEXT);
        CREATE TABLE IF NOT EXISTS possession (kind TEXT, name TEXT, owner TEXT, visibility TEXT,
            PRIMARY KEY (kind, name));
        CREATE TABLE IF NOT EXISTS share (id TEXT PRIMARY KEY, kind TEXT, name TEXT, by TEXT, expires REAL,
            revoked INTEGER DEFAULT 0);
        """
    )


def _checked(password: str) -> str:
    normal = unicodedata.normalize("NFKC", password)
    if not _SHORTEST <= len(normal) <= _LONGEST:
        raise ConfigError(
            f"A password has {_SHORTEST} to {_LONGEST} characters.", "Use a sentence, or one of a password manager."
        )
    return normal


def _role(role: str) -> Role:
    if role not in get_args(Role):
        raise ConfigError(f"There is no role '{role}'.", f"There are: {', '.join(get_args(Role))}.")
    return cast(Role, role)


def _unknown(name: str) -> InputError:
    return InputError(f"There is no account '{name}'.", "`lorasmith users list` lists them.")


@dataclass
class Throttle:
    """Slows guessing down: after a few failures each further one doubles the wait. By a monotonic clock."""

    clock: Callable[[], float] = time.monotonic
    free: int = 5
    first: float = 1.0
    longest: float = 900.0
    _failures: dict[str, tuple[int, float]] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.Lock)

    def wait(self, *keys: str) -> float:
        """Seconds until these may try again; 0 when they may now."""
        now = self.clock()
        with self._lock:
            return max((self._until(key) - now for key in keys), default=0.0) if keys else 0.0

    def failed(self, *keys: str) -> None:
        """Remember a failure."""
        now = self.clock()
        with self._lock:
            for key in keys:
                count, _ = self._failures.get(key, (0, now))
                self._failures[key] = (count + 1, now)
            if len(self._failures) > 10_000:
                self._failures = {k: v for k, v in self._failures.items() if now - v[1] < self.longest}

    def succeeded(self, key: str) -> None:
        """Forget the failures of an account."""
        with self._lock:
            self._failures.pop(key, None)

    def _until(self, key: str) -> float:
        count, last = self._failures.get(key, (0, 0.0))
        over = count - self.free
        if over < 0:
            return float("-inf")
        return last + min(self.longest, self.first * 2.0 ** min(over, 30))
