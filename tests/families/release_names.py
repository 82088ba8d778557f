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
