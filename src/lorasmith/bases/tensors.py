"""The tensors of a weights file as numbers, whatever packs them: safetensors and GGUF, rows at a time, no torch."""

from __future__ import annotations

import functools
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lorasmith.bases.gguf import BLOCKS, PLAIN, Stored, read_gguf
from lorasmith.bases.header import read_safetensors_header
from lorasmith.bases.packing import BLOCK, Packed, beside, packings, tiled
from lorasmith.errors import BaseError

Array = NDArray[Any]
_HALVES: Final = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
_SEED: Final = np.array([[1, 1, 1, -1], [1, 1, -1, 1], [1, -1, 1, 1], [-1, 1, 1, 1]], np.float32)
_FORMS: Final = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
                 "U8": "u1", "BOOL": "?"}  # fmt: skip


@dataclass(frozen=True)
class WeightsFile:
    """A file whose header was read and checked; numbers are read when they are asked for.

    ``shapes`` are true ones and name no tensor that only says how another is packed; ``formats`` are as stored:
    ``F8_E4M3``, ``U8``, ``Q4_K`` ...
    """

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    formats: Mapping[str, str]
    metadata: Mapping[str, str]
    packed: Mapping[str, Packed]
    places: Mapping[str, Stored]
    """Where everything lies, the scales too."""

    @classmethod
    def open(cls, path: Path) -> WeightsFile:
        """Read and check the header.

        Raises:
            BaseError: no safetensors or GGUF, damaged, hostile, cut short, or packed in a way that is not known here.
        """
        if path.suffix.lower() == ".gguf":
            header, places = read_gguf(path)
            strange = next((key for key in header.shapes if key not in places), "")
            if strange:
                raise _unknown(path, strange, header.dtypes[strange])
            return cls(path, header.shapes, header.dtypes, header.metadata, {}, places)
        shapes, formats, metadata = read_safetensors_header(path)
        packed = packings(path, shapes, formats, metadata)
        for key, one in packed.items():
            if not one.known:
                raise _unknown(path, key, one.form)
        gone = beside(shapes, packed)
        true = {key: packed[key].shape if key in packed else shapes[key] for key in shapes if key not in gone}
        return cls(path, true, formats, metadata, packed, _places(path, shapes, formats))

    def is_plain(self, key: str) -> bool:
        """Whether its numbers stand in the file as they are."""
        return key not in self.packed and self.formats[key] in (*_FORMS, "BF16")

    def rows(self, key: str, first: int = 0, last: int | None = None) -> Array:
        """Rows ``first`` to ``last`` of a tensor in fp32, true shape; tensors of integers keep theirs.

        Raises:
            BaseError: the file became shorter, or holds a format that is not known here.
        """
        shape = self.shapes[key]
        if not shape:
            return self._numbers(key, 0, 1, 1).reshape(())
        last = shape[0] if last is None else last
        width = math.prod(shape[1:])
        one = self.packed.get(key)
        if one is None or one.form in ("fp8", "int8"):
            values = self._numbers(key, first * width, last * width, math.prod(shape))
            if one is None:
                return values.reshape(last - first, *shape[1:])
            values = values.astype(np.float32).reshape(last - first, width)
            if one.scale:
                scale = self._whole(one.scale).astype(np.float32).reshape(-1)
                values = values * (scale if scale.size == 1 else scale[first:last, None])
            if one.turned:  # the matrix is its own inverse
                turn = hadamard(one.turned)
                values = (values.reshape(-1, one.turned) @ turn).reshape(values.shape)
            return values.reshape(last - first, *shape[1:])
        if one.four_bits is not None:
            return self._four_bits(key, one, first * width, last * width).reshape(last - first, *shape[1:])
        return self._in_blocks(key, one, first, last)

    def _in_blocks(self, key: str, one: Packed, first: int, last: int) -> Array:
        """Rows of nvfp4 and mxfp8."""
        rows, width = one.shape
        if one.form == "nvfp4":
            raw = self._bytes(key, first * width // 2, last * width // 2)
            values = _HALVES[np.stack((raw >> 4, raw & 15), axis=1).reshape(-1)]
        else:
            values = _eight_bit("F8_E4M3")[self._bytes(key, first * width, last * width)]
        columns = width // BLOCK[one.form]
        place = self.places[one.scale]
        stored = self._bytes(one.scale, 0, place.size)
        meaning = _eight_bit("F8_E4M3") if one.form == "nvfp4" else _powers()
        scale = meaning[_untiled(stored, rows, columns)[first:last]]
        if one.outer:
            scale = scale * self._whole(one.outer).astype(np.float32).reshape(())
        made: Array = values.reshape(last - first, columns, -1) * scale[:, :, None]
        return made.reshape(last - first, width)

    def _four_bits(self, key: str, one: Packed, first: int, last: int) -> Array:
        """Numbers ``first`` to ``last`` of a matrix that bitsandbytes packed."""
        told = one.four_bits
        assert told is not None
        scales = self._whole(f"{key}.absmax").reshape(-1)
        if told.nested:
            numbers = self._whole(f"{key}.nested_quant_map").reshape(-1)[scales]
            outer = np.repeat(self._whole(f"{key}.nested_absmax").reshape(-1), told.nested)[: len(scales)]
            scales = numbers * outer + np.float32(told.offset)
        raw = self._bytes(key, first // 2, -(-last // 2))
        halves = np.stack((raw >> 4, raw & 15), axis=1).reshape(-1)[first % 2 :][: last - first]
        begin = first // told.block
        scale = np.repeat(scales[begin : -(-last // told.block)], told.block)[first - begin * told.block :]
        values: Array = self._whole(f"{key}.quant_map").reshape(-1)[halves] * scale[: last - first]
        return values

    def _whole(self, key: str) -> Array:
        """A small tensor that says how another is packed."""
        place = self.places[key]
        return _decoded(self._bytes(key, 0, place.size), place.kind)

    def _numbers(self, key: str, first: int, last: int, count: int) -> Array:
        """Numbers ``first`` to ``last`` of ``count``, without what stands beside them."""
        place = self.places[key]
        if place.kind in BLOCKS and place.kind not in (*_FORMS, *PLAIN):
            numbers, width = BLOCKS[place.kind]
            begin, end = first // numbers, -(-last // numbers)
            return _dequantised(self._bytes(key, begin * width, end * width), place.kind)[first - begin * numbers :][
                : last - first
            ]
        width = place.size // count
        return _decoded(self._bytes(key, first * width, last * width), place.kind)

    def _bytes(self, key: str, first: int, last: int) -> Array:
        with self.path.open("rb") as stream:
            stream.seek(self.places[key].begin + first)
            raw = stream.read(last - first)
        if len(raw) != last - first:
            raise BaseError(f"{self.path.name} became shorter while it was read.", "Try again when nobody writes it.")
        return np.frombuffer(raw, np.uint8)


def _places(path: Path, shapes: Mapping[str, Any], formats: Mapping[str, str]) -> dict[str, Stored]:
    with path.open("rb") as stream:
        length = struct.unpack("<Q", stream.read(8))[0]
        table = json.loads(stream.read(length))
    found: dict[str, Stored] = {}
    for key in shapes:
        begin, end = table[key]["data_offsets"]
        found[key] = Stored(formats[key], 8 + length + begin, end - begin)
    return found


def _decoded(raw: Array, form: str) -> Array:
    if form == "BF16":
        return (raw.view("<u2").astype("<u4") << 16).view("<f4")
    if form in ("F8_E4M3", "F8_E5M2"):
        return _eight_bit(form)[raw]
    if form not in _FORMS:
        raise BaseError(f"The number format {form} is not known here.", "Take the bf16 form.")
    values = raw.view(_FORMS[form])
    return values.astype(np.float32) if form in ("F16", "F64") else values


def _dequantised(raw: Array, form: str) -> Array:
    from gguf import GGMLQuantizationType, dequantize

    blocks = np.ascontiguousarray(raw.reshape(-1, BLOCKS[form][1]))
    return np.ascontiguousarray(dequantize(blocks, GGMLQuantizationType[form]), dtype=np.float32).reshape(-1)


@functools.cache
def _eight_bit(form: str) -> Array:
    """All 256 values of an 8-bit float (OCP 8-bit Floating Point Specification 1.0)."""
    exponents, mantissas, bias = (4, 3, 7) if form == "F8_E4M3" else (5, 2, 15)
    byte = np.arange(256)
    exponent, mantissa = (byte >> mantissas) & ((1 << exponents) - 1), byte & ((1 << mantissas) - 1)
    values = np.where(
        exponent == 0,
        np.ldexp(mantissa.astype(np.float64), 1 - bias - mantissas),
        np.ldexp(1 + mantissa / (1 << mantissas), exponent - bias),
    )
    if form == "F8_E4M3":
        values[byte & 0x7F == 0x7F] = np.nan
    else:
        values[exponent == 31] = np.where(mantissa[exponent == 31] > 0, np.nan, np.inf)
    return np.where(byte & 0x80, -values, values).astype(np.float32)


@functools.cache
def _powers() -> Array:
    """All 256 values of an exponent alone (E8M0 of the OCP Microscaling Formats)."""
    values = np.ldexp(np.ones(256), np.arange(256) - 127).astype(np.float32)
    values[255] = np.nan
    return values


def _untiled(stored: Array, rows: int, columns: int) -> Array:
    """Scales by row and column from the order in which tensor cores read them."""
    height, width = tiled(rows, columns)
    tiles = stored.reshape(height // 128, width // 4, 32, 4, 4)  # tile, tile, row % 32, row // 32, column
    return tiles.transpose(0, 3, 2, 1, 4).reshape(height, width)[:rows, :columns]


@functools.cache
def hadamard(size: int) -> Array:
    """The matrix by which groups of ``size`` columns were turned, a power of 4; it is symmetric and its own inverse."""
    made: Array = _SEED
    while len(made) < size:
        made = np.kron(made, _SEED)
    return (made / math.sqrt(size)).astype(np.float32)


def _unknown(path: Path, key: str, form: str) -> BaseError:
    return BaseError(f"{path.name} packs {key[:80]} as {form}, which is not known here.", "Take its bf16 form.")
