"""Files that arrive in pieces, over hours or after a crash: what a web app's upload needs, without HTTP in it.

    uploads = Uploads(home)
    id = uploads.create("photos.zip", length=5_000_000_000)
    uploads.append(id, 0, stream, checksum=...)     # as often as it takes, from wherever ``status(id).offset`` says
    path = uploads.finish(id)                       # whole, checked, under its own name
    ... import it ...
    uploads.abandon(id)                             # the copy goes

    <home>/uploads/<id>/upload.json     what was announced
    <home>/uploads/<id>/arriving        the bytes so far
    <home>/uploads/<id>/offset          how many of them count
    <home>/uploads/<id>/file/<name>     the whole file

A piece with a checksum is taken whole or not at all: what a broken connection or a crash left of it does not count. Of
one without, everything counts that has reached the disk. Two uploads of one name are two uploads. The shape follows tus
1.0 (offsets, checksums, expiry), so that the web app's part is a thin one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from filelock import FileLock, Timeout

from lorasmith.datasets.source import disk_errors
from lorasmith.errors import ConflictError, InputError, OutOfDisk, UploadRefused
from lorasmith.fetching import safe_name
from lorasmith.files import bytes_in_words, file_digest, sync_folder, write_atomically, write_json

_ID: Final = re.compile(r"[0-9a-f]{32}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_BLOCK: Final = 1 << 20
_COUNTED_EVERY: Final = 16 << 20  # bytes of a piece without checksum
_HOUR: Final = 3600.0
_DEEPEST: Final = 20  # folders inside each other


@dataclass(frozen=True)
class UploadLimits:
    """Caps. Bytes, seconds and numbers."""

    file_bytes: int = 20_000_000_000
    """Of one upload; what an import unpacks has a limit of its own."""
    piece_bytes: int = 1_000_000_000
    open_uploads: int = 100
    """That are not finished, in one home."""
    open_bytes: int = 50_000_000_000
    """That all of them together have announced."""
    expires: float = 48 * _HOUR
    """After the last piece; what is whole and was never taken goes then too."""
    reserve_bytes: int = 500_000_000
    """Disk space that is left alone."""


@dataclass(frozen=True)
class Upload:
    """An upload as it stands."""

    id: str
    name: str
    """Safe on every system; made from the one that was given."""
    length: int
    offset: int
    """Bytes that are here and checked; where the next piece begins."""
    sha256: str
    """Of the whole file, if it was announced; else empty."""
    finished: bool
    expires: float
    """Seconds since 1970, when it goes if nothing more comes."""
    owner: str = ""
    """Who announced it; nobody else gets it from a face that knows its users."""
    path: str = ""
    """Where it lay in the folder it came from, ``/`` between safe parts; its name where it lay in none."""


@dataclass(frozen=True)
class _Announced:
    name: str
    length: int
    sha256: str
    finished: bool = False
    owner: str = ""
    path: str = ""


class Uploads:
    """The uploads of a home. Safe between threads and processes; every call may be the first after a crash."""

    def __init__(
        self, home: Path | str, limits: UploadLimits | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        """
        Args:
            home: uploads lie in its folder ``uploads``.
            limits: caps, if not the usual ones.
            clock: seconds since 1970, for tests.
        """
        self._folder = Path(home) / "uploads"
        self._limits, self._clock = limits or UploadLimits(), clock

    def create(self, name: str, length: int, sha256: str | None = None, *, owner: str = "", path: str = "") -> str:
        """Announce a file; the id of its upload. Those that have expired are removed first.

        Args:
            name: as the browser calls it; only its last part counts.
            length: bytes, from 1 on.
            sha256: of the whole file, when it is known.
            owner: who announces it, where there are users.
            path: where it lies in the folder that is uploaded, so that captions stay beside their pictures.

        Raises:
            InputError: no usable name, length or hash, too large, or too many uploads at once.
            OutOfDisk: there is no room for it.
        """
        safe = safe_name(name)
        if safe is None:
            raise InputError(f"'{name}' cannot be the name of a file.", "Rename it and try again.")
        if isinstance(length, bool) or not isinstance(length, int) or length < 1:
            raise InputError(f"{safe} is empty.", "Choose a file with something in it.")
        digest = (sha256 or "").lower()
        if digest and not _SHA256.fullmatch(digest):
            raise InputError("The SHA-256 that was announced is none.", "It has 64 letters and digits from 0 to f.")
        self.expire()
        with disk_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self._folder / ".lock", timeout=30):
                self._refuse_too_much(safe, length)
                id = secrets.token_hex(16)
                place = self._folder / id
                place.mkdir()
                write_json(
                    place / "upload.json",
                    asdict(_Announced(safe, length, digest, owner=owner, path=_inside(path, safe))),
                )
                (place / "arriving").touch()
        return id

    def status(self, id: str) -> Upload:
        """How an upload stands.

        Raises:
            InputError: there is none of that id, or it has expired.
        """
        place, announced = self._known(id)
        whole = place / "file" / announced.name
        arriving = place / "arriving"
        there = arriving if arriving.is_file() else whole
        last = max(there.stat().st_mtime, (place / "upload.json").stat().st_mtime)
        offset = announced.length if there is whole else self._counted(place)
        return Upload(
            id, announced.name, announced.length, offset, announced.sha256, announced.finished,
            last + self._limits.expires, announced.owner, announced.path or announced.name,
        )  # fmt: skip

    def offset(self, id: str) -> int:
        """Where the next piece begins.

        Raises:
            InputError: as ``status``.
        """
        return self.status(id).offset

    def append(self, id: str, offset: int, stream: BinaryIO, checksum: str | None = None) -> int:
        """Take one piece; where the next one begins.

        Args:
            id: of the upload.
            offset: where this piece begins; it has to be where the last one ended.
            stream: its bytes, read to the end.
            checksum: SHA-256 of this piece, in hexadecimal digits.

        Raises:
            InputError: no such upload, a wrong offset, a piece that is too long or is not what its checksum says.
            ConflictError: another piece of this upload is arriving at this moment.
            OutOfDisk: there is no room for it.
            Whatever ``stream.read`` raises; of a piece with a checksum nothing stays, of another what had arrived.
        """
        wanted = (checksum or "").lower()
        if wanted and not _SHA256.fullmatch(wanted):
            raise InputError("The checksum of the piece is no SHA-256.", "Send it as 64 hexadecimal digits.")
        with self._alone(id):
            upload = self.status(id)
            if upload.finished:
                raise InputError(f"The upload of {upload.name} is finished.", "Begin another one.")
            if offset != upload.offset:
                raise UploadRefused(
                    f"The piece begins at byte {offset}, and {upload.offset} are here.",
                    "Ask for the offset and go on.",
                    "offset",
                )
            place = self._folder / id
            with disk_errors(place), (place / "arriving").open("r+b") as target:
                target.truncate(upload.offset)  # what a crash left of a piece that was never checked
                digest, end = self._write(upload, stream, target, place, checked=bool(wanted))
            if wanted and digest != wanted:
                raise UploadRefused(
                    "The piece was changed on the way: its checksum is another.", "Send that piece again.", "checksum"
                )
            self._count(place, end)
            return end

    def finish(self, id: str) -> Path:
        """The whole file, under its own name; asking again gives the same path.

        Raises:
            InputError: no such upload, it is not whole, or it is not what was announced: then it is gone.
            ConflictError: a piece of it is arriving at this moment.
        """
        with self._alone(id):
            upload = self.status(id)
            place = self._folder / id
            path = place / "file" / upload.name
            if upload.finished and path.is_file():
                return path
            if upload.offset != upload.length:
                raise InputError(
                    f"{upload.name} is not whole: {upload.offset:,} of {upload.length:,} bytes are here.",
                    "Send the rest, then finish it.",
                )
            arriving = place / "arriving"
            if arriving.is_file():  # else a crash came between the two steps below
                self._refuse_other(upload, arriving)
                path.parent.mkdir(exist_ok=True)
                arriving.replace(path)
                sync_folder(path.parent)
            write_json(place / "upload.json", asdict(replace(self._known(id)[1], finished=True)))
            return path

    def abandon(self, id: str) -> bool:
        """Remove an upload with all that has arrived; whether there was one.

        Raises:
            ConflictError: a piece of it is arriving at this moment.
        """
        if not _ID.fullmatch(id) or not (self._folder / id).is_dir():
            return False
        try:
            with self._alone(id):
                shutil.rmtree(self._folder / id, ignore_errors=True)
        except InputError:  # half made or half removed when a process died
            shutil.rmtree(self._folder / id, ignore_errors=True)
        (self._folder / f"{id}.lock").unlink(missing_ok=True)
        return True

    @property
    def limits(self) -> UploadLimits:
        """The caps."""
        return self._limits

    @property
    def folder(self) -> Path:
        """Where uploads lie."""
        return self._folder

    def all(self) -> list[Upload]:
        """Every upload that has not expired, the oldest first."""
        return sorted((upload for upload in self._every() if upload.expires > self._clock()), key=lambda u: u.expires)

    def expire(self) -> int:
        """Remove what nobody has gone on with for too long; how many."""
        now, gone = self._clock(), 0
        for upload in list(self._every()):
            if upload.expires <= now:
                try:
                    gone += self.abandon(upload.id)
                except ConflictError:  # somebody is going on with it at this very moment
                    continue
        return gone

    # --- inside ----------------------------------------------------------------------------------------------

    def _write(
        self, upload: Upload, stream: BinaryIO, target: BinaryIO, place: Path, *, checked: bool
    ) -> tuple[str, int]:
        """Write a piece behind what is there; its SHA-256, and where it ends."""
        digest = hashlib.sha256()
        target.seek(upload.offset)
        room = min(upload.length - upload.offset, self._limits.piece_bytes)
        count = counted = 0
        while block := self._read(stream, target, place, None if checked else upload.offset + count):
            count += len(block)
            if count > room:
                raise UploadRefused(
                    f"The piece is longer than the {room:,} bytes that may come.",
                    "Send smaller pieces, and no more than was announced.",
                    "too_large",
                )
            self._refuse_full(len(block))
            digest.update(block)
            target.write(block)
            if not checked and count - counted >= _COUNTED_EVERY:
                _make_durable(target)
                self._count(place, upload.offset + count)
                counted = count
        _make_durable(target)
        return digest.hexdigest(), upload.offset + count

    def _read(self, stream: BinaryIO, target: BinaryIO, place: Path, end: int | None) -> bytes:
        """The next block. When the stream breaks, what is there up to ``end`` counts; None: nothing of this piece."""
        arrived = False
        try:
            block = stream.read(_BLOCK)
            arrived = True
        finally:
            if not arrived and end is not None:
                _make_durable(target)
                self._count(place, end)
        return block

    def _count(self, place: Path, offset: int) -> None:
        write_atomically(place / "offset", str(offset).encode())

    def _counted(self, place: Path) -> int:
        """How many bytes count; never more than are there."""
        try:
            told = int((place / "offset").read_bytes())
        except (FileNotFoundError, ValueError):
            return 0
        return max(0, min(told, (place / "arriving").stat().st_size))

    def _known(self, id: str) -> tuple[Path, _Announced]:
        place = self._folder / id
        try:
            if not _ID.fullmatch(id):
                raise FileNotFoundError(id)
            announced = _Announced(**json.loads((place / "upload.json").read_bytes()))
            if not ((place / "arriving").is_file() or (place / "file" / announced.name).is_file()):
                raise FileNotFoundError(id)
        except (OSError, ValueError, TypeError) as cause:
            raise UploadRefused("There is no such upload, or it has expired.", "Begin it again.", "unknown") from cause
        return place, announced

    def _every(self) -> Iterator[Upload]:
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            if not _ID.fullmatch(path.name):
                continue
            try:
                yield self.status(path.name)
            except InputError:  # half made or half removed when a process died
                if self._clock() - path.stat().st_mtime > _HOUR:
                    shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def _alone(self, id: str) -> Iterator[None]:
        self._known(id)
        lock = FileLock(self._folder / f"{id}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as cause:
            raise ConflictError("A piece of this upload is arriving already.", "Send one at a time.") from cause
        try:
            yield
        finally:
            lock.release()

    def _refuse_too_much(self, name: str, length: int) -> None:
        limits = self._limits
        if length > limits.file_bytes:
            raise UploadRefused(
                f"{name} is larger than {bytes_in_words(limits.file_bytes)}.",
                "Split it into several files.",
                "too_large",
            )
        still = [upload for upload in self._every() if not upload.finished]
        if len(still) >= limits.open_uploads or sum(one.length for one in still) + length > limits.open_bytes:
            raise InputError(
                f"{len(still)} uploads are under way already.", "Finish or abandon some of them, then begin this one."
            )
        free = shutil.disk_usage(self._folder).free
        missing = length + sum(one.length - one.offset for one in still)
        if missing + limits.reserve_bytes > free:
            raise OutOfDisk(
                f"{name} takes {bytes_in_words(length)} and the disk has {bytes_in_words(free)} free.",
                f"Free some space; {bytes_in_words(limits.reserve_bytes)} stay in reserve.",
            )

    def _refuse_full(self, coming: int) -> None:
        if shutil.disk_usage(self._folder).free < coming + self._limits.reserve_bytes:
            raise OutOfDisk(
                f"The disk of {self._folder} is too full to go on.", "Free some space, then go on with the upload."
            )

    def _refuse_other(self, upload: Upload, path: Path) -> None:
        if not upload.sha256 or file_digest(path) == upload.sha256:
            return
        shutil.rmtree(path.parent, ignore_errors=True)
        raise UploadRefused(
            f"{upload.name} is not the file that was announced: its SHA-256 is another.",
            "It was removed. Upload it again, and do not change it meanwhile.",
            "checksum",
        )


def _inside(path: str, name: str) -> str:
    """A relative path whose every part is safe, with the name as its last."""
    folders = [safe for part in path.replace("\\", "/").split("/")[:-1] if (safe := safe_name(part))]
    return "/".join([*folders[:_DEEPEST], name])


def _make_durable(target: BinaryIO) -> None:
    target.flush()
    os.fsync(target.fileno())
