"""Layouts: how other programs lay out a dataset on disk, read and written, one file each.

Reading says what the files around the pictures mean; the import itself stays one (``datasets/importing.py``), so that
every picture of every layout is decoded and accounted for by the same code. Writing says first what the target would
lose. A layout is found by scanning this folder and the entry points ``lorasmith.layouts`` (see ``plugins.py``).
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lorasmith import plugins
from lorasmith.datasets.manifest import Role

if TYPE_CHECKING:
    from lorasmith.datasets.manifest import DatasetVersion
    from lorasmith.datasets.store import DatasetStore

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Described:
    """What a layout says about one picture. ``caption`` None: nothing, so that a file beside it may speak."""

    caption: str | None = None
    repeats: int = 1
    role: Role = "train"
    concept: str = ""
    mask: str | None = None
    """Path in the source of its mask, white where it is trained; the picture's own path when its alpha is the mask,
    and then its colours count as they are stored, not laid on a background."""
    references: tuple[str, ...] = ()
    """Paths in the source of the pictures it is to be made from, in order."""
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """What a layout made of the files of a source. Every path is as the ledger names it: relative, ``/`` between."""

    layout: str
    evidence: str
    """One sentence: what it was recognised by."""
    described: Mapping[str, Described]
    """By the path of the picture."""
    used: Mapping[str, str]
    """Files that were read for it (a TOML, a JSONL, a mask), each with the rest of the ledger's sentence ("is ...")."""
    said: Sequence[str] = ()
    """What could not be followed, a sentence each: lines that name no picture, settings that are not ours."""
    orphans: Mapping[str, str] = field(default_factory=dict)
    """References of no picture, which are no items either, with the rest of the ledger's sentence ("is ...")."""


@dataclass(frozen=True)
class Loss:
    """Something the target cannot hold: which, of how many items, in one sentence."""

    what: str
    items: tuple[str, ...]
    sentence: str


@dataclass(frozen=True)
class Exported:
    """What an export wrote."""

    folder: Path
    files: tuple[str, ...]
    """Relative to ``folder``, in the order written."""
    unchanged: int
    """How many of them were there already with the same bytes and were left alone."""
    losses: tuple[Loss, ...]


class Layout(ABC):
    """One way to lay out a dataset. End the file with ``plugin = ThatClass()``."""

    name: ClassVar[str]
    title: ClassVar[str]
    rank: ClassVar[int] = 50
    """Where several layouts recognise a source, the highest rank speaks: a file of settings outranks mere names."""
    archived_flat: ClassVar[bool] = False
    """Whether a ZIP holds its files at the root and nothing else, as services want it; else the folder they lie in."""

    @abstractmethod
    def read(self, paths: Sequence[str], open_bytes: Callable[[str], bytes]) -> Reading | None:
        """What the files at ``paths`` say in this layout; None when it is not this layout.

        Args:
            paths: every file of the source that could be read, pictures among them.
            open_bytes: the content of one of them, held to the import's limits.

        Raises:
            DatasetError: it is this layout, and its files contradict themselves or are damaged.
        """

    @abstractmethod
    def losses(self, version: DatasetVersion) -> list[Loss]:
        """What this layout cannot hold of a version, without writing anything."""

    @abstractmethod
    def write(
        self,
        version: DatasetVersion,
        store: DatasetStore,
        folder: Path,
        *,
        force: bool = False,
        progress: Progress | None = None,
    ) -> Exported:
        """Write the version into ``folder``, which is made if needed; files that hold the same bytes are left alone.

        Args:
            version: what to write.
            store: where its pictures lie.
            folder: where to.
            force: overwrite files that hold something else than the last export into this folder wrote there.
            progress: called with pictures written, pictures in all and the name of the last one.

        Raises:
            DatasetError: files of someone else stand in the way; the message names the first of them.
            OutOfDisk: it does not fit.
        """


def available() -> dict[str, Layout]:
    """Every layout by name.

    Raises:
        ConfigError, EnvironmentProblem: a plugin is broken; see ``plugins.discover``.
    """
    return plugins.discover(sys.modules[__name__], Layout)  # type: ignore[type-abstract]


def recognise(paths: Sequence[str], open_bytes: Callable[[str], bytes]) -> Reading | None:
    """What the files of a source say, in the words of the highest-ranking layout that knows them.

    Args:
        paths: every file of the source that could be read.
        open_bytes: the content of one of them.

    Raises:
        DatasetError: a layout's files are damaged or contradict themselves.
    """
    ranked = sorted(available().values(), key=lambda layout: (-layout.rank, layout.name))
    return next((reading for layout in ranked if (reading := layout.read(paths, open_bytes)) is not None), None)


def export(
    version: DatasetVersion,
    store: DatasetStore,
    layout_name: str,
    folder: Path,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Write a version into a folder in the layout of that name; see ``Layout.write``.

    Raises:
        ConfigError: there is no such layout; the hint names the nearest.
        DatasetError: files of someone else stand in the way.
        OutOfDisk: it does not fit.
    """
    layout = plugins.choose(available(), layout_name, "layout")
    return layout.write(version, store, folder, force=force, progress=progress)
