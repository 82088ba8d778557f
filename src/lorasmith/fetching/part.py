"""A download that is not whole yet: ``.<key>.part`` and, beside it, what is known of the file on the server.

The key is made from the address without its tokens and signatures, so a download goes on after a new login too. Bytes
of two files are never joined: a part grows only while the server confirms that it still has the same file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from filelock import FileLock, Timeout

from lorasmith.errors import FetchError
from lorasmith.fetching.naming import key_of, shown

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Record:
    """What the server said when the part was begun."""

    url: str = ""
    etag: str = ""
    last_modified: str = ""
    total: int | None = None
    name: str = ""

    @classmethod
    def of(cls, url: str, headers: Mapping[str, str], total: int | None, name: str) -> Record:
        return cls(shown(url), headers.get("etag", ""), headers.get("last-modified", ""), total, name)

    @property
    def validator(self) -> str:
        """What goes into ``If-Range`` (RFC 9110 13.1.5): a strong ETag, else a date; empty when there is neither."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return "" if self.etag else self.last_modified

    def differs(self, headers: Mapping[str, str], total: int | None) -> bool:
        """Whether an answer speaks of another file than this one."""
        etag, modified = headers.get("etag", ""), headers.get("last-modified", "")
        if self.etag and etag:
            return self.etag != etag
        if self.last_modified and modified and self.last_modified != modified:
            return True
        return None not in (self.total, total) and self.total != total


class Part:
    """The part of one address in one folder."""

    def __init__(self, folder: Path, url: str) -> None:
        stem = f".{key_of(url)}"
        self.path = folder / f"{stem}.part"
        self._record = folder / f"{stem}.part.json"
        self._lock = folder / f"{stem}.lock"
        self._url = url

    @property
    def size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def record(self) -> Record | None:
        """What is known; None for a part of which nothing is, and which is worth nothing for that."""
        try:
            document = json.loads(self._record.read_bytes())
            return Record(**{f.name: document[f.name] for f in fields(Record)})
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def begin(self, record: Record) -> None:
        """Start with nothing."""
        self.discard()
        self._record.write_text(json.dumps(asdict(record), ensure_ascii=False, indent=2), encoding="utf-8")
        self.path.touch()

    def discard(self) -> None:
        self._record.unlink(missing_ok=True)  # first: without it the bytes mean nothing
        self.path.unlink(missing_ok=True)

    def hashed(self) -> hashlib._Hash:
        """SHA-256 of what is there, ready to go on."""
        found = hashlib.sha256()
        if self.size:
            with self.path.open("rb") as stream:
                while block := stream.read(_BLOCK):
                    found.update(block)
        return found

    def move(self, target: Path) -> None:
        """Make the part the file; a reader sees nothing or all of it."""
        with self.path.open("rb+") as stream:
            os.fsync(stream.fileno())
        self.path.replace(target)
        self._record.unlink(missing_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes and threads from writing the same part.

        Raises:
            FetchError: one does already.
        """
        lock = FileLock(self._lock, timeout=0)
        try:
            lock.acquire()
        except Timeout as cause:
            raise FetchError(
                f"{shown(self._url)} is being downloaded into {self.path.parent} already.", "Wait for that to end."
            ) from cause
        try:
            yield
        finally:
            self._lock.unlink(missing_ok=True) if os.name != "nt" else None
            lock.release()
