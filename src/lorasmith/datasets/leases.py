"""What is being added and no version names yet: imports under way, and blobs that were put one by one.

    <home>/incoming/<id>.lock     held while an import runs; or as long as the store object that put blobs lives, until
                                  it has committed all of them
    <home>/incoming/<id>/         the files of an import
    <home>/incoming/<id>.puts     SHA-256 of the blobs that were put, a line each

Garbage collection keeps what a held lease lists, so that it never takes a blob away between ``put_image`` and
``commit``; no clock is asked. Leases of processes that died are free, and so is what they put. All locks here are made,
probed and swept under the lock of the whole store, so that none is swept while it is made.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lorasmith.datasets.source import disk_errors

_PUTS = ".puts"


class Lease:
    """What one store object has put and not yet committed. Dropping the object gives the lease back."""

    def __init__(self, incoming: Path) -> None:
        incoming.mkdir(parents=True, exist_ok=True)
        self._path = incoming / f"{uuid.uuid4().hex}.lock"
        self._lock = FileLock(self._path, thread_local=False)
        self._lock.acquire()
        self.names: set[str] = set()

    def add(self, sha256: str) -> None:
        """List a blob; call it before looking whether the blob is there."""
        self.names.add(sha256)
        with self._path.with_suffix(_PUTS).open("a", encoding="ascii") as stream:
            stream.write(f"{sha256}\n")

    def give_back(self) -> None:
        """The blobs are named by a version now, or not wanted."""
        self._path.with_suffix(_PUTS).unlink(missing_ok=True)
        self._lock.release()
        self._path.unlink(missing_ok=True)


@contextmanager
def store_locked(home: Path) -> Iterator[None]:
    """The lock of the whole store, ``<home>/datasets/.lock``; never ask for it while holding that of a dataset."""
    root = home / "datasets"
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".lock"):
        yield


@contextmanager
def staging(home: Path) -> Iterator[Path]:
    """A folder for one import, locked while it is used and removed afterwards. What others left goes first."""
    incoming = home / "incoming"
    folder = incoming / uuid.uuid4().hex
    path = folder.with_suffix(".lock")
    lock = FileLock(path)
    with disk_errors(home), store_locked(home):
        incoming.mkdir(parents=True, exist_ok=True)
        for left in abandoned(incoming):
            _remove(left)
        lock.acquire()
        folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # what stays (open elsewhere) is swept next time
        lock.release()
        path.unlink(missing_ok=True)


def abandoned(incoming: Path) -> list[Path]:
    """What killed processes left: everything whose lock nobody holds, the locks last."""
    if not incoming.is_dir():
        return []
    found = sorted(path for path in incoming.iterdir() if path.suffix in ("", _PUTS, ".lock"))
    left = [path for path in found if not is_held(path if path.suffix == ".lock" else path.with_suffix(".lock"))]
    return sorted(left, key=lambda path: path.suffix == ".lock")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)  # what stays is swept next time
    else:
        path.unlink(missing_ok=True)


def leased(incoming: Path) -> set[str]:
    """The blobs that leases in force list."""
    found: set[str] = set()
    for puts in incoming.glob(f"*{_PUTS}"):
        if is_held(puts.with_suffix(".lock")):
            found.update(puts.read_text(encoding="ascii").split())
    return found


def is_held(lock: Path) -> bool:
    """Whether a living process holds a lock file."""
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
