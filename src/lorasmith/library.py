"""The adapters of a home: files that passed their certificate, each with the certificate beside it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from lorasmith.files import file_digest, write_json


@dataclass(frozen=True)
class Library:
    """``<home>/adapters``. Nothing in it is ever written over."""

    home: Path

    @property
    def folder(self) -> Path:
        return self.home / "adapters"

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(path.stem for path in self.folder.glob("*.safetensors")))

    def add(self, file: Path, certificate: Mapping[str, Any], *, name: str) -> Path:
        """Copy an adapter in under ``name``, or ``name-2`` and so on when that is taken by other bytes.

        The same bytes under one of these names are not added again, so that asking twice is harmless.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        digest = file_digest(file)
        with FileLock(self.folder / ".lock"):
            number, target = 1, self.folder / f"{name}.safetensors"
            while target.exists() and file_digest(target) != digest:
                number += 1
                target = self.folder / f"{name}-{number}.safetensors"
            write_json(target.with_name(f"{target.stem}.certificate.json"), dict(certificate))
            if not target.exists():
                temporary = target.with_name(f".{target.name}.tmp")
                shutil.copyfile(file, temporary)
                temporary.replace(target)
        return target
