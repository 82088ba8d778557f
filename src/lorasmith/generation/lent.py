"""Pictures that somebody gave to be edited, and that are in no dataset.

    <home>/lent/<sha256>.png    upright, sRGB, 8 bits, without transparency, as a dataset would hold it
    <home>/lent/<sha256>.json   what it was called, who gave it, and when

A picture belongs to everybody who gave it. It goes a week after it was given last, unless a job or a saved prompt names
it still: then it stays for as long as that can be painted again.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from lorasmith.datasets.images import prepare, quiet_pillow
from lorasmith.datasets.source import Limits, RefusedError, disk_errors
from lorasmith.errors import InputError
from lorasmith.files import write_json

FOLDER: Final = "lent"
WEEK: Final = 7 * 24 * 3600.0
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_LONGEST_NAME: Final = 200


@dataclass(frozen=True)
class Lent:
    """One picture."""

    sha256: str
    name: str
    owners: dict[str, float]
    """Who gave it, and when last: seconds since 1970."""


class Lending:
    """The pictures of a home. Safe between threads and processes."""

    def __init__(self, home: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._home, self._folder, self._clock = home, home / FOLDER, clock

    def path(self, sha256: str) -> Path:
        """Where a picture lies, if it is here."""
        return self._folder / f"{sha256}.png"

    def take(self, file: Path, name: str, owner: str) -> str:
        """Keep a picture; its SHA-256. What is due goes.

        Args:
            file: any picture that an import would take.
            name: what its owner calls it.
            owner: who gives it.

        Raises:
            InputError: it is no picture, damaged or too large.
            OutOfDisk: it does not fit.
        """
        quiet_pillow()
        called = " ".join(name.replace("\\", "/").rpartition("/")[2].split())[:_LONGEST_NAME] or "picture"
        try:
            prepared = prepare(file, background=(255, 255, 255), pixel_limit=Limits().pixels)
            content = _png(file, prepared.image)
        except RefusedError as refusal:
            raise InputError(f"{called} {refusal.detail}", "Choose another picture.") from refusal
        except OSError as cause:
            raise InputError(f"{called} cannot be read: {cause.strerror}.", "Choose it again.") from cause
        sha256 = hashlib.sha256(content).hexdigest()
        with disk_errors(self._home), self._alone():
            before = self._read(sha256)
            owners = (before.owners if before else {}) | {owner: self._clock()}
            temporary = self._folder / f".{sha256}.part"
            temporary.write_bytes(content)
            temporary.replace(self.path(sha256))
            write_json(self._about(sha256), {"name": called, "owners": owners})
        self.expire()
        return sha256

    def about(self, sha256: str) -> Lent | None:
        """A picture that is here; None for others."""
        return self._read(sha256) if _SHA256.fullmatch(sha256) else None

    def expire(self) -> int:
        """Remove what was given long ago and nothing names any more; how many."""
        due = [
            path.stem
            for path in self._folder.glob("*.json")
            if (found := self._read(path.stem)) is None
            or max(found.owners.values(), default=0.0) < self._clock() - WEEK
        ]
        if not due:
            return 0
        named = self._named()
        gone = [sha256 for sha256 in due if sha256 not in named]
        with self._alone():
            for sha256 in gone:
                self.path(sha256).unlink(missing_ok=True)
                self._about(sha256).unlink(missing_ok=True)
        return len(gone)

    def _named(self) -> set[str]:
        """Every hash that a job or a saved prompt of this home mentions."""
        files = [*self._home.glob("jobs/*-generate*/job.json"), self._home / "prompts.json"]
        return {sha256 for file in files if file.is_file() for sha256 in _SHA256.findall(file.read_text("utf-8"))}

    def _read(self, sha256: str) -> Lent | None:
        try:
            told: Any = json.loads(self._about(sha256).read_bytes())
            owners = {str(name): float(moment) for name, moment in told["owners"].items()}
            return Lent(sha256, str(told["name"]), owners) if self.path(sha256).is_file() else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def _about(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.json"

    def _alone(self) -> FileLock:
        self._folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self._folder / ".lock", timeout=30)


def _png(file: Path, image: Any) -> bytes:
    """A prepared picture as PNG without metadata; of one that needed nothing, its pixels."""
    from PIL import Image

    if image is None:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
    stream = io.BytesIO()
    plain = Image.new(image.mode, image.size)
    plain.paste(image)
    plain.save(stream, format="PNG", compress_level=1)
    return stream.getvalue()
