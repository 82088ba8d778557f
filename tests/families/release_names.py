"""Parts of tiny bases in the names of their published files, as the releases and ComfyUI have them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

State = dict[str, Tensor]
_WAN_LAYER = {
    "norm1": "residual.0", "conv1": "residual.2", "norm2": "residual.3", "conv2": "residual.6",
    "conv_shortcut": "shortcut",
}  # fmt: skip
_WAN_OUTSIDE = (
    (r"^quant_conv\.", "conv1."), (r"^post_quant_conv\.", "conv2."), (r"coder\.conv_in\.", "coder.conv1."),
    (r"\.norm_out\.", ".head.0."), (r"\.conv_out\.", ".head.2."), (r"\.mid_block\.resnets\.0\.", ".middle.0."),
    (r"\.mid_block\.attentions\.0\.", ".middle.1."), (r"\.mid_block\.resnets\.1\.", ".middle.2."),
)  # fmt: skip


def wan_vae(state: Mapping[str, Tensor], residual: bool) -> State:
    """Wan's VAE: 2.1 has the layers of all levels in one row, 2.2 (``residual``) those of each level in its own."""
    found: State = {}
    for key, tensor in state.items():
        name = key
        for old, new in _WAN_LAYER.items():
            name = re.sub(rf"\.{old}\.(?=\w+$)", f".{new}.", name)
        for old, new in _WAN_OUTSIDE:
            name = re.sub(old, new, name)
        found[re.sub(r"\.(down|up)_blocks\.(\d+)\.(.+)$", _residual if residual else _in_a_row, name)] = tensor
    return found


def _residual(match: re.Match[str]) -> str:
    way, level, rest = match.groups()
    inside = re.match(r"resnets\.(\d+)\.(.+)", rest)
    if inside is not None:
        return f".{way}samples.{level}.{way}samples.{inside[1]}.{inside[2]}"
    last = 2 if way == "down" else 3  # after two layers on the way down and three on the way up
    return f".{way}samples.{level}.{way}samples.{last}.{rest.partition('.')[2]}"


def _in_a_row(match: re.Match[str]) -> str:
    way, level, rest = match.groups()
    if way == "down":
        return f".downsamples.{level}.{rest}"
    inside = re.match(r"(resnets|upsamplers)\.(\d+)\.(.+)", rest)
    assert inside is not None
    number = 4 * int(level) + (int(inside[2]) if inside[1] == "resnets" else 3)
    return f".upsamples.{number}.{inside[3]}"


def t5(state: Mapping[str, Tensor]) -> State:
    return {key: tensor for key, tensor in state.items() if "embed_tokens" not in key}


def clip_vision(state: Mapping[str, Tensor]) -> State:
    """With the projection that its file has and nobody here uses."""
    named = {f"vision_model.{key.removeprefix('vision_model.')}": tensor for key, tensor in state.items()}
    first = next(tensor for tensor in named.values() if tensor.ndim == 2)
    return {**named, "visual_projection.weight": first.clone()}


_LTX_DECODER = {
    "mid_block": 0, "up_blocks.0": 1, "up_blocks.1.upsamplers.0": 2, "up_blocks.1": 3, "up_blocks.2.conv_in": 4,
    "up_blocks.2.upsamplers.0": 5, "up_blocks.2": 6, "up_blocks.3.conv_in": 7, "up_blocks.3.upsamplers.0": 8,
    "up_blocks.3": 9,
}  # fmt: skip
_LTX_ENCODER = {
    "down_blocks.0.downsamplers.0": 1, "down_blocks.0.conv_out": 2, "down_blocks.0": 0,
    "down_blocks.1.downsamplers.0": 4,
    "down_blocks.1.conv_out": 5, "down_blocks.1": 3, "down_blocks.2.downsamplers.0": 7, "down_blocks.2": 6,
    "down_blocks.3": 8, "mid_block": 9,
}  # fmt: skip
_LTX_INSIDE = (
    (".resnets.", ".res_blocks."), ("conv_shortcut.conv.", "conv_shortcut."), (".norm3.", ".norm3.norm."),
    ("latents_mean", "per_channel_statistics.mean-of-means"), ("latents_std", "per_channel_statistics.std-of-means"),
)  # fmt: skip


def ltx_vae(state: Mapping[str, Tensor]) -> State:
    """The VAE of LTX-Video 0.9.0, with the statistics that its file has and nobody here uses."""
    found: State = {}
    for key, tensor in state.items():
        side, _, rest = key.partition(".")
        blocks = _LTX_DECODER if side == "decoder" else _LTX_ENCODER if side == "encoder" else {}
        way = "up_blocks" if side == "decoder" else "down_blocks"
        begun = max((b for b in blocks if rest.startswith(f"{b}.")), key=len, default="")
        name = f"{side}.{way}.{blocks[begun]}{rest.removeprefix(begun)}" if begun else key
        for old, new in _LTX_INSIDE:
            name = name.replace(old, new)
        found[name] = tensor
    means = found["per_channel_statistics.mean-of-means"]
    return {**found, "per_channel_statistics.mean-of-stds": means.clone(), "per_channel_statistics.channel": means}


_HUNYUAN = (
    (r"\.down_blocks\.(\d)\.resnets\.", r".down.\1.block."), (r"\.mid_block\.attentions\.0\.", ".mid.attn_1."),
    (r"\.down_blocks\.(\d)\.downsamplers\.0\.", r".down.\1.downsample."),
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."), (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"conv_norm_out", "norm_out"), (r"group_norm", "norm"), (r"\.to_([qkv])\.", r".\1."),
    (r"\.to_out\.0\.", ".proj_out."),
)  # fmt: skip


def hunyuan_vae(state: Mapping[str, Tensor]) -> State:
    """HunyuanVideo's VAE as ComfyUI writes it: levels up from the last, attention as convolutions of one position."""
    found: State = {}
    for key, tensor in state.items():
        name = key
        for old, new in _HUNYUAN:
            name = re.sub(old, new, name)
        match = re.match(r"decoder\.up_blocks\.(\d)\.(resnets|upsamplers\.0)\.(.+)", name)
        if match is not None:
            name = f"decoder.up.{3 - int(match[1])}.{'block' if match[2] == 'resnets' else 'upsample'}.{match[3]}"
        found[name] = tensor[:, :, None, None, None] if ".attn_1." in name and tensor.ndim == 2 else tensor
    return found


def language(state: Mapping[str, Tensor]) -> State:
    return {f"model.{key}": tensor for key, tensor in state.items()}


def language_with_eyes(state: Mapping[str, Tensor]) -> State:
    """ComfyUI's: the language is ``model``, the eyes stand beside it."""
    return {
        key.removeprefix("model.").replace("language_model.", "model.") if key != "lm_head.weight" else key: tensor
        for key, tensor in state.items()
    }


def clip(state: Mapping[str, Tensor]) -> State:
    return {f"text_model.{key.removeprefix('text_model.')}": tensor for key, tensor in state.items()}
