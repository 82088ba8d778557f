"""A tar as a source, shards of WebDataset among them: read member by member, nothing is unpacked in place.

The rules are those of ``archive.py``: no path that climbs out, no link, no device, sizes and ratio held while reading.
"""

from __future__ import annotations

import lzma
import tarfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final, cast

from lorasmith.datasets.manifest import Fate
from lorasmith.datasets.names import why_unsafe
from lorasmith.datasets.source import Entry, Limits, Source, left_out, sort_by_name, too_many_members
from lorasmith.errors import InputError

_DAMAGE: Final = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, OverflowError)
_COMPRESSED: Final = ((b"\x1f\x8b", "gz"), (b"BZh", "bz2"), (b"\xfd7zXZ\x00", "xz"))


def is_tar(path: Path) -> bool:
    """Whether the content is a tar that is read: plain, or packed as a whole by gzip, bzip2 or xz."""
    with path.open("rb") as stream:
        beginning = stream.read(262 + 5)
    if beginning[257:262] == b"ustar":
        return True
    if not any(beginning.startswith(magic) for magic, _ in _COMPRESSED):
        return False
    try:
        with tarfile.open(path, "r:*") as archive:
            return archive.next() is not None
    except _DAMAGE:
        return False


class TarSource(Source):
    """A tar archive."""

    word = "tar"

    def __init__(self, path: Path, limits: Limits) -> None:
        super().__init__(path, limits)
        try:
            self._tar = tarfile.open(path, "r:*")  # noqa: SIM115 - closed by close()
        except _DAMAGE as cause:
            raise InputError(f"{path.name} is a damaged tar: {cause}.", "Download or pack it again.") from cause
        self._packed = path.stat().st_size

    def scan(self) -> tuple[list[Entry], list[Fate]]:
        entries: list[Entry] = []
        fates: list[Fate] = []
        seen: set[str] = set()
        unpacked = 0
        try:
            for info in self._tar:
                unpacked += info.size
                self._refuse_bomb(unpacked)
                if info.isdir():
                    continue
                outcome = _judge(info, seen)
                if isinstance(outcome, Fate):
                    fates.append(outcome)
                else:
                    entries.append(outcome)
                if len(entries) + len(fates) > self.limits.members:
                    raise too_many_members(self)
            self._refuse_cut()
        except _DAMAGE as cause:
            raise InputError(f"{self.path.name} is a damaged tar: {cause}.", "Download or pack it again.") from cause
        return entries, fates

    def _refuse_cut(self) -> None:
        """tarfile takes a header it cannot read for the end; a real end is a block of zeros."""
        stream = self._tar.fileobj
        assert stream is not None
        stream.seek(self._tar.offset)
        end = stream.read(tarfile.BLOCKSIZE)
        if end.count(0) != tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it is cut off, or damaged in the middle")

    def _refuse_bomb(self, unpacked: int) -> None:
        """A packed tar is unpacked to be listed, so its size is watched while that happens."""
        if unpacked > max(self.limits.ratio_from_bytes, self.limits.ratio * self._packed):
            message = f"{self.path.name} unpacks to more than {self.limits.ratio:g} times its size."
            raise InputError(message, "Unpack it and import the folder, if you trust it.")

    def open(self, entry: Entry) -> BinaryIO:
        assert isinstance(entry.handle, tarfile.TarInfo)
        stream = self._tar.extractfile(entry.handle)
        assert stream is not None  # only plain files become entries
        return cast(BinaryIO, stream)

    def close(self) -> None:
        self._tar.close()

    def packed_size(self, entry: Entry) -> int | None:
        return None

    def reading(self) -> tuple[type[Exception], ...]:
        return _DAMAGE


def _judge(info: tarfile.TarInfo, seen: set[str]) -> Entry | Fate:
    """What a member is by its name and kind."""
    path = info.name.encode("utf-8", "replace").decode().removeprefix("./")
    unsafe = why_unsafe(path)
    if unsafe is not None:
        return left_out(path, "unsafe_path", f"{unsafe}; such names are how archives overwrite foreign files.")
    if info.issym() or info.islnk():
        return left_out(path, "link", "is a link; links are not followed, pack the file instead.")
    if not info.isfile() or info.issparse():
        return left_out(path, "special_file", "is not a plain file.")
    if path in seen:
        return left_out(path, "duplicate", "stands in the archive a second time; the first one counts.")
    seen.add(path)
    kind = sort_by_name(path.replace("\\", "/"))
    return replace(kind, path=path) if isinstance(kind, Fate) else Entry(path, kind, info.size, info)
