"""The tensors of packed files as torch has them: what is plain stays as it is, the rest becomes numbers of the run.

One tensor after another is unpacked into the number format of the run, a large one by groups of rows, so that loading
takes the memory of the unpacked weights and little more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lorasmith.bases.tensors import WeightsFile
from lorasmith.errors import BaseError

if TYPE_CHECKING:
    from torch import Tensor

_AT_ONCE: Final = 4_000_000  # numbers that are unpacked together, 16 MB in fp32


def unpacked(path: Path, dtype: Any, wanted: Callable[[str], bool] | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors or GGUF file by their full names: packed ones in ``dtype``, plain ones as they are.

    Args:
        path: of the file.
        dtype: torch's, of what was packed.
        wanted: which names; left out, all.

    Raises:
        BaseError: damaged, cut short, or packed in a way that is not known here.
    """
    file = WeightsFile.open(path)
    names = [key for key in file.shapes if wanted is None or wanted(key)]
    if file.metadata.get("format") == "gguf":
        return {key: _plain(file, key) if file.is_plain(key) else _filled(file, key, dtype) for key in names}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as plain:
            return {key: plain.get_tensor(key) if file.is_plain(key) else _filled(file, key, dtype) for key in names}
    except SafetensorError as cause:
        raise BaseError(f"{path.name} is damaged: {cause}.", "Download it again.") from cause


def _plain(file: WeightsFile, key: str) -> Tensor:
    import torch

    form = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}.get(file.formats[key])
    values = torch.from_numpy(np.array(file.rows(key)))
    return values if form is None else values.to(form)


def _filled(file: WeightsFile, key: str, dtype: Any) -> Tensor:
    import torch

    shape = file.shapes[key]
    if len(shape) < 2:
        return torch.from_numpy(np.array(file.rows(key), dtype=np.float32)).to(dtype)
    whole = torch.empty(shape, dtype=dtype)
    step = max(1, _AT_ONCE // max(1, math.prod(shape[1:])))
    for first in range(0, shape[0], step):
        last = min(first + step, shape[0])
        values = np.ascontiguousarray(file.rows(key, first, last), dtype=np.float32)
        whole[first:last] = torch.from_numpy(values).to(dtype)
    return whole
