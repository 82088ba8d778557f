"""The tensors of a file that holds a denoiser alone, as diffusers takes them: plain names, plain numbers.

Scaled fp8 (a scale of the whole matrix or of each row beside it) becomes the numbers it stands for.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lorasmith.bases.recognition import PREFIXES
from lorasmith.errors import BaseError

if TYPE_CHECKING:
    from torch import Tensor

_SCALES: Final = ("scale_weight", "weight_scale")
_BESIDE: Final = (*_SCALES, "scale_input", "input_scale", "comfy_quant")
_MARK: Final = "scaled_fp8"
_PLAIN_FORMATS: Final = ("float8_e4m3fn", "float8_e5m2")


def tensors_of(path: Path, dtype: Any) -> dict[str, Tensor]:
    """All tensors of the file by their names without what stands before all of them, fp8 in ``dtype``.

    Raises:
        BaseError: damaged, or packed in a way that is not plain or scaled fp8.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path)
    except SafetensorError as cause:
        raise BaseError(f"{path.name} is damaged: {cause}.", "Download it again.") from cause
    longest = sorted(PREFIXES, key=len, reverse=True)
    named = [key for key in state if key != _MARK]
    beginning = next(prefix for prefix in longest if all(key.startswith(prefix) for key in named))
    state = {key.removeprefix(beginning): tensor for key, tensor in state.items()}
    small = (torch.float8_e4m3fn, torch.float8_e5m2)
    plain: dict[str, Tensor] = {}
    for key, tensor in state.items():
        stem, _, kind = key.rpartition(".")
        if kind == "comfy_quant":
            _refuse_unknown(path, stem, tensor)
        if kind in _BESIDE or key == _MARK:
            continue
        if tensor.dtype not in small:
            plain[key] = tensor
            continue
        scale = next((state[f"{stem}.{name}"] for name in _SCALES if f"{stem}.{name}" in state), None)
        whole = tensor.float() if scale is None or kind != "weight" else _scaled(path, key, tensor, scale)
        plain[key] = whole.to(dtype)
    return plain


def _scaled(path: Path, key: str, tensor: Tensor, scale: Tensor) -> Tensor:
    """A scale of the matrix, or one for each row."""
    if scale.numel() not in (1, tensor.shape[0]):
        raise BaseError(
            f"{path.name} scales {key} in a way that is not known here ({tuple(scale.shape)}).", "Take its bf16 form."
        )
    shape = (-1, *[1] * (tensor.ndim - 1)) if scale.numel() > 1 else ()
    scaled: Tensor = tensor.float() * scale.float().reshape(shape)
    return scaled


def _refuse_unknown(path: Path, stem: str, tensor: Tensor) -> None:
    try:
        said = json.loads(bytes(tensor.cpu().numpy().tobytes()))
        form = str(said.get("format", ""))
    except (ValueError, AttributeError):
        form = "unreadable"
    if form not in _PLAIN_FORMATS:
        raise BaseError(f"{path.name} packs {stem} as {form or 'something unnamed'}.", "Take its bf16 or fp16 form.")


def refuse_holes(path: Path, part: Any, class_name: str) -> None:
    """Refuse a denoiser some of whose parameters no tensor of the file has filled."""
    missing = [name for name, parameter in part.named_parameters() if parameter.is_meta]
    if missing:
        raise BaseError(
            f"{path.name} lacks {len(missing)} tensors of {class_name}, {missing[0]} first.", "Download it again."
        )
