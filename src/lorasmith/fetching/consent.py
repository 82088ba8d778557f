"""What the user has to agree to once: terms of a site, pictures that leave the machine.

A notice is a text with an id. Agreeing is written down in ``<home>/consents.json`` with the text's hash, so that a
text that changes is asked again. Nothing here asks: a face catches ``ConsentNeeded``, shows the notice, and calls
``give``; the command line has an option for it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from lorasmith.errors import ConsentNeeded, InputError
from lorasmith.files import write_json


@dataclass(frozen=True)
class Notice:
    """Something to agree to. ``id`` is a word for files and options: ``gelbooru-terms``, ``send-to:api.openai.com``."""

    id: str
    title: str
    text: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(f"{self.title}\n{self.text}".encode()).hexdigest()


class Consents:
    """What has been agreed to in one home."""

    def __init__(self, home: Path | str) -> None:
        self._file = Path(home) / "consents.json"

    def given(self, notice: Notice) -> bool:
        """Whether exactly this text was agreed to."""
        entry = self._read().get(notice.id)
        return isinstance(entry, dict) and entry.get("digest") == notice.digest

    def require(self, notice: Notice) -> None:
        """Go on only with consent.

        Raises:
            ConsentNeeded: holding the text, and how to agree to it.
        """
        if not self.given(notice):
            raise ConsentNeeded(
                f"{notice.title}: {notice.text}",
                f"If you agree, run it again with --accept {notice.id}.",
                notice.id,
                notice.title,
                notice.text,
            )

    def give(self, notice: Notice) -> None:
        """Write down that the user has agreed, and when."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._file.with_name(".consents.lock"), timeout=30):
            now = datetime.now(UTC).isoformat(timespec="seconds")
            write_json(self._file, {**self._read(), notice.id: {"digest": notice.digest, "given": now}})

    def withdraw(self, id: str) -> bool:
        """Take a consent back; whether there was one."""
        if id not in self._read():
            return False
        with FileLock(self._file.with_name(".consents.lock"), timeout=30):
            document = self._read()
            found = document.pop(id, None) is not None
            write_json(self._file, document)
        return found

    def all(self) -> dict[str, str]:
        """Ids, and when each was given."""
        return {id: str(entry["given"]) for id, entry in sorted(self._read().items())}

    def _read(self) -> dict[str, Any]:
        try:
            document = json.loads(self._file.read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError as cause:
            raise InputError(f"{self._file} is damaged.", "Delete it; you will be asked again.") from cause
        if not isinstance(document, dict):
            raise InputError(f"{self._file} is damaged.", "Delete it; you will be asked again.")
        return document
