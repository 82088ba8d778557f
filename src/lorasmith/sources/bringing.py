"""Bringing what a source offers: many files side by side, each resumed, whole ones never asked for again.

<errand>/files/<name>/    what is imported: files, captions beside them
<errand>/arriving/        what is on its way
<errand>/brought.jsonl    one line for each file that is whole
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

from lorasmith.datasets.names import collision_key, safe_dataset_name, safe_item_name, why_unsafe
from lorasmith.datasets.source import disk_errors
from lorasmith.errors import FetchError, InputError, OutOfDisk
from lorasmith.fetching import Cancel, Downloaded, DownloadPlan, Offer, shown
from lorasmith.files import write_atomically
from lorasmith.sources import Errand, Haul, Listing, Offered, left_out

_THREADS: Final = 16
_ALL_REFUSED: Final = 20
"""Files refused one after the other for one reason, after which nobody believes in the next."""
_ONE_FILE: Final = frozenset((404, 410, 451))
"""Statuses that speak of one file and not of us: after one file came, any number of them is no reason to stop."""
_LARGE: Final = 32_000_000  # bytes; of such a file it is told how it arrives
_FEW: Final = 4
_ARCHIVES: Final = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".parquet")


def bring_files(listing: Listing, errand: Errand) -> Haul:
    """Bring all files of a listing into the errand's folder, with their captions beside them.

    Files are asked for side by side, as many as the fetcher's manners allow for each host. One that cannot be had is a
    ``Fate`` (rule ``not_fetched``). Called again with the same folder, it asks for nothing that is whole, and what is
    no longer offered is removed.

    Raises:
        InputError: there is nothing to bring, or two files of one path.
        FetchError: the place refuses everything.
        OutOfDisk: there is no room; told before the first byte where sizes are known.
        Stopped: ``errand.cancel`` said so; what arrived stays.
    """
    _refuse_impossible(listing)
    place = errand.folder / "files" / safe_dataset_name(listing.name)
    with disk_errors(errand.folder):
        place.mkdir(parents=True, exist_ok=True)
        records = _Records(errand.folder / "brought.jsonl")
        known = {file.path: record for file in listing.files if (record := records.whole(file, place)) is not None}
        _require_room(listing, known, errand)
        missed = _Bringing(errand, place, records, known).all_of(listing.files)
        _write_captions(listing.files, known, place)
        _remove_others(listing.files, known, place)
    fates = tuple(left_out(path, detail, "not_fetched") for path, detail in missed.items())
    origins = {known[file.path].path: _origin(file, known[file.path]) for file in listing.files if file.path in known}
    there = {"from": listing.source, **listing.origin}
    only = next(iter(known.values())) if len(known) == 1 else None
    if only is not None and only.path.lower().endswith(_ARCHIVES) and not _is_table(only.path):
        told = replace(listing, origin={**there, **origins[only.path]})
        return Haul((place / only.path,), told, fates)
    return Haul((place,), replace(listing, origin=there), fates, origins)


@dataclass(frozen=True)
class Brought:
    """A file that is whole."""

    offered: str
    """Its path in the listing."""
    path: str
    """Its path in the folder."""
    url: str
    size: int
    sha256: str
    retrieved: str


class _Records:
    """The lines of ``brought.jsonl``; a last one that is torn counts for nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Brought] = {}
        with suppress(FileNotFoundError):
            for line in path.read_bytes().splitlines():
                with suppress(ValueError, TypeError):
                    record = Brought(**json.loads(line))
                    self._known[record.offered] = record

    def whole(self, file: Offered, place: Path) -> Brought | None:
        """The record of a file that is here as it is offered now."""
        record = self._known.get(file.path)
        if record is None or file.size not in (None, record.size):
            return None
        same = record.url == shown(file.url) if file.sha256 is None else record.sha256 == file.sha256.lower()
        if not same:
            return None
        there = place / record.path
        return record if there.is_file() and there.stat().st_size == record.size else None

    def add(self, record: Brought) -> None:
        self._known[record.offered] = record
        with self._path.open("ab") as stream:
            if stream.tell() and not self._ends_with_line():
                stream.write(b"\n")
            stream.write(json.dumps(asdict(record), ensure_ascii=False).encode() + b"\n")

    def _ends_with_line(self) -> bool:
        with self._path.open("rb") as stream:
            stream.seek(-1, 2)
            return stream.read(1) == b"\n"


@dataclass
class _Bringing:
    """One call: the threads, and when it is enough."""

    errand: Errand
    place: Path
    records: _Records
    known: dict[str, Brought]
    missed: dict[str, str] = field(default_factory=dict)
    _end: threading.Event = field(default_factory=threading.Event)
    _in_a_row: Counter[tuple[int | None, str]] = field(default_factory=Counter)

    def all_of(self, files: Sequence[Offered]) -> dict[str, str]:
        """Bring what is not here; the path and reason of each file that did not come."""
        wanted = [file for file in files if file.path not in self.known]
        done = len(files) - len(wanted)
        self._tell(done, len(files), "")
        for file, outcome in self._outcomes(wanted):
            done += 1
            if isinstance(outcome, FetchError):
                self._refused(file, outcome, alone=len(files) == 1)
            else:
                self._in_a_row.clear()
                self._keep(file, outcome)
            self._tell(done, len(files), file.path)
        if not self.known:
            reason = next(iter(self.missed.values()), "")
            raise FetchError(f"None of {len(files)} files could be had: the first {reason}", "Try again later.")
        return self.missed

    def _outcomes(self, wanted: Sequence[Offered]) -> Iterator[tuple[Offered, Downloaded | FetchError]]:
        """As they come; the threads end before this does, whatever happens."""
        hosts = {urlsplit(file.url).netloc for file in wanted}
        threads = max(1, min(_THREADS, self.errand.fetcher.limits.per_host * len(hosts), len(wanted)))
        few = len(wanted) <= _FEW
        with ThreadPoolExecutor(threads, thread_name_prefix="bring") as pool:
            waiting: dict[Future[Downloaded | FetchError], Offered] = {}
            rest = iter(wanted)
            try:
                while True:
                    while len(waiting) < 2 * threads and (file := next(rest, None)) is not None:
                        waiting[pool.submit(self._one, file, few)] = file
                    if not waiting:
                        return
                    ended, _ = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in ended:
                        yield waiting.pop(future), future.result()
            finally:
                self._end.set()
                pool.shutdown(wait=True, cancel_futures=True)

    def _one(self, file: Offered, few: bool) -> Downloaded | FetchError:
        """In a thread. An error that speaks of one file is its outcome; any other ends everything."""
        told = self.errand.transfer if few or (file.size or 0) >= _LARGE else None
        try:
            return self.errand.fetcher.download(
                file.url,
                self.errand.folder / "arriving",
                name=_arriving(file),
                sha256=file.sha256,
                expected=file.expected,
                progress=told,
                cancel=self._cancelled,
            )
        except FetchError as error:
            return error

    def _cancelled(self) -> bool:
        return self._end.is_set() or _is_set(self.errand.cancel)

    def _keep(self, file: Offered, arrived: Downloaded) -> None:
        """Move a file to its place and write down that it is there."""
        name = safe_item_name(file.path)
        if not PurePosixPath(name).suffix:
            name += arrived.path.suffix
        there = self.place / name
        there.parent.mkdir(parents=True, exist_ok=True)
        arrived.path.replace(there)
        record = Brought(file.path, name, shown(file.url), arrived.size, arrived.sha256, arrived.retrieved)
        self.records.add(record)
        self.known[file.path] = record

    def _refused(self, file: Offered, error: FetchError, *, alone: bool) -> None:
        """List a file that could not be had.

        Raises:
            FetchError: it was the only one, or so many were refused alike that the rest will be.
        """
        if alone:
            raise error
        self.missed[file.path] = f"could not be had: {error.message}"
        if self.known and error.status in _ONE_FILE:
            return
        alike = (error.status, urlsplit(file.url).netloc)
        self._in_a_row[alike] += 1
        if self._in_a_row[alike] < _ALL_REFUSED:
            return
        kept = f" {len(self.known)} files are here and will not be asked for again." if self.known else ""
        raise FetchError(
            f"{_ALL_REFUSED} files in a row were refused; the last: {error.message}",
            f"{error.hint}{kept}".strip(),
            error.status,
        ) from error

    def _tell(self, done: int, total: int, path: str) -> None:
        if self.errand.watch is not None:
            self.errand.watch(done, total, path)


def _is_set(cancel: Cancel | None) -> bool:
    return cancel is not None and (cancel.is_set() if isinstance(cancel, threading.Event) else cancel())


def _arriving(file: Offered) -> str:
    """A name for it while it arrives: flat, and the same the next time."""
    return sha256(file.path.encode()).hexdigest()[:16] + PurePosixPath(safe_item_name(file.path)).suffix


def _refuse_impossible(listing: Listing) -> None:
    if not listing.files:
        said = f" {listing.said[0]}" if listing.said else ""
        raise InputError(f"There is nothing to bring from {listing.location}.{said}", "Ask for something else.")
    seen: set[str] = set()
    for file in listing.files:
        if (unsafe := why_unsafe(file.path)) is not None:
            raise InputError(f"{listing.location} offers a file '{file.path}', which {unsafe}.", "Do not trust it.")
        key = collision_key(safe_item_name(file.path))
        if key in seen:
            raise InputError(f"{listing.location} offers two files called '{file.path}'.", "Ask for one of them.")
        seen.add(key)


def _require_room(listing: Listing, known: Mapping[str, Brought], errand: Errand) -> None:
    """Raise when what is missing, and the copies that the import makes of everything, would not fit.

    Raises:
        OutOfDisk: naming the figures.
    """
    offers = [
        Offer(file.path, file.url, file.size, present=known[file.path].size if file.path in known else 0)
        for file in listing.files
    ]
    plan = DownloadPlan.of(offers, errand.folder, reserve=errand.fetcher.limits.reserve_bytes)
    plan.require_room()
    if plan.missing + plan.size + plan.reserve > plan.free and plan.missing:
        raise OutOfDisk(
            f"{plan.missing / 1e9:.2f} GB are to be downloaded and as much again is needed to import them; "
            f"{plan.free / 1e9:.2f} GB are free in {errand.folder}.",
            f"Free some space ({plan.reserve / 1e9:.1f} GB stay in reserve), or ask for less at a time.",
        )


def _write_captions(files: Sequence[Offered], known: Mapping[str, Brought], place: Path) -> None:
    """Captions beside what is here. Where two files differ by their suffix only, a ``.txt`` would be of both."""
    stems = Counter(_stem(record.path) for record in known.values())
    taken = {collision_key(record.path) for record in known.values()}
    for file in files:
        record = known.get(file.path)
        if record is None or not file.caption:
            continue
        if stems[_stem(record.path)] == 1:
            name, content = str(PurePosixPath(record.path).with_suffix(".txt")), file.caption
        else:
            name, content = f"{record.path}.json", json.dumps({"caption": file.caption}, ensure_ascii=False)
        target = place / name
        if collision_key(name) in taken or (target.is_file() and target.read_bytes() == content.encode()):
            continue
        write_atomically(target, content.encode("utf-8", "replace"))


def _stem(path: str) -> str:
    return collision_key(str(PurePosixPath(path).with_suffix("")))


def _remove_others(files: Sequence[Offered], known: Mapping[str, Brought], place: Path) -> None:
    """What an earlier call brought and this listing does not hold must not be imported."""
    wanted = {record.path for record in known.values()}
    captions = {known[file.path].path for file in files if file.caption and file.path in known}
    wanted |= {str(PurePosixPath(path).with_suffix(".txt")) for path in captions} | {f"{p}.json" for p in captions}
    for path in place.rglob("*"):
        if path.is_file() and path.relative_to(place).as_posix() not in wanted:
            path.unlink()


def _origin(file: Offered, record: Brought) -> dict[str, Any]:
    return {"address": record.url, "retrieved": record.retrieved, **file.origin}


def _is_table(path: str) -> bool:
    """A Parquet of metadata is no archive of pictures."""
    return PurePosixPath(path).name.lower().startswith("metadata.")
