"""What the store holds and nobody needs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lorasmith.datasets.leases import abandoned, leased
from lorasmith.datasets.manifest import REFERENCE_ORIGINALS
from lorasmith.datasets.objects import ObjectFolder
from lorasmith.datasets.pieces import names_in
from lorasmith.datasets.versions import VersionFiles
from lorasmith.errors import DatasetError, JobError
from lorasmith.jobfolder import JobFolder


@dataclass(frozen=True)
class Garbage:
    """Files that can go. ``held_by`` says in sentences what kept everything, when it could not be told what is needed;
    then nothing is garbage."""

    blobs: tuple[Path, ...] = ()
    pieces: tuple[Path, ...] = ()
    leftovers: tuple[Path, ...] = ()
    """Half-written files and folders of imports that were killed."""
    bytes: int = 0
    held_by: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """All of it, leftovers last."""
        return (*self.blobs, *self.pieces, *self.leftovers)


@dataclass(frozen=True)
class JobNeed:
    """A job that is not finished and the version it works on; no reference when it cannot be told."""

    job: str
    reference: str | None
    succeeded: bool = False
    """A caption job that is done, whose captions may not have been collected yet."""


def job_needs(home: Path) -> Iterator[JobNeed]:
    """What the jobs of a home that may go on still need of its datasets.

    A job that succeeded needs nothing more, but for a caption job: its captions may not have been collected yet. A job
    that failed or was stopped can be resumed.
    """
    for record in sorted((home / "jobs").glob("*/job.json")):
        folder = JobFolder(record.parent)
        try:
            kind, payload = (job := folder.record()).kind, job.payload
            result = folder.result()
        except (JobError, ValueError, OSError):
            yield JobNeed(record.parent.name, None)
            continue
        succeeded = result is not None and result.outcome == "succeeded"
        if kind not in ("train", "caption") or (succeeded and kind == "train"):
            continue
        place = payload.get("config", {}) if kind == "train" else payload
        reference = place.get("dataset") if isinstance(place, dict) else None
        known = reference if isinstance(reference, str) and reference else None
        yield JobNeed(record.parent.name, known, succeeded)


def find_garbage(home: Path, versions: VersionFiles, blobs: ObjectFolder) -> Garbage:
    """What nobody needs, while every dataset is locked."""
    held = list(_jobs_in_doubt(home, versions))
    needed_pieces: set[str] = set()
    needed_blobs = leased(home / "incoming")
    coming = frozenset(needed_blobs)
    try:
        for dataset in versions.names():
            for header in versions.headers(dataset).values():
                for root in {header.root, header.ledger_root} - {None, *needed_pieces}:
                    names = names_in(versions.bytes_of(header, str(root)))
                    if root == header.root:
                        for sha256 in {*names} - needed_pieces:
                            needed_blobs.update(_blobs_of(versions.bytes_of(header, sha256)))
                    needed_pieces.update(names, [str(root)])
    except DatasetError as error:
        held.append(str(error))
    if held:
        return Garbage(held_by=tuple(held))
    unneeded = tuple(blobs.path(name) for name in blobs.names() if name not in needed_blobs)
    pieces = tuple(versions.pieces.path(name) for name in versions.pieces.names() if name not in needed_pieces)
    leftovers = (
        *(path for name, path in blobs.leftovers() if name not in coming),
        *(path for _, path in versions.pieces.leftovers()),
        *versions.leftovers(),
        *abandoned(home / "incoming"),
    )
    return Garbage(unneeded, pieces, leftovers, _size_of((*unneeded, *pieces, *leftovers)))


def free(asked: Garbage, now: Garbage) -> Garbage:
    """Delete what is garbage now and was asked for.

    Raises:
        DatasetError: it cannot be told what is needed.
    """
    if now.held_by:
        raise DatasetError(f"Nothing can be freed. {now.held_by[0]}", "Mend or remove that first.")
    blobs, pieces, leftovers = (
        tuple(sorted(set(one) & set(other)))
        for one, other in ((asked.blobs, now.blobs), (asked.pieces, now.pieces), (asked.leftovers, now.leftovers))
    )
    freed = Garbage(blobs, pieces, leftovers, _size_of((*blobs, *pieces, *leftovers)))
    for path in freed.files:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return freed


def _jobs_in_doubt(home: Path, versions: VersionFiles) -> Iterator[str]:
    """Jobs of which it cannot be told what they need, in sentences. What the others need, a version names."""
    for need in job_needs(home):
        folder = home / "jobs" / need.job
        if need.reference is None:
            yield f"It cannot be told which dataset the job {need.job} needs ({folder})."
        elif not need.succeeded:
            try:
                versions.resolve(need.reference)
            except DatasetError as error:
                yield f"The job {need.job} needs {need.reference} ({folder}). {error.message}"


def _size_of(paths: Iterable[Path]) -> int:
    """Bytes of files and of all files below folders."""
    total = 0
    for path in paths:
        files = path.rglob("*") if path.is_dir() else (path,)
        total += sum(file.stat().st_size for file in files if file.is_file())
    return total


def _blobs_of(content: bytes) -> Iterator[str]:
    """The blobs that the items of a piece name, without building the items.

    Raises:
        ValueError: it is no piece.
    """
    for line in content.splitlines():
        record = json.loads(line)
        for key in ("image", "original", "mask"):
            if record.get(key) is not None:
                yield str(record[key])
        if record.get("clip") is not None:
            yield str(record["clip"]["video"])
        yield from map(str, record.get("references", ()))
        came = record.get("provenance", {}).get(REFERENCE_ORIGINALS, {})
        yield from (str(entry["original"]) for entry in came.values())
