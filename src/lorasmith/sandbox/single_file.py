"""Converts a Stable Diffusion in diffusers layout into the original single-file layout.

The original names are those of the code that accompanied Rombach et al. 2022: ``model.diffusion_model`` is the UNet,
``first_stage_model`` the VAE, ``cond_stage_model`` the text encoder. Only names change, and the VAE's attention
matrices, which are 1x1 convolutions there. A file holds no configs, so they and the tokenizer are put beside it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorasmith.bases.original_layout import original_unet_module, unet_blocks
from lorasmith.bases.reading import read_configs, weight_files
from lorasmith.errors import BaseError

if TYPE_CHECKING:
    from torch import Tensor

_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def write_single_file(pipeline_folder: Path, out: Path, *, with_configs: bool = True) -> Path:
    """Write the weights of ``pipeline_folder`` as one original-layout ``.safetensors`` file, number format kept.

    ``with_configs`` puts the configs and the tokenizer into a folder of the file's name beside it, where
    ``open_base`` looks for them. Returns ``out``.

    Raises:
        BaseError: the folder is not such a pipeline, or a tensor has no place in the original layout.
    """
    from safetensors.torch import save_file

    configs = read_configs(pipeline_folder)
    tensors: dict[str, Tensor] = {}
    for name, tensor in _read(pipeline_folder / "unet").items():
        tensors[_unet_name(name, unet_blocks(configs["unet"]))] = tensor
    levels = len(configs["vae"]["block_out_channels"])
    for name, tensor in _read(pipeline_folder / "vae").items():
        original = _vae_name(name, levels)
        as_convolution = ".attn_1." in original and tensor.ndim == 2
        tensors[original] = tensor[:, :, None, None].contiguous() if as_convolution else tensor
    for name, tensor in _read(pipeline_folder / "text_encoder").items():
        inner = name.removeprefix("text_model.")  # absent since transformers 5.6
        tensors[f"cond_stage_model.transformer.text_model.{inner}"] = tensor
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.tmp")
    save_file(tensors, temporary, metadata={"format": "pt"})
    temporary.replace(out)
    if with_configs:
        _copy_configs(pipeline_folder, out.with_suffix(""))
    return out


def _read(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = {}
    for file in weight_files(folder):
        tensors.update(load_file(file))
    return tensors


def _unet_name(name: str, blocks: Mapping[str, Any]) -> str:
    module, _, kind = name.rpartition(".")
    original = original_unet_module(module, blocks)
    if original is None:
        raise BaseError(f"The UNet's '{name}' has no place in the original layout.", "Keep this base as a folder.")
    return f"model.diffusion_model.{original}.{kind}"


def _vae_name(name: str, levels: int) -> str:
    """``encoder.down_blocks.0.resnets.1.conv1.weight`` becomes ``encoder.down.0.block.1.conv1.weight`` and so on.

    The decoder's levels are counted from the finest in the original, from the coarsest in diffusers.
    """
    side, *rest = name.split(".")
    if side not in ("encoder", "decoder"):
        return f"first_stage_model.{name}"  # quant_conv, post_quant_conv
    if rest[0] == "conv_norm_out":
        rest[0] = "norm_out"
    elif rest[0] in ("down_blocks", "up_blocks"):
        down = rest[0] == "down_blocks"
        level = int(rest[1]) if down else levels - 1 - int(rest[1])
        word = {"resnets": "block", "downsamplers": "downsample", "upsamplers": "upsample"}[rest[2]]
        tail = rest[3:] if rest[2] == "resnets" else rest[4:]
        rest = ["down" if down else "up", str(level), word, *tail]
        rest = ["nin_shortcut" if piece == "conv_shortcut" else piece for piece in rest]
    elif rest[0] == "mid_block":
        if rest[1] == "resnets":
            rest = ["mid", f"block_{int(rest[2]) + 1}", *rest[3:]]
        else:
            layer, _, kind = ".".join(rest[3:]).rpartition(".")
            rest = ["mid", "attn_1", _VAE_ATTENTION[layer], kind]
    return ".".join(["first_stage_model", side, *rest])


def _copy_configs(source: Path, target: Path) -> None:
    """Every config and the tokenizer, no weights."""
    if target == source:
        return
    for file in sorted(source.rglob("*")):
        if file.suffix in (".json", ".txt") and not file.name.endswith(".index.json"):
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
