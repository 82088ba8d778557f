"""Pictures and other files by the SHA-256 of their bytes, and what keeps a new one until a version names it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Final, Literal

from PIL import Image

from lorasmith.datasets.leases import Lease, store_locked
from lorasmith.datasets.ledger import Staged
from lorasmith.datasets.manifest import Item, blobs_of
from lorasmith.datasets.objects import SHA256, ObjectFolder
from lorasmith.errors import DatasetError, InputError
from lorasmith.files import sync_folder

_CHUNK: Final = 1 << 20
_LOSSLESS: Final = {"RGB": ("RGB", "L", "1"), "L": ("L", "1")}


class Blobs:
    """The blobs of a home."""

    def __init__(self, home: Path) -> None:
        self.objects = ObjectFolder(home / "blobs")
        self._home = home
        self._lease: Lease | None = None

    def path(self, sha256: str) -> Path:
        """Where the bytes with this SHA-256 (64 hexadecimal digits) lie."""
        if not SHA256.fullmatch(sha256):
            raise DatasetError(
                f"'{sha256}' is not a SHA-256.", "The version's file is damaged; import the source again."
            )
        return self.objects.path(sha256)

    def put_image(self, image: Image.Image, mode: Literal["RGB", "L"]) -> str:
        """Store a picture as PNG without metadata."""
        if image.mode not in _LOSSLESS[mode]:
            raise DatasetError(
                f"A picture of mode {image.mode} cannot be stored as {mode} without loss.",
                f"Make it {mode} first, so that it is clear how.",
            )
        plain = Image.new(mode, image.size)
        plain.paste(image.convert(mode))
        stream = io.BytesIO()
        plain.save(stream, format="PNG", compress_level=1)
        content = stream.getvalue()
        sha256 = hashlib.sha256(content).hexdigest()
        self._put(sha256, len(content), lambda target: target.write(content))
        return sha256

    def put_file(self, path: Path) -> str:
        """Store a copy of a file; read twice, so that its name is known before it is written."""
        try:
            with path.open("rb") as source:
                sha256 = hashlib.file_digest(source, "sha256").hexdigest()
                size = source.tell()
        except OSError as cause:
            raise InputError(f"{path} cannot be read: {cause.strerror}.", "Check the path.") from cause

        def copy(target: BinaryIO) -> None:
            digest = hashlib.sha256()
            with path.open("rb") as source:
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
                    target.write(chunk)
            if digest.hexdigest() != sha256:
                raise InputError(f"{path} changed while it was read.", "Try again when nothing writes to it.")

        self._put(sha256, size, copy)
        return sha256

    def keep(self, staged: Sequence[Staged]) -> None:
        """Move files that are durable to where their hash says, under the lock of the dataset whose version will name
        them; what is there already stays."""
        folders: set[Path] = set()
        for file in staged:
            target = self.path(file.sha256)
            if _is_whole(target, file.path.stat().st_size):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            file.path.replace(target)
            folders.add(target.parent)
        for folder in folders:
            sync_folder(folder)
        if folders:
            sync_folder(self.objects.root)

    def committed(self, items: Iterable[Item]) -> None:
        """A version names these now; the lease goes back when all that was put is named."""
        if self._lease is None:
            return
        for item in items:
            self._lease.names -= blobs_of(item)
        if not self._lease.names:
            self._lease.give_back()
            self._lease = None

    def _put(self, sha256: str, size: int, fill: Callable[[BinaryIO], object]) -> None:
        with store_locked(self._home):  # listed before it is looked for, so that it is not collected in between
            if self._lease is None:
                self._lease = Lease(self._home / "incoming")
            self._lease.add(sha256)
            there = _is_whole(self.path(sha256), size)
        if not there:
            self.objects.place(sha256, fill)


def _is_whole(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
