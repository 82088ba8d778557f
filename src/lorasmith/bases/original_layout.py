"""Where a UNet's modules lie in the original single-file layout of Rombach et al. (``input_blocks`` and so on).

The original code numbers all blocks of the way down, and of the way up, in one row: first the input convolution,
then every level's layers and its downsampler. diffusers groups them by level instead. Single-file conversion and
the user interfaces' key maps both rest on this table, and loading a converted file through diffusers proves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def unet_blocks(config: Mapping[str, Any]) -> dict[str, str]:
    """Prefix of every block in diffusers' names, with its prefix in the original layout.

    ``config`` is the UNet's: ``down_block_types``, ``up_block_types`` and ``layers_per_block`` (one number or one per
    level) are read. Keys end in ``resnets.0``, ``attentions.0``, ``downsamplers.0.conv`` and the like.
    """
    down, up = list(config["down_block_types"]), list(config["up_block_types"])
    layers = config.get("layers_per_block", 2)
    per_level = [layers] * len(down) if isinstance(layers, int) else list(layers)
    blocks: dict[str, str] = {}
    position = 1  # 0 is conv_in
    for level, kind in enumerate(down):
        for layer in range(per_level[level]):
            blocks[f"down_blocks.{level}.resnets.{layer}"] = f"input_blocks.{position}.0"
            if "CrossAttn" in kind:
                blocks[f"down_blocks.{level}.attentions.{layer}"] = f"input_blocks.{position}.1"
            position += 1
        if level < len(down) - 1:
            blocks[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{position}.0.op"
            position += 1
    for index, place in ((0, 0), (1, 2)):
        blocks[f"mid_block.resnets.{index}"] = f"middle_block.{place}"
    blocks["mid_block.attentions.0"] = "middle_block.1"
    position = 0
    for level, (kind, count) in enumerate(zip(up, reversed(per_level), strict=True)):
        attends = "CrossAttn" in kind
        for layer in range(count + 1):
            blocks[f"up_blocks.{level}.resnets.{layer}"] = f"output_blocks.{position}.0"
            if attends:
                blocks[f"up_blocks.{level}.attentions.{layer}"] = f"output_blocks.{position}.1"
            if layer == count and level < len(up) - 1:
                blocks[f"up_blocks.{level}.upsamplers.0.conv"] = f"output_blocks.{position}.{2 if attends else 1}.conv"
            position += 1
    return blocks


def original_unet_module(module: str, blocks: Mapping[str, str]) -> str | None:
    """The original name of one module (dotted, diffusers' name, no ``.weight``); None when it has none."""
    if module in _OUTSIDE:
        return _OUTSIDE[module]
    if module in blocks:
        return blocks[module]
    pieces = module.split(".")
    for cut in range(len(pieces) - 1, 0, -1):
        prefix, rest = ".".join(pieces[:cut]), ".".join(pieces[cut:])
        if prefix not in blocks:
            continue
        if ".resnets." in prefix:
            return f"{blocks[prefix]}.{_RESNET[rest]}" if rest in _RESNET else None
        return f"{blocks[prefix]}.{rest}"  # inside an attention block both layouts use the same names
    return None
