"""VAEs out of single files: the names of their releases in diffusers' words, by its own converters where it has one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import Tensor

_MOVED: Final = {"decoder.post_quant_conv.": "post_quant_conv.", "encoder.quant_conv.": "quant_conv."}
# Wan 2.2's levels hold their layers below each other; 2.1's stand in one row, which diffusers' converter counts.
_WAN22_LEVEL: Final = re.compile(r"^(encoder|decoder)\.(down|up)samples\.(\d+)\.\2samples\.(\d+)\.(.+)$")
_WAN22_LAYER: Final = (
    ("residual.0.", "norm1."), ("residual.2.", "conv1."), ("residual.3.", "norm2."), ("residual.6.", "conv2."),
    ("shortcut.", "conv_shortcut."),
)  # fmt: skip


def named_for_diffusers(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """A VAE's tensors by diffusers' names, matrices where it has matrices.

    Args:
        tensors: by the names of a file, without what stands before all of them.
        config: of diffusers' class.
    """
    from diffusers.loaders import single_file_utils

    named = {
        next((new + key.removeprefix(old) for old, new in _MOVED.items() if key.startswith(old)), key): tensor
        for key, tensor in _flat(tensors).items()
    }
    if any(".mid_block." in key for key in named):
        return named
    if any(key.startswith("decoder.middle.") for key in named):
        own = dict(_of_wan22(key, tensor) for key, tensor in named.items() if _WAN22_LEVEL.match(key))
        rest = {key: tensor for key, tensor in named.items() if not _WAN22_LEVEL.match(key)}
        return own | dict(single_file_utils.convert_wan_vae_to_diffusers(rest))
    made = dict(single_file_utils.convert_ldm_vae_checkpoint(named, config))
    return made | {key: tensor for key, tensor in named.items() if key.startswith("bn.")}


def _of_wan22(key: str, tensor: Tensor) -> tuple[str, Tensor]:
    match = _WAN22_LEVEL.match(key)
    assert match is not None
    side, way, level, number, layer = match.groups()
    start = f"{side}.{way}_blocks.{level}"
    for old, new in _WAN22_LAYER:
        if layer.startswith(old):
            return f"{start}.resnets.{number}.{new}{layer.removeprefix(old)}", tensor
    return f"{start}.{way}sampler.{layer}", tensor


def _flat(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Attention as matrices, which a release has as convolutions of one pixel."""
    return {
        key: tensor[..., 0, 0] if tensor.ndim == 4 and ".attn_1." in key and tensor.shape[-1] == 1 else tensor
        for key, tensor in tensors.items()
    }
