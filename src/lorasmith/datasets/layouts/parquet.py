"""Parquet with the pictures inside, as the Hugging Face hub shows them: ``image`` {bytes, path} and ``text``.

Splits are file names, ``train-00000-of-00001.parquet``. Read through ``datasets/parquet.py``, which makes a file of
every picture and of the other columns a ``metadata.jsonl``, so that an imagefolder is all there is to understand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from lorasmith.datasets.layouts import Exported, Layout, Loss, Progress, Reading, losing
from lorasmith.datasets.layouts.imagefolder import ImageFolder, extra_columns, split_of
from lorasmith.datasets.layouts.naming import stems
from lorasmith.datasets.layouts.pictures import suffix_of
from lorasmith.datasets.layouts.reading import flat
from lorasmith.datasets.layouts.tabular import need_pyarrow
from lorasmith.datasets.layouts.writing import Export
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.datasets.store import DatasetStore

_SHARD_BYTES: Final = 400_000_000
_ROWS_AT_ONCE: Final = 100
_FEATURES: Final = {
    "image": {"_type": "Image"},
    "text": {"dtype": "string", "_type": "Value"},
    "repeats": {"dtype": "int64", "_type": "Value"},
    "concept": {"dtype": "string", "_type": "Value"},
    "role": {"dtype": "string", "_type": "Value"},
    "provenance": {"dtype": "string", "_type": "Value"},
    "mask": {"_type": "Image"},
}


class Parquet(Layout):
    """Shards of a table whose rows hold their pictures."""

    name = "parquet"
    title = "Hugging Face Parquet"
    rank = 55

    def read(self, paths: Sequence[str], open_bytes: Callable[[str], bytes]) -> Reading | None:
        if not any(".parquet/" in flat(path) for path in paths):
            return None
        reading = ImageFolder().read(paths, open_bytes)
        if reading is None:
            return None
        evidence = "Its pictures lie in a column 'image' of Parquet files."
        return Reading(self.name, evidence, reading.described, reading.used, reading.said)

    def losses(self, version: DatasetVersion) -> list[Loss]:
        chosen = stems(version.items, flat=False)
        return [*losing.clips(version), *losing.references(version, self.title), *losing.names(version, chosen)]

    def write(
        self,
        version: DatasetVersion,
        store: DatasetStore,
        folder: Path,
        *,
        force: bool = False,
        progress: Progress | None = None,
    ) -> Exported:
        need_pyarrow()
        export = Export(self.name, version, store, folder, force=force, progress=progress)
        names = stems(version.items, flat=False)
        for split in ("train", "validation"):
            items = [item for item in version.items if split_of(item.role) == split]
            shards = shards_of(items, store, _SHARD_BYTES)
            for number, shard in enumerate(shards):
                path = f"{split}-{number:05d}-of-{len(shards):05d}.parquet"
                made_from = json.dumps([(i.name, i.image, i.mask, i.caption, extra_columns(i)) for i in shard])
                export.made(path, made_from, _writer(shard, names, store), shard)
        return export.finish(self.losses(version))


def shards_of(items: Sequence[Item], store: DatasetStore, most_bytes: int) -> list[list[Item]]:
    """Items cut into runs whose pictures take no more than so many bytes."""
    shards: list[list[Item]] = []
    filled = most_bytes
    for item in items:
        size = store.blob_path(item.image).stat().st_size
        if filled + size > most_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(item)
        filled += size
    return shards


def _writer(items: Sequence[Item], names: Mapping[str, str], store: DatasetStore) -> Callable[[BinaryIO], None]:
    """What writes a shard, a few rows at a time."""

    def write(out: BinaryIO) -> None:
        pyarrow, parquet = need_pyarrow()
        picture = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
        columns = [("image", picture), ("text", pyarrow.string()), ("repeats", pyarrow.int64())]
        columns += [("concept", pyarrow.string()), ("role", pyarrow.string())]
        columns += [("provenance", pyarrow.string()), ("mask", picture)]
        about = {"huggingface": json.dumps({"info": {"features": _FEATURES}})}
        schema = pyarrow.schema(columns, metadata=about)
        with parquet.ParquetWriter(out, schema, compression="none") as writer:  # pictures are packed already
            for start in range(0, len(items), _ROWS_AT_ONCE):
                rows = [_row(item, names[item.name], store) for item in items[start : start + _ROWS_AT_ONCE]]
                writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))

    return write


def _row(item: Item, stem: str, store: DatasetStore) -> dict[str, Any]:
    blob = store.blob_path(item.image)
    mask = None
    if item.mask is not None:
        mask = {"bytes": store.blob_path(item.mask).read_bytes(), "path": f"{stem}.mask.png"}
    image = {"bytes": blob.read_bytes(), "path": stem + suffix_of(blob)}
    return {"image": image, "text": item.caption, **extra_columns(item), "mask": mask}


plugin = Parquet()
