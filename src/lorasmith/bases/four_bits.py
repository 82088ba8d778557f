"""Matrices that bitsandbytes packed two numbers to a byte (NF4, FP4): what lies beside them tells how, and their shape.

Beside ``x.weight`` lie ``.quant_map`` (the 16 numbers that 4 bits mean), ``.absmax`` (the scale of each block), and
``.quant_state.bitsandbytes__nf4``: JSON with ``shape``, ``blocksize`` and, when the scales are packed too, how
(``.nested_absmax``, ``.nested_quant_map``). As written by
https://github.com/bitsandbytes-foundation/bitsandbytes, ``QuantState.as_dict``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeGuard

from lorasmith.bases.header import MAX_AXES, read_bytes_of
from lorasmith.errors import BaseError

STATE: Final = ".quant_state.bitsandbytes__"
_KINDS: Final = ("nf4", "fp4")
_MAX_STATE: Final = 10_000  # bytes; a real one has about 200
_MAX_BLOCK: Final = 65_536  # numbers that share a scale; bitsandbytes knows none over 4096
BESIDE: Final = ("absmax", "quant_map", "nested_absmax", "nested_quant_map")


@dataclass(frozen=True)
class FourBits:
    """How one matrix is packed: its true shape, numbers to a scale, and for packed scales how many share one of theirs.

    ``nested`` is 0 where the scales are plain; else ``offset`` is added to each.
    """

    kind: str
    shape: tuple[int, ...]
    block: int
    nested: int = 0
    offset: float = 0.0


def matrices(path: Path, shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, str]) -> dict[str, FourBits]:
    """The packed matrices of a safetensors file by their names; only what stands beside them is read.

    Raises:
        BaseError: what is said of one does not fit its bytes, or pieces of it are missing.
    """
    stated = {key: key.partition(STATE) for key in shapes if STATE in key}
    too_long = next((key for key in stated if dtypes[key] != "U8" or math.prod(shapes[key]) > _MAX_STATE), None)
    if too_long is not None:
        raise _damaged(path, stated[too_long][0], "is far larger than any is")
    texts = read_bytes_of(path, stated) if stated else {}
    found: dict[str, FourBits] = {}
    for key, (name, _, kind) in stated.items():
        if kind not in _KINDS or name in found:
            raise _damaged(path, name, f"names the format {kind[:20]!r}" if kind not in _KINDS else "is there twice")
        try:
            told = json.loads(texts[key])
        except (ValueError, RecursionError) as cause:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
            raise _damaged(path, name, "is not JSON") from cause
        found[name] = packed = _read(path, name, kind, told)
        _compare(path, name, packed, shapes, dtypes)
    return found


def _read(path: Path, name: str, kind: str, told: Any) -> FourBits:
    if not isinstance(told, dict) or told.get("quant_type", kind) != kind:
        raise _damaged(path, name, "contradicts its name")
    shape, block = told.get("shape"), told.get("blocksize")
    if not isinstance(shape, list) or len(shape) > MAX_AXES or not all(_natural(side) for side in shape):
        raise _damaged(path, name, "tells no shape")
    if not _natural(block) or block > _MAX_BLOCK:
        raise _damaged(path, name, "tells no size of blocks")
    if "nested_blocksize" not in told:
        return FourBits(kind, tuple(shape), block)
    nested, offset = told["nested_blocksize"], told.get("nested_offset")
    if not _natural(nested) or nested > _MAX_BLOCK or not isinstance(offset, int | float) or not math.isfinite(offset):
        raise _damaged(path, name, "does not tell how its scales are packed")
    return FourBits(kind, tuple(shape), block, nested, float(offset))


def _natural(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 < value < 2**48


def _compare(
    path: Path, name: str, packed: FourBits, shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, str]
) -> None:
    """What is told of a matrix against the tensors that are there."""
    count = math.prod(packed.shape)
    scales = -(-count // packed.block)
    wanted = {name: -(-count // 2), f"{name}.absmax": scales, f"{name}.quant_map": 16}
    bytes_of = {name: "U8"}
    if packed.nested:
        wanted |= {f"{name}.nested_absmax": -(-scales // packed.nested), f"{name}.nested_quant_map": 256}
        bytes_of[f"{name}.absmax"] = "U8"
    for key, size in wanted.items():
        if key not in shapes:
            raise _damaged(path, name, f"needs {key}, which is missing")
        form = bytes_of.get(key, "F32")
        if math.prod(shapes[key]) != size or dtypes[key] != form:
            raise _damaged(path, name, f"needs {size:,} numbers of {form} in {key}")


def _damaged(path: Path, name: str, what: str) -> BaseError:
    return BaseError(f"What {path.name} says of the packing of {name[:80]} {what}.", "Download it again.")
