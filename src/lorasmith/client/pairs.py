"""``Studio.curate.pairs`` with an address: files of this machine are sent first, as uploads."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote

from lorasmith.client.asking import Reference, dataset_path
from lorasmith.datasets.manifest import DatasetVersion
from lorasmith.errors import InputError

if TYPE_CHECKING:
    from lorasmith.client.studio import RemoteStudio

_TUS: Final = {"Tus-Resumable": "1.0.0"}


@dataclass(frozen=True)
class RemotePairs:
    """The references of pictures over HTTP."""

    studio: RemoteStudio

    def preview(self, version: Reference, source: Path, *, suffix: str = "", mode: str = "replace") -> dict[str, Any]:
        """What a folder, ZIP or picture of this machine would be references of; what was sent goes again."""
        ids = self._send(source)
        try:
            body = {"uploads": ids, "suffix": suffix, "mode": mode}
            path = dataset_path(version, "references/preview")
            return cast("dict[str, Any]", self.studio.line.post(dict[str, Any], path, body, patient=True))
        finally:
            self._forget(ids)

    def give(self, version: Reference, source: Path, *, suffix: str = "", mode: str = "replace") -> DatasetVersion:
        """Give pictures their references by name."""
        ids = self._send(source)
        body = {"uploads": ids, "suffix": suffix, "mode": mode}
        try:
            made = self.studio.line.post(dict[str, Any], dataset_path(version, "references"), body, patient=True)
        except BaseException:
            self._forget(ids)
            raise
        return self.studio.dataset(str(made["version"]["reference"]))

    def set(self, version: Reference, name: str, references: Sequence[str | Path]) -> DatasetVersion:
        """All references of a picture, each the SHA-256 of a picture of the version or a file of this machine."""
        told = [self._one(one, one.name) if isinstance(one, Path) else one for one in references]
        path = f"{dataset_path(version, 'references')}/{quote(name)}"
        made = self.studio.line.ask("PUT", path, {"references": told}).json()
        return self.studio.dataset(str(made["reference"]))

    def remove(self, version: Reference, names: Collection[str]) -> DatasetVersion:
        """Take all references from these pictures."""
        body = {"items": sorted(names)}
        made = self.studio.line.post(dict[str, Any], dataset_path(version, "remove-references"), body)
        return self.studio.dataset(str(made["reference"]))

    def swap(self, version: Reference, names: Collection[str] | None = None, *, number: int = 1) -> dict[str, Any]:
        """Let pictures and references change places; ``version``, ``swapped`` and ``refused``."""
        body = {"items": sorted(names) if names is not None else None, "number": number}
        return cast(
            "dict[str, Any]", self.studio.line.post(dict[str, Any], dataset_path(version, "swap-references"), body)
        )

    def _send(self, source: Path) -> list[str]:
        return [self._one(path, name) for path, name in _files(source)]

    def _one(self, path: Path, name: str) -> str:
        """One file, in one piece; the id of its upload."""
        try:
            content = path.read_bytes()
        except OSError as cause:
            raise InputError(f"{path} cannot be read: {cause.strerror}.", "Check the path.") from cause
        told = ",".join(f"{key} {_coded(value)}" for key, value in (("filename", path.name), ("relativePath", name)))
        headers = {**_TUS, "Upload-Length": str(len(content)), "Upload-Metadata": told}
        place = self.studio.line.ask("POST", "/uploads", headers=headers).headers["location"]
        id = place.rpartition("/")[2]
        sent = {**_TUS, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        self.studio.line.send("PATCH", f"/uploads/{id}", content, sent)
        return id

    def _forget(self, ids: Sequence[str]) -> None:
        for id in ids:
            self.studio.line.ask("DELETE", f"/uploads/{id}", headers=_TUS)


def _files(source: Path) -> Iterator[tuple[Path, str]]:
    if not source.is_dir():
        yield source, source.name
        return
    for path in sorted(source.rglob("*")):
        if path.is_file():
            yield path, f"{source.name}/{path.relative_to(source).as_posix()}"


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
