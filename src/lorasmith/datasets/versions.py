"""The files of versions: found, read, proven whole, and written. ``store.py`` tells where they lie.

Locks, always taken in this order: ``datasets/.lock`` (collecting garbage, beginning a dataset, announcing what will be
added), then ``datasets/<name>/.lock`` (every change of that dataset; collecting takes all of them). Readers need none.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from filelock import FileLock

from lorasmith.datasets.head import Head, read_head, write_head
from lorasmith.datasets.headers import DamagedHeaderError, Header, read_header, write_header
from lorasmith.datasets.leases import store_locked
from lorasmith.datasets.manifest import DatasetVersion, Fate, Item, Operation, Piece, blobs_of
from lorasmith.datasets.names import collision_key, safe_dataset_name
from lorasmith.datasets.objects import DamagedObjectError, ObjectFolder
from lorasmith.datasets.pieces import StoredLedger, cut_fates, cut_items, items_of, list_of, merkle_root, names_in
from lorasmith.datasets.recall import Recall
from lorasmith.errors import DatasetError

_NUMBER: Final = re.compile(r"[1-9][0-9]*")


class VersionFiles:
    """The versions of a home. Those that one such object read share in memory what they share on disk."""

    def __init__(self, home: Path, *, recall: Recall | None = None) -> None:
        """
        Args:
            home: whose versions.
            recall: where versions that were read stay; left out, they live as long as whoever asked holds them.
        """
        self.folder = home / "datasets"
        self.pieces = ObjectFolder(home / "pieces")
        self._recall = recall
        self._in_memory: WeakValueDictionary[str, Piece] = WeakValueDictionary()

    # Finding

    def names(self) -> list[str]:
        """Names of all datasets that have a version."""
        root = self.folder
        if not root.is_dir():
            return []
        return sorted(folder.name for folder in root.iterdir() if folder.is_dir() and self.numbers(folder.name))

    def numbers(self, name: str) -> list[int]:
        """The version numbers of a dataset, ascending; none when there is no such dataset."""
        folder = self.folder / name
        if safe_dataset_name(name) != name or not folder.is_dir():
            return []
        return sorted(int(p.stem) for p in folder.iterdir() if p.suffix == ".json" and _NUMBER.fullmatch(p.stem))

    def named(self, name: str) -> str:
        """The dataset of that name, as it is written on disk."""
        dataset = self.existing(name)
        if dataset is None:
            near = difflib.get_close_matches(name, self.names(), n=1, cutoff=0.4)
            hint = f"Did you mean '{near[0]}'?" if near else self._what_there_is()
            raise DatasetError(f"There is no dataset '{name}'.", hint)
        return dataset

    def resolve(self, reference: str) -> tuple[str, int]:
        """Dataset and number of a reference."""
        name, at, number = reference.partition("@")
        dataset = self.named(name)
        if not at:
            return dataset, self.head(dataset).number
        numbers = self.numbers(dataset)
        if not _NUMBER.fullmatch(number):
            raise DatasetError(
                f"'{reference}' does not name a version.", f"Write '{dataset}@{numbers[-1]}' or the like."
            )
        if int(number) not in numbers:
            raise DatasetError(
                f"The dataset '{dataset}' has no version {number}.", f"It has {', '.join(map(str, numbers))}."
            )
        return dataset, int(number)

    def existing(self, name: str) -> str | None:
        """The dataset of that name; one that differs in case only counts, since some file systems hold just one."""
        if self.numbers(name):
            return name
        return next((known for known in self.names() if collision_key(known) == collision_key(name)), None)

    def _what_there_is(self) -> str:
        names = self.names()
        return f"There are: {', '.join(names)}." if names else "Import one: `lorasmith import photos.zip`."

    # Reading

    def head(self, dataset: str) -> Head:
        return read_head(self.folder / dataset, self.numbers(dataset))

    def headers(self, dataset: str) -> dict[int, Header]:
        return {number: self.header(dataset, number) for number in self.numbers(dataset)}

    def header(self, dataset: str, number: int) -> Header:
        path = self.folder / dataset / f"{number}.json"
        try:
            header = self._recall.header(path) if self._recall is not None else read_header(path)
        except DamagedHeaderError as cause:
            hint = f"Bring {path} back from a copy, or {self._older(dataset, number)}."
            raise DatasetError(f"The file of {dataset}@{number} {cause}.", hint) from cause
        if header.number != number or header.dataset != dataset:
            message = f"The file of {dataset}@{number} holds {header.reference}."
            raise DatasetError(message, f"Put {path} back in its place.")
        return header

    def parent(self, dataset: str, number: int, head: Head) -> int | None:
        """The nearest ancestor of a version that is there."""
        parent, there = self.header(dataset, number).parent, self.numbers(dataset)
        while parent is not None and parent not in there:
            parent = head.dropped.get(parent)
        return parent

    def read(self, dataset: str, number: int) -> DatasetVersion:
        header = self.header(dataset, number)
        known = self._recall.version(header) if self._recall is not None else None
        if known is not None:
            return known
        pieces = [self._piece(header, sha256) for sha256 in names_in(self.bytes_of(header, header.root))]
        return self._version(header, pieces)

    def _version(self, header: Header, pieces: Sequence[Piece]) -> DatasetVersion:
        def read(sha256: str) -> bytes:
            return self.bytes_of(header, sha256)

        version = DatasetVersion(
            dataset=header.dataset,
            number=header.number,
            parent=header.parent,
            operation=header.operation,
            created=header.created,
            items=tuple(item for piece in pieces for item in piece.items),
            ledger=StoredLedger(header.ledger_root, header.ledger_count, read) if header.ledger_root else (),
            root=header.root,
        ).stored_as(pieces)
        if self._recall is not None:
            self._recall.keep(header, version)
        return version

    def _piece(self, header: Header, sha256: str) -> Piece:
        piece = self._in_memory.get(sha256)
        if piece is None:
            try:
                piece = Piece(sha256, items_of(self.bytes_of(header, sha256)))
            except ValueError as cause:
                message = f"A piece of {header.reference} holds lines that are no items ({sha256})."
                raise DatasetError(message, self._mend(header)) from cause
            self._in_memory[sha256] = piece
        return piece

    def leftovers(self) -> list[Path]:
        """Half-written headers of killed writers; all are, while everything is locked."""
        return sorted(self.folder.glob("*/.*.tmp"))

    def bytes_of(self, header: Header, sha256: str) -> bytes:
        """A piece of a version, proven whole; a ``DatasetError`` that names the version if it is not."""
        try:
            return self.pieces.read(sha256)
        except DamagedObjectError as cause:
            raise DatasetError(f"A piece of {header.reference} {cause}.", self._mend(header)) from cause

    def _mend(self, header: Header) -> str:
        return f"Bring the file back from a copy, or {self._older(header.dataset, header.number)}."

    def _older(self, dataset: str, number: int) -> str:
        """What to do without that version: a clause that names the newest one before it that is whole."""
        for older in reversed([each for each in self.numbers(dataset) if each < number]):
            try:
                header = read_header(self.folder / dataset / f"{older}.json")
                for sha256 in names_in(self.pieces.read(header.root)):
                    self.pieces.read(sha256)
            except (DamagedHeaderError, DamagedObjectError):
                continue
            return f"restore the newest version before it that is whole: {dataset}@{older}"
        return "import the source again under another name"

    # Writing, under the dataset's lock

    def write(
        self,
        dataset: str,
        parent: int | None,
        items: Sequence[Item],
        operation: Operation,
        ledger: Sequence[Fate] | Header,
        *,
        holds: Callable[[str], bool],
        known: Sequence[Piece] = (),
        aside: bool = False,
    ) -> DatasetVersion:
        """Write the next version; without a parent the present one is it, as for an import.

        Args:
            ledger: the fates, or the header of the version whose ledger it is.
            holds: whether a blob is there.
            known: pieces of a version that is in the store, so that they need no writing and their blobs no looking.
            aside: it does not become the present version.
        """
        numbers = self.numbers(dataset)
        head = self.head(dataset) if numbers else None
        _refuse_missing_blobs(items, known, holds)
        pieces, contents = cut_items(items, known, self.pieces.write)
        names = [piece.sha256 for piece in pieces]
        root = merkle_root(names)
        contents[root] = list_of(names)
        self.pieces.write(contents)
        del contents  # before the ledger is in memory in both forms too
        if isinstance(ledger, Header):
            ledger_root, ledger_count = ledger.ledger_root, ledger.ledger_count
        else:
            ledger_root, fates = cut_fates(ledger, self.pieces.write)
            ledger_count = len(ledger)
            self.pieces.write(fates)
        header = Header(
            dataset=dataset,
            number=head.newest + 1 if head else 1,
            parent=parent if parent is not None or head is None else head.number,
            operation=operation,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            root=root,
            count=len(items),
            ledger_root=ledger_root,
            ledger_count=ledger_count,
        )
        folder = self.folder / dataset
        if aside and head is not None:  # a head that knows of the new number stays where it is
            write_head(folder, head.model_copy(update={"newest": header.number}))
        write_header(folder / f"{header.number}.json", header)
        self._in_memory.update({piece.sha256: piece for piece in pieces})
        return self._version(header, pieces)

    def move(self, dataset: str, head: Head, to: int, redo: Sequence[int]) -> None:
        if to != head.number:
            folder = self.folder / dataset
            write_head(folder, head.model_copy(update={"number": to, "redo": tuple(redo)}))

    # Locks

    @contextmanager
    def locked(self, dataset: str) -> Iterator[None]:
        """One writer at a time, so that two never share a number. Readers need no lock."""
        folder = self.folder / dataset
        if not folder.is_dir():
            with store_locked(self.folder.parent):  # not while garbage is collected, which has locked all there were
                folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            yield

    @contextmanager
    def all_locked(self) -> Iterator[None]:
        """Nobody else changes any dataset or begins one."""
        with store_locked(self.folder.parent), ExitStack() as locks:
            for folder in sorted(path for path in (self.folder).iterdir() if path.is_dir()):
                locks.enter_context(FileLock(folder / ".lock"))
            yield


def _refuse_missing_blobs(items: Sequence[Item], known: Sequence[Piece], holds: Callable[[str], bool]) -> None:
    """Look for the blobs that no known piece names; the rest were looked for when those were written."""
    same = {id(item) for piece in known for item in piece.items}
    new = [item for item in items if id(item) not in same]
    named = {sha for piece in known for item in piece.items for sha in blobs_of(item)} if new else frozenset()
    for item in new:
        for sha256 in blobs_of(item):
            if sha256 not in named and not holds(sha256):
                raise DatasetError(f"The picture of '{item.name}' is not in the store.", "Import it first.")
