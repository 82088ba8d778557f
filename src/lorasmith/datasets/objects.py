"""Files named by the SHA-256 of their content, ``<root>/ab/cdef...``: written once, never changed, checked if read."""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from lorasmith.files import sync_folder

SHA256: Final = re.compile(r"[0-9a-f]{64}")
_FEW: Final = 4
_SYNCING_THREADS: Final = 8
_TEMPORARY: Final = re.compile(r"\.[0-9a-f]{62}\.[0-9a-f]{32}\.tmp")


class DamagedObjectError(Exception):
    """An object that is missing, unreadable or not what its name says; the text is a clause without a subject."""


@dataclass(frozen=True)
class ObjectFolder:
    """The objects below one folder."""

    root: Path

    def path(self, sha256: str) -> Path:
        """Where the object of that name lies; the name is 64 hexadecimal digits."""
        return self.root / sha256[:2] / sha256[2:]

    def read(self, sha256: str) -> bytes:
        """The bytes of an object, proven to be those its name was made from.

        Raises:
            DamagedObjectError: it is missing, cannot be read, or holds other bytes.
        """
        try:
            content = self.path(sha256).read_bytes()
        except FileNotFoundError as cause:
            raise DamagedObjectError(f"is missing ({self.path(sha256)})") from cause
        except OSError as cause:
            raise DamagedObjectError(f"cannot be read ({cause.strerror}: {self.path(sha256)})") from cause
        if hashlib.sha256(content).hexdigest() != sha256:
            raise DamagedObjectError(f"holds other bytes than were written ({self.path(sha256)})")
        return content

    def write(self, contents: Mapping[str, bytes]) -> None:
        """Write objects, name to bytes; when this returns all of them are durable. One that is there already stays,
        unless it is damaged."""
        waiting: list[tuple[Path, Path]] = []
        try:
            for sha256, content in contents.items():
                path = self.path(sha256)
                if not _holds(path, content):
                    waiting.append((self._temporary(sha256, partial(_fill, content)), path))
            _at_once(sync_file, [temporary for temporary, _ in waiting])
            for temporary, path in waiting:
                temporary.replace(path)
        except OSError:  # a full disk: give back the half that was written
            for temporary, _ in waiting:
                temporary.unlink(missing_ok=True)
            raise
        self._sync({path.parent for _, path in waiting})

    def place(self, sha256: str, fill: Callable[[BinaryIO], object]) -> None:
        """Write one object whose bytes ``fill`` writes into a stream, durable when this returns."""
        path = self.path(sha256)
        temporary = self._temporary(sha256, fill)
        try:
            sync_file(temporary)
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        self._sync({path.parent})

    def names(self) -> Iterator[str]:
        """Names of all objects."""
        for folder, file in self._files():
            if SHA256.fullmatch(folder + file):
                yield folder + file

    def leftovers(self) -> Iterator[tuple[str, Path]]:
        """Half-written files, each with the name of the object it was to become."""
        for folder, file in self._files():
            if _TEMPORARY.fullmatch(file):
                yield folder + file[1:63], self.root / folder / file

    def _files(self) -> Iterator[tuple[str, str]]:
        if not self.root.is_dir():
            return
        for folder in sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir() and len(entry.name) == 2):
            for entry in sorted(os.scandir(self.root / folder), key=lambda entry: entry.name):
                if entry.is_file():
                    yield folder, entry.name

    def _temporary(self, sha256: str, fill: Callable[[BinaryIO], object]) -> Path:
        path = self.path(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("xb") as stream:
                fill(stream)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        return temporary

    def _sync(self, folders: set[Path]) -> None:
        _at_once(sync_folder, sorted(folders))
        if folders:
            sync_folder(self.root)


def sync_file(path: Path) -> None:
    """Make the bytes of a file durable."""
    with path.open("r+b") as stream:
        os.fsync(stream.fileno())


def _at_once(sync: Callable[[Path], None], paths: Sequence[Path]) -> None:
    """Sync many files from several threads: the file system then takes them in few turns instead of one each."""
    if len(paths) <= _FEW:
        for path in paths:
            sync(path)
        return
    with ThreadPoolExecutor(_SYNCING_THREADS, thread_name_prefix="sync") as pool:
        for done in [pool.submit(sync, path) for path in paths]:
            done.result()


def _fill(content: bytes, stream: BinaryIO) -> None:
    stream.write(content)


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False
