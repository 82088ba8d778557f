"""The tensors of a file that holds a denoiser alone, as diffusers takes them: plain names, plain numbers.

Scaled fp8 (a scale of the whole matrix or of each row beside it), GGUF and 4 bits become the numbers they stand for.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lorasmith.bases.four_bits import BESIDE, STATE, FourBits, matrices
from lorasmith.bases.header import read_safetensors_header
from lorasmith.bases.recognition import PREFIXES
from lorasmith.errors import BaseError
from lorasmith.families.unpacking import four_bit_tensor, gguf_tensors

if TYPE_CHECKING:
    from torch import Tensor

_SCALES: Final = ("scale_weight", "weight_scale")
_BESIDE: Final = (*_SCALES, "scale_input", "input_scale", "comfy_quant")
_MARK: Final = "scaled_fp8"
_PLAIN_FORMATS: Final = ("float8_e4m3fn", "float8_e5m2")


def tensors_of(path: Path, dtype: Any) -> dict[str, Tensor]:
    """All tensors of the file by their names without what stands before all of them, packed ones in ``dtype``.

    Raises:
        BaseError: damaged, or packed in a way that is not known here.
    """
    if path.suffix.lower() == ".gguf":
        tensors = gguf_tensors(path, dtype)
        beginning = _beginning(tensors)
        return {key.removeprefix(beginning): tensor for key, tensor in tensors.items()}
    from safetensors import SafetensorError, safe_open

    shapes, dtypes, _ = read_safetensors_header(path)
    packed = matrices(path, shapes, dtypes)
    beginning = _beginning(shapes)
    plain: dict[str, Tensor] = {}
    try:
        with safe_open(path, framework="pt") as file:
            for key in shapes:
                tensor = _read(path, file, key, packed, shapes, dtype)
                if tensor is not None:
                    plain[key.removeprefix(beginning)] = tensor
    except SafetensorError as cause:
        raise BaseError(f"{path.name} is damaged: {cause}.", "Download it again.") from cause
    return plain


def _read(
    path: Path, file: Any, key: str, packed: Mapping[str, FourBits], names: Container[str], dtype: Any
) -> Tensor | None:
    """One tensor as plain numbers; None for what stands beside another one."""
    import torch

    stem, _, kind = key.rpartition(".")
    if kind == "comfy_quant":
        _refuse_unknown(path, stem, file.get_tensor(key))
    if kind in _BESIDE or key == _MARK or STATE in key or (stem in packed and kind in BESIDE):
        return None
    tensor: Tensor = file.get_tensor(key)
    if key in packed:
        beside = {word: f"{key}.{word}" for word in BESIDE if f"{key}.{word}" in names}
        pieces = {word: file.get_tensor(name) for word, name in beside.items()}
        return four_bit_tensor(packed[key], {"": tensor, **pieces}, dtype)
    if tensor.dtype not in (torch.float8_e4m3fn, torch.float8_e5m2):
        return tensor
    scale = next((file.get_tensor(f"{stem}.{name}") for name in _SCALES if f"{stem}.{name}" in names), None)
    whole = tensor.float() if scale is None or kind != "weight" else _scaled(path, key, tensor, scale)
    return whole.to(dtype)


def _beginning(names: Iterable[str]) -> str:
    """What stands before all names, of what programs put there."""
    named = [key for key in names if key != _MARK]
    longest = sorted(PREFIXES, key=len, reverse=True)
    return next(prefix for prefix in longest if all(key.startswith(prefix) for key in named))


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
