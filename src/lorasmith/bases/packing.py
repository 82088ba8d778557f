"""How the matrices of a safetensors file are packed, told from its header and what stands beside each of them.

Besides the four bits of bitsandbytes (``four_bits``) these are the formats of ComfyUI. A layer names its own in a small
tensor ``comfy_quant`` of JSON, or all of them stand in the metadata under ``_quantization_metadata``; older files name
none, and the formats of the numbers and of their scales tell it.

========== ========================= ======================================================================
fp8        ``F8_E4M3``, ``F8_E5M2``  times ``weight_scale`` (once ``scale_weight``): one, or one for each row
mxfp8      ``F8_E4M3``               each 32 of a row times a power of two, blocked as below
int8       ``I8``                    as fp8; ``convrot``: each group of columns was turned by a Hadamard matrix
nvfp4      two to a byte, high first each 16 of a row times an ``F8_E4M3``, all times ``weight_scale_2``
========== ========================= ======================================================================

Scales of blocks lie as tensor cores read them: tiles of 128 rows and 4 columns, in each of which row ``r`` stands at
``r % 32`` and ``r // 32`` (https://docs.nvidia.com/cuda/cublas/index.html#d-block-scaling-factors-layout). The formats
are those of https://github.com/Comfy-Org/comfy-kitchen, ``tensor`` and ``backends/eager``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lorasmith.bases.four_bits import BESIDE as BESIDE_FOUR_BITS
from lorasmith.bases.four_bits import STATE, FourBits, matrices
from lorasmith.bases.header import read_bytes_of
from lorasmith.errors import BaseError

MARKS: Final = ("scaled_fp8",)
"""Names of tensors that say how a file is packed, and belong to no layer."""
_BESIDE: Final = (
    "scale_weight", "weight_scale", "weight_scale_2", "scale_input", "input_scale", "comfy_quant", "pre_quant_scale",
)  # fmt: skip
_SCALES: Final = ("weight_scale", "scale_weight")
_FLOATS: Final = ("F32", "F16", "BF16")
_EIGHT_BITS: Final = ("F8_E4M3", "F8_E5M2")
_STATED: Final = "_quantization_metadata"
_MAX_STATED: Final = 1_000  # bytes of what a layer says of itself; a real one has about 70
_TURNED: Final = 256  # columns that are turned together where a layer does not say how many
_ROWS, _COLUMNS = 128, 4  # of a tile of scales
_KNOWN: Final = {"float8_e4m3fn": "fp8", "float8_e5m2": "fp8", "int8_tensorwise": "int8", "nvfp4": "nvfp4",
                 "mxfp8": "mxfp8"}  # fmt: skip
BLOCK: Final = {"nvfp4": 16, "mxfp8": 32}
"""Numbers of a row that share a scale."""


@dataclass(frozen=True)
class Packed:
    """How one matrix is packed. ``known`` is false for forms that cannot be unpacked here; they have no more fields."""

    form: str
    shape: tuple[int, ...]
    known: bool = True
    scale: str = ""
    """Name of the tensor that its numbers are multiplied by; empty where there is none."""
    outer: str = ""
    """Of nvfp4: name of the scale of all its scales."""
    turned: int = 0
    """Columns that were turned together by a Hadamard matrix; 0: none were."""
    four_bits: FourBits | None = None


def packings(
    path: Path, shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, str], metadata: Mapping[str, str]
) -> dict[str, Packed]:
    """The packed matrices of a safetensors file by their names.

    Args:
        path: of the file; only what stands beside its matrices is read.
        shapes, dtypes, metadata: as its header has them.

    Raises:
        BaseError: what is said of a matrix does not fit its bytes, or pieces of it are missing.
    """
    found = {
        name: Packed(four.kind, four.shape, four_bits=four) for name, four in matrices(path, shapes, dtypes).items()
    }
    stated = _stated(path, shapes, metadata)
    for key in shapes:
        stem, _, word = key.rpartition(".")
        if key in found or word != "weight":
            continue
        said = stated.get(stem)
        form = _form(key, stem, said, shapes, dtypes)
        if form:
            found[key] = _checked(path, key, form, said or {}, shapes, dtypes)
    return found


def beside(shapes: Mapping[str, Any], packed: Mapping[str, Packed]) -> frozenset[str]:
    """Names of the tensors that say how others are packed, and are no weights themselves."""
    found = {mark for mark in MARKS if mark in shapes}
    found |= {key for key in shapes if STATE in key or key.endswith(tuple(f".{mark}" for mark in MARKS))}
    for key, one in packed.items():
        if one.four_bits is not None:
            found |= {f"{key}.{word}" for word in BESIDE_FOUR_BITS}
        elif one.known:
            stem = key.removesuffix(".weight")
            found |= {f"{stem}.{word}" for word in _BESIDE}
    return frozenset(found & set(shapes)) | {key for key in shapes if key.endswith(".comfy_quant")}


def unpacked_header(
    path: Path, shapes: dict[str, tuple[int, ...]], dtypes: dict[str, str], metadata: Mapping[str, str]
) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Shapes and formats as if nothing were packed, where packing changed the shape or is not known.

    The formats are then called ``NF4``, ``FP4``, ``NVFP4``, ``MXFP8``, ``INT8``, or by the name of what is not known.

    Raises:
        BaseError: as ``packings``.
    """
    found = packings(path, shapes, dtypes, metadata)
    told = {key: one for key, one in found.items() if one.form != "fp8"}
    if not told:
        return shapes, dtypes
    gone = beside(shapes, told)
    true = {key: shape for key, shape in shapes.items() if key not in gone}
    kinds = {key: kind for key, kind in dtypes.items() if key not in gone}
    true |= {key: one.shape for key, one in told.items()}
    return true, kinds | {key: one.form.upper() if one.known else one.form for key, one in told.items()}


def _stated(
    path: Path, shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """What layers say of themselves, by their names."""
    names = [key for key in shapes if key.endswith(".comfy_quant")]
    for key in names:
        if math.prod(shapes[key]) > _MAX_STATED:
            raise _damaged(path, key, "is far larger than any is")
    texts: dict[str, Any] = {key.removesuffix(".comfy_quant"): text for key, text in read_bytes_of(path, names).items()}
    found: dict[str, Any] = {name: _json(text) for name, text in texts.items()}
    for name, said in found.items():
        if not isinstance(said, dict):
            raise _damaged(path, name, "is not readable")
    if _STATED in metadata:
        told = _json(metadata[_STATED])
        layers = told.get("layers") if isinstance(told, dict) else None
        if not isinstance(layers, dict) or not all(isinstance(said, dict) for said in layers.values()):
            raise _damaged(path, "its metadata", "is not readable")
        found = {**{name: said for name, said in layers.items() if f"{name}.weight" in shapes}, **found}
    return found


def _json(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        return None


def _form(
    key: str, stem: str, said: Mapping[str, Any] | None, shapes: Mapping[str, Any], dtypes: Mapping[str, str]
) -> str:
    """The form of a matrix; empty when it is plain. A name that is not known here stays as it is."""
    if said is not None:
        stated = str(said.get("format") or "something unnamed")[:40]
        return (
            "nvfp4 for AWQ" if stated == "nvfp4" and f"{stem}.pre_quant_scale" in shapes else _KNOWN.get(stated, stated)
        )
    if dtypes[key] in _EIGHT_BITS:
        return "fp8"
    if dtypes[key] == "I8":
        return "int8" if any(f"{stem}.{name}" in shapes for name in _SCALES) else "int8 without a scale"
    return "nvfp4" if dtypes[key] == "U8" and f"{stem}.weight_scale_2" in shapes else ""


def _checked(
    path: Path, key: str, form: str, said: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, str],
) -> Packed:  # fmt: skip
    """The form with its scales, held against what is there."""
    if form in ("fp8", "int8"):
        return _by_rows(path, key, form, said, shapes, dtypes)
    if form in BLOCK:
        return _in_blocks(path, key, form, shapes, dtypes)
    return Packed(form, shapes[key], known=False)


def _scale_of(key: str, shapes: Mapping[str, Any]) -> str:
    stem = key.removesuffix(".weight")
    return next((f"{stem}.{name}" for name in _SCALES if f"{stem}.{name}" in shapes), "")


def _by_rows(
    path: Path, key: str, form: str, said: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, str],
) -> Packed:  # fmt: skip
    shape, scale = shapes[key], _scale_of(key, shapes)
    if form == "int8" and not scale:
        raise _damaged(path, key, f"needs {key.removesuffix('.weight')}.weight_scale, which is missing")
    _expect(path, key, dtypes[key], _EIGHT_BITS if form == "fp8" else ("I8",))
    if scale:
        _expect(path, scale, dtypes[scale], _FLOATS)
        if math.prod(shapes[scale]) not in (1, shape[0] if shape else 1):
            raise BaseError(
                f"{path.name} scales {key[:80]} in a way that is not known here {shapes[scale]}.", "Take its bf16 form."
            )
    turned = said.get("convrot_groupsize", _TURNED) if said.get("convrot") else 0
    if turned and not (_power_of_four(turned) and len(shape) == 2 and shape[1] % turned == 0):
        raise _damaged(path, key, f"turns groups of {str(turned)[:20]} columns of {shape}")
    return Packed(form, shape, scale=scale, turned=turned)


def _in_blocks(
    path: Path, key: str, form: str, shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, str]
) -> Packed:
    shape, stem, scale = shapes[key], key.removesuffix(".weight"), _scale_of(key, shapes)
    if len(shape) != 2:
        raise _damaged(path, key, f"has {len(shape)} axes, which {form} cannot pack")
    true = (shape[0], shape[1] * 2) if form == "nvfp4" else shape
    if true[1] % BLOCK[form]:
        raise _damaged(path, key, f"has rows of {true[1]:,} numbers, which {form} cannot pack")
    _expect(path, key, dtypes[key], ("U8",) if form == "nvfp4" else ("F8_E4M3",))
    outer = f"{stem}.weight_scale_2" if form == "nvfp4" else ""
    for name in (scale or f"{stem}.weight_scale", *([outer] if outer else [])):
        if name not in shapes:
            raise _damaged(path, key, f"needs {name}, which is missing")
    _expect(path, scale, dtypes[scale], ("F8_E4M3",) if form == "nvfp4" else ("U8", "F8_E8M0"))
    count = math.prod(tiled(true[0], true[1] // BLOCK[form]))
    if math.prod(shapes[scale]) != count:
        raise _damaged(path, key, f"needs {count:,} numbers in {scale}")
    if outer:
        _expect(path, outer, dtypes[outer], _FLOATS)
        if math.prod(shapes[outer]) != 1:
            raise _damaged(path, key, f"needs 1 number in {outer}")
    return Packed(form, true, scale=scale, outer=outer)


def tiled(rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns of scales with the tiles filled up."""
    return -(-rows // _ROWS) * _ROWS, -(-columns // _COLUMNS) * _COLUMNS


def _power_of_four(value: object) -> bool:
    return type(value) is int and 4 <= value <= 4096 and value & (value - 1) == 0 and value.bit_length() % 2 == 1


def _expect(path: Path, key: str, dtype: str, wanted: tuple[str, ...]) -> None:
    if dtype not in wanted:
        raise _damaged(path, key, f"holds {dtype} where {' or '.join(wanted)} is meant")


def _damaged(path: Path, name: str, what: str) -> BaseError:
    return BaseError(f"What {path.name} says of the packing of {name[:80]} {what}.", "Download it again.")
