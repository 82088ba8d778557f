"""A Parquet table with pictures inside as a source: every row's picture a file, its other columns a ``metadata.jsonl``.

The shape is that of the Hugging Face hub: a column ``image`` of {bytes, path}. ``pyarrow`` is the extra ``parquet``.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final, Literal, cast

from lorasmith.datasets.layouts.pictures import SUFFIX_OF, format_of
from lorasmith.datasets.layouts.tabular import need_pyarrow
from lorasmith.datasets.manifest import Fate
from lorasmith.datasets.names import safe_item_name, why_unsafe
from lorasmith.datasets.source import Entry, Limits, Source, left_out, sort_by_name, too_many_members
from lorasmith.errors import InputError

METADATA: Final = "metadata.jsonl"
_MAGIC: Final = b"PAR1"
_AT_ONCE: Final = 16  # rows in memory; a row holds a picture


@dataclass(frozen=True)
class _Cell:
    """Where a picture lies."""

    row: int
    column: str


def is_parquet(path: Path) -> bool:
    """Whether the content is a Parquet file, whatever the suffix says."""
    with path.open("rb") as stream:
        return stream.read(4) == _MAGIC


def holds_pictures(path: Path) -> bool:
    """Whether it is a Parquet table with pictures inside, and not one of metadata.

    Raises:
        InputError: it is damaged.
        EnvironmentProblem: pyarrow is not installed.
    """
    if path.name.lower().startswith("metadata.") or not is_parquet(path):
        return False
    pyarrow, parquet = need_pyarrow()
    try:
        return any(_holds_pictures(field.type) for field in parquet.read_schema(path))
    except (pyarrow.ArrowException, OSError, ValueError) as cause:
        raise InputError(f"{path.name} is a damaged Parquet file.", "Download it again.") from cause


class ParquetSource(Source):
    """One Parquet file.

    Raises:
        InputError: it is damaged or holds no pictures.
        EnvironmentProblem: pyarrow is not installed.
    """

    word = "Parquet file"

    def __init__(self, path: Path, limits: Limits) -> None:
        super().__init__(path, limits)
        pyarrow, parquet = need_pyarrow()
        self._damage: tuple[type[Exception], ...] = (pyarrow.ArrowException, OSError, ValueError)
        try:
            self._file = parquet.ParquetFile(path)
        except self._damage as cause:
            raise InputError(f"{path.name} is a damaged Parquet file.", "Download it again.") from cause
        self._pictures = [field.name for field in self._file.schema_arrow if _holds_pictures(field.type)]
        self._metadata = b""
        self._group = -1
        self._table: Any = None
        if not self._pictures:
            raise InputError(
                f"{path.name} has no column with pictures (a struct of bytes and path).",
                "Give a table that holds them.",
            )

    def scan(self) -> tuple[list[Entry], list[Fate]]:
        if self._file.metadata.num_rows * len(self._pictures) > self.limits.members:
            raise too_many_members(self)
        entries: list[Entry] = []
        fates: list[Fate] = []
        lines: list[str] = []
        taken: set[str] = set()
        try:
            for number, row in enumerate(self._rows()):
                about = {key: value for key, value in row.items() if key not in self._pictures}
                for column in self._pictures:
                    entry = self._entry(number, column, row[column], taken)
                    if isinstance(entry, Fate):
                        fates.append(entry)
                    elif entry is not None:
                        entries.append(entry)
                        about["file_name" if column == self._pictures[0] else f"{column}_file_name"] = entry.path
                lines.append(json.dumps(about, ensure_ascii=False, default=str))
        except self._damage as cause:
            raise InputError(f"{self.path.name} is a damaged Parquet file.", "Download it again.") from cause
        self._metadata = ("\n".join(lines) + "\n").encode()
        kind = sort_by_name(METADATA)
        if isinstance(kind, Fate):
            fates.append(kind)
        else:
            entries.append(Entry(METADATA, kind, len(self._metadata), None))
        return entries, fates

    def _rows(self) -> Iterator[Mapping[str, Any]]:
        for batch in self._file.iter_batches(batch_size=_AT_ONCE):
            yield from batch.to_pylist()

    def _entry(self, number: int, column: str, value: Any, taken: set[str]) -> Entry | Fate | None:
        """A picture of a row; None when the row has none in this column."""
        if value is None or (value.get("bytes") is None and not value.get("path")):
            return None
        content = value.get("bytes")
        if content is None:
            detail = f"is named by row {number + 1} of {self.path.name}, which does not hold its bytes."
            return left_out(str(value["path"]), "not_an_image", detail)
        path = _path_of(number, column, value.get("path"), content, first=column == self._pictures[0])
        if path in taken:
            pure = PurePosixPath(path)
            path = str(pure.with_name(f"{pure.stem}-{number}{pure.suffix}"))
        taken.add(path)
        kind: Literal["image"] = "image"
        return Entry(path, kind, len(content), _Cell(number, column))

    def open(self, entry: Entry) -> BinaryIO:
        if not isinstance(entry.handle, _Cell):
            return io.BytesIO(self._metadata)
        return io.BytesIO(self._cell(entry.handle))

    def _cell(self, cell: _Cell) -> bytes:
        """The bytes of a picture; the row group it lies in is kept, for the next one mostly lies there too."""
        start = 0
        for group in range(self._file.num_row_groups):
            count = self._file.metadata.row_group(group).num_rows
            if cell.row < start + count:
                if group != self._group:
                    self._table = self._file.read_row_group(group, columns=self._pictures)
                    self._group = group
                return cast(bytes, self._table.column(cell.column)[cell.row - start].as_py()["bytes"])
            start += count
        raise ValueError(f"there is no row {cell.row}")

    def close(self) -> None:
        self._file.close()

    def packed_size(self, entry: Entry) -> int | None:
        return None

    def reading(self) -> tuple[type[Exception], ...]:
        return self._damage


def _holds_pictures(kind: Any) -> bool:
    pyarrow, _ = need_pyarrow()
    if not pyarrow.types.is_struct(kind):
        return False
    fields = {kind.field(index).name: kind.field(index).type for index in range(kind.num_fields)}
    held = fields.get("bytes")
    return held is not None and (pyarrow.types.is_binary(held) or pyarrow.types.is_large_binary(held))


def _path_of(number: int, column: str, path: Any, content: bytes, *, first: bool) -> str:
    """The picture's own path when it is a safe one, else its number; the suffix that fits its bytes."""
    suffix = SUFFIX_OF.get(format_of(content[:16]), ".png")
    if isinstance(path, str) and path and why_unsafe(path) is None:
        name = safe_item_name(path)
        pure = PurePosixPath(name)
        return name if pure.suffix.lower() == suffix else f"{name.removesuffix(pure.suffix)}{suffix}"
    return f"{number:06d}{'' if first else '.' + safe_item_name(column)}{suffix}"
