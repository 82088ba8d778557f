"""A folder whose pictures lie in archives it is made of: shards of tar or Parquet, or the ZIP of a bundle.

Any other archive in a folder stays what it was, a file of its own to import separately; unless the folder was brought
from elsewhere, for then nobody had a choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final
from zipfile import is_zipfile

from lorasmith.datasets.archive import ZipSource
from lorasmith.datasets.manifest import Fate
from lorasmith.datasets.parquet import ParquetSource, holds_pictures
from lorasmith.datasets.source import Entry, FolderSource, Limits, Source, left_out, too_many
from lorasmith.datasets.tar import TarSource, is_tar
from lorasmith.errors import EnvironmentProblem, InputError
from lorasmith.files import bytes_in_words

_BUNDLE: Final = "_processed_images.zip"
_PACKED: Final = (".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")


@dataclass(frozen=True)
class _Inside:
    """An entry of an archive in the folder."""

    archive: str
    entry: Entry


class FolderWithArchives(FolderSource):
    """A folder; its shards are read as folders of their own, ``train-000000.tar/0001.jpg``."""

    def __init__(self, path: Path, limits: Limits, *, archives: bool = False) -> None:
        """``archives``: whether every ZIP and tar in it is opened, as in a folder that was brought from elsewhere."""
        super().__init__(path, limits)
        self._every = archives
        self._opened: dict[str, Source] = {}

    def scan(self) -> tuple[list[Entry], list[Fate]]:
        listed, fates = super().scan()
        entries: list[Entry] = []
        kept: list[Fate] = []
        everything: list[Entry | Fate] = [*listed, *fates]
        for found in everything:
            outcome = self._open_archive(found.path)
            if isinstance(outcome, tuple):
                inside, lost = outcome
                entries.extend(_below(found.path, inside))
                kept.extend(replace(fate, path=f"{found.path}/{fate.path}") for fate in lost)
                detail = "is an archive of this dataset; its files are listed themselves."
                kept.append(left_out(found.path, "opened", detail))
            elif isinstance(outcome, Fate):
                kept.append(outcome)
            elif isinstance(found, Fate):
                kept.append(found)
            else:
                entries.append(found)
            if len(entries) + len(kept) > self.limits.files:
                raise too_many(self)
        return entries, kept

    def _open_archive(self, path: str) -> tuple[list[Entry], list[Fate]] | Fate | None:
        """What an archive holds; None when it is none of this dataset, a fate when it cannot be opened."""
        place = self.path / path
        kind = _kind_of(path, self._every)
        if kind is None or place.is_symlink() or not place.is_file():
            return None
        try:
            if not kind[0](place):
                return None
            self._opened[path] = kind[1](place, self.limits)
            return self._opened[path].scan()
        except EnvironmentProblem as cause:
            return left_out(path, "needs_extra", f"is not opened: {cause}")
        except (InputError, OSError) as cause:
            return left_out(path, "damaged", f"cannot be opened: {cause}")

    def open(self, entry: Entry) -> BinaryIO:
        if isinstance(entry.handle, _Inside):
            return self._opened[entry.handle.archive].open(entry.handle.entry)
        return super().open(entry)

    def chunks(self, entry: Entry) -> Iterator[bytes]:
        if not isinstance(entry.handle, _Inside):
            yield from super().chunks(entry)
            return
        for chunk in self._opened[entry.handle.archive].chunks(entry.handle.entry):
            self.read_bytes += len(chunk)
            if self.read_bytes > self.limits.total_bytes:
                raise InputError(
                    f"{self.path.name} unpacks to more than {bytes_in_words(self.limits.total_bytes)}.",
                    "Split it into several datasets.",
                )
            yield chunk

    def close(self) -> None:
        for opened in self._opened.values():
            opened.close()

    def packed_size(self, entry: Entry) -> int | None:
        if isinstance(entry.handle, _Inside):
            return self._opened[entry.handle.archive].packed_size(entry.handle.entry)
        return None


def _kind_of(path: str, every: bool) -> tuple[Callable[[Path], bool], Callable[[Path, Limits], Source]] | None:
    """How an archive of that name is told and opened."""
    pure = PurePosixPath(path)
    if any(part.startswith(".") for part in pure.parts):
        return None
    if pure.name.lower().endswith(_BUNDLE):
        return _always, ZipSource
    if pure.suffix.lower() == ".tar" or (every and pure.name.lower().endswith(_PACKED)):
        return is_tar, TarSource
    if every and pure.suffix.lower() in (".zip", ".cbz"):
        return is_zipfile, ZipSource
    return (holds_pictures, ParquetSource) if pure.suffix.lower() == ".parquet" else None


def _always(_: Path) -> bool:
    return True


def _below(archive: str, entries: list[Entry]) -> Iterator[Entry]:
    for entry in entries:
        yield replace(entry, path=f"{archive}/{entry.path}", handle=_Inside(archive, entry))
