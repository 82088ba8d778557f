"""A small import for tests: a source's files, a layout's reading of them, and what items would come of both."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from lorasmith.datasets.archive import open_source
from lorasmith.datasets.captions import decode_caption
from lorasmith.datasets.layouts import Layout, Reading
from lorasmith.datasets.manifest import DatasetVersion, Item, Operation
from lorasmith.datasets.source import Entry, Limits, Source
from lorasmith.datasets.store import DatasetStore
from tests.datasets.dataset_pictures import encode, gradient

SIDECARS = (".toml", ".json", ".jsonl", ".csv", ".parquet", ".yaml", ".yml", ".txt", ".caption")


@dataclass(frozen=True)
class Seen:
    """What an import would make of one picture; pixels by their hash."""

    pixels: str
    caption: str
    repeats: int
    role: str
    concept: str
    mask: str | None


class Files:
    """The files of a source as the import hands them to a layout."""

    def __init__(self, path: Path) -> None:
        self.source: Source = open_source(path, Limits())
        entries, self.fates = self.source.scan()
        self.entries = {entry.path: entry for entry in entries}
        for fate in self.fates:  # sidecars that the scan of today leaves out
            if fate.rule == "not_an_image" and PurePosixPath(fate.path).suffix.lower() in SIDECARS:
                self.entries[fate.path] = Entry(fate.path, "image", 0, self._handle(path, fate.path))

    def _handle(self, root: Path, path: str) -> object:
        member = getattr(self.source, "_tar", None)
        if member is not None:
            return member.getmember(path)
        if (root / path).is_file():
            return root / path
        for archive, opened in getattr(self.source, "_opened", {}).items():
            if path.startswith(f"{archive}/"):
                return (opened, path[len(archive) + 1 :])
        return None

    def bytes_of(self, path: str) -> bytes:
        entry = self.entries[path]
        if isinstance(entry.handle, tuple):
            opened, inside = entry.handle
            tar = getattr(opened, "_tar", None)
            handle = tar.getmember(inside) if tar is not None else None
            return b"".join(opened.chunks(Entry(inside, "image", 0, handle)))
        return b"".join(self.source.chunks(entry))

    def read(self, layout: Layout) -> Reading | None:
        return layout.read(sorted(self.entries), self.bytes_of)

    def items(self, reading: Reading) -> list[Seen]:
        """What the described pictures are, captions beside them where the layout says nothing."""
        return [self._seen(path, reading) for path in sorted(reading.described) if path not in reading.used]

    def _seen(self, path: str, reading: Reading) -> Seen:
        said = reading.described[path]
        caption = said.caption
        beside = str(PurePosixPath(path).with_suffix(".txt"))
        if caption is None:
            caption = decode_caption(self.bytes_of(beside))[0] if beside in self.entries else ""
        mask = None
        if said.mask is not None:
            opened = Image.open(io.BytesIO(self.bytes_of(said.mask)))
            if said.mask != path:
                mask = pixels_of(opened.convert("L"))
            elif "A" in opened.getbands():
                mask = pixels_of(opened.getchannel("A"))
        picture = Image.open(io.BytesIO(self.bytes_of(path))).convert("RGB")
        return Seen(pixels_of(picture), caption, said.repeats, said.role, said.concept, mask)

    def close(self) -> None:
        self.source.close()


def pixels_of(image: Image.Image) -> str:
    """A hash of size, mode and pixels."""
    return hashlib.sha256(f"{image.size}{image.mode}".encode() + image.tobytes()).hexdigest()


def expected(version: DatasetVersion, store: DatasetStore) -> list[Seen]:
    """What the items of a version are."""
    found = []
    for item in version.items:
        mask = None
        if item.mask is not None:
            with Image.open(store.blob_path(item.mask)) as opened:
                mask = pixels_of(opened.convert("L"))
        pixels = pixels_of(store.open_image(item))
        found.append(Seen(pixels, item.caption, item.repeats, item.role, item.concept, mask))
    return found


def put(store: DatasetStore, content: bytes) -> str:
    """Bytes into the store."""
    digest = hashlib.sha256(content).hexdigest()
    path = store.blob_path(digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return digest


def item_of(
    store: DatasetStore, name: str, seed: int, *, kind: str = "PNG", mask: bool = False, **fields: object
) -> Item:
    """An item with a picture of its own, stored in this format."""
    content = encode(gradient(seed=seed), kind)
    digest = put(store, content)
    masked = put(store, encode(gradient(seed=seed + 1000).convert("L"))) if mask else None
    about = {"format": kind, "source": name, "transforms": []}
    return Item(name=name, image=digest, original=digest, width=40, height=24, mask=masked, provenance=about, **fields)


def version_of(items: Iterable[Item], dataset: str = "zibs") -> DatasetVersion:
    """A version that holds these items."""
    return DatasetVersion(
        dataset=dataset,
        number=1,
        parent=None,
        operation=Operation(name="import"),
        created="2026-01-01T00:00:00+00:00",
        items=tuple(items),
    )
