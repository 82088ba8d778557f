"""What an export wrote into a folder, kept there as ``.lorasmith-export.json``.

With it a later export knows its own files: it rewrites those that changed, removes those that went, and leaves alone
what somebody else edited.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from lorasmith.datasets.manifest import Record
from lorasmith.datasets.names import why_unsafe
from lorasmith.errors import DatasetError
from lorasmith.jobfolder import write_atomically

RECORD_NAME: Final = ".lorasmith-export.json"


class WrittenFile(Record):
    """One file as it was written."""

    sha256: str
    size: int
    mtime_ns: int
    made_from: str = ""
    """What it was computed from, so that it need not be computed again; empty when it is a plain copy or text."""


class ExportRecord(Record):
    """The last export into a folder."""

    format: int = 1
    layout: str
    dataset: str
    """``name@number``."""
    fingerprint: str
    files: dict[str, WrittenFile] = {}
    """By path relative to the folder."""
    names: dict[str, str] = {}
    """The path of each item's picture, by the item's name."""


def load_record(folder: Path) -> ExportRecord | None:
    """The record of a folder; None when it has none.

    Raises:
        DatasetError: it is damaged, or names files outside of the folder.
    """
    path = folder / RECORD_NAME
    try:
        record = ExportRecord.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValidationError) as cause:
        raise DatasetError(f"{path} is damaged.", "Choose an empty folder, or remove that file.") from cause
    outside = next((name for name in (*record.files, *record.names.values()) if why_unsafe(name)), None)
    if outside is not None:
        raise DatasetError(f"{path} names '{outside}', a file outside of its folder.", "Remove that record.")
    return record


def save_record(folder: Path, record: ExportRecord) -> None:
    """Write the record, whole or not at all."""
    write_atomically(folder / RECORD_NAME, record.model_dump_json(indent=1).encode())


def written(path: Path, sha256: str, made_from: str = "") -> WrittenFile:
    """A file that lies on disk with this content, as the record keeps it."""
    status = path.stat()
    return WrittenFile(sha256=sha256, size=status.st_size, mtime_ns=status.st_mtime_ns, made_from=made_from)


def is_as_written(path: Path, known: WrittenFile) -> bool:
    """Whether a file still holds what the record says; its bytes are read only when size or time speak against it."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if path.is_symlink() or status.st_size != known.size:
        return False
    return status.st_mtime_ns == known.mtime_ns or hash_of(path) == known.sha256


def hash_of(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
