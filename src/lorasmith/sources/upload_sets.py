"""Files that were uploaded one by one, laid out again as the folder they came from, so that they are imported as one.

    <home>/uploads/set-<id>/...      links to (or copies of) whole uploads; gone when they are imported

Captions lie beside their pictures again. Archives become sources of their own, for an import opens no archive inside a
folder.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from lorasmith.datasets.names import make_unique
from lorasmith.datasets.source import disk_errors
from lorasmith.errors import InputError, UploadRefused
from lorasmith.sources.uploads import Uploads

_PREFIX: Final = "set-"
_LOOSE: Final = "pictures"
_ARCHIVES: Final = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".parquet", ".cbz")
_LISTS: Final = (".json", ".jsonl", ".csv", ".txt", ".toml", ".yaml", ".yml")


@dataclass(frozen=True)
class UploadSet:
    """What is ready to be imported."""

    folder: Path
    """Goes when it is imported."""
    sources: tuple[Path, ...]
    name: str
    """A word for the dataset, where the user gives none."""


def lay_out(uploads: Uploads, ids: Collection[str], owner: str = "") -> UploadSet:
    """Lay whole uploads out as they lay where they came from. The uploads themselves stay until they are abandoned.

    Args:
        uploads: of the home.
        ids: which, in any order; each once.
        owner: whose they have to be.

    Raises:
        UploadRefused: one is not there, of somebody else, or not whole.
        InputError: there are none.
    """
    wanted = list(dict.fromkeys(ids))
    if not wanted:
        raise InputError("There is nothing to import.", "Choose a ZIP, a folder or pictures.")
    found = []
    for id in wanted:
        upload = uploads.status(id)
        if upload.owner != owner:
            raise UploadRefused("There is no such upload, or it has expired.", "Begin it again.", "unknown")
        found.append((upload.path, uploads.finish(id)))
    with disk_errors(uploads.folder):
        folder = uploads.folder / f"{_PREFIX}{secrets.token_hex(16)}"
        folder.mkdir(parents=True)
        return _laid(folder, sorted(found))


def release(home: Path, sources: Collection[Path | str]) -> bool:
    """Remove the set that an import came from; whether it was one."""
    place = home.absolute() / "uploads"
    for source in sources:
        path = Path(source).absolute()
        if path.is_relative_to(place) and (top := path.relative_to(place).parts) and top[0].startswith(_PREFIX):
            shutil.rmtree(place / top[0], ignore_errors=True)
            return True
    return False


def expire_sets(uploads: Uploads, clock: Callable[[], float] = time.time) -> int:
    """Remove sets that nobody imported for as long as an upload lives; how many."""
    gone = 0
    for path in uploads.folder.glob(f"{_PREFIX}*"):
        if path.stat().st_mtime + uploads.limits.expires < clock():
            shutil.rmtree(path, ignore_errors=True)
            gone += 1
    return gone


def _laid(folder: Path, found: list[tuple[str, Path]]) -> UploadSet:
    tops = {PurePosixPath(path).parts[0] for path, _ in found}
    alone = len(tops) == 1
    archives = [path for path, _ in found if "/" not in path and path.lower().endswith(_ARCHIVES)]
    loose = [path for path, _ in found if path not in archives]
    beside = bool(archives) and all("/" not in path and path.lower().endswith(_LISTS) for path in loose)
    taken: set[str] = set()
    sources: dict[Path, None] = {}
    for path, whole in found:
        own = alone or beside or path in archives
        target = folder / make_unique(path if own else f"{_LOOSE}/{path}", taken)
        target.parent.mkdir(parents=True, exist_ok=True)
        _link(whole, target)
        sources[folder / target.relative_to(folder).parts[0]] = None
    first = PurePosixPath(min(tops)).name
    name = first if not alone and archives else (min(tops) if alone else _LOOSE)
    stem = next((name[: -len(end)] for end in _ARCHIVES if name.lower().endswith(end)), name)
    whole_file = alone and len(found) == 1 and "/" not in found[0][0]
    return UploadSet(folder, tuple(sources), PurePosixPath(stem).stem if whole_file else stem)


def _link(whole: Path, target: Path) -> None:
    try:
        os.link(whole, target)
    except OSError:  # a file system without links
        shutil.copyfile(whole, target)
