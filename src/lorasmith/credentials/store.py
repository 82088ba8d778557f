"""Where secrets are kept: environment variables, the system's keyring, or a file that only its owner can read."""

from __future__ import annotations

import getpass
import json
import logging
import os
import re
import secrets
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from lorasmith.credentials.keyring import Keyring
from lorasmith.credentials.secret import ENVIRONMENT, PAIRED, SHORTEST, WANTED, Secret
from lorasmith.errors import ConfigError, EnvironmentProblem, InputError

_SERVICE: Final = re.compile(r"[a-z0-9][a-z0-9_.-]*(:[a-z0-9._\[\]:-]+)?")
_log = logging.getLogger(__name__)
_LONGEST: Final = 4096  # characters


@dataclass(frozen=True)
class Stored:
    """One service, and where its secret comes from."""

    service: str
    where: str


class Credentials:
    """The secrets of one home."""

    def __init__(self, home: Path | str) -> None:
        self._file = Path(home) / "secrets.json"

    def get(self, service: str) -> Secret | None:
        """The secret of a service: of the environment, else as it was stored; None when there is none.

        Raises:
            EnvironmentProblem: the keyring or the file cannot be read.
        """
        found = _from_environment(service)
        if found is not None:
            return found
        entry = self._read()["secrets"].get(service)
        if entry is None:
            return None
        if entry["where"] == "file":
            return Secret(str(entry["value"]), service, "file")
        value = Keyring.opened().get(self._account(service, self._read()["id"]))
        return None if value is None else Secret(value, service, "keyring")

    def set(self, service: str, value: str) -> Stored:
        """Keep a secret in the system's keyring, or, where there is none, in a file only its owner can read.

        Raises:
            ConfigError: the service's name cannot be used.
            InputError: the value cannot be a secret.
            EnvironmentProblem: it cannot be kept.
        """
        _check_service(service)
        value = _cleaned(service, value)
        Secret(value, service)  # from here on every text is freed of it
        keyring = Keyring.usable()
        with self._alone():
            document = self._read()
            if keyring is not None and keyring.set(self._account(service, document["id"]), value):
                document["secrets"][service] = {"where": "keyring"}
            else:
                document["secrets"][service] = {"where": "file", "value": value}
            self._write(document)
        return Stored(service, document["secrets"][service]["where"])

    def forget(self, service: str) -> bool:
        """Remove what was stored; whether there was anything. Environment variables stay as they are."""
        with self._alone():
            document = self._read()
            entry = document["secrets"].pop(service, None)
            if entry is None:
                return False
            if entry["where"] == "keyring":
                Keyring.opened().delete(self._account(service, document["id"]))
            self._write(document)
        return True

    def services(self) -> tuple[Stored, ...]:
        """All services with a secret, in order of name, and where each comes from. Values are not read."""
        found = {name: Stored(name, entry["where"]) for name, entry in self._read()["secrets"].items()}
        for name in ENVIRONMENT:
            secret = _from_environment(name)
            if secret is not None:
                found[name] = Stored(name, secret.where)
        return tuple(found[name] for name in sorted(found))

    def remember_all(self) -> None:
        """Make every secret that lies in the file known to ``redact``. Called by whoever starts to write logs.

        What lies in a keyring becomes known when it is read, and cannot get out before.
        """
        try:
            for entry in self.services():
                if entry.where == "file":
                    self.get(entry.service)
        except EnvironmentProblem as problem:  # whoever needs a secret will be told; nobody has read one here
            _log.warning("%s", problem)

    @staticmethod
    def _account(service: str, home: str) -> str:
        return f"{service} ({home})"  # two homes of one user keep their secrets apart

    def _alone(self) -> FileLock:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self._file.with_name(".secrets.lock"), timeout=30)

    def _read(self) -> dict[str, Any]:
        try:
            _close_to_others(self._file)
            document = json.loads(self._file.read_bytes())
            entries = document["secrets"]
            right = isinstance(document["id"], str) and isinstance(entries, dict)
            right = right and all(e["where"] == "keyring" or isinstance(e["value"], str) for e in entries.values())
        except FileNotFoundError:
            return {"format": 1, "id": secrets.token_hex(4), "secrets": {}}
        except OSError as cause:
            raise EnvironmentProblem(
                f"{self._file} cannot be read: {cause.strerror}.", "Check who owns the file."
            ) from cause
        except (ValueError, KeyError, TypeError):
            right = False
        if not right:
            raise EnvironmentProblem(
                f"{self._file} is damaged.", f"Delete it and set your secrets again: rm {self._file}"
            ) from None
        return dict(document)

    def _write(self, document: Mapping[str, Any]) -> None:
        try:
            write_closed(self._file, json.dumps(document, indent=2).encode())
        except OSError as cause:
            raise EnvironmentProblem(
                f"{self._file} cannot be written: {cause.strerror}.", "Check the folder's permissions and the disk."
            ) from cause


def _from_environment(service: str) -> Secret | None:
    for names in ENVIRONMENT.get(service, ()):
        values = [os.environ.get(name, "").strip() for name in names]
        if not all(value.isascii() and value.isprintable() for value in values):
            raise EnvironmentProblem(
                f"{' and '.join(names)} holds characters that no key has.", "Set it again, or take it away."
            )
        if all(values):
            return Secret(":".join(values), service, " and ".join(names))
    return None


def _check_service(service: str) -> None:
    if not _SERVICE.fullmatch(service) or len(service) > 200:
        known = ", ".join(WANTED)
        raise ConfigError(
            f"'{service}' is not a service a secret can belong to.", f"Known: {known}, and openai:HOST for a server."
        )


def _cleaned(service: str, value: str) -> str:
    """The value as the service wants it.

    Raises:
        InputError: it is empty, too short to be one, or holds what no secret holds.
    """
    text = value.strip()
    if service == "gelbooru" and "api_key=" in text:  # the line as the account's page shows it
        parts = dict(part.split("=", 1) for part in text.lstrip("?&").split("&") if "=" in part)
        text = f"{parts.get('user_id', '')}:{parts.get('api_key', '')}"
    hint = f"Give {WANTED.get(service, 'the key that the service shows you')}."
    if not text:
        raise InputError("No secret was given.", hint)
    if not text.isascii() or not text.isprintable() or " " in text or not SHORTEST <= len(text) <= _LONGEST:
        raise InputError(f"That cannot be a secret of {service}: it has spaces, or the wrong length.", hint)
    if service in PAIRED:
        name, _, key = text.partition(":")
        if not name or len(key) < SHORTEST:
            raise InputError(f"A secret of {service} has two parts, and one is missing.", hint)
        if service == "gelbooru" and not name.isdigit():
            raise InputError("Gelbooru's user id is a number.", hint)
    return text


def write_closed(path: Path, content: bytes) -> None:
    """Replace a file by one that was closed to others before it held anything."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if os.name == "nt":
            _close_on_windows(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _close_to_others(path: Path) -> None:
    """Take a file back that somebody has opened to others, and say so."""
    if os.name == "nt":
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        path.chmod(0o600)
        _log.warning("%s could be read by others (mode %o); it no longer can", path, mode)


def _close_on_windows(path: Path) -> None:
    """Windows has no mode: take away what the file inherits and give it to its owner. Best effort: a home lies in the
    user's profile, which others cannot read unless somebody has changed that."""
    command: Sequence[str] = ("icacls", str(path), "/inheritance:r", "/grant:r", f"{getpass.getuser()}:F")
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=10)  # noqa: S603  fixed words
    except (OSError, subprocess.TimeoutExpired) as error:
        _log.warning("%s keeps the rights of its folder (%s)", path, error)
        return
    if done.returncode:
        _log.warning("%s keeps the rights of its folder", path)
