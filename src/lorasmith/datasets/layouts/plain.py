"""Pairs: a picture, and beside it a .txt of the same name. Every trainer reads it in some way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lorasmith.datasets.layouts import Exported, Layout, Loss, Progress, Reading, losing
from lorasmith.datasets.layouts.naming import stems
from lorasmith.datasets.layouts.pictures import EVERY_FORMAT
from lorasmith.datasets.layouts.reading import SourceFiles
from lorasmith.datasets.layouts.settings import by_folder
from lorasmith.datasets.layouts.writing import Export
from lorasmith.datasets.manifest import DatasetVersion
from lorasmith.datasets.store import DatasetStore

_TITLE = "A folder of pairs"


class Plain(Layout):
    """Pictures and captions side by side, in the folders the items' names have."""

    name = "plain"
    title = "Pictures with .txt beside them"
    rank = 0

    def read(self, paths: Sequence[str], open_bytes: Callable[[str], bytes]) -> Reading | None:
        files = SourceFiles(paths, open_bytes)
        if not files.pictures:
            return None
        paired = sum(1 for path in files.pictures if files.beside(path, ".txt") is not None)
        evidence = f"{paired} of {len(files.pictures)} pictures have a .txt of the same name beside them."
        return Reading(self.name, evidence, {path: by_folder(path) for path in files.pictures}, {})

    def losses(self, version: DatasetVersion) -> list[Loss]:
        return [
            *losing.references(version, self.title),
            *losing.text_files(version),
            *losing.masks(version, _TITLE),
            *losing.repeats(version, _TITLE),
            *losing.concepts(version, _TITLE),
            *losing.roles(version, (), "a folder of pairs does not tell {} pictures from the others."),
            *losing.origins(version, _TITLE),
            *losing.names(version, stems(version.items, flat=False)),
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
        names = stems(version.items, flat=False)
        for item in version.items:
            export.moving(names[item.name], item, EVERY_FORMAT, any_file=True)
            export.caption(f"{names[item.name]}.txt", item)
        return export.finish(self.losses(version))


plugin = Plain()
