"""Tensors of safetensors files as numpy arrays, one at a time: read by slices, written in a stream, without torch.

numpy knows neither bfloat16 nor the 8-bit floats, so they are turned into fp32 here by their bits, and back with
rounding to the nearest even number as torch does it.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from lorasmith.bases.header import read_tensor_table
from lorasmith.errors import AdapterError, BaseError, OutOfDisk, Stopped
from lorasmith.files import clear_leftovers, put_in_place, sync_folder

Array = NDArray[Any]
Progress = Callable[[int, int], None]
"""Hears how much is done, of how much."""
Cancelled = Callable[[], bool]
"""Asked between two tensors whether to stop."""

_PLAIN: Final = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1",
    "U16": "<u2", "U32": "<u4", "U64": "<u8", "BOOL": "?",
}  # fmt: skip
_LEAST_FP16: Final = 2.0**-25
"""Half of the smallest number of fp16: what is below it becomes zero."""
_BY_BITS: Final = {"BF16": "<u2", "F8_E4M3": "u1", "F8_E5M2": "u1"}
WRITABLE: Final = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}
"""Number formats a file can be written in, by the name a user knows."""
_WIDTH: Final = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}


@dataclass(frozen=True)
class TensorFile:
    """A safetensors file, its header checked; no tensor is read until it is asked for."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    metadata: Mapping[str, str]
    offsets: Mapping[str, tuple[int, int]]
    data_start: int
    seen: tuple[int, ...] = ()
    """What told the file from others when its header was read: size, time of change, number on its disk."""

    @classmethod
    def open(cls, path: Path) -> TensorFile:
        """Read and check the header.

        Raises:
            AdapterError: no such file, not safetensors, damaged or hostile.
        """
        if not path.is_file():
            raise AdapterError(f"There is no file at {path}.", "Check the path.")
        seen = mark_of(path.stat())
        try:
            table = read_tensor_table(path)
        except BaseError as cause:
            raise AdapterError(cause.message, cause.hint) from cause
        return cls(path, table.shapes, table.dtypes, table.metadata, table.spans, table.data_start, seen)

    def read(self, key: str) -> Array:
        """One tensor in fp32, or as integers where it holds integers."""
        return decoded(self.raw(key), self.dtypes[key]).reshape(self.shapes[key])

    def rows(self, key: str, first: int, last: int) -> Array:
        """Rows ``first`` to ``last`` of a tensor in fp32."""
        shape = self.shapes[key]
        begin, end = self.offsets[key]
        width = (end - begin) // shape[0] if shape and shape[0] else 0
        raw = self.read_at(begin + first * width, begin + last * width)
        return decoded(raw, self.dtypes[key]).reshape(last - first, *shape[1:])

    def raw(self, key: str) -> bytes:
        """The bytes of one tensor."""
        return self.read_at(*self.offsets[key])

    def read_at(self, begin: int, end: int) -> bytes:
        try:
            with self.path.open("rb") as stream:
                self.refuse_changed(os.fstat(stream.fileno()))
                stream.seek(self.data_start + begin)
                data = stream.read(end - begin)
        except FileNotFoundError as cause:
            raise AdapterError(
                f"{self.path.name} was taken away while it was read.", "Try again when nobody moves it."
            ) from cause
        if len(data) != end - begin:
            raise AdapterError(
                f"{self.path.name} became shorter while it was read.", "Try again when nobody writes it."
            )
        return data

    def refuse_changed(self, now: os.stat_result) -> None:
        """Refuse to go on with a file that is another one than when its header was read.

        Raises:
            AdapterError: it is.
        """
        if self.seen and mark_of(now) != self.seen:
            raise AdapterError(f"{self.path.name} was changed while it was read.", "Try again when nobody writes it.")

    def scalar(self, key: str) -> float | None:
        """The one number of a tensor; None when it holds another count, or is not finite."""
        values = self.read(key).reshape(-1)
        return float(values[0]) if values.size == 1 and np.isfinite(values[0]) else None


def mark_of(found: os.stat_result) -> tuple[int, ...]:
    """What is another for another file, and for the same one after a change."""
    return found.st_size, found.st_mtime_ns, found.st_ino


def unwritable(path: Path, need: int, cause: OSError) -> Exception:
    """What to say of a place that cannot be written to; anything else stays what it is."""
    if cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfDisk(f"No room for {path.name} ({need:,} bytes).", "Free some disk.")
    if cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return AdapterError(
            f"{path.name} cannot be written in {path.parent}: {(cause.strerror or 'refused').lower()}.",
            "Choose another folder, or let yourself write in it.",
        )
    return cause


def decoded(raw: bytes, dtype: str) -> Array:
    """Bytes as numbers: floats of any width in fp32 (fp64 stays), integers as they are.

    Raises:
        AdapterError: a number format that no adapter has.
    """
    if dtype in _PLAIN:
        values = np.frombuffer(raw, dtype=_PLAIN[dtype])
        return values.astype(np.float32) if dtype == "F16" else values
    if dtype == "BF16":
        return (np.frombuffer(raw, dtype="<u2").astype("<u4") << 16).view("<f4")
    if dtype in ("F8_E4M3", "F8_E5M2"):
        table: Array = _eight_bit(dtype)[np.frombuffer(raw, dtype="u1")]
        return table
    raise AdapterError(f"The number format {dtype} is none that an adapter can be read in.", "Get it as fp16 or bf16.")


@functools.cache
def _eight_bit(dtype: str) -> Array:
    """All 256 values of an 8-bit float (OCP 8-bit Floating Point Specification 1.0)."""
    exponent_bits, mantissa_bits, bias = (4, 3, 7) if dtype == "F8_E4M3" else (5, 2, 15)
    values = np.empty(256, dtype=np.float32)
    for byte in range(256):
        exponent = (byte >> mantissa_bits) & ((1 << exponent_bits) - 1)
        mantissa = byte & ((1 << mantissa_bits) - 1)
        size = (
            mantissa * 2.0 ** (1 - bias - mantissa_bits)
            if exponent == 0
            else (1 + mantissa / (1 << mantissa_bits)) * 2.0 ** (exponent - bias)
        )
        if dtype == "F8_E4M3" and byte & 0x7F == 0x7F:
            size = float("nan")
        if dtype == "F8_E5M2" and exponent == 31:
            size = float("nan") if mantissa else float("inf")
        values[byte] = -size if byte & 0x80 else size
    return values


def encoded(array: Array, dtype: str) -> bytes:
    """Numbers as the bytes of ``F32``, ``F16`` or ``BF16``."""
    values = np.ascontiguousarray(array, dtype=np.float32)
    if dtype == "F32":
        return values.astype("<f4").tobytes()
    if dtype == "F16":
        with np.errstate(over="ignore"):
            return values.astype("<f2").tobytes()
    bits = values.astype("<f4").view("<u4")
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), np.uint32(0x7FC0), rounded).astype("<u2").tobytes()


def overflows(array: Array, dtype: str) -> bool:
    """Whether a finite number would become infinite in a format."""
    if dtype != "F16" or not array.size:
        return False
    return bool(np.nanmax(np.abs(array)) >= 65520)


def vanishes(array: Array, dtype: str) -> bool:
    """Whether nothing but zeros would be left of numbers that are none."""
    if dtype != "F16" or not array.size:
        return False
    largest = float(np.abs(array).max())
    return 0 < largest < _LEAST_FP16


@dataclass(frozen=True)
class Planned:
    """A tensor that will be written: shape and format now, its numbers when its turn comes.

    ``make`` gives an array, or bytes that are written as they are.
    """

    shape: tuple[int, ...]
    dtype: str
    make: Callable[[], Array | bytes]

    @property
    def size(self) -> int:
        """Bytes."""
        count = 1
        for side in self.shape:
            count *= side
        return count * _WIDTH.get(self.dtype, 1)


def write(
    path: Path,
    tensors: Mapping[str, Planned],
    metadata: Mapping[str, str],
    *,
    stamped: bool = False,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> str:
    """Write a safetensors file in a stream, whole or not at all; returns its SHA-256.

    The file appears under its name when all of it is on the disk. At most one tensor is in memory. ``stamped`` adds
    the hashes that other programs look a LoRA up by (``sshs_*``, ``modelspec.hash_sha256``).

    Raises:
        Stopped: ``cancelled`` said so; nothing is left behind.
        AdapterError: a tensor is not as planned, or holds what the format cannot.
        OutOfDisk: no room.
    """
    order = sorted(tensors, key=lambda name: (-_WIDTH.get(tensors[name].dtype, 1), name))
    blank = _stamps("0" * 64, "0" * 8) if stamped else {}
    header = _header(tensors, order, {**metadata, **blank})
    need = len(header) + sum(planned.size for planned in tensors.values())
    refuse_without_room(path.parent, need, path.name)
    clear_leftovers(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    digest = hashlib.sha256()
    try:
        with temporary.open("w+b") as stream:
            stream.write(header)
            for done, name in enumerate(order):
                if cancelled is not None and cancelled():
                    raise Stopped(f"Stopped; {path.name} was not written.")
                data = _data(name, tensors[name])
                digest.update(data)
                stream.write(data)
                if progress is not None:
                    progress(done + 1, len(order))
            if stamped:
                legacy = _legacy_hash(stream, len(header), _header(tensors, order, _kohya_only(metadata)))
                header = _header(tensors, order, {**metadata, **_stamps(digest.hexdigest(), legacy)})
                stream.seek(0)
                stream.write(header)
            stream.flush()
            os.fsync(stream.fileno())
            stream.seek(0)
            whole = hashlib.file_digest(stream, "sha256").hexdigest()
        put_in_place(temporary, path)
    except OSError as cause:
        raise unwritable(path, need, cause) from cause
    finally:
        with suppress(OSError):  # of a folder that cannot be written to, the first refusal counts
            temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
    return whole


def _stamps(content: str, legacy: str) -> dict[str, str]:
    return {"sshs_model_hash": content, "sshs_legacy_hash": legacy, "modelspec.hash_sha256": f"0x{content}"}


def _kohya_only(metadata: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in metadata.items() if name.startswith("ss_")}


def _legacy_hash(stream: IO[bytes], header_size: int, legacy_header: bytes) -> str:
    """The eight digits of the old web interfaces: 64 KiB from 1 MiB on of the file as it is without our metadata."""
    begin, end = 0x100000, 0x110000
    piece = legacy_header[begin:end]
    stream.seek(header_size + max(0, begin - len(legacy_header)))
    piece += stream.read(max(0, end - max(begin, len(legacy_header))))
    return hashlib.sha256(piece).hexdigest()[:8]


def _header(tensors: Mapping[str, Planned], order: Sequence[str], metadata: Mapping[str, str]) -> bytes:
    table: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name in order:
        planned = tensors[name]
        table[name] = {
            "dtype": planned.dtype,
            "shape": list(planned.shape),
            "data_offsets": [end, end + planned.size],
        }
        end += planned.size
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _data(name: str, planned: Planned) -> bytes:
    made = planned.make()
    if isinstance(made, bytes):
        data = made
    else:
        if tuple(made.shape) != planned.shape:
            raise AdapterError(f"{name} became {made.shape} and not {planned.shape}.", "Report this.")
        if not np.isfinite(made).all():
            raise AdapterError(f"{name} would hold values that are not finite.", "The file is damaged: `inspect` it.")
        if overflows(made, planned.dtype):
            raise AdapterError(f"{name} is too large for fp16.", "Write it as bf16 or fp32 (--dtype).")
        if vanishes(made, planned.dtype):
            raise AdapterError(f"{name} is too small for fp16.", "Write it as bf16 or fp32 (--dtype).")
        data = encoded(made, planned.dtype)
    if len(data) != planned.size:
        raise AdapterError(f"{name} became {len(data)} bytes and not {planned.size}.", "Report this.")
    return data


def refuse_without_room(folder: Path, need: int, name: str) -> None:
    """Refuse what does not fit.

    Raises:
        AdapterError: there is no such folder.
        OutOfDisk: it has not that many bytes free.
    """
    import shutil

    if not folder.is_dir():
        raise AdapterError(f"There is no folder {folder}.", "Make it, or choose another place.")
    free = shutil.disk_usage(folder).free
    if free < need + 10_000_000:
        raise OutOfDisk(f"{name} needs {need:,} bytes; {free:,} are free in {folder}.", "Free some disk.")
