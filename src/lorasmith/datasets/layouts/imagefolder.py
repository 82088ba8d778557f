"""Hugging Face imagefolder: pictures in folders named after splits, a ``metadata.jsonl`` (or .csv, .parquet) in each.

``file_name`` is relative to the metadata; captions stand in ``text``, ``caption`` or ``prompt``. The columns
``repeats``, ``concept``, ``role``, ``provenance`` (JSON) and ``mask_file_name`` are additions that other readers show
as columns of their own (a ``*_file_name`` as a second picture).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args

from lorasmith.datasets.layouts import Described, Exported, Layout, Loss, Progress, Reading, losing
from lorasmith.datasets.layouts.naming import role_of, stems
from lorasmith.datasets.layouts.pictures import EVERY_FORMAT
from lorasmith.datasets.layouts.reading import SourceFiles, parent, repeats_of
from lorasmith.datasets.layouts.settings import Found, describe_rest
from lorasmith.datasets.layouts.tabular import (
    CAPTION_COLUMNS,
    Kind,
    Row,
    caption_column,
    caption_in,
    need_pyarrow,
    read_rows,
    table_bytes,
)
from lorasmith.datasets.layouts.writing import Export
from lorasmith.datasets.manifest import DatasetVersion, Item, Role
from lorasmith.datasets.origins import origin_in, origin_text
from lorasmith.datasets.store import DatasetStore

_TABLES: Final = tuple(f"metadata.{kind}" for kind in get_args(Kind))
_FOLLOWED: Final = frozenset(
    (*CAPTION_COLUMNS, "file_name", "repeats", "concept", "role", "provenance", "mask_file_name", "mask")
)
_ROLES: Final[tuple[Role, ...]] = get_args(Role)


class ImageFolder(Layout):
    """A folder for each split with its table.

    Args:
        metadata: which kind of table to write; reading takes every kind. A CSV has no types: ``datasets`` refuses one
            whose column is wholly empty in one split and not in the other.
    """

    name = "imagefolder"
    title = "Hugging Face imagefolder"
    rank = 45

    def __init__(self, metadata: Kind = "jsonl") -> None:
        self.metadata = metadata

    def read(self, paths: Sequence[str], open_bytes: Callable[[str], bytes]) -> Reading | None:
        found = Found(SourceFiles(paths, open_bytes))
        read = [path for path in found.files.named(*_TABLES) if _read_table(found, path)]
        if not read:
            return None
        describe_rest(found, read[0])
        return found.reading(self.name, f"{' and '.join(read)} names pictures in a column file_name.")

    def losses(self, version: DatasetVersion) -> list[Loss]:
        return [
            *losing.clips(version),
            *losing.references(version, self.title),
            *(losing.text_files(version) if self.metadata == "csv" else ()),
            *losing.names(version, _stems(version.items)),
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
        if self.metadata == "parquet":
            need_pyarrow()
        export = Export(self.name, version, store, folder, force=force, progress=progress)
        names = _stems(version.items)
        rows: dict[str, list[Row]] = {}
        for item in version.items:
            split = split_of(item.role)
            picture = export.picture(f"{split}/{names[item.name]}", item, EVERY_FORMAT)
            mask = export.mask(f"{split}/masks/{names[item.name]}.png", item) if item.mask is not None else None
            rows.setdefault(split, []).append(_row(item, picture, mask, split))
        idle = _idle_columns([row for listed in rows.values() for row in listed])
        for split, listed in rows.items():
            table = [_without(row, idle, as_picture=_in_all(rows)) for row in listed]
            if self.metadata == "csv":  # a text file, with what that cannot hold
                table = [{**row, "text": losing.plain_text(row["text"])} for row in table]
            export.text(f"{split}/metadata.{self.metadata}", table_bytes(self.metadata, table))
        return export.finish(self.losses(version))


def split_of(role: Role) -> str:
    """The split an item belongs to; regularisation pictures are trained, and say what they are in a column."""
    return "validation" if role == "validation" else "train"


def extra_columns(item: Item) -> dict[str, Any]:
    """What an item is besides its picture and caption, as columns."""
    return {"repeats": item.repeats, "concept": item.concept, "role": item.role, "provenance": origin_text(item)}


def described_by(row: Row, found: Found, path: str, number: int) -> Described:
    """What a row says of its picture, its mask aside."""
    where = f"{path}, line {number}"
    repeats = row.get("repeats")
    if isinstance(repeats, str):  # a CSV knows texts only
        repeats = int(repeats) if repeats.isascii() and repeats.isdigit() else (repeats or None)
    role = row.get("role")
    return Described(
        caption=caption_in(row, path, number),
        repeats=repeats_of(repeats, found.said, where),
        role=role if role in _ROLES else role_of(parent(path)),
        concept=str(row.get("concept") or ""),
        provenance=origin_in(row),
    )


def _stems(items: Sequence[Item]) -> dict[str, str]:
    """Names within each split; none begins with ``masks/``, where the masks lie."""
    chosen: dict[str, str] = {}
    for split in ("train", "validation"):
        chosen |= stems([item for item in items if split_of(item.role) == split], flat=False)
    return {name: f"pictures/{stem}" if stem.lower().startswith("masks/") else stem for name, stem in chosen.items()}


def _row(item: Item, picture: str, mask: str | None, split: str) -> Row:
    row = {"file_name": picture[len(split) + 1 :], "text": item.caption, **extra_columns(item)}
    row["mask_file_name"] = mask[len(split) + 1 :] if mask is not None else None
    return row


def _in_all(rows: Mapping[str, Sequence[Row]]) -> bool:
    """Whether every split has a mask; a column of nothing but nulls would have a type of its own."""
    return all(any(row["mask_file_name"] is not None for row in listed) for listed in rows.values())


def _without(row: Row, idle: Collection[str], *, as_picture: bool) -> Row:
    """A row without idle columns; its mask as a second picture, or else as a path that may be empty."""
    kept = {key: value for key, value in row.items() if key not in idle}
    if "mask_file_name" in kept and not as_picture:
        kept["mask"] = kept.pop("mask_file_name") or ""
    return kept


def _idle_columns(rows: Sequence[Row]) -> set[str]:
    """Columns in which every value is the one that counts when nothing is said.

    Judged over all splits, for ``datasets`` refuses splits with different columns.
    """
    usual = {"repeats": 1, "concept": "", "provenance": "", "mask_file_name": None}
    idle = {key for key, value in usual.items() if all(row[key] == value for row in rows)}
    return idle if any(row["role"] == "regularisation" for row in rows) else idle | {"role"}


def _read_table(found: Found, path: str) -> bool:
    """Describe the pictures a table names; False when it names none."""
    rows = list(read_rows(found.files, path))
    if not rows or "file_name" not in rows[0][1]:
        return False
    found.used[path] = "is the table its pictures were described by."
    rest = sorted({key for _, row in rows for key in row} - _FOLLOWED)
    if rest:
        found.said.append(f"{path}: the columns {', '.join(rest)} are not part of the dataset.")
    if caption_column(rows[0][1]) is None:
        found.said.append(f"{path}: it has no column {', '.join(CAPTION_COLUMNS)}, so it holds no captions.")
    named = [row["file_name"] for _, row in rows if isinstance(row.get("file_name"), str)]
    there = found.files.find(named, base=parent(path))
    masks = found.files.find(filter(None, (_mask_of(row) for _, row in rows)), base=parent(path))
    seen: dict[str, int] = {}
    for number, row in rows:
        file_name = row.get("file_name")
        picture = there.get(file_name) if isinstance(file_name, str) else None
        if picture is None:
            found.said.append(f"{path}, line {number}: {file_name} is not in this source.")
        elif picture in seen:
            found.said.append(
                f"{path}, line {number}: {file_name} is named a second time; line {seen[picture]} counts."
            )
        else:
            seen[picture] = number
            _describe(found, picture, masks.get(_mask_of(row)), described_by(row, found, path, number))
    return True


def _mask_of(row: Row) -> str:
    """The path of a row's mask; empty when it has none."""
    named = row.get("mask_file_name") or row.get("mask")
    return named if isinstance(named, str) else ""


def _describe(found: Found, picture: str, mask: str | None, described: Described) -> None:
    if mask is not None:
        found.use_masks({picture: mask})
    found.described[picture] = Described(
        caption=described.caption,
        repeats=described.repeats,
        role=described.role,
        concept=described.concept,
        mask=mask,
        provenance=described.provenance,
    )


plugin = ImageFolder()
