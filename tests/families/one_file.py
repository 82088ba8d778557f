"""SDXL in one file, as it was released: small, but with the widths by which it is told."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lorasmith.bases.original_layout import unet_blocks
from lorasmith.bases.reading import read_configs
from lorasmith.sandbox.single_file import _unet_name, _vae_name
from tests.families.tiny import small_clip, small_vae
from tests.families.words import clip_tokenizer

_ADDED = {"add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2"}
_LAYER = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip


def build_wide_sdxl(folder: Path) -> Any:
    from diffusers import DDIMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    words = clip_tokenizer(folder)
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(16, 32, 32), layers_per_block=2, attention_head_dim=(2, 4, 4),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=1, cross_attention_dim=2048, use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=8, norm_num_groups=8,
        projection_class_embeddings_input_dim=6 * 8 + 1280,
    )  # fmt: skip
    return StableDiffusionXLPipeline(
        vae=small_vae(4, scaling_factor=0.13025), unet=unet, tokenizer=words, tokenizer_2=words,
        text_encoder=small_clip("CLIPTextModel", 768, words, num_attention_heads=12, hidden_act="quick_gelu",
                                num_hidden_layers=2, intermediate_size=64),
        text_encoder_2=small_clip("CLIPTextModelWithProjection", 1280, words, hidden_act="gelu", num_hidden_layers=2,
                   intermediate_size=64, num_attention_heads=20),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1),
        add_watermarker=False,
    )  # fmt: skip


def write_sdxl_file(folder: Path, out: Path) -> Path:
    """One file with the names of the original release, and the configs and tokenizers in a folder beside it."""
    configs, tensors = read_configs(folder), dict[str, Tensor]()
    for name, tensor in _read(folder / "unet").items():
        module, _, kind = name.rpartition(".")
        original = f"model.diffusion_model.{_ADDED[module]}.{kind}" if module in _ADDED else ""
        tensors[original or _unet_name(name, unet_blocks(configs["unet"]))] = tensor
    for name, tensor in _read(folder / "vae").items():
        original = _vae_name(name, len(configs["vae"]["block_out_channels"]))
        tensors[original] = tensor[:, :, None, None] if ".attn_1." in original and tensor.ndim == 2 else tensor
    for name, tensor in _read(folder / "text_encoder").items():
        inner = name.removeprefix("text_model.")
        tensors[f"conditioner.embedders.0.transformer.text_model.{inner}"] = tensor
    for name, tensor in _open_clip(_read(folder / "text_encoder_2")).items():
        tensors[f"conditioner.embedders.1.model.{name}"] = tensor
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, out, metadata={"format": "pt"})
    for part in ("model_index.json", "scheduler", "tokenizer", "tokenizer_2"):
        (shutil.copytree if (folder / part).is_dir() else _copy)(folder / part, out.with_suffix("") / part)
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        _copy(folder / part / "config.json", out.with_suffix("") / part / "config.json")
    return out


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _open_clip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The second encoder in OpenCLIP's words: one matrix for q, k and v, a projection that is turned."""
    found: dict[str, Tensor] = {}
    plain = {name.removeprefix("text_model."): tensor for name, tensor in state.items()}
    for name, tensor in plain.items():
        if name.startswith("encoder.layers."):
            number, _, rest = name.removeprefix("encoder.layers.").partition(".")
            module, _, kind = rest.rpartition(".")
            here = f"transformer.resblocks.{number}"
            if module == "self_attn.q_proj":
                three = [plain[name.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
                found[f"{here}.attn.in_proj_{kind}"] = torch.cat(three)
            elif module in _LAYER:
                found[f"{here}.{_LAYER[module]}.{kind}"] = tensor
    found["token_embedding.weight"] = plain["embeddings.token_embedding.weight"]
    found["positional_embedding"] = plain["embeddings.position_embedding.weight"]
    found["ln_final.weight"], found["ln_final.bias"] = plain["final_layer_norm.weight"], plain["final_layer_norm.bias"]
    found["text_projection"] = plain["text_projection.weight"].T
    return found


def _read(folder: Path) -> dict[str, Tensor]:
    return load_file(next(folder.glob("*.safetensors")))
