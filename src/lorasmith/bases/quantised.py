"""Packed number formats: which one a header shows, and how long an axis was before packing.

fp8 and int8 keep shapes. bitsandbytes' nf4 and fp4 flatten a matrix to (n / 2, 1) bytes with a ``quant_state`` beside
it; nvfp4 keeps the rows and halves the columns. GGUF headers tell true shapes (``gguf`` turns their order around).
"""

from __future__ import annotations

import math
from collections import Counter

from lorasmith.bases.header import Header

_SCALES = (".scale_weight", ".weight_scale", ".scale_input", ".input_scale")
_STATE = ".quant_state.bitsandbytes__"


def quantisation(header: Header) -> str:
    """The packed format of these weights in words; empty when the numbers are plain (fp32, fp16, bf16)."""
    if header.metadata.get("format") == "gguf":
        kinds = Counter(kind for kind in header.dtypes.values() if kind not in ("F32", "F16", "BF16"))
        return f"GGUF {kinds.most_common(1)[0][0]}" if kinds else "GGUF, not quantised"
    states = [key.partition(_STATE)[2] for key in header.shapes if _STATE in key]
    if states:
        return states[0]  # nf4, fp4
    scaled = any(key.endswith(_SCALES) or key.rpartition(".")[2] == "scaled_fp8" for key in header.shapes)
    formats = set(header.dtypes.values())
    if any(key.endswith(".weight_scale_2") for key in header.shapes):
        return "nvfp4"
    if formats & {"F8_E4M3", "F8_E5M2"}:
        return "fp8, scaled" if scaled else "fp8"
    absmax = any(key.endswith(".absmax") for key in header.shapes)
    return "int8" if "I8" in formats else "bitsandbytes, 8 or 4 bits" if absmax else ""


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
