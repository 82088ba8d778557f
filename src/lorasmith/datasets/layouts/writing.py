"""Writing an export: planned whole, checked against what lies in the folder, then written file by file.

Nothing is written before every conflict is known. Each file appears whole under its name or not at all; bytes that
are there already stay untouched, with their times, so that a trainer's caches stay valid.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from lorasmith.datasets.clips.words import why_made_anew
from lorasmith.datasets.layouts import Exported, Loss, Progress
from lorasmith.datasets.layouts.losing import converted_loss, plain_text
from lorasmith.datasets.layouts.pictures import mask_png, needs_png, png_of, suffix_of
from lorasmith.datasets.layouts.record import (
    RECORD_NAME,
    ExportRecord,
    WrittenFile,
    is_as_written,
    load_record,
    save_record,
    written,
)
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.datasets.source import disk_errors
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import DatasetError, OutOfDisk
from lorasmith.files import bytes_in_words, file_digest

_RECORD_EVERY: Final = 500  # files, or a twentieth of all; a killed export then knows nearly all it wrote
_TEMPORARY: Final = ".lorasmith-{}.tmp"


@dataclass(frozen=True)
class _Planned:
    """A file to be: a copy of ``blob``, or what ``make`` gives."""

    sha256: str
    """Of its content; empty when only ``make`` can tell."""
    size: int
    """Bytes, guessed where ``make`` has to run first."""
    made_from: str = ""
    blob: Path | None = None
    make: Callable[[BinaryIO], object] | None = None
    items: tuple[str, ...] = ()
    """Whose pictures it holds, for progress."""


class Export:
    """One export under way. Plan files with ``picture``, ``mask`` and ``text``, then ``finish``.

    Raises:
        DatasetError: the folder is a file, lies in the store, or holds an export in another layout.
    """

    def __init__(
        self,
        layout: str,
        version: DatasetVersion,
        store: DatasetStore,
        folder: Path,
        *,
        force: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.version, self.store, self.folder = version, store, Path(folder)
        self._layout, self._force, self._progress = layout, force, progress
        self._plan: dict[str, _Planned] = {}
        self._names: dict[str, str] = {}
        self._converted: list[str] = []
        self._refuse_impossible()
        self._before = None if force and not self._record_is_sound() else load_record(self.folder)
        if self._before is not None and self._before.layout != layout and not force:
            raise DatasetError(
                f"{self.folder} holds an export as '{self._before.layout}', not as '{layout}'.",
                "Choose another folder, or force it.",
            )

    @property
    def root(self) -> str:
        """The folder's absolute path with ``/``, as trainers' settings name it."""
        return self.folder.absolute().as_posix()

    @property
    def names_before(self) -> dict[str, str]:
        """The stem of each item's picture in the last export, so that names stay."""
        if self._before is None:
            return {}
        return {item: PurePosixPath(path).stem for item, path in self._before.names.items()}

    def picture(self, stem: str, item: Item, formats: Collection[str], *, alpha: bool = False) -> str:
        """Plan an item's picture at ``stem`` (a path without suffix); the path with the suffix that fits.

        Args:
            stem: relative to the folder.
            item: whose picture.
            formats: that the target reads; any other becomes a PNG.
            alpha: its mask, if it has one, becomes the alpha channel of a PNG.
        """
        blob = self._blob(item, item.image, "picture")
        mask = self._blob(item, item.mask, "mask") if alpha and item.mask is not None else None
        convert = needs_png(blob, formats)
        if convert:
            self._converted.append(item.name)
        if convert or mask is not None:
            path = f"{stem}.png"
            origin = f"png:{item.image}" + (f"+{item.mask}" if mask is not None else "")
            size = item.width * item.height
            self._add(
                path, _Planned("", size, origin, None, lambda out: out.write(png_of(item, blob, mask)), (item.name,))
            )
        else:
            path = stem + suffix_of(blob)
            self._add(path, _Planned(item.image, blob.stat().st_size, "", blob, None, (item.name,)))
        self._names[item.name] = path
        return path

    def clip(self, stem: str, item: Item, *, any_file: bool = False) -> str:
        """Plan an item's video at ``stem`` (a path without suffix): its file as it came, or one made anew where it is
        not read as it is meant; the path with its suffix. See ``layouts/clips.py``.

        Args:
            stem: relative to the folder.
            item: whose clip.
            any_file: the target is no trainer, so that every file stays as it came, animated pictures too.
        """
        from lorasmith.datasets.layouts.clips import made_from, video_suffix, write_clip

        assert item.clip is not None
        blob = self._blob(item, item.clip.video, "video")
        if why_made_anew(item) and not any_file:
            path = f"{stem}.mp4"
            size = item.clip.width * item.clip.height * item.clip.frames
            make = partial(write_clip, item, self.store)
            self._add(path, _Planned("", size, made_from(item.clip), None, make, (item.name,)))
        else:
            path = stem + video_suffix(blob)
            self._add(path, _Planned(item.clip.video, blob.stat().st_size, "", blob, None, (item.name,)))
        self._names[item.name] = path
        return path

    def moving(self, stem: str, item: Item, formats: Collection[str], *, any_file: bool = False) -> str:
        """``clip`` of what moves, ``picture`` of the rest."""
        if item.clip is not None:
            return self.clip(stem, item, any_file=any_file)
        return self.picture(stem, item, formats)

    def reference(self, stem: str, item: Item, number: int, formats: Collection[str]) -> str:
        """Plan an item's reference picture at ``stem`` (a path without suffix); the path with the suffix that fits."""
        sha256 = item.references[number]
        blob = self._blob(item, sha256, "reference")
        if needs_png(blob, formats):
            path = f"{stem}.png"
            size = item.width * item.height
            self._add(path, _Planned("", size, f"png:{sha256}", None, lambda out: out.write(png_of(item, blob, None))))
        else:
            path = stem + suffix_of(blob)
            self._add(path, _Planned(sha256, blob.stat().st_size, "", blob))
        return path

    def mask(self, path: str, item: Item) -> str:
        """Plan an item's mask as a gray PNG at ``path``."""
        assert item.mask is not None
        blob = self._blob(item, item.mask, "mask")
        if needs_png(blob, ("PNG",)):
            self._add(
                path,
                _Planned(
                    "", item.width * item.height, f"mask:{item.mask}", None, lambda out: out.write(mask_png(item, blob))
                ),
            )
        else:
            self._add(path, _Planned(item.mask, blob.stat().st_size, "", blob))
        return path

    def caption(self, path: str, item: Item, *, when_empty: str = "") -> str:
        """Plan an item's caption as a text file; ``when_empty`` is what an empty one holds."""
        text = plain_text(item.caption)
        return self.text(path, text or when_empty)

    def text(self, path: str, content: str | bytes) -> str:
        """Plan a file with this content, UTF-8 without a byte order mark, line ends LF."""
        data = content.encode() if isinstance(content, str) else content
        self._add(path, _Planned(hashlib.sha256(data).hexdigest(), len(data), "", None, lambda out: out.write(data)))
        return path

    def made(self, path: str, made_from: str, make: Callable[[BinaryIO], object], items: Sequence[Item]) -> str:
        """Plan a file of many pictures.

        Args:
            path: relative to the folder.
            made_from: everything its bytes depend on; as long as this stays, the file is not made again.
            make: writes it into a stream that can seek; never the whole of it in memory.
            items: whose pictures it holds.
        """
        origin = hashlib.sha256(made_from.encode()).hexdigest()
        size = sum(self._blob(item, item.image, "picture").stat().st_size for item in items)
        self._add(path, _Planned("", size, origin, None, make, tuple(item.name for item in items)))
        return path

    def finish(self, losses: Sequence[Loss]) -> Exported:
        """Write what is planned, remove what an earlier export wrote and this one does not.

        Raises:
            DatasetError: files of someone else stand in the way; the message names the first of them.
            OutOfDisk: it does not fit; what was written so far is in the record.
        """
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            same = self._inspect()
            self._refuse_oversize(same)
            known = dict(self._before.files) if self._before else {}
            try:
                self._write_all(same, known)
                for path in [path for path in known if path not in self._plan]:
                    self._remove(path, known.pop(path))
            finally:
                save_record(self.folder, self._record(known))
        extra = converted_loss(self._converted, losses)
        return Exported(self.folder, tuple(self._plan), len(same), (*losses, *extra))

    # --- inside ----------------------------------------------------------------------------------------------

    def _add(self, path: str, planned: _Planned) -> None:
        assert path not in self._plan, path
        self._plan[path] = planned

    def _blob(self, item: Item, sha256: str, what: str) -> Path:
        blob = self.store.blob_path(sha256)
        if not blob.is_file():
            raise DatasetError(f"The {what} of '{item.name}' is missing from the store.", "Import its source again.")
        return blob

    def _refuse_impossible(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise DatasetError(f"{self.folder} is a file, not a folder.", "Choose another place.")
        resolved = self.folder.resolve()
        for inside in ("blobs", "datasets", "incoming"):
            if resolved.is_relative_to((self.store.home / inside).resolve()):
                raise DatasetError(f"{self.folder} lies in the store itself.", "Choose a folder outside of it.")

    def _record_is_sound(self) -> bool:
        try:
            load_record(self.folder)
        except DatasetError:
            return False
        return True

    def _sweep(self) -> None:
        """Remove what a killed export left half written."""
        folders = {self.folder / PurePosixPath(path).parent for path in self._plan} | {self.folder}
        for folder in folders:
            if folder.is_dir():
                for leftover in folder.glob(_TEMPORARY.format("*")):
                    leftover.unlink(missing_ok=True)

    def _inspect(self) -> set[str]:
        """Paths whose bytes are there already; refuses to go on over files of someone else."""
        same: set[str] = set()
        foreign: list[str] = []
        for folder in {PurePosixPath(path).parent for path in self._plan}:
            self._refuse_detour(folder)
        for path, planned in self._plan.items():
            target = self.folder / path
            if not target.is_symlink() and not target.exists():
                continue
            if target.is_dir() and not target.is_symlink():
                raise DatasetError(f"{target} is a folder where a file is to be written.", "Choose another folder.")
            known = self._before.files.get(path) if self._before else None
            ours = known is not None and is_as_written(target, known)
            if known is not None and ours:
                there = self._is_wanted(planned, known)
            else:
                there = not target.is_symlink() and file_digest(target) == self._content_hash(planned)
            if there:
                same.add(path)
            elif not ours and not self._force:
                foreign.append(path)
        if foreign:
            more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
            raise DatasetError(
                f"'{foreign[0]}'{more} in {self.folder} is not as this program wrote it.",
                "Choose another folder, move your files away, or force it.",
            )
        return same

    def _is_wanted(self, planned: _Planned, known: WrittenFile) -> bool:
        return known.sha256 == planned.sha256 if planned.sha256 else known.made_from == planned.made_from

    def _content_hash(self, planned: _Planned) -> str:
        if planned.sha256 or planned.make is None:
            return planned.sha256
        with tempfile.TemporaryFile() as stream:
            planned.make(stream)
            stream.seek(0)
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def _refuse_detour(self, folder: PurePosixPath) -> None:
        """A link among the folders would lead the export somewhere else."""
        place = self.folder
        for part in folder.parts:
            place = place / part
            if place.is_symlink() or (place.exists() and not place.is_dir()):
                raise DatasetError(f"{place} is a link or a file where a folder is needed.", "Choose another folder.")

    def _refuse_oversize(self, same: set[str]) -> None:
        needed = sum(planned.size for path, planned in self._plan.items() if path not in same)
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise OutOfDisk(
                f"The export needs {bytes_in_words(needed)}; "
                f"the disk of {self.folder} has {bytes_in_words(free)} free.",
                "Free some space, or choose a folder on another disk.",
            )

    def _write_all(self, same: set[str], known: dict[str, WrittenFile]) -> None:
        total = sum(len(planned.items) for planned in self._plan.values())
        every = max(_RECORD_EVERY, len(self._plan) // 20)
        done = 0
        for count, (path, planned) in enumerate(self._plan.items(), start=1):
            target = self.folder / path
            if path not in same:
                known[path] = written(target, self._write(target, planned), planned.made_from)
            elif path not in known or known[path].mtime_ns != target.stat().st_mtime_ns:
                known[path] = written(target, file_digest(target), planned.made_from)
            if count % every == 0:
                save_record(self.folder, self._record(known))
            for name in planned.items:
                done += 1
                if self._progress is not None:
                    self._progress(done, total, name)

    def _write(self, target: Path, planned: _Planned) -> str:
        """Write one file beside its place and rename it there; the SHA-256 of what was written."""
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(_TEMPORARY.format(os.getpid()))
        try:
            if planned.blob is not None:
                shutil.copyfile(planned.blob, temporary)  # a copy, never a link: trainers must not reach into the store
                sha256 = file_digest(temporary)
                if sha256 != planned.sha256:
                    raise DatasetError(f"{planned.blob} does not hold what its name says.", "Import its source again.")
            else:
                assert planned.make is not None
                with temporary.open("w+b") as stream:
                    planned.make(stream)
                    stream.seek(0)
                    sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        return sha256

    def _remove(self, path: str, known: WrittenFile) -> None:
        """Remove a file of an earlier export, unless somebody changed it since; then folders that became empty."""
        target = self.folder / path
        self._refuse_detour(PurePosixPath(path).parent)
        if is_as_written(target, known):
            target.unlink()
        for above in PurePosixPath(path).parents:
            place = self.folder / above
            if above == PurePosixPath() or not place.is_dir() or any(place.iterdir()):
                break
            place.rmdir()

    def _record(self, known: dict[str, WrittenFile]) -> ExportRecord:
        return ExportRecord(
            layout=self._layout,
            dataset=self.version.reference,
            fingerprint=self.version.fingerprint,
            files=known,
            names=self._names,
        )


__all__ = ["RECORD_NAME", "Export"]
