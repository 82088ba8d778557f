"""Which datasets hold a picture: the index behind the question who may see it.

Built from the pieces that versions share, each read once, and only as far as somebody asks. All versions count, for
the history of a dataset shows them, and so do masks and originals.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from lorasmith.datasets.headers import DamagedHeaderError, read_header
from lorasmith.datasets.manifest import blobs_of
from lorasmith.datasets.objects import DamagedObjectError
from lorasmith.datasets.pieces import items_of, names_in
from lorasmith.datasets.versions import VersionFiles


@dataclass
class _Known:
    """What was read of one dataset."""

    first: tuple[int, tuple[int, int]]
    """Its oldest version and that file's stamp: another one under the same name is another dataset."""
    numbers: set[int] = field(default_factory=set)
    pieces: set[str] = field(default_factory=set)
    pictures: set[bytes] = field(default_factory=set)


class Holders:
    """Kept as long as a server lives; any thread may ask."""

    def __init__(self, home: Path) -> None:
        self._files = VersionFiles(home)
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()

    def of(self, sha256: str) -> tuple[str, ...]:
        """Names of the datasets that hold these bytes in any of their versions."""
        wanted = bytes.fromhex(sha256)
        with self._lock:
            found = tuple(name for name, known in self._known.items() if wanted in known.pictures)
            if found and all(self._still(name) for name in found):
                return found
            return self._all(wanted)

    def look_again(self, sha256: str) -> tuple[str, ...]:
        """The same after all datasets were looked at; for when those that were known did not do."""
        with self._lock:
            return self._all(bytes.fromhex(sha256))

    def _all(self, wanted: bytes) -> tuple[str, ...]:
        names = self._files.names()
        for gone in self._known.keys() - set(names):
            del self._known[gone]
        for name in names:
            self._refresh(name)
        return tuple(name for name, known in self._known.items() if wanted in known.pictures)

    def _still(self, name: str) -> bool:
        known = self._known[name]
        return self._stamp(name, known.first[0]) == known.first[1]

    def _stamp(self, name: str, number: int) -> tuple[int, int] | None:
        try:
            facts = (self._files.folder / name / f"{number}.json").stat()
        except FileNotFoundError:
            return None
        return facts.st_ino, facts.st_mtime_ns

    def _refresh(self, name: str) -> None:
        numbers = self._files.numbers(name)
        stamp = self._stamp(name, numbers[0]) if numbers else None
        if stamp is None:  # dropped at this moment
            self._known.pop(name, None)
            return
        known = self._known.get(name)
        if known is None or known.first != (numbers[0], stamp) or not known.numbers <= set(numbers):
            known = self._known[name] = _Known((numbers[0], stamp))
        for number in sorted(set(numbers) - known.numbers):
            try:
                header = read_header(self._files.folder / name / f"{number}.json")
                pieces = [one for one in names_in(self._files.pieces.read(header.root)) if one not in known.pieces]
                for piece in pieces:
                    for item in items_of(self._files.pieces.read(piece)):
                        known.pictures.update(bytes.fromhex(one) for one in blobs_of(item))
                known.pieces.update(pieces)
            except (DamagedHeaderError, DamagedObjectError, ValueError, OSError):
                continue  # nobody sees what cannot be read; whoever opens it is told so
            known.numbers.add(number)
