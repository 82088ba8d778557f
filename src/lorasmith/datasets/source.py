"""Where pictures come from: a folder, a ZIP or single files, and the limits that keep an import safe.

A source lists its files once. Those that may be read are ``Entry``; every other file is a ``Fate`` already, so that
nothing is left unsaid. Directories are not counted.
"""

from __future__ import annotations

import errno
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO, ClassVar, Final, Literal

from lorasmith.datasets.magic import PEEK, SUFFIX_OF, VIDEO_SUFFIX_OF, picture_format
from lorasmith.datasets.manifest import Fate
from lorasmith.errors import EnvironmentProblem, InputError, OutOfDisk
from lorasmith.files import bytes_in_words

IMAGE_SUFFIXES: Final = frozenset(suffix for suffixes in SUFFIX_OF.values() for suffix in suffixes)
VIDEO_SUFFIXES: Final = frozenset(suffix for suffixes in VIDEO_SUFFIX_OF.values() for suffix in suffixes)
CAPTION_SUFFIXES: Final = frozenset((".txt", ".caption"))
SIDECAR_SUFFIXES: Final = frozenset((".json", ".jsonl", ".csv", ".tsv"))
_UNSUPPORTED: Final = frozenset(
    (
        ".jxl", ".jp2", ".psd", ".xcf", ".kra", ".svg", ".raw", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".srf", ".sr2",
        ".dng", ".orf", ".rw2", ".pef", ".srw", ".raf", ".3fr", ".iiq", ".erf", ".mrw", ".kdc", ".dcr", ".tga", ".ico",
    )
)  # fmt: skip
_ARCHIVES: Final = frozenset((".zip", ".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".cbz"))
_SYSTEM_FILES: Final = frozenset((".ds_store", "thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r"))
_CHUNK: Final = 1 << 20
_NO_SUCH_PLACE: Final = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.EEXIST)
_MOUNT_POINT: Final = getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", -1)

Kind = Literal["image", "caption", "sidecar", "other"]
"""By its name: a picture, a caption of one picture, a file that may describe several, or anything else."""


@dataclass(frozen=True)
class Limits:
    """How much a source may hold before it is refused. The defaults fit any honest dataset."""

    members: int = 50_000
    """Files in one archive: a small one can declare millions."""
    files: int = 300_000
    """Files in a folder, or in all sources of an import together. They lie on a disk already, so this keeps out a home
    folder and not an attack: 100,000 pictures, each with a caption and a record beside it, come in."""
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
    table_bytes: int = 64_000_000
    """Size of a JSON, JSONL or CSV file beside the pictures, which is held in memory as a whole."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that may hold a picture, a caption, or something a layout reads."""

    path: str
    """As the ledger names it: relative to the source, ``/`` between parts, names repaired."""
    kind: Kind
    size: int
    """Bytes as declared by the source; not to be trusted."""
    handle: object
    """What the source needs to open it."""
    note: str = ""
    """A sentence about the name, for the ledger."""
    label: str = ""
    """Which of several sources it came from: the first part of ``path``; empty when there is one source."""


class RefusedError(Exception):
    """One file cannot be taken: the rule and the sentence of its ``Fate``."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(detail)
        self.rule = rule
        self.detail = detail


class Source(ABC):
    """A folder, an archive or some files, open for one import."""

    word: ClassVar[str]
    """What a message calls it: ``ZIP``, ``folder``, ``file``."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path = path
        self.limits = limits
        self.read_bytes = 0

    @property
    def name(self) -> str:
        """What the user calls it: the last part of its path."""
        return self.path.absolute().name

    @property
    def label(self) -> str:
        """The first part of its paths when it is one of several sources."""
        return self.name

    @abstractmethod
    def scan(self) -> tuple[list[Entry], list[Fate]]:
        """Every file exactly once, as an entry to try or a fate already known.

        Raises:
            InputError: more files than ``limits`` allow.
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
        caps = {"caption": self.limits.caption_bytes, "sidecar": self.limits.table_bytes}
        cap = caps.get(entry.kind, self.limits.file_bytes)
        packed = self.packed_size(entry)
        count = 0
        try:
            with self.open(entry) as stream:
                while chunk := stream.read(_CHUNK):
                    count += len(chunk)
                    self.read_bytes += len(chunk)
                    if count > cap:
                        raise RefusedError("too_large", f"is larger than {bytes_in_words(cap)}.")
                    if packed is not None and count > max(self.limits.ratio_from_bytes, self.limits.ratio * packed):
                        raise RefusedError("bomb", f"unpacks to more than {self.limits.ratio:g} times its packed size.")
                    if self.read_bytes > self.limits.total_bytes:
                        raise InputError(
                            f"{self.name} unpacks to more than {bytes_in_words(self.limits.total_bytes)}.",
                            "Split it into several datasets.",
                        )
                    yield chunk
        except self.reading() as cause:
            plain = packed is None and isinstance(cause, OSError)
            reason = cause.strerror if plain and isinstance(cause, OSError) and cause.strerror else _first_line(cause)
            raise RefusedError("unreadable" if plain else "damaged", f"cannot be read: {reason}.") from cause


class FilesSource(Source):
    """Files named one by one, all of one folder; a link that was named is followed, for it was asked for."""

    word = "file"

    def __init__(self, files: Sequence[Path], limits: Limits) -> None:
        super().__init__(files[0] if len(files) == 1 else files[0].absolute().parent, limits)
        self._files = tuple(files)

    @property
    def label(self) -> str:
        return self._files[0].absolute().parent.name

    def scan(self) -> tuple[list[Entry], list[Fate]]:
        entries: list[Entry] = []
        fates: list[Fate] = []
        for path in self._files:
            outcome = _look_at(str(path.resolve()), shown_name(path.absolute().name))
            named = _named_picture(path, outcome)
            if named is not None:
                entries.append(named)
            elif isinstance(outcome, Fate):
                fates.append(outcome)
            else:
                entries.append(outcome)
        return entries, fates

    def open(self, entry: Entry) -> BinaryIO:
        assert isinstance(entry.handle, str)
        return _open_plain(entry.handle)

    def close(self) -> None:
        """Nothing is held open."""

    def packed_size(self, entry: Entry) -> int | None:
        return None

    def reading(self) -> tuple[type[Exception], ...]:
        return (OSError,)


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
            inside = "" if folder == self.path else f"{folder.relative_to(self.path).as_posix()}/"
            for child in children:
                if child.is_dir(follow_symlinks=False) and not _is_junction(child):
                    pending.append(Path(child.path))
                else:
                    shown = shown_name(f"{inside}{child.name}")
                    outcome = _look_at(child.path, shown)
                    if isinstance(outcome, Fate):
                        fates.append(outcome)
                    elif shown == f"{inside}{child.name}":  # then its path can be made again, and need not be held
                        entries.append(replace(outcome, handle=None))
                    else:
                        entries.append(outcome)
            if len(entries) + len(fates) > self.limits.files:
                raise too_many(self)
        return entries, fates

    def _shown(self, path: Path) -> str:
        return shown_name(path.relative_to(self.path).as_posix())

    def open(self, entry: Entry) -> BinaryIO:
        place = entry.handle if isinstance(entry.handle, str) else str(self.path / entry.path)
        return _open_plain(place)

    def close(self) -> None:
        """A folder holds nothing open."""

    def packed_size(self, entry: Entry) -> int | None:
        return None

    def reading(self) -> tuple[type[Exception], ...]:
        return (OSError,)


def _look_at(path: str, shown: str) -> Entry | Fate:
    """One directory entry that is no folder. Its path stays text: a ``Path`` takes five times the memory."""
    try:
        status = os.lstat(path)
    except OSError as cause:
        return left_out(shown, "unreadable", f"cannot be read: {cause.strerror}.")
    if stat.S_ISLNK(status.st_mode) or getattr(status, "st_reparse_tag", 0) == _MOUNT_POINT:
        detail = f"is a link to {_target(path)}; links are not followed, copy the file instead."
        return left_out(shown, "link", detail)
    if not stat.S_ISREG(status.st_mode):
        return left_out(shown, "special_file", "is not a plain file.")
    kind = sort_by_name(shown)
    return kind if isinstance(kind, Fate) else Entry(shown, kind, status.st_size, path)


def sort_by_name(path: str) -> Kind | Fate:
    """What a file is by its name alone: something to read, or a fate."""
    pure = PurePosixPath(path)
    lowered = [part.lower() for part in pure.parts]
    if "__macosx" in lowered or lowered[-1] in _SYSTEM_FILES or lowered[-1].startswith("._"):
        return left_out(path, "system_file", "is a file the operating system keeps for itself.")
    if any(part.startswith(".") for part in lowered):
        return left_out(path, "hidden", "is hidden or lies in a hidden folder.")
    suffix = pure.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return "image"
    if suffix in CAPTION_SUFFIXES:
        return "caption"
    if suffix in _ARCHIVES or suffix in _UNSUPPORTED:
        return foreign(path)
    return "sidecar" if suffix in SIDECAR_SUFFIXES else "other"


def may_be_picture(entry: Entry, format_name: str) -> bool:
    """Whether a file called neither picture nor caption is one when its first bytes say ``format_name``.

    Cameras' raw files begin like a TIFF and hold a thumbnail in it, so a TIFF needs its suffix or none at all.
    """
    return format_name != "TIFF" or not PurePosixPath(entry.path).suffix


def foreign(path: str) -> Fate:
    """The fate of a file that is neither picture nor caption by its suffix, and that no layout could use."""
    suffix = PurePosixPath(path.replace("\\", "/")).suffix.lower()
    if suffix in _ARCHIVES:
        return left_out(path, "nested_archive", "is an archive of its own; import it separately or unpack it first.")
    if suffix in _UNSUPPORTED:
        return left_out(
            path, "unsupported_format", f"is a {suffix[1:].upper()}, which is not read; save it as PNG or JPG."
        )
    if suffix in VIDEO_SUFFIXES:
        return left_out(path, "video", "is a video by its name; with the option clips it is taken as a clip.")
    return left_out(path, "not_an_image", "is neither a picture nor a caption.")


def left_out(path: str, rule: str, detail: str, item: str | None = None) -> Fate:
    """A fate ``left_out``; ``detail`` goes on where the path ends ("is ...")."""
    return Fate(path=path, fate="left_out", rule=rule, detail=detail, item=item)


def too_many(source: Source) -> InputError:
    """The error for a folder, or several sources, with more files than the limit."""
    return InputError(
        f"{source.name} holds more than {source.limits.files:,} files.", "Split it into several datasets."
    )


def too_many_members(source: Source) -> InputError:
    """The error for an archive with more files than the limit."""
    limits = source.limits
    hint = f"Unpack it and import the folder, which may hold {limits.files:,}; or split it into several datasets."
    return InputError(f"{source.name} holds more than {limits.members:,} files.", hint)


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
        if cause.errno in _NO_SUCH_PLACE:
            raise EnvironmentProblem(
                f"Nothing can be written at {where}: {cause.strerror}.", "Choose another place, or correct the path."
            ) from cause
        raise


def shown_name(name: str) -> str:
    """A name as text that can be stored; bytes that are no text become ``?``."""
    return name.encode("utf-8", "replace").decode()


def _named_picture(path: Path, outcome: Entry | Fate) -> Entry | None:
    """The entry of a file that was named itself and is a picture by its first bytes, whatever its suffix says."""
    if isinstance(outcome, Entry) and outcome.kind != "other":
        return None
    if isinstance(outcome, Fate) and outcome.rule != "nested_archive":
        return None
    try:
        with path.open("rb") as stream:
            if picture_format(stream.read(PEEK)) is None:
                return None
        return Entry(outcome.path, "image", path.stat().st_size, str(path.resolve()))
    except OSError:
        return None


def _open_plain(place: str) -> BinaryIO:
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    return os.fdopen(os.open(place, flags), "rb")


def _is_junction(child: os.DirEntry[str]) -> bool:
    """Windows' other kind of link, which ``is_symlink`` does not report."""
    attributes = getattr(child.stat(follow_symlinks=False), "st_reparse_tag", 0) if os.name == "nt" else 0
    return bool(attributes == _MOUNT_POINT)


def _target(path: str) -> str:
    try:
        return shown_name(str(Path(path).readlink()))
    except OSError:
        return "somewhere"


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__).rstrip(".")
