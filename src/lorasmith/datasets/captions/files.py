"""Captions as ``.txt`` files beside their pictures: only what changed is written, and nobody's edit is overwritten."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from lorasmith.datasets.manifest import Item
from lorasmith.datasets.names import collision_key, why_unsafe
from lorasmith.datasets.source import disk_errors
from lorasmith.errors import DatasetError

Progress = Callable[[int, int, str], None]

_SUFFIX: Final = ".txt"


@dataclass(frozen=True)
class WrittenCaptions:
    """What writing captions did; every path relative to the folder, with ``/``."""

    written: tuple[str, ...]
    unchanged: tuple[str, ...]
    """Files that held these bytes already, and pictures without a caption or a file."""
    conflicts: tuple[str, ...]
    """Files that hold something that was not written here; left alone."""
    hashes: Mapping[str, str]
    """SHA-256 of what we know to have written, by path: give it as ``previous`` the next time."""


def write_captions(
    items: Iterable[Item],
    folder: Path,
    *,
    previous: Mapping[str, str] | None = None,
    force: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> WrittenCaptions:
    """Bring the caption files of a folder up to date.

    A file is replaced whole or not at all. One that is gone is written again. The text is the caption in UTF-8, byte
    for byte; an empty caption empties its file and makes none.

    Args:
        items: whose captions.
        folder: where the pictures lie; ``a/b.png`` is captioned by ``a/b.txt`` in it.
        previous: ``hashes`` of the last time; a file with other content is someone else's.
        force: overwrite those too.
        dry_run: say what would be done and do nothing.
        progress: called with files done, files in all and the path of the last one.

    Raises:
        DatasetError: two pictures with different captions share a file, or a name leads out of the folder.
        OutOfDisk: it does not fit; what is there stays whole.
    """
    targets = _targets(items)
    known = dict(previous or {})
    written: list[str] = []
    unchanged: list[str] = []
    conflicts: list[str] = []
    with disk_errors(folder):
        for number, path in enumerate(sorted(targets), start=1):
            content = targets[path].caption.encode()
            target = _inside(folder, path)
            present = _content(target)
            digest = hashlib.sha256(content).hexdigest()
            if present == content or (present is None and not content):
                unchanged.append(path)
                if present is not None:
                    known[path] = digest
            elif present is not None and not force and hashlib.sha256(present).hexdigest() != known.get(path):
                conflicts.append(path)
            else:
                written.append(path)
                known[path] = digest
                if not dry_run:
                    _replace(target, content)
            if progress is not None:
                progress(number, len(targets), path)
    hashes = dict(previous or {}) if dry_run else known
    return WrittenCaptions(tuple(written), tuple(unchanged), tuple(conflicts), hashes)


def _targets(items: Iterable[Item]) -> dict[str, Item]:
    """Whose caption each file shall hold; all of them can be written."""
    targets: dict[str, Item] = {}
    owners: dict[str, Item] = {}
    for item in items:
        path = str(PurePosixPath(item.name).with_suffix(_SUFFIX))
        if why_unsafe(path):
            raise DatasetError(f"The name '{item.name}' {why_unsafe(path)}.", "Rename the picture.")
        other = owners.setdefault(collision_key(path), item)
        if other.caption != item.caption:
            raise DatasetError(
                f"'{other.name}' and '{item.name}' share the caption file {path} and have different captions.",
                "Rename one of them.",
            )
        if other is not item:
            continue
        try:
            item.caption.encode()
        except UnicodeEncodeError as cause:
            raise DatasetError(
                f"The caption of '{item.name}' holds half a character pair, which no file can.", "Edit that caption."
            ) from cause
        targets[path] = item
    return targets


def _inside(folder: Path, path: str) -> Path:
    """The file; a link on the way to it must not lead elsewhere."""
    target = folder / path
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise DatasetError(f"{path} leads out of {folder} by a link.", "Remove the link.")
    return target


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except IsADirectoryError as cause:
        raise DatasetError(f"{path} is a folder, where a caption file belongs.", "Move it away.") from cause


def _replace(path: Path, content: bytes) -> None:
    """Write beside and rename: a reader sees the old bytes or the new ones. Not synced, as there may be 100,000."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
