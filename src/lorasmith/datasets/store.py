"""Datasets on disk: pictures by hash, versions as numbered files that are never changed.

    <home>/blobs/ab/cdef...                  pictures by SHA-256
    <home>/datasets/<name>/<number>.json     immutable versions
    <home>/incoming/                         imports under way; what a killed one left is swept by the next

A version file is written last and renamed into place, so that an import or edit is there whole or not at all.
"""

from __future__ import annotations

import difflib
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout
from PIL import Image
from pydantic import ValidationError

from lorasmith.datasets.accounting import account
from lorasmith.datasets.archive import open_source
from lorasmith.datasets.images import Alpha, parse_background
from lorasmith.datasets.importing import Cancel, Progress, Settings, Watch, describe_import, flush, gather
from lorasmith.datasets.ledger import Imported, Staged
from lorasmith.datasets.manifest import DatasetVersion, Fate, Item, Operation
from lorasmith.datasets.names import collision_key, safe_dataset_name
from lorasmith.datasets.source import Limits, disk_errors
from lorasmith.errors import ConfigError, DatasetError, InputError
from lorasmith.jobfolder import sync_folder, write_atomically

_NUMBER: Final = re.compile(r"[1-9][0-9]*")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class DatasetStore:
    """All datasets of a home."""

    def __init__(self, home: Path) -> None:
        self.home = Path(home)

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
        settings = Settings(parse_background(background), alpha, max_side, layout)
        if name is not None and into is not None:
            raise ConfigError("An import has a name or a dataset to add to, not both.", "Leave one of them out.")
        dataset = self.get(into).dataset if into is not None else ""
        opened = open_source(sources, limits or Limits())
        try:
            dataset = dataset or self._name_for(sources[0], name)
            for part in sources:
                self._refuse_own_home(part)
            with self._staging() as staging:
                found = gather(opened, staging, settings, progress=progress, watch=watch, cancel=cancel)
                arguments = describe_import(sources, background, settings, found)
                with disk_errors(self.home), self._locked(dataset):
                    head = self.get(dataset) if into is not None else None
                    imported = account(found, head.items if head else ())
                    same = self._with_content(dataset, imported) if head is None else imported.unchanged(head)
                    if same is not None:
                        return same
                    flush((f for f in imported.staged if not self.blob_path(f.sha256).is_file()), cancel)
                    self._keep(imported.staged)
                    ledger = (*(head.ledger if head else ()), *imported.ledger)
                    operation = Operation(name="add" if head else "import", arguments=arguments)
                    return self._write(dataset, head.number if head else None, imported.items, operation, ledger)
        finally:
            opened.close()

    def get(self, reference: str) -> DatasetVersion:
        """The version ``name@number``, or the newest of ``name``.

        Raises:
            DatasetError: there is none (the hint names the nearest), or its file is damaged.
        """
        name, at, number = reference.partition("@")
        dataset = self._existing(name)
        if dataset is None:
            near = difflib.get_close_matches(name, self.names(), n=1, cutoff=0.4)
            hint = f"Did you mean '{near[0]}'?" if near else self._what_there_is()
            raise DatasetError(f"There is no dataset '{name}'.", hint)
        numbers = self.versions(dataset)
        if at and not _NUMBER.fullmatch(number):
            raise DatasetError(
                f"'{reference}' does not name a version.", f"Write '{dataset}@{numbers[-1]}' or the like."
            )
        wanted = int(number) if at else numbers[-1]
        if wanted not in numbers:
            raise DatasetError(
                f"The dataset '{dataset}' has no version {wanted}.", f"It has {', '.join(map(str, numbers))}."
            )
        return self._read(dataset, wanted)

    def commit(self, parent: DatasetVersion, items: Sequence[Item], operation: Operation) -> DatasetVersion:
        """Write an edited version of ``parent`` under the next free number; unchanged items give ``parent`` back.

        Raises:
            DatasetError: the items are none, share a name, or name pictures that are not in the store.
        """
        if tuple(items) == parent.items:
            return parent
        if not items:
            raise DatasetError("A dataset needs at least one picture.", "Keep one.")
        seen: set[str] = set()
        for item in items:
            if item.name in seen:
                raise DatasetError(f"Two pictures are called '{item.name}'.", "Give one of them another name.")
            seen.add(item.name)
            for sha256 in {item.image, item.original, item.mask} - {None}:
                if not self.blob_path(str(sha256)).is_file():
                    raise DatasetError(f"The picture of '{item.name}' is not in the store.", "Import it first.")
        with disk_errors(self.home), self._locked(parent.dataset):
            return self._write(parent.dataset, parent.number, items, operation, parent.ledger)

    def names(self) -> list[str]:
        """Names of all datasets that have a version."""
        root = self.home / "datasets"
        if not root.is_dir():
            return []
        return sorted(folder.name for folder in root.iterdir() if folder.is_dir() and self.versions(folder.name))

    def versions(self, name: str) -> list[int]:
        """The version numbers of a dataset, ascending; none when there is no such dataset."""
        folder = self.home / "datasets" / name
        if safe_dataset_name(name) != name or not folder.is_dir():
            return []
        return sorted(int(p.stem) for p in folder.iterdir() if p.suffix == ".json" and _NUMBER.fullmatch(p.stem))

    def blob_path(self, sha256: str) -> Path:
        """Where the bytes with this SHA-256 (64 hexadecimal digits) lie."""
        if not _SHA256.fullmatch(sha256):
            raise DatasetError(
                f"'{sha256}' is not a SHA-256.", "The version's file is damaged; import the source again."
            )
        return self.home / "blobs" / sha256[:2] / sha256[2:]

    def open_image(self, item: Item) -> Image.Image:
        """The picture of an item, RGB, loaded.

        Raises:
            DatasetError: its blob is missing or damaged.
        """
        try:
            with Image.open(self.blob_path(item.image)) as image:
                image.load()
                return image.convert("RGB")
        except FileNotFoundError as cause:
            message = f"The picture of '{item.name}' is missing from the store."
            raise DatasetError(message, "Import its source again.") from cause
        except (OSError, SyntaxError, ValueError) as cause:
            message = f"The stored picture of '{item.name}' is damaged: {cause}."
            raise DatasetError(message, "Import its source again.") from cause

    # --- inside ----------------------------------------------------------------------------------------------

    def _name_for(self, source: Path, name: str | None) -> str:
        if name is not None:
            safe = safe_dataset_name(name)
            if safe != name:
                raise DatasetError(f"'{name}' cannot be the name of a dataset.", f"Use '{safe}'.")
        else:
            absolute = source.absolute()
            safe = safe_dataset_name(absolute.stem if absolute.is_file() else absolute.name)
        return self._existing(safe) or safe

    def _existing(self, name: str) -> str | None:
        """The dataset of that name; one that differs in case only counts, since some file systems hold just one."""
        if self.versions(name):
            return name
        return next((known for known in self.names() if collision_key(known) == collision_key(name)), None)

    def _what_there_is(self) -> str:
        names = self.names()
        return f"There are: {', '.join(names)}." if names else "Import one: `lorasmith import photos.zip`."

    def _refuse_own_home(self, source: Path) -> None:
        inside, outside = self.home.resolve(), source.resolve()
        if source.is_dir() and (inside.is_relative_to(outside) or outside.is_relative_to(inside)):
            message = f"The folder {source} and lorasmith's home {self.home} lie in each other."
            raise InputError(message, "Choose another home.")

    def _read(self, dataset: str, number: int) -> DatasetVersion:
        path = self.home / "datasets" / dataset / f"{number}.json"
        try:
            version = DatasetVersion.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as cause:
            message = f"The file of {dataset}@{number} is damaged or unreadable."
            raise DatasetError(message, f"Restore {path} or use another version.") from cause
        if version.number != number or version.dataset != dataset:
            message = f"The file of {dataset}@{number} holds {version.reference}."
            raise DatasetError(message, f"Put {path} back in its place.")
        return version

    def _with_content(self, dataset: str, imported: Imported) -> DatasetVersion | None:
        """The newest version that trains the same as what was imported, if all its pictures are still there."""
        for number in reversed(self.versions(dataset)):
            version = self._read(dataset, number)
            if imported.trains_like(version):
                there = all(self.blob_path(sha).is_file() for i in version.items for sha in (i.image, i.original))
                return version if there else None
        return None

    def _keep(self, staged: Sequence[Staged]) -> None:
        """Move staged files to where their hash says; what is there already stays."""
        folders: set[Path] = set()
        for file in staged:
            target = self.blob_path(file.sha256)
            if target.is_file() and target.stat().st_size == file.path.stat().st_size:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            file.path.replace(target)
            folders.add(target.parent)
        for folder in folders:
            sync_folder(folder)

    def _write(
        self, dataset: str, parent: int | None, items: Sequence[Item], operation: Operation, ledger: Sequence[Fate]
    ) -> DatasetVersion:
        """Write the next version, under the dataset's lock; without a parent the newest is it, as for an import."""
        newest = max(self.versions(dataset), default=None)
        version = DatasetVersion(
            dataset=dataset,
            number=(newest or 0) + 1,
            parent=newest if parent is None else parent,
            operation=operation,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            items=tuple(items),
            ledger=tuple(ledger),
        )
        path = self.home / "datasets" / dataset / f"{version.number}.json"
        write_atomically(path, version.model_dump_json(indent=1).encode())
        return version

    @contextmanager
    def _locked(self, dataset: str) -> Iterator[None]:
        """One writer at a time, so that two never share a number. Readers need no lock."""
        folder = self.home / "datasets" / dataset
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            yield

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        """A folder for one import, locked while it is used and removed afterwards."""
        root = self.home / "incoming"
        with disk_errors(self.home):
            root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        folder = root / uuid.uuid4().hex
        lock = folder.with_suffix(".lock")
        try:
            with FileLock(lock):
                folder.mkdir()
                try:
                    yield folder
                finally:
                    shutil.rmtree(folder, ignore_errors=True)  # what stays (open elsewhere) is swept next time
        finally:
            lock.unlink(missing_ok=True)


def _sweep(root: Path) -> None:
    """Remove what killed imports left: folders whose lock nobody holds."""
    for path in root.glob("*.lock"):
        try:
            with FileLock(path, timeout=0):
                shutil.rmtree(path.with_suffix(""), ignore_errors=True)
        except Timeout:
            continue
        path.unlink(missing_ok=True)
