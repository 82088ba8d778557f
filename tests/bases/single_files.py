"""Files of one denoiser: tensors in the original release's names, or a header whose tensors were never written."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from tests.adapters.layer_table import _order
from tests.bases.originals import original

_SWAPPED = ("norm_out.linear", "norm1_context.linear")
_SWAPPING = ("sd3", "flux", "flux2", "hunyuan_video")


def write_empty(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Path:
    """A safetensors file of these shapes in bf16; its data is a hole, which takes no room on a disk."""
    header, end = {}, 0
    for key, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[key] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        stream.truncate(8 + len(text) + end)
    return path


def original_tensors(rules: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A denoiser's tensors in original names: fused ones below each other, halves where the original has them."""
    found: dict[str, list[str]] = {}
    for key, tensor in state.items():
        (name,) = (n for n in original(rules, {key: tuple(tensor.shape)}) if n != "norm_out.weight")
        found.setdefault(name, []).append(key)
    made: dict[str, Tensor] = {}
    for name, keys in found.items():
        keys.sort(key=lambda key: _order(key.rpartition(".")[0]))
        whole = torch.cat([state[key] for key in keys]) if len(keys) > 1 else state[keys[0]]
        width = state[f"{keys[0].rpartition('.')[0]}.weight"].shape[-1] if keys[0].endswith((".weight", ".bias")) else 0
        made[name.removeprefix("net.")] = _halves(rules, keys[0], whole, width).contiguous()
    return made


def _halves(rules: str, key: str, tensor: Tensor, width: int) -> Tensor:
    """The output's modulation has scale and shift the other way round."""
    if (
        rules not in _SWAPPING
        or "refiner" in key
        or not key.rpartition(".")[0].endswith(_SWAPPED)
        or tensor.shape[0] != 2 * width
    ):
        return tensor
    first, second = tensor.chunk(2)
    return torch.cat([second, first])
