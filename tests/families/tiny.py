"""A tiny whole base of every family: the real classes, the real configs shrunk, random weights (seed 0)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tests.families.words import clip_tokenizer

Build = Callable[[Path], Any]


@dataclass(frozen=True)
class Record:
    """What the contract tests know of one family; everything else they ask the family."""

    family: str
    pipeline: str
    build: Build
    """Makes the pipeline; the folder is for its tokenizers."""
    side: int = 64
    call: dict[str, Any] = field(default_factory=dict)
    """What the pipeline is called with so that it asks its denoiser once, without a second, unguided pass."""
    sigmas: bool = True
    """Whether the pipeline lets itself be told its noise levels."""
    frames: bool = False
    """Whether the VAE takes clips."""
    full: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    """By variant: class and published config of the denoiser at full size."""
    modules: dict[str, int] = field(default_factory=dict)
    """By variant: layers of the default preset at full size, counted from the published structure."""


def make(record: Record, folder: Path) -> Path:
    """Build and save the tiny base; the folder it lies in."""
    base = folder / record.family
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipe = record.build(folder / "tokenizers")
        for name, part in pipe.components.items():
            if name in ("transformer", "unet"):
                _wake(part)
    pipe.save_pretrained(base)
    return base


def _wake(denoiser: Any) -> None:
    """Give zero-initialised layers numbers, so that everything inside has a say in the output."""
    for parameter in denoiser.parameters():
        if parameter.ndim > 1 and not parameter.detach().any():
            torch.nn.init.normal_(parameter, std=0.02)


def small_vae(channels: int, **changes: Any) -> Any:
    """An AutoencoderKL of eight-fold reduction."""
    from diffusers import AutoencoderKL

    config: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (8, 8, 8, 8),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "latent_channels": channels,
    }
    return AutoencoderKL(**(config | changes))


def small_clip(kind: str, width: int, tokenizer: Any, **changes: Any) -> Any:
    import transformers

    config: dict[str, Any] = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "projection_dim": width,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 77,
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return getattr(transformers, kind)(transformers.CLIPTextConfig(**(config | changes)))


def build_sdxl(folder: Path) -> Any:
    from diffusers import DDIMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    first, second = clip_tokenizer(folder), clip_tokenizer(folder, pad_token="!")
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32, 32),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 3),
        attention_head_dim=(2, 4, 4),
        cross_attention_dim=64,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 32,
        norm_num_groups=8,
    )
    return StableDiffusionXLPipeline(
        vae=small_vae(4, scaling_factor=0.13025),
        text_encoder=small_clip("CLIPTextModel", 32, first),
        text_encoder_2=small_clip("CLIPTextModelWithProjection", 32, second, hidden_act="gelu"),
        tokenizer=first,
        tokenizer_2=second,
        unet=unet,
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1),
        add_watermarker=False,
    )


_XL: dict[str, Any] = {
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}

RECORDS: dict[str, Record] = {
    record.family: record
    for record in (
        Record(
            "sdxl",
            "StableDiffusionXLPipeline",
            build_sdxl,
            call={"guidance_scale": 1.0},
            full={"base": ("UNet2DConditionModel", _XL)},
            # 70 transformer layers of eight attention projections each
            modules={"base": 70 * 8},
        ),
    )
}
