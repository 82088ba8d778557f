"""What can be known of base weights without reading them: the header of a file, the configs of a folder."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lorasmith.errors import BaseError

Layout = Literal["folder", "single_file"]

# Our own limits, below the format's 100 MB: the largest headers of real files are a few megabytes.
MAX_HEADER_BYTES = 32_000_000
MAX_METADATA_BYTES = 16_000_000  # tag tables of large datasets and a thumbnail
MAX_TENSORS = 100_000
MAX_KEY_LENGTH = 500
_MAX_QUOTES = 12 * MAX_TENSORS  # five texts a tensor, and those of the metadata
MAX_AXES = 8
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ENTRY = {"dtype", "shape", "data_offsets"}
_NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))
WIDTHS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "C64": 64,
    "U64": 64, "I64": 64, "F64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
"""Bits of a number, by the format's name."""


@dataclass(frozen=True)
class Header:
    """Names, shapes and number formats of all tensors, and every small config; no tensor data.

    For a folder in diffusers layout ``shapes`` is keyed ``<part>/<tensor>`` (``unet/conv_in.weight``), ``configs``
    by the part (``unet``, ``scheduler``, ``model_index``). A single file has none of its own: ``configs`` is empty
    until ``open_base`` has found the folder that describes it.
    """

    path: Path
    layout: Layout
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    worked_out: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)
    """What was worked out of all this once, for every family asks the same; a header made of another one has none."""


class _Malformed(ValueError):
    """What is wrong with a header, as the end of a sentence."""


def read_safetensors_header(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str], dict[str, str]]:
    """Shapes, dtypes and metadata of a safetensors file, from its first bytes alone; see ``read_tensor_table``."""
    read = read_tensor_table(path)
    return read.shapes, read.dtypes, read.metadata


@dataclass(frozen=True)
class TensorTable:
    """The header of a safetensors file."""

    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    metadata: dict[str, str]
    spans: dict[str, tuple[int, int]]
    """Where the data of every tensor begins and ends, counted from ``data_start``."""
    data_start: int


def read_tensor_table(path: Path) -> TensorTable:
    """The header of a safetensors file, from its first bytes alone.

    The format: 8 bytes little-endian length, then that many bytes of JSON
    (https://github.com/huggingface/safetensors#format). Everything in it is checked before it is believed: sizes, key
    names, number formats, and that the tensors fill the file without gaps or overlaps, as the format demands.

    Raises:
        BaseError: not a safetensors file, damaged, hostile, or cut short.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= size - 8:
            raise BaseError(f"{path.name} is not a safetensors file, or it is cut short.", "Download it again.")
        if length > MAX_HEADER_BYTES:
            raise BaseError(
                f"The header of {path.name} claims {length:,} bytes; no real one is over {MAX_HEADER_BYTES:,}.",
                "Download it again, from a source you trust.",
            )
        text = stream.read(length)
    try:
        table, end = _parsed(text)
    except _Malformed as cause:
        raise BaseError(f"The header of {path.name} is damaged: {cause}.", "Download it again.") from cause
    except (ValueError, RecursionError) as cause:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise BaseError(f"The header of {path.name} is damaged: it is not JSON.", "Download it again.") from cause
    if 8 + length + end > size:
        missing = 8 + length + end - size
        raise BaseError(f"{path.name} is cut short: {missing:,} bytes are missing.", "Download it again.")
    if 8 + length + end < size:
        extra = size - 8 - length - end
        raise BaseError(f"{path.name} has {extra:,} bytes after its last tensor.", "Download it again.")
    return table


def read_bytes_of(path: Path, names: Iterable[str]) -> dict[str, bytes]:
    """The data of a few small tensors of a safetensors file whose header was read, and so checked, before."""
    with path.open("rb") as stream:
        length = struct.unpack("<Q", stream.read(8))[0]
        table = json.loads(stream.read(length))
        found: dict[str, bytes] = {}
        for name in names:
            begin, end = table[name]["data_offsets"]
            stream.seek(8 + length + begin)
            found[name] = stream.read(end - begin)
    return found


def _parsed(text: bytes) -> tuple[TensorTable, int]:
    """The table, and where the last tensor ends."""
    keys = _measure(text)  # counted before anything is built of it
    raw = json.loads(text, parse_constant=_no_constant)
    if not isinstance(raw, dict):
        raise _Malformed("it is no table of tensors")
    stated = raw.get("__metadata__")
    inside = sum(len(entry) for entry in raw.values() if isinstance(entry, dict))
    if len(raw) + inside != keys:  # some key stands twice: once more, to say which
        json.loads(text, object_pairs_hook=_unique)
    metadata = _metadata(stated)
    raw.pop("__metadata__", None)
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, str] = {}
    spans: dict[str, tuple[int, int]] = {}
    sizes: dict[tuple[object, ...], int] = {}
    for name, entry in raw.items():
        shapes[name], dtypes[name], spans[name] = _tensor(name, entry, sizes)
    return TensorTable(shapes, dtypes, metadata, spans, 8 + len(text)), _filled(spans.values())


def _measure(text: bytes) -> int:
    """Refuse JSON that is no table of tensors, by its brackets and commas outside of texts; nothing is built of it.

    Returns how many keys it has, counting those that stand twice.
    """
    if text.count(b'"') - text.count(b'\\"') > _MAX_QUOTES:
        raise _Malformed(f"it lists more than {MAX_TENSORS:,} tensors")
    plain = text.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in text else text
    bare = b"".join(plain.split(b'"')[::2])
    if bare.count(b"{") > MAX_TENSORS + 2 or bare.count(b"[") > 2 * MAX_TENSORS:
        raise _Malformed(f"it lists more than {MAX_TENSORS:,} tensors")
    if bare.count(b",") > (MAX_AXES + 4) * MAX_TENSORS:
        raise _Malformed(f"it lists more than {MAX_TENSORS:,} tensors")
    # A table of entries that hold lists of numbers: without the lists and the entries the table alone is left.
    if bare.translate(None, _NO_BRACKETS).replace(b"[]", b"").replace(b"{}", b"") not in (b"{}", b""):
        raise _Malformed("it is no table of tensors")
    return bare.count(b":")


def _tensor(
    name: str, entry: object, sizes: dict[tuple[object, ...], int]
) -> tuple[tuple[int, ...], str, tuple[int, int]]:
    """Shape, number format and place of one tensor; ``sizes`` are those of the shapes that were checked before."""
    if not name or len(name) > MAX_KEY_LENGTH or (not name.isprintable() and _CONTROL.search(name)):
        raise _Malformed(f"{name[:60]!r} is no name of a tensor")
    if not isinstance(entry, dict) or entry.keys() != _ENTRY:
        raise _Malformed(f"the entry of '{name}' is not as the format demands")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in WIDTHS:
        raise _Malformed(f"the number format of '{name}' is {str(dtype)[:40]!r}, which is not known")
    if not _naturals(shape) or len(shape) > MAX_AXES:
        raise _Malformed(f"the shape of '{name}' is none")
    if not _naturals(offsets) or len(offsets) != 2:
        raise _Malformed(f"the place of '{name}' is none")
    sides = tuple(shape)
    size = sizes.get((dtype, sides))
    if size is None:
        size = sizes[dtype, sides] = (math.prod(sides) * WIDTHS[dtype] + 7) // 8
    begin, end = offsets
    if end - begin != size:
        raise _Malformed(f"'{name}' has a shape of {math.prod(sides):,} numbers and another number of bytes")
    return sides, dtype, (begin, end)


def _naturals(values: object) -> bool:
    if not isinstance(values, list):
        return False
    for value in values:  # noqa: SIM110  four times a tensor: a generator would double the time of a header
        if type(value) is not int or not 0 <= value < 2**48:
            return False
    return True


def _filled(spans: Iterable[tuple[int, int]]) -> int:
    """Where the last tensor ends; refused when tensors overlap or leave gaps, in which anything could hide."""
    end = 0
    for begin, stop in sorted(spans):
        if begin != end:
            raise _Malformed("its tensors overlap" if begin < end else "there are gaps between its tensors")
        end = stop
    return end


def _metadata(raw: object) -> dict[str, str]:
    if raw is None:
        return {}
    if not isinstance(raw, dict) or not all(isinstance(value, str) for value in raw.values()):
        raise _Malformed("its metadata are no table of texts")
    if sum(len(key) + len(value) for key, value in raw.items()) > MAX_METADATA_BYTES:
        raise _Malformed(f"its metadata are over {MAX_METADATA_BYTES:,} characters")
    return dict(raw)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object in which no key stands twice: readers differ in which one they believe."""
    table = dict(pairs)
    if len(table) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Malformed(f"'{twice[:60]}' stands twice")
    return table


def _no_constant(word: str) -> None:
    raise _Malformed(f"{word} is no number of JSON")
