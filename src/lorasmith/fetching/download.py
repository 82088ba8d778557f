"""One file from an address into a folder: resumed, checked, and there only when it is whole."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Final

from lorasmith.datasets.names import collision_key, make_unique
from lorasmith.errors import EnvironmentProblem, FetchError, OutOfDisk
from lorasmith.fetching.exchange import Answer, Asked, Exchange
from lorasmith.fetching.hosts import Patience, Temporary
from lorasmith.fetching.limits import Cancel
from lorasmith.fetching.naming import name_from_disposition, name_from_url, safe_name, shown
from lorasmith.fetching.part import Part, Record
from lorasmith.fetching.progress import Pace, Watch
from lorasmith.fetching.sniffing import PEEK, Expected, in_words, kind_of, said_by, suffix_for, why_incomplete
from lorasmith.files import sync_folder

_RANGE: Final = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)", re.IGNORECASE)
_LOOK_AT_DISK: Final = 32 << 20  # bytes between two looks at what is free
_NEVER: Final = {"any": ("empty",), "data": ("empty", "html", "lfs")}  # kinds; what else is expected is one of its own
_QUOTED: Final = 64_000


@dataclass(frozen=True)
class Wanted:
    """What to download."""

    url: str
    folder: Path
    name: str | None = None
    sha256: str | None = None
    expected: Expected = "any"


@dataclass(frozen=True)
class Downloaded:
    """A file that has arrived whole."""

    path: Path
    size: int
    """Bytes."""
    sha256: str
    url: str
    """The address it was asked for at, without tokens and signatures: fit to be written down as where it is from."""
    retrieved: str
    """ISO 8601, UTC."""
    kind: str = "unknown"
    """What its first bytes say: ``zip``, ``safetensors``, ``image`` ..."""
    notes: tuple[str, ...] = ()
    """What happened on the way that somebody may want to know."""


def content_range(header: str | None) -> tuple[int | None, int | None]:
    """First byte and total size that ``Content-Range`` names (RFC 9110 14.4); None for what it does not say."""
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None:
        return None, None
    first, _, total = found.groups()
    return (None if first is None else int(first)), (None if total == "*" else int(total))


class Download:
    """A download under way. Made for one call of ``run``."""

    def __init__(self, exchange: Exchange, wanted: Wanted, watch: Watch | None, cancel: Cancel | None) -> None:
        self._exchange, self._wanted, self._cancel = exchange, wanted, cancel
        self._limits = exchange.limits
        self._part = Part(wanted.folder, wanted.url)
        self._pace = Pace(shown(wanted.url), exchange.clock, exchange.limits, watch)
        self._notes: list[str] = []
        self._hash: hashlib._Hash | None = None
        self._hashed = 0
        self._found_before = False

    def run(self) -> Downloaded:
        """Fetch it.

        Raises:
            FetchError: it cannot be had, or is not what was expected.
            OutOfDisk: there is no room for it; what arrived stays.
            EnvironmentProblem: the folder cannot be written.
            Stopped: ``cancel`` said so; what arrived stays.
        """
        there = self._already_there()
        if there is not None:
            return there
        self._exchange.gate.check(self._wanted.url)  # before anything is created
        _make(self._wanted.folder)
        with self._part.alone():
            self._found_before = self._part.size > 0
            self._until_whole()
            return self._finished()

    def _until_whole(self) -> None:
        clock = self._exchange.clock
        patience = Patience(self._limits, clock, self._cancel)
        furthest = self._part.size
        while True:
            try:
                self._once(patience.end)
                self._check_hash()
                return
            except Temporary as failure:
                size = self._part.size
                further = failure.progress and size > furthest
                furthest = max(furthest, size)
                kept = f"{size} bytes are kept for it" if size else ""
                waited = patience.after(failure, got_further=further, kept=kept)
                self._pace.say(f"{failure.place}: {failure.reason}; tried again after {waited:.0f} s.")

    def _once(self, end: float) -> None:
        """One request, from what is there to the end of the file."""
        have, record = self._usable()
        headers: dict[str, str] = {}
        if have and record is not None:
            headers["Range"] = f"bytes={have}-"
            if record.validator:
                headers["If-Range"] = record.validator
        ok = frozenset({200, 206, 416} if have else {200})
        asked = Asked(self._wanted.url, headers=headers, ok=ok, cancel=self._cancel, end=end)
        with self._exchange.open(asked) as answer:
            if answer.status == 416 and record is not None:
                self._beyond_the_end(answer, have, record)
            elif answer.status == 206 and record is not None:
                self._go_on(answer, have, record)
            else:
                if have:
                    self._note("The server does not go on where it stopped, or has another file now; begun anew.")
                self._from_the_start(answer)

    def _usable(self) -> tuple[int, Record | None]:
        """How much of the part can be gone on with, and what is known of it."""
        have, record = self._part.size, self._part.record()
        if not have:
            return 0, record
        # Without a mark of the server only a hash can tell in the end whether both halves were of one file.
        if record is None or not (record.validator or self._wanted.sha256):
            self._part.discard()
            if record is not None:
                self._note("The server marks no versions of this file, so a part of it is worth nothing; begun anew.")
            return 0, None
        return have, record

    def _beyond_the_end(self, answer: Answer, have: int, record: Record) -> None:
        """416: the part is the whole already, or the file has become shorter."""
        _, total = content_range(answer.headers.get("content-range"))
        if total == have and not record.differs(answer.headers, total):
            return
        self._start_over(answer, "The file has become another one on the server; begun anew.")

    def _go_on(self, answer: Answer, have: int, record: Record) -> None:
        first, total = content_range(answer.headers.get("content-range"))
        if first != have or answer.packed:
            self._start_over(answer, "The server sent another part than was asked for; begun anew.")
        if record.differs(answer.headers, total):
            self._start_over(answer, "The file has changed on the server; begun anew.")
        self._refuse_oversize(answer, total)
        self._take(answer, answer.body(), have, total if total is not None else record.total)

    def _start_over(self, answer: Answer, note: str) -> None:
        self._part.discard()
        self._note(note)
        raise Temporary(answer.address.place, note.rstrip("."), wait=0.0)

    def _from_the_start(self, answer: Answer) -> None:
        total = answer.length
        self._refuse_oversize(answer, total)
        beginning, body = _peeked(answer.body())
        self._refuse_other(answer, beginning, body)
        name = (
            name_from_disposition(answer.headers.get("content-disposition"))
            or name_from_url(self._wanted.url)
            or name_from_url(answer.address.url)
            or "download"
        )
        headers = {} if answer.packed else answer.headers
        self._part.begin(Record.of(self._wanted.url, headers, total, name))
        self._take(answer, chain([beginning], body), 0, total)

    def _take(self, answer: Answer, body: Iterator[bytes], start: int, total: int | None) -> None:
        """Write what arrives behind the first ``start`` bytes."""
        self._refuse_without_room(0 if total is None else total - start)
        if self._hash is None or self._hashed != start:
            self._hash = self._part.hashed()
        self._pace.start(start, total)
        done, looked = start, start
        try:
            with self._part.path.open("ab") as stream:
                for piece in body:
                    stream.write(piece)
                    self._hash.update(piece)
                    done += len(piece)
                    self._refuse_oversize(answer, done)
                    if done - looked >= _LOOK_AT_DISK:
                        looked = done
                        self._refuse_without_room(0 if total is None else total - done)
                    self._pace.advance(done, answer.address.place)
        except OSError as cause:
            if cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise self._no_room(None) from cause
            raise
        finally:
            self._hashed = done
        if total is not None and done > total:
            self._start_over(answer, f"More arrived ({done} bytes) than was announced ({total}); begun anew.")
        if total is not None and done < total:
            raise Temporary(answer.address.place, f"it ended after {done} of {total} bytes")

    # What is refused

    def _refuse_oversize(self, answer: Answer, size: int | None) -> None:
        if size is not None and size > self._limits.max_bytes:
            self._part.discard()
            raise FetchError(
                f"The file of {answer.address.place} is larger than the limit of {self._limits.max_bytes} bytes.",
                "Download it by other means and give the file, or raise max_bytes.",
            )

    def _refuse_other(self, answer: Answer, beginning: bytes, body: Iterator[bytes]) -> None:
        """Raise when the first bytes are not those of what is expected."""
        kind, expected = kind_of(beginning), self._wanted.expected
        if kind == expected or kind not in _NEVER.get(expected, (kind,)):
            return
        place = answer.address.place
        if kind not in ("html", "json", "xml", "text"):
            raise FetchError(
                f"{place} sent {in_words(kind)} instead of {in_words(expected)}.", "Check the link in a browser."
            )
        page = beginning
        for piece in body:
            page += piece
            if len(page) >= _QUOTED:
                break
        said = said_by(page[:_QUOTED])
        service = self._exchange.authorization.service_of(self._exchange.gate.check(self._wanted.url))
        login = f"If it wants a login, run `lorasmith secrets set {service}`. " if service else ""
        raise FetchError(
            f"{place} sent {in_words(kind)} instead of {in_words(expected)}" + (f": “{said}”." if said else "."),
            f"{login}Use the link of the download button, not of the page around it.",
        )

    def _refuse_without_room(self, needed: int) -> None:
        free = shutil.disk_usage(self._wanted.folder).free
        if needed + self._limits.reserve_bytes > free:
            raise self._no_room(needed, free)

    def _no_room(self, needed: int | None, free: int = 0) -> OutOfDisk:
        kept = " What has arrived is kept." if self._part.size else ""
        more = "" if needed is None else f": {needed / 1e9:.2f} GB more are needed and {free / 1e9:.2f} GB are free"
        return OutOfDisk(
            f"The disk of {self._wanted.folder} is too full for {shown(self._wanted.url)}{more}.",
            f"Free some space ({self._limits.reserve_bytes / 1e9:.1f} GB stay in reserve), then start it again.{kept}",
        )

    def _check_hash(self) -> None:
        """Hold the file to the hash it should have."""
        self._hash = self._part.hashed() if self._hash is None or self._hashed != self._part.size else self._hash
        self._hashed = self._part.size
        wanted = (self._wanted.sha256 or "").lower()
        found = self._hash.hexdigest()
        if not wanted or wanted == found:
            return
        self._part.discard()
        self._hash = None
        if self._found_before:  # what lay here from another day may be what is wrong
            self._found_before = False
            self._note("What was here from an earlier time did not fit the rest; begun anew.")
            raise Temporary(shown(self._wanted.url), "the hash is wrong", wait=0.0)
        raise FetchError(
            f"{shown(self._wanted.url)} is not the file it should be: its SHA-256 is {found}, expected {wanted}.",
            "Nothing was kept. Check the link and the hash; if both are right, the file was changed on the way.",
        )

    # The end

    def _already_there(self) -> Downloaded | None:
        """The file of that name, when its hash says that it is the one."""
        name = safe_name(self._wanted.name) if self._wanted.name else None
        if name is None or self._wanted.sha256 is None:
            return None
        path = self._wanted.folder / name
        if not path.is_file() or _sha256(path) != self._wanted.sha256.lower():
            return None
        return self._downloaded(path, self._wanted.sha256.lower(), ("It was here already.",))

    def _finished(self) -> Downloaded:
        assert self._hash is not None
        wrong = why_incomplete(self._part.path, self._wanted.expected)
        if wrong is not None:
            self._part.discard()
            raise FetchError(
                f"{shown(self._wanted.url)} is incomplete: {wrong}.",
                "Try again; if it stays so, the server's is damaged.",
            )
        digest, size = self._hash.hexdigest(), self._part.size
        record = self._part.record()
        name = safe_name(self._wanted.name or "") or (record.name if record else "") or "download"
        with self._part.path.open("rb") as stream:
            beginning = stream.read(PEEK)
        name = name if Path(name).suffix else name + suffix_for(beginning)
        path = self._wanted.folder / name
        if path.is_file() and path.stat().st_size == size and _sha256(path) == digest:
            self._part.discard()
            self._note("The same file was here already.")
        else:
            path = self._claimed(name)
            self._part.move(path)
            sync_folder(self._wanted.folder)
        self._pace.finish(size)
        return self._downloaded(path, digest, tuple(self._notes))

    def _claimed(self, name: str) -> Path:
        """A free name, taken in a way that no other thread or process can take it too."""
        path = self._wanted.folder / name
        while not _claim(path):  # listed only then: there may be ten thousand pictures
            taken = {collision_key(entry.name) for entry in self._wanted.folder.iterdir()}
            path = self._wanted.folder / make_unique(name, taken)
        return path

    def _downloaded(self, path: Path, digest: str, notes: tuple[str, ...]) -> Downloaded:
        with path.open("rb") as stream:
            kind = kind_of(stream.read(PEEK))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Downloaded(path, path.stat().st_size, digest, shown(self._wanted.url), now, kind, notes)

    def _note(self, text: str) -> None:
        self._notes.append(text)
        self._pace.say(text)


def _peeked(body: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes, enough to tell a file's kind by, and the rest."""
    rest = iter(body)
    beginning = b""
    while len(beginning) < PEEK:
        piece = next(rest, None)
        if piece is None:
            break
        beginning += piece
    return beginning, rest


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise EnvironmentProblem(
            f"The folder {folder} cannot be made: {cause.strerror}.", "Choose another folder, or check its permissions."
        ) from cause
    if not os.access(folder, os.W_OK):
        raise EnvironmentProblem(f"Nothing can be written into {folder}.", "Choose another folder.")


def _claim(path: Path) -> bool:
    """Whether a name was free and is ours now."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        return False
    return True


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
