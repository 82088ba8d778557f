"""Opening a source, and a ZIP as one: nothing is unpacked in place, every member is streamed and held to limits.

A ZIP is hostile until proven otherwise: paths that climb out, links, bombs, encrypted members, names in unknown
encodings. Members are only ever read into files whose names we choose.
"""

from __future__ import annotations

import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final, cast

from lorasmith.datasets.magic import picture_format
from lorasmith.datasets.manifest import Fate
from lorasmith.datasets.names import make_unique, repair_zip_names, why_unsafe
from lorasmith.datasets.source import (
    Entry,
    FilesSource,
    Limits,
    Source,
    left_out,
    shown_name,
    sort_by_name,
    too_many,
    too_many_members,
)
from lorasmith.errors import InputError
from lorasmith.files import bytes_in_words

_UTF8_FLAG: Final = 0x800
_ENCRYPTED_FLAG: Final = 0x1
_READABLE: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_DAMAGE: Final = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError, OverflowError,
    struct.error,
)  # fmt: skip
_OTHER_CONTENT: Final = (
    (b"Rar!\x1a\x07", "a RAR archive", "Unpack it and import the folder."),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "Unpack it and import the folder."),
    (b"\x1f\x8b", "a gzip archive", "Unpack it and import the folder."),
    (b"BZh", "a bzip2 archive", "Unpack it and import the folder."),
    (b"\xfd7zXZ\x00", "an xz archive", "Unpack it and import the folder."),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", "Unpack it and import the folder."),
    (b"PK\x03\x04", "a damaged ZIP: its end is missing", "Download or pack it again."),
    (b"PK\x01\x02", "a damaged ZIP: its beginning is missing", "Download or pack it again."),
    (b"<!DOCTYPE", "a web page", "The download probably needs a login; fetch the file again."),
    (b"<html", "a web page", "The download probably needs a login; fetch the file again."),
)


def open_source(source: Path | Sequence[Path], limits: Limits, *, archives: bool = False) -> Source:
    """The folder, ZIP, tar, Parquet table or picture at a path, or several of them as one; content decides which.

    Files named one by one are read by themselves: a caption beside a picture counts when it is named too. Of several
    sources each keeps its name as the first part of its paths. With ``archives``, every archive in a folder is opened
    and not only those that a dataset is made of.

    Raises:
        InputError: one is missing, cannot be read, or is none of these; or none was given.
    """
    if isinstance(source, Path):
        return _open_one(source, limits, alone=True, archives=archives)
    paths = list(dict.fromkeys(path.absolute() for path in source))
    if not paths:
        raise InputError("No source was given.", "Name a folder, a ZIP or some pictures.")
    if len(paths) == 1:
        return _open_one(paths[0], limits, alone=True, archives=archives)
    parts: list[Source] = []
    loose: dict[Path, list[Path]] = {}
    try:
        for path in paths:
            found = _open_one(path, limits, archives=archives)
            if isinstance(found, FilesSource):
                loose.setdefault(path.parent, []).append(path)
            else:
                parts.append(found)
    except InputError:
        for part in parts:
            part.close()
        raise
    parts.extend(FilesSource(files, limits) for files in loose.values())
    return parts[0] if len(parts) == 1 else SeveralSources(parts, limits)


def _open_one(path: Path, limits: Limits, *, alone: bool = False, archives: bool = False) -> Source:
    """What lies at a path. A file that is no archive is one of several; ``alone`` it must be a picture."""
    try:
        if path.is_dir():
            return _folder(path, limits, archives)
        if not path.exists():
            raise InputError(f"There is no file or folder at {path}.", "Check the path.")
        if not path.is_file():
            raise InputError(f"{path} is neither a file nor a folder.", "Give a ZIP or a folder with pictures.")
        with path.open("rb") as stream:
            beginning = stream.read(262 + 5)
        archive = None if picture_format(beginning) else _archive(path, limits)
        if archive is not None:
            return archive
        if picture_format(beginning) or not alone:
            return FilesSource([path], limits)
    except OSError as cause:
        raise InputError(f"{path} cannot be read: {cause.strerror or cause}.", "Check its permissions.") from cause
    raise InputError(*_what_it_is(path, beginning))


def _folder(path: Path, limits: Limits, archives: bool) -> Source:
    from lorasmith.datasets.nested import FolderWithArchives  # it builds on this module

    return FolderWithArchives(path, limits, archives=archives)


def _archive(path: Path, limits: Limits) -> Source | None:
    """The archive at a path, by its content; None when it is none that is read. A picture never comes here, though a
    ZIP may hang behind it."""
    from lorasmith.datasets.parquet import ParquetSource, is_parquet
    from lorasmith.datasets.tar import TarSource, is_tar

    if zipfile.is_zipfile(path):
        return ZipSource(path, limits)
    if is_tar(path):
        return TarSource(path, limits)
    return ParquetSource(path, limits) if is_parquet(path) else None


def _what_it_is(path: Path, beginning: bytes) -> tuple[str, str]:
    if not beginning:
        return f"{path.name} is empty (0 bytes).", "Download or pack it again."
    for magic, what, hint in _OTHER_CONTENT:
        if beginning.lower().startswith(magic.lower()):
            return f"{path.name} is {what}{'' if 'ZIP' in what else ', not a ZIP'}.", hint
    sentence = f"{path.name} is neither a picture nor a ZIP nor a folder."
    return sentence, "Give pictures, or a ZIP or a folder with pictures."


class ZipSource(Source):
    """A ZIP, read member by member."""

    word = "ZIP"

    def __init__(self, path: Path, limits: Limits) -> None:
        super().__init__(path, limits)
        try:
            self._zip = zipfile.ZipFile(path)
        except (*_DAMAGE, NotImplementedError) as cause:
            raise InputError(f"{path.name} is a damaged ZIP: {cause}.", "Download or pack it again.") from cause

    @property
    def label(self) -> str:
        return self.path.stem

    def scan(self) -> tuple[list[Entry], list[Fate]]:
        members = [info for info in self._zip.infolist() if not _is_folder(info)]
        if len(members) > self.limits.members:
            raise too_many_members(self)
        entries: list[Entry] = []
        fates: list[Fate] = []
        for info, path in zip(members, _names(members), strict=True):
            outcome = self._judge(info, path)
            if isinstance(outcome, Fate):
                fates.append(outcome)
            else:
                entries.append(outcome)
        return entries, fates

    def _judge(self, info: zipfile.ZipInfo, path: str) -> Entry | Fate:
        refusal = _why_refused(info, path)
        if refusal is not None:
            return left_out(path, *refusal)
        kind = sort_by_name(path.replace("\\", "/"))
        if isinstance(kind, Fate):
            return replace(kind, path=path)
        repaired = not info.flag_bits & _UTF8_FLAG and path != info.filename
        note = "Its name was repaired; the ZIP does not say in which encoding it is." if repaired else ""
        return Entry(path, kind, info.file_size, info, note)

    def open(self, entry: Entry) -> BinaryIO:
        assert isinstance(entry.handle, zipfile.ZipInfo)
        return cast(BinaryIO, self._zip.open(entry.handle))

    def close(self) -> None:
        self._zip.close()

    def packed_size(self, entry: Entry) -> int | None:
        assert isinstance(entry.handle, zipfile.ZipInfo)
        return entry.handle.compress_size

    def reading(self) -> tuple[type[Exception], ...]:
        return _DAMAGE


class SeveralSources(Source):
    """Several sources as one; each one's name is the first part of its paths, told apart where two are the same."""

    word = "sources"

    def __init__(self, parts: Sequence[Source], limits: Limits) -> None:
        super().__init__(parts[0].path, limits)
        self._parts = tuple(parts)
        taken: set[str] = set()
        self._labels = tuple(make_unique(shown_name(part.label) or "root", taken) for part in parts)

    @property
    def name(self) -> str:
        return ", ".join(self._labels)

    def scan(self) -> tuple[list[Entry], list[Fate]]:
        entries: list[Entry] = []
        fates: list[Fate] = []
        for part, label in zip(self._parts, self._labels, strict=True):
            found, known = part.scan()
            entries.extend(replace(e, path=f"{label}/{e.path}", handle=(part, e), label=label) for e in found)
            fates.extend(replace(fate, path=f"{label}/{fate.path}") for fate in known)
        if len(entries) + len(fates) > self.limits.files:
            raise too_many(self)
        return entries, fates

    def open(self, entry: Entry) -> BinaryIO:
        part, inner = _inner(entry)
        return part.open(inner)

    def chunks(self, entry: Entry) -> Iterator[bytes]:
        part, inner = _inner(entry)
        for chunk in part.chunks(replace(inner, kind=entry.kind)):
            self.read_bytes += len(chunk)
            if self.read_bytes > self.limits.total_bytes:
                raise InputError(
                    f"{self.name} unpack to more than {bytes_in_words(self.limits.total_bytes)}.",
                    "Split them into several datasets.",
                )
            yield chunk

    def close(self) -> None:
        for part in self._parts:
            part.close()

    def packed_size(self, entry: Entry) -> int | None:
        part, inner = _inner(entry)
        return part.packed_size(inner)

    def reading(self) -> tuple[type[Exception], ...]:
        return tuple({kind: None for part in self._parts for kind in part.reading()})


def _inner(entry: Entry) -> tuple[Source, Entry]:
    assert isinstance(entry.handle, tuple)
    part, inner = entry.handle
    return cast(Source, part), cast(Entry, inner)


def _why_refused(info: zipfile.ZipInfo, path: str) -> tuple[str, str] | None:
    """Rule and sentence for a member that must not or cannot be unpacked, whatever it holds."""
    unsafe = why_unsafe(path)
    if unsafe is not None:
        return "unsafe_path", f"{unsafe}; such names are how archives overwrite foreign files."
    mode = info.external_attr >> 16
    if stat.S_ISLNK(mode):
        return "link", "is a link; links are not followed, pack the file instead."
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "special_file", "is not a plain file."
    if info.flag_bits & _ENCRYPTED_FLAG:
        return "encrypted", "is protected by a password; pack it again without one."
    if info.compress_type not in _READABLE:
        return "unsupported_compression", "is packed in a way that is not read; pack it again."
    return None


def _is_folder(info: zipfile.ZipInfo) -> bool:
    return info.filename.endswith(("/", "\\")) and info.file_size == 0


def _names(members: list[zipfile.ZipInfo]) -> list[str]:
    """Every member's name, repaired where its encoding is not declared."""
    undeclared = [info for info in members if not info.flag_bits & _UTF8_FLAG]
    repaired = repair_zip_names([info.orig_filename.encode("cp437", "replace") for info in undeclared])
    by_member = {id(info): name for info, name in zip(undeclared, repaired, strict=True)}
    return [by_member.get(id(info), info.orig_filename) for info in members]
