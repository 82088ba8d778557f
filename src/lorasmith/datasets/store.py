"""Datasets on disk: pictures by hash, versions as numbered files that are never changed.

    <home>/blobs/ab/cdef...                  pictures by SHA-256
    <home>/pieces/ab/cdef...                 runs of items by SHA-256, shared by all versions (``pieces.py``)
    <home>/datasets/<name>/<number>.json     immutable versions: a header over pieces (``headers.py``)
    <home>/datasets/<name>/head.json         where an undo went (``head.py``)
    <home>/fetched/  <home>/uploads/         what comes from elsewhere, until it is imported
    <home>/incoming/                         imports under way and blobs not yet committed (``leases.py``)

A version's header is written last and renamed into place, so that an import or edit is there whole or not at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from lorasmith.datasets.accounting import account
from lorasmith.datasets.archive import open_source
from lorasmith.datasets.contents import Contents
from lorasmith.datasets.garbage import Garbage, JobNeed, find_garbage, free, job_needs
from lorasmith.datasets.head import FILE as HEAD_FILE
from lorasmith.datasets.head import write_head
from lorasmith.datasets.headers import Header
from lorasmith.datasets.history import HistoryEntry, history
from lorasmith.datasets.images import Alpha, parse_background
from lorasmith.datasets.importing import Cancel, Progress, Watch, describe_import, flush, gather, said_in
from lorasmith.datasets.leases import staging
from lorasmith.datasets.ledger import Imported
from lorasmith.datasets.manifest import DatasetVersion, Fate, Item, Operation, Piece, blobs_of
from lorasmith.datasets.merging import join
from lorasmith.datasets.names import collision_key, safe_dataset_name
from lorasmith.datasets.origins import Origin
from lorasmith.datasets.source import Limits, disk_errors
from lorasmith.datasets.staging import Settings
from lorasmith.datasets.versions import VersionFiles
from lorasmith.errors import ConfigError, DatasetError, InputError
from lorasmith.files import sync_folder

_FROM_ELSEWHERE: Final = ("fetched", "uploads")
"""Folders of a home that hold what was brought to be imported."""


class DatasetStore(Contents):
    """All datasets of a home. Versions that one store object reads share what they have in common in memory."""

    def __init__(self, home: Path, *, versions: VersionFiles | None = None) -> None:
        """
        Args:
            home: whose datasets.
            versions: of the same home, to share what is in memory of them with other stores; left out, its own.
        """
        super().__init__(home)
        self._versions = versions or VersionFiles(self.home)

    def import_source(
        self,
        source: Path | str | Sequence[Path | str],
        *,
        name: str | None = None,
        into: str | None = None,
        background: str = "white",
        alpha: Alpha = "fill",
        max_side: int | None = None,
        layout: str | None = None,
        limit: int | None = None,
        clips: bool = False,
        references: str | None = None,
        reference_suffix: str | None = None,
        origin: Origin | None = None,
        progress: Progress | None = None,
        watch: Watch | None = None,
        cancel: Cancel | None = None,
        limits: Limits | None = None,
    ) -> DatasetVersion:
        """Import pictures as a dataset, or add them to one, and account for every file.

        Nothing is written into the source. Under a ``name`` that exists, the pictures become the next version of that
        dataset in place of the present ones (older versions stay); if a version already holds exactly this content,
        nothing is written and the newest such version is returned. With ``into`` the pictures are added: items that
        are there stay as they are and come first, what is among them already is left out as a duplicate; when nothing
        is new, nothing is written.

        Args:
            source: a ZIP, a folder or a picture, or several of them; content decides which.
            name: of the dataset; left out, made from the source's name.
            into: name of the dataset to add to, in place of ``name``.
            background: what shows through transparent pictures, a CSS colour or ``#rrggbb``.
            alpha: ``fill`` lays transparent pictures on the background, ``mask`` makes their transparency the mask
                and leaves their colours, ``both`` does both.
            max_side: pixels; longer pictures are reduced to it, the originals being kept. None: sizes stay.
            layout: in which layout the source lies; None to find out, ``plain`` for none.
            limit: how many pictures are taken at most, the first by name; None: all.
            clips: take videos and animated pictures as clips; without, of an animated picture the first frame.
            references: names of folders in the source that hold reference pictures, commas between, in order; see
                ``datasets/pairing.py``.
            reference_suffix: what names of reference pictures end in, ``_control``, or ``_start:_end`` for both of
                a pair.
            origin: where the source was brought from, for the provenance of every item and the ledger; archives in a
                folder that was brought are opened.
            progress: called after every picture with pictures done, pictures in all and the path of the last one.
            watch: called a few times a second, with an estimate of the time that is left.
            cancel: an event, or a function that is true, when the import shall stop; the old state stays.
            limits: how large the source may be.

        Raises:
            InputError: the source is missing, unreadable, none of these, or too large.
            DatasetError: no picture in it can be used, the name cannot be, there is no dataset ``into``, or the files
                of a layout contradict themselves.
            ConfigError: no such background colour or layout, or both ``name`` and ``into`` were given.
            OutOfDisk: it does not fit.
            Stopped: ``cancel`` said so.
        """
        sources = [Path(source)] if isinstance(source, str | Path) else [Path(part) for part in source]
        settings = Settings(
            parse_background(background), alpha, max_side, layout, limit, clips, references, reference_suffix
        )
        if name is not None and into is not None:
            raise ConfigError("An import has a name or a dataset to add to, not both.", "Leave one of them out.")
        dataset = self.get(into).dataset if into is not None else ""
        opened = open_source(sources, limits or Limits(), archives=origin is not None)
        try:
            dataset = dataset or self._name_for(sources[0], name)
            for part in sources:
                self._refuse_own_home(part)
            with staging(self.home) as folder:
                found = gather(opened, folder, settings, origin=origin, progress=progress, watch=watch, cancel=cancel)
                arguments = describe_import(sources, background, settings, found)
                with disk_errors(self.home), self._versions.locked(dataset):
                    head = self.get(dataset) if into is not None else None
                    imported = account(found, head.items if head else ())
                    del found  # what was read of every file, of which the items hold all that is needed
                    same = self._with_content(dataset, imported) if head is None else imported.unchanged(head)
                    if same is not None:
                        return same
                    flush((f for f in imported.staged if not self.blob_path(f.sha256).is_file()), cancel)
                    self._blobs.keep(imported.staged)
                    ledger = (*(head.ledger if head else ()), *imported.ledger)
                    told = arguments | said_in(imported.said)
                    operation = Operation(name="add" if head else "import", arguments=told)
                    known = head.pieces if head else ()
                    parent = head.number if head else None
                    return self._write(dataset, parent, imported.items, operation, ledger, known=known)
        finally:
            opened.close()

    def get(self, reference: str) -> DatasetVersion:
        """The version ``name@number``, or the present one of ``name``.

        Raises:
            DatasetError: there is none (the hint names the nearest), or it is damaged (the hint names the newest one
                before it that is whole).
        """
        return self._versions.read(*self._versions.resolve(reference))

    def create(
        self, name: str, items: Sequence[Item], operation: Operation, ledger: Sequence[Fate] = ()
    ) -> DatasetVersion:
        """Write the first version of a new dataset from blobs that are in the store.

        Raises:
            DatasetError: the name cannot be used or is taken, or the items are none, share a name, or name pictures
                that are not in the store.
        """
        _refuse_impossible(items)
        self._refuse_name(name)
        with disk_errors(self.home), self._versions.locked(name):
            self._refuse_taken(name)
            made = self._write(name, None, items, operation, ledger)
        self._blobs.committed(made.items)
        return made

    def commit(
        self,
        parent: DatasetVersion,
        items: Sequence[Item],
        operation: Operation,
        *,
        onto: Literal["head", "parent"] = "head",
        ledger: Sequence[Fate] | None = None,
    ) -> DatasetVersion:
        """Write an edited version of ``parent``; it becomes the present one. Unchanged items give ``parent`` back.

        Args:
            parent: the version that was edited.
            items: all its items after the edit.
            operation: what the edit was.
            onto: what happens when ``parent`` is not the present version any more. ``head``: somebody else edited
                meanwhile, and both edits are joined by item on top of the present version; the operation's argument
                ``rebased_from`` then tells the parent. ``parent``: the older version was meant, as by ``name@3``; the
                line goes on from it, and what came after it stays in the history, as after an undo.
            ledger: in place of the parent's; fates are added, none is taken away.

        Raises:
            ConflictError: both edits changed the same items, not alike; nothing is written.
            DatasetError: the items are none, share a name, or name pictures that are not in the store.
        """
        items = tuple(items)
        if items == parent.items and ledger is None:
            return parent
        _refuse_impossible(items)
        with disk_errors(self.home), self._versions.locked(parent.dataset):
            header = self._unchanged(parent)
            at = self._versions.head(parent.dataset).number
            if onto == "head" and at != parent.number:
                made = self._rebase(parent, items, operation, at, ledger)
            else:
                kept = ledger if ledger is not None else header
                made = self._write(parent.dataset, parent.number, items, operation, kept, known=parent.pieces)
        self._blobs.committed(made.items)
        return made

    def commit_aside(self, parent: DatasetVersion, items: Sequence[Item], operation: Operation) -> DatasetVersion:
        """Keep an edited version of ``parent`` in the history without making it the present one: what to do with one's
        own side of a conflict. ``diff`` compares it, ``restore`` takes it up.

        Raises:
            DatasetError: as for ``commit``.
        """
        items = tuple(items)
        _refuse_impossible(items)
        with disk_errors(self.home), self._versions.locked(parent.dataset):
            header = self._unchanged(parent)
            made = self._write(parent.dataset, parent.number, items, operation, header, known=parent.pieces, aside=True)
        self._blobs.committed(made.items)
        return made

    def undo(self, name: str, steps: int = 1) -> DatasetVersion:
        """Go back to what the present version was made from; what is passed over stays, for ``redo`` and ``restore``.

        Raises:
            DatasetError: there is no such dataset, or there are not so many steps.
        """
        dataset = self._versions.named(name)
        with disk_errors(self.home), self._versions.locked(dataset):
            head = self._versions.head(dataset)
            at, redo = head.number, list(head.redo)
            for done in range(steps):
                parent = self._versions.parent(dataset, at, head)
                if parent is None:
                    steps_back = f"{done} step{'s' if done > 1 else ''}"
                    said = f"Only {steps_back} of '{dataset}' can be undone." if done else "There is nothing to undo."
                    raise DatasetError(said, f"{dataset}@{at} is where its line begins.")
                redo.append(at)
                at = parent
            version = self._versions.read(dataset, at)
            self._versions.move(dataset, head, at, redo)
            return version

    def redo(self, name: str, steps: int = 1) -> DatasetVersion:
        """Take back an undo.

        Raises:
            DatasetError: there is no such dataset, or nothing was undone since its last edit.
        """
        dataset = self._versions.named(name)
        with disk_errors(self.home), self._versions.locked(dataset):
            head = self._versions.head(dataset)
            if steps > len(head.redo):
                hint = "An edit after an undo begins a new line; see its history, and restore what you want."
                there = len(head.redo)
                said = f"Only {there} step{'s' if there > 1 else ''} of '{dataset}' can be redone."
                raise DatasetError(said if there else "There is nothing to redo.", hint)
            if steps < 1:
                return self._versions.read(dataset, head.number)
            at = head.redo[-steps]
            version = self._versions.read(dataset, at)
            self._versions.move(dataset, head, at, head.redo[:-steps])
            return version

    def restore(self, reference: str) -> DatasetVersion:
        """A new version of the dataset with the content of an old one, byte for byte; the present one if it has it.

        Raises:
            DatasetError: there is no such version, or it is damaged.
        """
        dataset, number = self._versions.resolve(reference)
        with disk_errors(self.home), self._versions.locked(dataset):
            head, old = self._versions.head(dataset), self._versions.read(dataset, number)
            header = self._versions.header(dataset, number)
            if self._versions.header(dataset, head.number).root == header.root:
                return self._versions.read(dataset, head.number)
            operation = Operation(name="restore", arguments={"number": number})
            return self._write(dataset, head.number, old.items, operation, header, known=old.pieces)

    def branch(self, reference: str, new_name: str) -> DatasetVersion:
        """A new dataset that begins with the content of a version and shares all its bytes on disk.

        Raises:
            DatasetError: there is no such version, or the name cannot be used or is taken.
        """
        dataset, number = self._versions.resolve(reference)
        self._refuse_name(new_name)
        with disk_errors(self.home), self._versions.locked(new_name):
            self._refuse_taken(new_name)
            old, header = self._versions.read(dataset, number), self._versions.header(dataset, number)
            operation = Operation(name="branch", arguments={"source": old.reference})
            return self._write(new_name, None, old.items, operation, header, known=old.pieces)

    def history(self, name: str) -> list[HistoryEntry]:
        """All versions of a dataset by number, each with its place in the tree; only headers are read. One that is
        damaged is listed as such.

        Raises:
            DatasetError: there is no such dataset.
        """
        dataset = self._versions.named(name)
        headers: dict[int, Header] = {}
        damaged: dict[int, str] = {}
        for number in self._versions.numbers(dataset):
            try:
                headers[number] = self._versions.header(dataset, number)
            except DatasetError as error:
                damaged[number] = error.message
        return history(headers, self._versions.head(dataset), damaged)

    def drop(self, reference: str) -> None:
        """Remove a version ``name@3``, or all of ``name``. Pictures and pieces go with the next ``collect``.

        Raises:
            DatasetError: there is none, it is the present version of its dataset, or a job that is not finished needs
                it.
        """
        name, at, _ = reference.partition("@")
        dataset, number = self._versions.resolve(reference) if at else (self._versions.named(name), None)
        with disk_errors(self.home), self._versions.locked(dataset):
            folder, head = self.home / "datasets" / dataset, self._versions.head(dataset)
            self._refuse_needed(dataset, number)
            if number is None:
                for each in self.versions(dataset):
                    (folder / f"{each}.json").unlink()
                (folder / HEAD_FILE).unlink(missing_ok=True)
            elif number == head.number:
                hint = f"Undo it first, or drop the whole dataset: '{dataset}'."
                raise DatasetError(f"{dataset}@{number} is the present version of '{dataset}'.", hint)
            else:
                dropped = head.dropped | {number: self._versions.header(dataset, number).parent}
                redo = tuple(each for each in head.redo if each != number)
                write_head(folder, head.model_copy(update={"redo": redo, "dropped": dropped}))
                (folder / f"{number}.json").unlink()
            sync_folder(folder)

    def garbage(self) -> Garbage:
        """What ``collect`` would free now, with its size; nothing is changed.

        Needed is every blob and piece that a version of any dataset names, a blob that was put and is not yet
        committed, and everything when a version or job cannot be read, so that it cannot be told what that one needs.
        """
        with disk_errors(self.home), self._versions.all_locked():
            return find_garbage(self.home, self._versions, self._blobs.objects)

    def collect(self, garbage: Garbage) -> Garbage:
        """Delete what is in ``garbage`` and still not needed, and say what was freed.

        What is needed is found out anew, with every dataset locked.

        Raises:
            DatasetError: something cannot be read, so that it cannot be told what it needs.
        """
        with disk_errors(self.home), self._versions.all_locked():
            return free(garbage, find_garbage(self.home, self._versions, self._blobs.objects))

    def names(self) -> list[str]:
        """Names of all datasets that have a version."""
        return self._versions.names()

    def versions(self, name: str) -> list[int]:
        """The version numbers of a dataset, ascending; none when there is no such dataset."""
        return self._versions.numbers(name)

    # --- inside ----------------------------------------------------------------------------------------------

    def _name_for(self, source: Path, name: str | None) -> str:
        if name is not None:
            self._refuse_name(name)
            safe = name
        else:
            absolute = source.absolute()
            safe = safe_dataset_name(absolute.stem if absolute.is_file() else absolute.name)
        return self._versions.existing(safe) or safe

    def _refuse_name(self, name: str) -> None:
        if (safe := safe_dataset_name(name)) != name:
            raise DatasetError(f"'{name}' cannot be the name of a dataset.", f"Use '{safe}'.")

    def _refuse_taken(self, name: str) -> None:
        if (taken := self._versions.existing(name)) is not None:
            raise DatasetError(f"There is a dataset '{taken}' already.", "Choose another name.")

    def _refuse_own_home(self, source: Path) -> None:
        inside, outside = self.home.resolve(), source.resolve()
        if any(outside.is_relative_to(inside / room) for room in _FROM_ELSEWHERE):
            return
        if source.is_dir() and (inside.is_relative_to(outside) or outside.is_relative_to(inside)):
            message = f"The folder {source} and lorasmith's home {self.home} lie in each other."
            raise InputError(message, "Choose another home.")

    def _with_content(self, dataset: str, imported: Imported) -> DatasetVersion | None:
        """The newest version that trains the same as what was imported, if all its pictures are still there."""
        for number in reversed(self.versions(dataset)):
            try:
                if self._versions.header(dataset, number).count != len(imported.items):
                    continue
                version = self._versions.read(dataset, number)
            except DatasetError:  # a damaged version holds nothing that could be given back; the import mends that
                continue
            if imported.trains_like(version):
                there = all(self.blob_path(sha).is_file() for i in version.items for sha in blobs_of(i))
                return version if there else None
        return None

    def _write(
        self,
        dataset: str,
        parent: int | None,
        items: Sequence[Item],
        operation: Operation,
        ledger: Sequence[Fate] | Header,
        *,
        known: Sequence[Piece] = (),
        aside: bool = False,
    ) -> DatasetVersion:
        """The next version, under the dataset's lock; see ``VersionFiles.write``."""
        return self._versions.write(
            dataset, parent, items, operation, ledger, holds=self.holds, known=known, aside=aside
        )

    def _rebase(
        self,
        parent: DatasetVersion,
        items: tuple[Item, ...],
        operation: Operation,
        at: int,
        ledger: Sequence[Fate] | None,
    ) -> DatasetVersion:
        """Join an edit of ``parent`` with what was edited meanwhile, on top of version ``at``."""
        theirs = self._versions.read(parent.dataset, at)
        joined = join(parent, items, theirs)
        fates: Sequence[Fate] | Header = self._versions.header(parent.dataset, at)
        if ledger is not None:
            old = set(parent.ledger)
            fates = (*theirs.ledger, *(fate for fate in ledger if fate not in old))
        elif joined == theirs.items:
            return theirs
        _refuse_impossible(joined)
        told = operation.model_copy(update={"arguments": operation.arguments | {"rebased_from": parent.number}})
        return self._write(parent.dataset, at, joined, told, fates, known=theirs.pieces)

    def _unchanged(self, version: DatasetVersion) -> Header:
        """The header of a version somebody holds, which may have been dropped since."""
        if version.number not in self.versions(version.dataset):
            hint = "Take the present version, and edit that."
            raise DatasetError(f"{version.reference} is not in the store any more.", hint)
        header = self._versions.header(version.dataset, version.number)
        if header.root != version.root:
            hint = "Read it from the store, and edit that."
            raise DatasetError(f"{version.reference} is not the version that was edited.", hint)
        return header

    def _refuse_needed(self, dataset: str, number: int | None) -> None:
        """Refuse to drop what a job that may go on works on."""
        for need in job_needs(self.home):
            hint = f"Let it finish, or delete the folder {self.home / 'jobs' / need.job}."
            if need.reference is None:
                raise DatasetError(f"It cannot be told which dataset the job {need.job} needs.", hint)
            name, at, needed = need.reference.partition("@")
            if collision_key(name) != collision_key(dataset):
                continue
            wanted = needed if at else str(self._versions.head(dataset).number)
            if number in (None, wanted and int(wanted)) and not self._collected(dataset, need):
                raise DatasetError(f"The job {need.job} needs {need.reference}.", hint)

    def _collected(self, dataset: str, need: JobNeed) -> bool:
        """Whether a caption job that succeeded has become a version."""
        headers = self._versions.headers(dataset) if need.succeeded else {}
        return any(header.operation.arguments.get("job") == need.job for header in headers.values())


def _refuse_impossible(items: Sequence[Item]) -> None:
    if not items:
        raise DatasetError("A dataset needs at least one picture.", "Keep one.")
    if len({item.name for item in items}) != len(items):
        name = next(name for name, count in Counter(item.name for item in items).items() if count > 1)
        raise DatasetError(f"Two pictures are called '{name}'.", "Give one of them another name.")
