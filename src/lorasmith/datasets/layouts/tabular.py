"""Tables of pictures: JSONL, CSV and Parquet with the same columns, as Hugging Face datasets lay them out.

``pyarrow`` reads and writes Parquet; it is the extra ``parquet`` and asked for only where a Parquet file is.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from types import ModuleType
from typing import Any, Final, Literal

from lorasmith.datasets.layouts.reading import SourceFiles, flat, parse_jsonl
from lorasmith.errors import DatasetError, EnvironmentProblem

Kind = Literal["jsonl", "csv", "parquet"]
CAPTION_COLUMNS: Final = ("text", "caption", "prompt", "captions")
Row = Mapping[str, Any]
_WHEN_DAMAGED: Final = "Correct it, or remove it and import again."


def need_pyarrow() -> tuple[ModuleType, ModuleType]:
    """``pyarrow`` and ``pyarrow.parquet``.

    Raises:
        EnvironmentProblem: they are not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as cause:
        raise EnvironmentProblem(
            "Parquet files need pyarrow, which is not installed.", 'Run `pip install "lorasmith[parquet]"`.'
        ) from cause
    return pyarrow, pyarrow.parquet


def read_rows(files: SourceFiles, path: str) -> Iterator[tuple[int, Row]]:
    """The rows of a table, each with its line (JSONL, CSV) or its number (Parquet), from 1.

    Raises:
        DatasetError: it is damaged; the message names the line.
        EnvironmentProblem: it is a Parquet file and pyarrow is not there.
    """
    suffix = PurePosixPath(flat(path)).suffix.lower()
    if suffix == ".jsonl":
        return parse_jsonl(files, path)
    if suffix == ".csv":
        return _csv_rows(files.text(path), path)
    return _parquet_rows(files.open_bytes(path), path)


def table_bytes(kind: Kind, rows: Sequence[Row]) -> bytes:
    """Rows of equal columns as a file of this kind; texts exact, line breaks included.

    Raises:
        EnvironmentProblem: Parquet is asked for and pyarrow is not there.
    """
    if kind == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    if kind == "csv":
        stream = io.StringIO(newline="")
        writer = csv.DictWriter(stream, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return stream.getvalue().encode()
    pyarrow, parquet = need_pyarrow()
    sink = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), sink)
    return sink.getvalue()


def caption_column(columns: Iterable[str]) -> str | None:
    """Which column holds the captions, by the names that are in use."""
    known = set(columns)
    return next((name for name in CAPTION_COLUMNS if name in known), None)


def caption_in(row: Row, path: str, number: int) -> str | None:
    """The caption of a row; a list of captions as lines, one variant each.

    Raises:
        DatasetError: the column holds something that is no text.
    """
    column = caption_column(row)
    value = row.get(column) if column is not None else None
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return "\n".join(value)
    if value is None or isinstance(value, str):
        return value
    raise DatasetError(f"{path} is damaged in line {number}: its caption is {value!r}, not a text.", _WHEN_DAMAGED)


def _csv_rows(text: str, path: str) -> Iterator[tuple[int, Row]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if None in row or any(value is None for value in row.values()):
                raise DatasetError(
                    f"{path} is damaged in line {reader.line_num}: it has not as many fields as the first line.",
                    _WHEN_DAMAGED,
                )
            yield reader.line_num, row
    except csv.Error as cause:
        raise DatasetError(f"{path} is damaged in line {reader.line_num}: {cause}.", _WHEN_DAMAGED) from cause


def _parquet_rows(content: bytes, path: str) -> Iterator[tuple[int, Row]]:
    pyarrow, parquet = need_pyarrow()
    try:
        for batch in parquet.ParquetFile(io.BytesIO(content)).iter_batches(batch_size=1000):
            yield from enumerate(batch.to_pylist(), start=1)
    except (pyarrow.ArrowException, OSError, ValueError) as cause:
        reason = str(cause).split("\n", maxsplit=1)[0]
        raise DatasetError(f"{path} is damaged: {reason}.", _WHEN_DAMAGED) from cause
