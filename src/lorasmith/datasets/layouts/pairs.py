"""Pairs in one folder: ``cat_start.png`` becomes ``cat_end.png`` by what ``cat.txt`` says.

The form of fal's and Replicate's trainers of edit models; further references are ``cat_start2.png``,
``cat_start3.png``. Every picture is written as NAME_end, whether it has references or not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

from lorasmith.datasets.layouts import Described, Exported, Layout, Loss, Progress, Reading, losing
from lorasmith.datasets.layouts.naming import stems
from lorasmith.datasets.layouts.reading import SourceFiles, stem
from lorasmith.datasets.layouts.settings import Found
from lorasmith.datasets.layouts.writing import Export
from lorasmith.datasets.manifest import DatasetVersion
from lorasmith.datasets.store import DatasetStore

_START, _END = "_start", "_end"
_FORMATS: Final = frozenset(("JPEG", "PNG", "WEBP"))
_TITLE: Final = "a folder of pairs"
_ENOUGH: Final = 0.5
"""Share of the pictures that must stand in pairs: two frames of a film called so are no dataset of pairs."""


class PairsLayout(Layout):
    """``NAME_start``, ``NAME_end`` and ``NAME.txt``."""

    name = "pairs"
    title = "pairs (NAME_start, NAME_end)"
    rank = 20
    archived_flat = True

    def read(self, paths: Sequence[str], open_bytes: Callable[[str], bytes]) -> Reading | None:
        from lorasmith.datasets.pairing import by_suffix, read_captions

        found = Found(SourceFiles(paths, open_bytes))
        if not any(stem(path).lower().endswith(_END) for path in found.files.pictures):
            return None
        pairs = by_suffix(found.files, _START, _END)
        ends = dict.fromkeys((*pairs.references, *pairs.captions))
        standing = len(ends) + sum(map(len, pairs.references.values()))
        if standing < _ENOUGH * len(found.files.pictures) or not standing:
            return None
        captions = read_captions(pairs, found.files, found.used, found.said)
        for picture in ends:
            references = pairs.references.get(picture, ())
            found.described[picture] = Described(caption=captions.get(picture), references=references)
        evidence = f"{len(ends)} pictures are called NAME_end, with a NAME_start or a NAME.txt beside them."
        return found.reading(self.name, evidence, pairs.orphans)

    def losses(self, version: DatasetVersion) -> list[Loss]:
        roots = _roots(version)
        return [
            *losing.clips(version),
            *losing.text_files(version),
            *losing.masks(version, _TITLE),
            *losing.repeats(version, _TITLE),
            *losing.concepts(version, _TITLE),
            *losing.roles(version, (), f"{_TITLE} knows no {{}} pictures; they lie among the others."),
            *losing.formats(version, _FORMATS, _TITLE),
            *losing.origins(version, _TITLE),
            *losing.loss(
                "pair", losing.where(version, lambda item: not item.references), "trainers of pairs want a NAME_start."
            ),
            *losing.names(version, {i.name: f"{root}{_END}" for i, root in zip(version.items, roots, strict=True)}),
        ]

    def write(
        self,
        version: DatasetVersion,
        store: DatasetStore,
        folder: Path,
        *,
        force: bool = False,
        progress: Progress | None = None,
    ) -> Exported:
        export = Export(self.name, version, store, folder, force=force, progress=progress)
        for item, root in zip(version.items, _roots(version), strict=True):
            export.picture(root + _END, item, _FORMATS)
            for number in range(len(item.references)):
                export.reference(f"{root}{_START}{number + 1 if number else ''}", item, number, _FORMATS)
            export.caption(f"{root}.txt", item)
        return export.finish(self.losses(version))


def _roots(version: DatasetVersion) -> list[str]:
    """What the files of each item begin with; of one called NAME_end already, NAME."""
    known = {item.name for item in version.items}
    bare = [
        replace(item, name=shorter) if (shorter := _without_end(item.name)) not in known else item
        for item in version.items
    ]
    if len({item.name for item in bare}) < len(bare):
        bare = list(version.items)
    chosen = stems(bare, flat=True)
    return [chosen[item.name] for item in bare]


def _without_end(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(path.stem[: -len(_END)] + path.suffix)) if _has_end(path.stem) else name


def _has_end(word: str) -> bool:
    return word.lower().endswith(_END) and len(word) > len(_END)


plugin = PairsLayout()
