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
    if any(".up_blocks.0.res_blocks." in key for key in named):
        told = {f"vae.{key}": tensor for key, tensor in named.items()}
        return dict(single_file_utils.convert_ltx_vae_checkpoint_to_diffusers(told))
    if "decoder.mid.block_1.conv1.conv.weight" in named:
        return dict(_of_hunyuan(key, tensor) for key, tensor in named.items())
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


_HUNYUAN: Final = (
    (r"\.down\.(\d+)\.block\.", r".down_blocks.\1.resnets."),
    (r"\.down\.(\d+)\.downsample\.", r".down_blocks.\1.downsamplers.0."),
    (r"\.mid\.attn_1\.", ".mid_block.attentions.0."), (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."), (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"coder\.norm_out\.", "coder.conv_norm_out."), (r"(attentions\.0)\.norm\.", r"\1.group_norm."),
    (r"(attentions\.0)\.([qkv])\.", r"\1.to_\2."), (r"(attentions\.0)\.proj_out\.", r"\1.to_out.0."),
)  # fmt: skip
_LEVELS: Final = 4


def _of_hunyuan(key: str, tensor: Tensor) -> tuple[str, Tensor]:
    """ComfyUI's names of HunyuanVideo's VAE, whose levels on the way up count from the last."""
    for old, new in _HUNYUAN:
        key = re.sub(old, new, key)
    match = re.match(r"decoder\.up\.(\d+)\.(block|upsample)\.(.+)$", key)
    if match is not None:
        level = _LEVELS - 1 - int(match[1])
        key = f"decoder.up_blocks.{level}.{'resnets' if match[2] == 'block' else 'upsamplers.0'}.{match[3]}"
    return key, tensor[..., 0, 0, 0] if tensor.ndim == 5 and ".attentions.0." in key else tensor


def _flat(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Attention as matrices, which a release has as convolutions of one pixel."""
    return {
        key: tensor[..., 0, 0] if tensor.ndim == 4 and ".attn_1." in key and tensor.shape[-1] == 1 else tensor
        for key, tensor in tensors.items()
    }
