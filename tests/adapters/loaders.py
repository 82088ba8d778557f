"""diffusers' own LoRA loaders on tiny random models of the real classes, and what they make of a file."""

# ruff: noqa: E501  tables: one model a line

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from lorasmith.adapters.algebra import Factors
from lorasmith.adapters.opened import open_adapter

Outcome = Literal["read", "nothing", "wrong", "error"]


@dataclass(frozen=True)
class Tiny:
    """A tiny model of a family."""

    family: str
    model: str
    mixin: str
    config: Mapping[str, Any] = field(default_factory=dict)
    part: str = "transformer"
    blocks: tuple[str, ...] = ("blocks", "layers")


_UNET = {
    "block_out_channels": (32, 64),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 2,
    "cross_attention_dim": 32,
    "attention_head_dim": 4,
    "norm_num_groups": 8,
    "sample_size": 16,
}
_FLUX = {"num_layers": 2, "num_single_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2, "in_channels": 4, "joint_attention_dim": 32}  # fmt: skip
TINY: tuple[Tiny, ...] = (
    Tiny("sd", "UNet2DConditionModel", "StableDiffusionLoraLoaderMixin", _UNET, "unet"),
    Tiny("sdxl", "UNet2DConditionModel", "StableDiffusionXLLoraLoaderMixin", _UNET, "unet"),
    Tiny("sd3", "SD3Transformer2DModel", "SD3LoraLoaderMixin", {"num_layers": 2, "attention_head_dim": 8, "num_attention_heads": 4, "caption_projection_dim": 32, "joint_attention_dim": 32, "pooled_projection_dim": 64, "in_channels": 4, "out_channels": 4, "sample_size": 16, "pos_embed_max_size": 16}),
    Tiny("flux", "FluxTransformer2DModel", "FluxLoraLoaderMixin", _FLUX | {"pooled_projection_dim": 32, "axes_dims_rope": (4, 4, 8), "guidance_embeds": True}),
    Tiny("chroma", "ChromaTransformer2DModel", "FluxLoraLoaderMixin", _FLUX | {"axes_dims_rope": (4, 4, 8), "approximator_num_channels": 8, "approximator_hidden_dim": 32, "approximator_layers": 1}),
    Tiny("flux2", "Flux2Transformer2DModel", "Flux2LoraLoaderMixin", _FLUX | {"axes_dims_rope": (4, 4, 4, 4), "timestep_guidance_channels": 32}),
    Tiny("qwen_image", "QwenImageTransformer2DModel", "QwenImageLoraLoaderMixin", {"num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2, "in_channels": 16, "out_channels": 4, "joint_attention_dim": 16, "axes_dims_rope": (8, 4, 4)}),
    Tiny("z_image", "ZImageTransformer2DModel", "ZImageLoraLoaderMixin", {"dim": 32, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2, "in_channels": 16, "cap_feat_dim": 16, "axes_dims": (8, 4, 4), "axes_lens": (64, 32, 32)}),
    Tiny("krea2", "Krea2Transformer2DModel", "Krea2LoraLoaderMixin", {"in_channels": 16, "num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 4, "num_key_value_heads": 1, "intermediate_size": 96, "timestep_embed_dim": 16, "text_hidden_dim": 32, "num_text_layers": 3, "text_num_attention_heads": 2, "text_num_key_value_heads": 2, "text_intermediate_size": 48, "num_layerwise_text_blocks": 1, "num_refiner_text_blocks": 1, "axes_dims_rope": (4, 6, 6)}),
    Tiny("lumina2", "Lumina2Transformer2DModel", "Lumina2LoraLoaderMixin", {"hidden_size": 48, "num_layers": 2, "num_refiner_layers": 1, "num_attention_heads": 6, "num_kv_heads": 2, "in_channels": 4, "cap_feat_dim": 16, "axes_dim_rope": (4, 2, 2), "axes_lens": (32, 32, 32), "multiple_of": 16}),
    Tiny("wan", "WanTransformer3DModel", "WanLoraLoaderMixin", {"num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 4, "out_channels": 4, "text_dim": 32, "freq_dim": 16, "ffn_dim": 48}),
    Tiny("ltx", "LTXVideoTransformer3DModel", "LTXVideoLoraLoaderMixin", {"num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 8, "cross_attention_dim": 16, "in_channels": 8, "out_channels": 8, "caption_channels": 16}),
    Tiny("hunyuan_video", "HunyuanVideoTransformer3DModel", "HunyuanVideoLoraLoaderMixin", {"num_layers": 2, "num_single_layers": 2, "num_refiner_layers": 1, "num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 4, "out_channels": 4, "text_embed_dim": 16, "pooled_projection_dim": 8, "rope_axes_dim": (4, 6, 6)}),
    Tiny("ltx2", "LTX2VideoTransformer3DModel", "LTX2LoraLoaderMixin", {"in_channels": 16, "out_channels": 16, "num_attention_heads": 2, "attention_head_dim": 16, "cross_attention_dim": 32, "audio_in_channels": 8, "audio_out_channels": 8, "audio_num_attention_heads": 2, "audio_attention_head_dim": 8, "audio_cross_attention_dim": 16, "num_layers": 2, "caption_channels": 32}),
    Tiny("qwen_image_21", "QwenImage21Transformer2DModel", "QwenImageLoraLoaderMixin", {"in_channels": 8, "out_channels": 8, "num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2, "context_in_dim": 32, "axes_dims_rope": (4, 6, 6)}),
)  # fmt: skip


def built(tiny: Tiny) -> torch.nn.Module:
    """The model, random, in fp32."""
    import diffusers

    torch.manual_seed(0)
    made: torch.nn.Module = getattr(diffusers, tiny.model)(**tiny.config)
    return made


def targets(tiny: Tiny, model: torch.nn.Module) -> dict[str, tuple[int, int]]:
    """The linear layers inside its blocks, but for modulations, as a usual LoRA has them."""
    return {
        name: (int(layer.weight.shape[0]), int(layer.weight.shape[1]))
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear)
        and any(f"{word}." in name for word in tiny.blocks)
        and ("attn" in name or "attention" in name or ".ff" in name or "feed_forward" in name or "ffn" in name)
        and "distilled" not in name
        and ".norm" not in name
        and "refiner" not in name
    }


def loaded(tiny: Tiny, model: torch.nn.Module, path: Path) -> Outcome:
    """What diffusers makes of a file: every update as the file says, none, another, or an error."""
    from diffusers.loaders import lora_pipeline

    mixin = getattr(lora_pipeline, tiny.mixin)
    rest = {"components": {}, "hf_device_map": None, "text_encoder": None, "text_encoder_2": None}
    holder = type("Holder", (mixin,), {**rest, tiny.part: model})()
    try:
        holder.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name="it")
    except (ValueError, KeyError, RuntimeError, AssertionError, IndexError):
        return "error"
    adapter = open_adapter(path, family=tiny.family)
    found: dict[str, torch.Tensor] = {}
    for name, layer in model.named_modules():
        if "it" in getattr(layer, "lora_A", {}):
            found[name] = layer.scaling["it"] * layer.lora_B["it"].weight @ layer.lora_A["it"].weight
    if not found:
        return "nothing"
    wanted: dict[str, Factors] = {name: adapter.layer_factors(layer) for (_, name), layer in adapter.layers.items()}
    if wanted.keys() != found.keys():
        return "wrong"
    for name, factors in wanted.items():
        product = factors.product()
        if np.abs(found[name].detach().numpy() - product).max() > 1e-4 * np.abs(product).max():
            return "wrong"
    return "read"
