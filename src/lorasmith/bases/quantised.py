"""Packed number formats: which one a header shows, and how long an axis was before packing.

fp8 and int8 keep shapes. bitsandbytes' nf4 and fp4 flatten a matrix to (n / 2, 1) bytes with a ``quant_state`` beside
it; nvfp4 keeps the rows and halves the columns. GGUF headers tell true shapes (``gguf`` turns their order around), and
of packed safetensors the header reader makes true ones and names the format in place of the bytes' (``packing``).
"""

from __future__ import annotations

import math
from collections import Counter
from importlib.util import find_spec

from lorasmith.bases.gguf import PLAIN, UNPACKED
from lorasmith.bases.header import WIDTHS, Header
from lorasmith.errors import EnvironmentProblem
from lorasmith.events import Notice

_SCALES = (".scale_weight", ".weight_scale", ".scale_input", ".input_scale")
_PLAIN_GGUF = "GGUF, not quantised"
_STATE = ".quant_state.bitsandbytes__"
_NAMED = ("NF4", "FP4", "NVFP4", "MXFP8", "INT8")
_STORED = frozenset((*WIDTHS, *_NAMED))


def quantisation(header: Header) -> str:
    """The packed format of these weights in words; empty when the numbers are plain (fp32, fp16, bf16)."""
    if header.metadata.get("format") == "gguf":
        kinds = Counter(kind for kind in header.dtypes.values() if kind not in PLAIN)
        return f"GGUF {kinds.most_common(1)[0][0]}" if kinds else _PLAIN_GGUF
    formats = set(header.dtypes.values())
    states = [key.partition(_STATE)[2] for key in header.shapes if _STATE in key]  # nf4, fp4
    named = states or sorted(formats - _STORED) or sorted(kind.lower() for kind in formats & set(_NAMED))
    if named:
        return named[-1] if not states else states[0]
    scaled = any(key.endswith(_SCALES) or key.rpartition(".")[2] == "scaled_fp8" for key in header.shapes)
    if formats & {"F8_E4M3", "F8_E5M2"} and not any(key.endswith(".weight_scale_2") for key in header.shapes):
        return "fp8, scaled" if scaled else "fp8"
    return _undescribed(header)


def _undescribed(header: Header) -> str:
    """Packed in a way that nothing names, as far as the names and formats of what is beside it tell."""
    if any(key.endswith(".weight_scale_2") for key in header.shapes):
        return "nvfp4"
    absmax = any(key.endswith(".absmax") for key in header.shapes)
    return "int8" if "I8" in header.dtypes.values() else "bitsandbytes, 8 or 4 bits" if absmax else ""


def hidden(header: Header) -> str:
    """The packed format among these weights that cannot be unpacked while they load; empty when all can be."""
    packed, formats = quantisation(header), set(header.dtypes.values())
    if header.metadata.get("format") == "gguf":
        strange = sorted(formats - UNPACKED)
        return f"GGUF {strange[0]}" if strange else ""
    if formats & set(_NAMED) and formats <= _STORED and not any(_STATE in key for key in header.shapes):
        return "int8" if "I8" in formats else ""
    return "" if packed in ("fp8", "fp8, scaled") else packed


def require_unpacker(header: Header) -> None:
    """Refuse packed GGUF where the package that unpacks it is not installed; nothing is imported.

    Raises:
        EnvironmentProblem: it is not.
    """
    packed = quantisation(header)
    if packed.startswith("GGUF") and set(header.dtypes.values()) - PLAIN and find_spec("gguf") is None:
        raise EnvironmentProblem(
            f"{header.path.name} is packed ({packed}), and unpacking it needs the package gguf, which is not here.",
            'Run `python -m pip install "lorasmith[gguf]"`, or take the base in bf16 or fp16.',
        )


def said_of_size(header: Header, name: str, precision: str) -> Notice | None:
    """That packed weights take their full size in memory; None when they are plain.

    Args:
        header: of the base.
        name: of the base.
        precision: ``fp32``, ``fp16`` or ``bf16``, what its numbers become.
    """
    packed = quantisation(header)
    if not packed or packed == _PLAIN_GGUF or hidden(header):  # what cannot be unpacked is refused elsewhere
        return None
    count = sum(math.prod(shape) for shape in header.shapes.values()) * (4 if precision == "fp32" else 2)
    size = f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"
    return Notice(
        f"{name} is packed ({packed}) and is unpacked while it loads: its denoiser takes its full size in memory, "
        f"{size} in {precision}.",
        "Packing saves room on the disk here, not on the card.",
    )


def length(header: Header, key: str, axis: int) -> int | None:
    """The length of an axis before packing; None when the format hides it.

    A key that is not there has no length either.
    """
    shape = header.shapes.get(key)
    if shape is None:
        return None
    if header.dtypes.get(key) != "U8":
        return shape[axis] if axis < len(shape) else None
    if any(name in header.shapes for name in (f"{key}.absmax", f"{key}_scale", f"{key}.weight_scale")):
        if len(shape) == 2 and shape[1] > 1 and f"{key}_scale" in header.shapes:
            return shape[axis] * (2 if axis == 1 else 1)
        return _unflattened(header, key, math.prod(shape) * 2, axis)
    return shape[axis] if axis < len(shape) else None


def _unflattened(header: Header, key: str, count: int, axis: int) -> int | None:
    """The sides of a flattened matrix, from the bias beside it, which is never packed and as long as it has rows."""
    bias = header.shapes.get(f"{key.removesuffix('.weight')}.bias")
    if bias is None or len(bias) != 1 or not bias[0] or count % bias[0]:
        return None
    return bias[0] if axis == 0 else count // bias[0] if axis == 1 else None
