"""Where pictures come from: a folder or a ZIP, told apart by content, and the limits that keep an import safe.

A source lists its files once. Those that may hold a picture or a caption are ``Entry``; every other file is a
``Fate`` already, so that nothing is left unsaid. Directories are not counted.
"""

from __future__ import annotations

import errno
import os
import stat
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, ClassVar, Final, Literal

from lorasmith.datasets.manifest import Fate
from lorasmith.errors import EnvironmentProblem, InputError, OutOfDisk

IMAGE_SUFFIXES: Final = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif")
)
CAPTION_SUFFIX: Final = ".txt"
_UNSUPPORTED: Final = frozenset(
    (
        ".heic",
        ".heif",
        ".jxl",
        ".jp2",
        ".psd",
        ".xcf",
        ".kra",
        ".svg",
        ".raw",
        ".cr2",
        ".cr3",
        ".nef",
        ".arw",
        ".dng",
        ".tga",
    )
)
_ARCHIVES: Final = frozenset((".zip", ".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".cbz"))
_SYSTEM_FILES: Final = frozenset((".ds_store", "thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r"))
_CHUNK: Final = 1 << 20


@dataclass(frozen=True)
class Limits:
    """How much a source may hold before it is refused. The defaults fit any honest dataset."""

    members: int = 50_000
    total_bytes: int = 20_000_000_000
    free_disk_share: float = 0.8
    """Share of the free disk an import may use, 0 to 1."""
    file_bytes: int = 500_000_000
    ratio: float = 200.0
    """Unpacked over packed bytes of a member; looked at from ``ratio_from_bytes`` on, while reading."""
    ratio_from_bytes: int = 10_000_000
    pixels: int = 89_000_000
    """Width x height of one picture; just under the size at which Pillow itself warns of bombs."""
    caption_bytes: int = 1_000_000


@dataclass(frozen=True)
class Entry:
    """A file that may hold a picture or a caption."""

    path: str
    """As the ledger names it: relative to the source, ``/`` between parts, names repaired."""
    kind: Literal["image", "caption"]
    size: int
    """Bytes as declared by the source; not to be trusted."""
    handle: object
    """What the source needs to open it."""
    note: str = ""
    """A sentence about the name, for the ledger."""


class RefusedError(Exception):
    """One file cannot be taken: the rule and the sentence of its ``Fate``."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(detail)
        self.rule = rule
        self.detail = detail


class Source(ABC):
    """A folder or an archive, open for one import."""

    word: ClassVar[str]
    """What a message calls it: ``ZIP``, ``folder``."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path = path
        self.limits = limits
        self.read_bytes = 0

    @abstractmethod
    def scan(self) -> tuple[list[Entry], list[Fate]]:
        """Every file exactly once, as an entry to try or a fate already known.

        Raises:
            InputError: more files than ``limits.members``.
        """

    @abstractmethod
    def open(self, entry: Entry) -> BinaryIO:
        """The bytes of an entry; ``RefusedError`` when they cannot be read."""

    @abstractmethod
    def close(self) -> None:
        """Let go of open files."""

    @abstractmethod
    def packed_size(self, entry: Entry) -> int | None:
        """Bytes the entry takes inside the source; None when nothing is packed."""

    @abstractmethod
    def reading(self) -> tuple[type[Exception], ...]:
        """What reading damaged bytes may raise."""

    def chunks(self, entry: Entry) -> Iterator[bytes]:
        """The bytes of an entry in pieces, held to the limits while they come.

        Raises:
            RefusedError: the entry is too large, packed like a bomb, or its bytes are damaged.
            InputError: the source as a whole is larger than the limit.
        """
        cap = self.limits.caption_bytes if entry.kind == "caption" else self.limits.file_bytes
        packed = self.packed_size(entry)
        count = 0
        try:
            with self.open(entry) as stream:
                while chunk := stream.read(_CHUNK):
                    count += len(chunk)
                    self.read_bytes += len(chunk)
                    if count > cap:
                        raise RefusedError("too_large", f"is larger than {in_words(cap)}.")
                    if packed is not None and count > max(self.limits.ratio_from_bytes, self.limits.ratio * packed):
                        raise RefusedError("bomb", f"unpacks to more than {self.limits.ratio:g} times its packed size.")
                    if self.read_bytes > self.limits.total_bytes:
                        raise InputError(
                            f"{self.path.name} unpacks to more than {in_words(self.limits.total_bytes)}.",
                            "Split it into several datasets.",
                        )
                    yield chunk
        except self.reading() as cause:
            raise RefusedError("damaged", f"cannot be read: {_first_line(cause)}.") from cause


class FolderSource(Source):
    """A folder; symbolic links are listed and never followed."""

    word = "folder"

    def scan(self) -> tuple[list[Entry], list[Fate]]:
        entries: list[Entry] = []
        fates: list[Fate] = []
        pending = [self.path]
        while pending:
            folder = pending.pop()
            try:
                children = sorted(os.scandir(folder), key=lambda child: child.name)
            except OSError as cause:
                if folder == self.path:
                    raise InputError(
                        f"The folder {folder} cannot be read: {cause.strerror}.", "Check its permissions."
                    ) from cause
                detail = f"is a folder that cannot be read: {cause.strerror}."
                fates.append(left_out(self._shown(folder), "unreadable", detail))
                continue
            for child in children:
                if child.is_dir(follow_symlinks=False) and not _is_junction(child):
                    pending.append(Path(child.path))
                else:
                    self._add(Path(child.path), child, entries, fates)
            if len(entries) + len(fates) > self.limits.members:
                raise too_many(self)
        return entries, fates

    def _shown(self, path: Path) -> str:
        return path.relative_to(self.path).as_posix().encode("utf-8", "replace").decode()

    def _add(self, path: Path, child: os.DirEntry[str], entries: list[Entry], fates: list[Fate]) -> None:
        shown = self._shown(path)
        try:
            status = child.stat(follow_symlinks=False)
        except OSError as cause:
            fates.append(left_out(shown, "unreadable", f"cannot be read: {cause.strerror}."))
            return
        if stat.S_ISLNK(status.st_mode) or _is_junction(child):
            detail = f"is a link to {_target(path)}; links are not followed, copy the file instead."
            fates.append(left_out(shown, "link", detail))
        elif not stat.S_ISREG(status.st_mode):
            fates.append(left_out(shown, "special_file", "is not a plain file."))
        else:
            kind = sort_by_name(shown)
            if isinstance(kind, Fate):
                fates.append(kind)
            else:
                entries.append(Entry(shown, kind, status.st_size, path))

    def open(self, entry: Entry) -> BinaryIO:
        assert isinstance(entry.handle, Path)
        flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        return os.fdopen(os.open(entry.handle, flags), "rb")

    def close(self) -> None:
        """A folder holds nothing open."""

    def packed_size(self, entry: Entry) -> int | None:
        return None

    def reading(self) -> tuple[type[Exception], ...]:
        return (OSError,)


def sort_by_name(path: str) -> Literal["image", "caption"] | Fate:
    """What a file is by its name alone: something to read, or a fate."""
    pure = PurePosixPath(path)
    lowered = [part.lower() for part in pure.parts]
    if "__macosx" in lowered or lowered[-1] in _SYSTEM_FILES or lowered[-1].startswith("._"):
        return left_out(path, "system_file", "is a file the operating system keeps for itself.")
    if any(part.startswith(".") for part in lowered):
        return left_out(path, "hidden", "is hidden or lies in a hidden folder.")
    suffix = pure.suffix.lower()
    if suffix in IMAGE_SUFFIXES or suffix == CAPTION_SUFFIX:
        return "caption" if suffix == CAPTION_SUFFIX else "image"
    return _foreign(path, suffix)


def _foreign(path: str, suffix: str) -> Fate:
    """The fate of a file that is neither picture nor caption by its suffix."""
    if suffix in _ARCHIVES:
        return left_out(path, "nested_archive", "is an archive of its own; import it separately or unpack it first.")
    if suffix in _UNSUPPORTED:
        return left_out(
            path, "unsupported_format", f"is a {suffix[1:].upper()}, which is not read; save it as PNG or JPG."
        )
    return left_out(path, "not_an_image", "is neither a picture nor a caption.")


def left_out(path: str, rule: str, detail: str, item: str | None = None) -> Fate:
    """A fate ``left_out``; ``detail`` goes on where the path ends ("is ...")."""
    return Fate(path=path, fate="left_out", rule=rule, detail=detail, item=item)


def too_many(source: Source) -> InputError:
    """The error for a source with more files than the limit."""
    return InputError(
        f"{source.path.name} holds more than {source.limits.members:,} files.", "Split it into several datasets."
    )


def in_words(count: float) -> str:
    """A number of bytes for people: ``12.5 MB``."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


@contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Turn "no space left" and "not yours to write" into errors that name the place."""
    try:
        yield
    except OSError as cause:
        if cause.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
            hint = "Free some space and try again; no dataset was changed."
            raise OutOfDisk(f"The disk that holds {where} is full.", hint) from cause
        if cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise EnvironmentProblem(
                f"{where} cannot be written to.", "Choose another home, or mend its permissions."
            ) from cause
        raise


def is_zip(path: Path) -> bool:
    """Whether the content is a ZIP, whatever the suffix says."""
    return zipfile.is_zipfile(path)


def _target(path: Path) -> str:
    try:
        return str(path.readlink()).encode("utf-8", "replace").decode()
    except OSError:
        return "somewhere"


def _is_junction(child: os.DirEntry[str]) -> bool:
    """Windows' other kind of link, which ``is_symlink`` does not report."""
    attributes = getattr(child.stat(follow_symlinks=False), "st_reparse_tag", 0) if os.name == "nt" else 0
    return bool(attributes == getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", -1))


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__).rstrip(".")
