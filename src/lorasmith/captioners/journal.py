"""What a caption job has done, one line each, so that a job that is killed at any moment repeats and loses nothing.

``captions.jsonl`` in the job's folder: the first line says of which pictures and captioner, every other is one picture
with its caption. A line is written with one call; a torn last one counts nothing and is taken away.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, Final

FILE: Final = "captions.jsonl"
_SYNC_SECONDS: Final = 5.0  # a kill loses nothing without it, a power cut at most this


class Journal:
    """Reads what was done, then appends."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        """
        Args:
            path: of the file.
            about: what a line must stand under to count; a journal of something else is begun anew.
        """
        self.done: dict[str, dict[str, Any]] = {}
        """Entries by name of the picture."""
        self._stream = path.open("a+b", buffering=0)
        self._synced = time.monotonic()
        if not self._recall(about):
            self.done.clear()
            self._stream.truncate(0)
            self._append(about)

    def add(self, entries: dict[str, dict[str, Any]]) -> None:
        """Write entries down; the file has them when this returns."""
        if not entries:
            return
        self._append(*({"name": name, **entry} for name, entry in entries.items()))
        self.done.update(entries)
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            os.fsync(self._stream.fileno())
            self._synced = time.monotonic()

    def close(self) -> None:
        """Make it durable."""
        os.fsync(self._stream.fileno())
        self._stream.close()

    def _append(self, *documents: dict[str, Any]) -> None:
        data = "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents).encode(
            "utf-8", "surrogatepass"
        )
        while data:  # a full disk writes a part of it first, and fails then
            data = data[self._stream.write(data) :]

    def _recall(self, about: dict[str, Any]) -> bool:
        """Take up earlier entries; whether they are of the same work."""
        self._stream.seek(0)
        content = self._stream.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            self._stream.truncate(whole)
        lines = content[:whole].splitlines()
        if not lines or _document(lines[0]) != about:
            return False
        for line in lines[1:]:
            entry = _document(line)
            if entry is None or "name" not in entry:
                continue  # a power cut may leave a hole; that picture is done again
            self.done[str(entry.pop("name"))] = entry
        return True


def _document(line: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(line.decode("utf-8", "surrogatepass"))
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def read_on(path: Path, start: int = 0) -> tuple[list[tuple[str, str]], int]:
    """Names and captions that were written down behind a byte, and the byte to go on from; a torn line waits."""
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            content = stream.read()
    except FileNotFoundError:
        return [], start
    whole = content.rfind(b"\n") + 1
    entries = [entry for line in content[:whole].splitlines() if (entry := _document(line)) and "name" in entry]
    return [(str(entry["name"]), str(entry.get("caption", ""))) for entry in entries], start + whole
