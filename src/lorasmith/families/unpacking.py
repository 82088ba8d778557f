"""Tensors of packed files as the numbers they stand for: GGUF, and the 4 bits of bitsandbytes (NF4, FP4).

One tensor after another is unpacked into the number format of the run, a large one by groups of rows, so that loading
takes the memory of the unpacked weights and little more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lorasmith.bases.four_bits import FourBits
from lorasmith.bases.gguf import BLOCKS, PLAIN, Stored, read_gguf
from lorasmith.errors import BaseError

if TYPE_CHECKING:
    from torch import Tensor

_AT_ONCE: Final = 4_000_000  # numbers that are unpacked together, 16 MB in fp32


def gguf_tensors(path: Path, dtype: Any) -> dict[str, Tensor]:
    """All tensors of a GGUF file: packed ones in ``dtype``, plain ones as they are.

    Raises:
        BaseError: damaged, cut short, or packed in a way that is not known here.
    """
    header, places = read_gguf(path)
    strange = sorted(set(header.shapes) - set(places))
    if strange:
        kind = header.dtypes[strange[0]]
        raise BaseError(f"{path.name} packs {strange[0]} as {kind}, which is not known here.", "Take its bf16 form.")
    content = np.memmap(path, np.uint8, mode="r")
    return {
        key: _unpacked(content[place.begin : place.begin + place.size], place, header.shapes[key], dtype)
        for key, place in places.items()
    }


def _unpacked(raw: np.ndarray[Any, Any], place: Stored, shape: tuple[int, ...], dtype: Any) -> Tensor:
    import torch

    if place.kind in PLAIN:
        form = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[place.kind]
        plain = torch.empty(math.prod(shape), dtype=form)
        plain.view(torch.uint8).numpy()[:] = raw
        return plain.reshape(shape)
    from gguf import GGMLQuantizationType, dequantize

    kind = GGMLQuantizationType[place.kind]
    numbers, width = BLOCKS[place.kind]
    whole = torch.empty(math.prod(shape), dtype=dtype)
    blocks = raw.reshape(-1, width)
    step = _AT_ONCE // numbers
    for first in range(0, len(blocks), step):
        some = np.ascontiguousarray(blocks[first : first + step])
        values = torch.from_numpy(np.ascontiguousarray(dequantize(some, kind), dtype=np.float32)).reshape(-1)
        whole[first * numbers : first * numbers + len(values)] = values.to(dtype)
    return whole.reshape(shape)


def four_bit_tensor(packed: FourBits, pieces: Mapping[str, Tensor], dtype: Any) -> Tensor:
    """A matrix that bitsandbytes packed, in ``dtype``.

    Args:
        packed: how, see ``bases.four_bits``.
        pieces: the bytes under ``""``, and what stands beside them by its word: ``absmax``, ``quant_map`` ...
        dtype: torch's, of the result.
    """
    import torch

    raw = pieces[""].numpy().reshape(-1)
    meaning = pieces["quant_map"].numpy()
    scales = pieces["absmax"].numpy().reshape(-1)
    if packed.nested:
        numbers = pieces["nested_quant_map"].numpy()[scales]
        outer = np.repeat(pieces["nested_absmax"].numpy().reshape(-1), packed.nested)[: len(scales)]
        scales = numbers * outer + np.float32(packed.offset)
    count = math.prod(packed.shape)
    whole = torch.empty(count, dtype=dtype)
    step = max(1, _AT_ONCE // packed.block) * packed.block
    for first in range(0, count, step):
        last = min(first + step, count)
        some = raw[first // 2 : -(-last // 2)]
        halves = np.stack((some >> 4, some & 15), axis=1).reshape(-1)[first % 2 :][: last - first]
        scale = np.repeat(scales[first // packed.block : -(-last // packed.block)], packed.block)[: last - first]
        whole[first:last] = torch.from_numpy(meaning[halves] * scale).to(dtype)
    return whole.reshape(packed.shape)
