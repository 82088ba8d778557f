"""Files on disk: written whole or not at all, made durable, told apart by their bytes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any, Final

_DAY: Final = 86_400.0


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomically(path: Path, content: bytes, *, settle: bool = True) -> None:
    """Write beside, fsync, rename: a reader sees the old bytes or the new ones, whatever happens.

    Without ``settle`` a power cut just afterwards may bring the old bytes back.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:  # a full disk: give back the half that was written
        temporary.unlink(missing_ok=True)
        raise
    put_in_place(temporary, path)
    if settle:
        sync_folder(path.parent)


def clear_leftovers(path: Path) -> None:
    """Take away what a write of this very file or folder left that was killed; of others in the folder, after a day.

    A process that writes has its number in the name of what it has not finished.
    """
    try:
        beside = list(path.parent.iterdir())
    except OSError:
        return
    for found in beside:
        name, _, number = found.name.removesuffix(".tmp").rpartition(".")
        if not (found.name.endswith(".tmp") and name.startswith(".") and number.isdecimal()):
            continue
        try:
            touched = found.stat().st_mtime
        except OSError:
            continue  # whoever wrote it has just finished
        if (name == f".{path.name}" or time.time() - touched > _DAY) and not _at_work(int(number), touched):
            shutil.rmtree(found, ignore_errors=True) if found.is_dir() else found.unlink(missing_ok=True)


def _at_work(pid: int, touched: float) -> bool:
    """Whether the process that has a number now can be the one that wrote then."""
    import psutil

    if pid == os.getpid():
        return True
    try:
        return bool(psutil.Process(pid).create_time() <= touched + 1)
    except psutil.NoSuchProcess:
        return False
    except (psutil.AccessDenied, OverflowError, ValueError):
        return True


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename a file that is whole over another one."""
    for attempt in range(10):  # Windows refuses to replace a file that a reader has open at this moment
        try:
            temporary.replace(path)
            return
        except PermissionError:
            if attempt == 9:
                raise
            time.sleep(0.05)


def write_json(path: Path, value: Any) -> None:
    """``write_atomically`` for JSON."""
    write_atomically(path, json.dumps(value, ensure_ascii=False, indent=2).encode())


def read_json(path: Path) -> dict[str, Any]:
    """A small JSON object; empty when it is missing or damaged, for files that are written whole or not at all."""
    try:
        raw = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return {}
    return raw if isinstance(raw, dict) else {}


def json_in(text: str) -> Any:
    """What a stranger's text says as JSON; None when it is none, or nested deeper than anybody means it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable. Windows has no such call and journals them itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def bytes_in_words(count: float) -> str:
    """A number of bytes for people, in three digits: ``12.5 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if float(f"{count:.3g}") < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.0f} TB" if count >= 100 else f"{count:.3g} TB"
