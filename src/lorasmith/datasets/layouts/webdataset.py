"""WebDataset: tar shards in which files of one key belong together: ``key.jpg``, ``key.txt``, ``key.json``.

The key ends at the first dot of the last part of a path, so names lose their dots. The JSON says what the others
cannot: repeats, role, concept, the item's own name; a mask is ``key.mask.png``.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from lorasmith.datasets.layouts import Exported, Layout, Loss, Progress, Reading, losing
from lorasmith.datasets.layouts.imagefolder import described_by, extra_columns, split_of
from lorasmith.datasets.layouts.naming import role_of, stems
from lorasmith.datasets.layouts.parquet import shards_of
from lorasmith.datasets.layouts.pictures import mask_png, needs_png, png_of, stored_format, suffix_of
from lorasmith.datasets.layouts.reading import SourceFiles, flat, parse_json
from lorasmith.datasets.layouts.settings import Found, describe_rest
from lorasmith.datasets.layouts.tabular import caption_column
from lorasmith.datasets.layouts.writing import Export
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import DatasetError

_FORMATS: Final = frozenset(("JPEG", "PNG"))  # what webdataset decodes without more ado
_SHARD_BYTES: Final = 500_000_000
_SHARD: Final = re.compile(r"(.*?)[-_]?[0-9]*\.tar", re.DOTALL)
_MASK: Final = "mask.png"


class WebDataset(Layout):
    """Numbered tar files."""

    name = "webdataset"
    title = "WebDataset shards"
    rank = 55

    def read(self, paths: Sequence[str], open_bytes: Callable[[str], bytes]) -> Reading | None:
        found = Found(SourceFiles(paths, open_bytes))
        samples = _samples(found.files.paths)
        pictures = {key: one for key in samples if (one := _picture(samples[key])) is not None}
        shards = any(".tar/" in flat(path) for path in paths)
        spoken = [key for key in pictures if "json" in samples[key] and (shards or _says_key(found, samples[key], key))]
        if not pictures or not (spoken or shards):
            return None
        for key, picture in pictures.items():
            _describe(found, samples[key], picture, spoken=key in spoken)
        describe_rest(found, "the shards")
        evidence = f"{len(pictures)} keys have a picture and what belongs to it, as in WebDataset shards."
        return found.reading(self.name, evidence)

    def losses(self, version: DatasetVersion) -> list[Loss]:
        return [
            *losing.clips(version),
            *losing.references(version, self.title),
            *losing.text_files(version),
            *losing.formats(version, _FORMATS, "webdataset"),
            *losing.loss(
                "mixed", _mixed(version), "Hugging Face's loader wants the same kinds of files for every key."
            ),
            *losing.names(version, _keys(version.items)),
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
        keys = _keys(version.items)
        for split in ("train", "validation"):
            items = [item for item in version.items if split_of(item.role) == split]
            for number, shard in enumerate(shards_of(items, store, _SHARD_BYTES)):
                about = [(keys[i.name], i.image, i.mask, i.caption, i.name, extra_columns(i)) for i in shard]
                export.made(f"{split}-{number:06d}.tar", json.dumps(about), _writer(shard, keys, store), shard)
        return export.finish(self.losses(version))


def _mixed(version: DatasetVersion) -> list[Item]:
    """Items of the rarer kind, where pictures come in two formats or with and without masks."""
    kinds = {item.name: (stored_format(item) == "JPEG", item.mask is None) for item in version.items}
    counts = Counter(kinds.values())
    usual = max(counts, key=lambda kind: counts[kind]) if counts else None
    return [item for item in version.items if kinds[item.name] != usual]


def _keys(items: Sequence[Item]) -> dict[str, str]:
    """A key for every item: its name without dots."""
    return stems(items, flat=False, dotless=True)


def _writer(items: Sequence[Item], keys: Mapping[str, str], store: DatasetStore) -> Callable[[BinaryIO], None]:
    """What writes a shard whose bytes depend on nothing but its content."""

    def write(out: BinaryIO) -> None:
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for item in items:
                for suffix, content in _members(item, keys[item.name], store):
                    info = tarfile.TarInfo(keys[item.name] + suffix)
                    info.size, info.mode = len(content), 0o644
                    tar.addfile(info, io.BytesIO(content))

    return write


def _members(item: Item, key: str, store: DatasetStore) -> list[tuple[str, bytes]]:
    blob = store.blob_path(item.image)
    convert = needs_png(blob, _FORMATS)
    picture = png_of(item, blob) if convert else blob.read_bytes()
    about = {"key": key.rpartition("/")[2], "name": item.name, "caption": item.caption, **extra_columns(item)}
    about["sha256"] = hashlib.sha256(picture).hexdigest()
    members = [
        (".png" if convert else suffix_of(blob), picture),
        (".txt", losing.plain_text(item.caption).encode()),
        (".json", json.dumps(about, ensure_ascii=False).encode()),
    ]
    if item.mask is not None:
        members.append((f".{_MASK}", mask_png(item, store.blob_path(item.mask))))
    return members


def _samples(paths: Sequence[str]) -> dict[str, dict[str, str]]:
    """By key, the files that belong to it by what follows the first dot of their last part."""
    samples: dict[str, dict[str, str]] = {}
    for path in paths:
        folder, slash, last = flat(path).rpartition("/")
        stem, dot, extension = last.partition(".")
        if dot and stem:
            samples.setdefault(folder + slash + stem, {})[extension.lower()] = path
    return samples


def _picture(sample: Mapping[str, str]) -> str | None:
    return next(
        (sample[one] for one in ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "avif") if one in sample), None
    )


def _says_key(found: Found, sample: Mapping[str, str], key: str) -> bool:
    """Whether the JSON of a sample names its key, as the tools that write shards do."""
    content = _row(found, sample["json"])
    return isinstance(content, dict) and content.get("key", content.get("__key__")) == key.rpartition("/")[2]


def _row(found: Found, path: str) -> dict[str, Any]:
    """What the JSON of one sample says; one that is damaged says nothing, and that is said."""
    try:
        row = parse_json(found.files, path)
    except DatasetError as cause:
        found.said.append(str(cause))
        return {}
    if isinstance(row, dict):
        return row
    found.said.append(f"{path}: it holds no object, so it says nothing.")
    return {}


def _describe(found: Found, sample: Mapping[str, str], picture: str, *, spoken: bool) -> None:
    row = _row(found, sample["json"]) if spoken else {}
    if spoken:
        found.used[sample["json"]] = f"says what {picture} is."
    described = described_by(row, found, sample.get("json", picture), 1)
    if caption_column(row) is None and "txt" not in sample:
        found.said.append(f"{picture}: its key has neither a .txt nor a caption in a .json.")
    mask = sample.get(_MASK)
    if mask is not None:
        found.use_masks({picture: mask})
    shard = _SHARD.fullmatch(next((part for part in flat(picture).split("/") if part.endswith(".tar")), ""))
    role = role_of(shard[1]) if shard is not None and "role" not in row else described.role
    provenance = dict(described.provenance) | ({"name": row["name"]} if isinstance(row.get("name"), str) else {})
    found.described[picture] = replace(described, mask=mask, role=role, provenance=provenance)


plugin = WebDataset()
