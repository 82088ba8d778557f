"""Tag editors for pairs (TagGUI, BooruDatasetTagManager): a line of tags between commas in a .txt of the same name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from lorasmith.datasets.captions import split_tags
from lorasmith.datasets.layouts import Exported, Layout, Loss, Progress, Reading, losing
from lorasmith.datasets.layouts.naming import stems
from lorasmith.datasets.layouts.reading import SourceFiles
from lorasmith.datasets.layouts.settings import by_folder
from lorasmith.datasets.layouts.writing import Export
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import DatasetError

_FORMATS: Final = frozenset(("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP"))
_TITLE: Final = "A tag editor"
_MOST_WORDS: Final = 6  # of a tag; what has more between two commas is prose
_SEPARATOR: Final = ", "


class Taggui(Layout):
    """Pairs whose captions are lists of tags."""

    name = "taggui"
    title = "TagGUI and BooruDatasetTagManager"
    rank = 10

    def read(self, paths: Sequence[str], open_bytes: Callable[[str], bytes]) -> Reading | None:
        files = SourceFiles(paths, open_bytes)
        texts = [text for path in files.pictures if (text := files.beside(path, ".txt")) is not None]
        some = several = 0
        for path in texts:  # one by one: a hundred thousand captions are not held, and the first in prose ends it
            tags = _tags(files, path)
            if tags is None:
                return None
            some += bool(tags)
            several += len(tags) > 1
        if not some or 2 * several < some:
            return None
        evidence = f"All {len(texts)} .txt files beside pictures are one line of tags between commas."
        return Reading(self.name, evidence, {path: by_folder(path) for path in files.pictures}, {})

    def losses(self, version: DatasetVersion) -> list[Loss]:
        normalised = losing.where(version, _is_respaced)
        return [
            *losing.clips(version),
            *losing.references(version, self.title),
            *losing.text_files(version),
            *losing.lines(version, "a tag editor takes line breaks for part of a tag."),
            *losing.loss("space", normalised, "space around tags and empty tags go when a tag editor saves."),
            *losing.masks(version, _TITLE),
            *losing.repeats(version, _TITLE),
            *losing.concepts(version, _TITLE),
            *losing.roles(version, (), "a tag editor does not tell {} pictures from the others."),
            *losing.formats(version, _FORMATS, _TITLE),
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
            export.picture(names[item.name], item, _FORMATS)
            export.caption(f"{names[item.name]}.txt", item)
        return export.finish(self.losses(version))


def _is_respaced(item: Item) -> bool:
    """Whether an editor that splits at the separator and strips would give back something else."""
    if not item.caption:
        return False
    tags = [tag.strip() for tag in item.caption.split(_SEPARATOR.strip())]
    return _SEPARATOR.join(tag for tag in tags if tag) != item.caption


def _tags(files: SourceFiles, path: str) -> list[str] | None:
    """The tags of a caption file; None when it is prose."""
    try:
        text = files.text(path)
    except DatasetError:  # the import says so about this very file
        return None
    tags = split_tags(text)
    return tags if "\n" not in text and all(len(tag.split()) <= _MOST_WORDS for tag in tags) else None


plugin = Taggui()
