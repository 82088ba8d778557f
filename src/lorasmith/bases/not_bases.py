"""What files beside bases are called: LoRAs, VAEs, text encoders, ControlNets and the rest, so that each is named.

``ADDITIONS`` are asked before the families, on the keys as they stand, because an addition repeats the names of the
base it belongs to. ``PARTS`` are asked after them, because a whole base holds its VAE and text encoders too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "base",
    "denoiser",
    "lora",
    "controlnet",
    "adapter",
    "motion_module",
    "embedding",
    "vae",
    "text_encoder",
    "image_encoder",
    "upscaler",
    "unknown",
]


@dataclass(frozen=True)
class Sign:
    """A key that matches ``pattern`` (searched, not anchored) says that the file is a ``title``."""

    kind: Kind
    title: str
    pattern: re.Pattern[str]
    largest: int = 0
    """No file of this kind has more tensors than this; 0: no limit."""


def _sign(kind: Kind, title: str, pattern: str, largest: int = 0) -> Sign:
    return Sign(kind, title, re.compile(pattern), largest)


_LYCORIS = r"\.(hada_w[12](_[ab])?|lokr_w[12](_[ab])?|lokr_t2|hada_t[12]|oft_blocks|oft_diag|boft_\w+|glora_[ab]\w*)$"

ADDITIONS: tuple[Sign, ...] = (
    _sign("lora", "a LyCORIS adapter, not a base", _LYCORIS),
    _sign("lora", "a LyCORIS adapter, not a base", r"^lycoris_"),
    _sign(
        "lora",
        "a LoRA, not a base",
        r"[._]lora(_linear_layer)?[._](up|down|mid)\.weight$|\.lora_[AB](\.\w+)?(\.weight)?$|\.dora_scale$"
        r"|\.lora_magnitude_vector",
    ),
    _sign("lora", "a LoRA, not a base", r"^lora_(unet|te\d?|transformer|prior_unet)_"),
    _sign(
        "lora",
        "a LoRA, not a base",
        r"^(diffusion_model|transformer|unet)\..*\.(diff|diff_b|set_weight|w_norm|b_norm)$",
    ),
    _sign("controlnet", "a ControlNet, not a base", r"^control_model\.|^controlnet_|(^|\.)controlnet_cond_embedding\."),
    _sign(
        "controlnet",
        "a ControlNet, not a base",
        r"(^|\.)(input_hint_block|zero_convs|controlnet_blocks|control_layers)\.",
    ),
    _sign(
        "controlnet",
        "a ControlNet, not a base",
        r"(^|\.)(control_all_x_embedder|pos_embed_input|controlnet_\w+_blocks)\.",
    ),
    _sign("adapter", "a T2I-Adapter, not a base", r"^(adapter\.)?body\.\d+\.(block1|resnets\.0\.block1|in_conv)\."),
    _sign("adapter", "an IP-Adapter, not a base", r"^ip_adapter\.|^image_proj\.|\.to_k_ip\.|^ip_adapter_"),
    _sign("motion_module", "an AnimateDiff motion module, not a base", r"(^|\.)motion_modules\.\d"),
    _sign("embedding", "a textual inversion, not a base", r"^(emb_params|string_to_param\b.*|clip_[lg]|t5xxl)$", 8),
    _sign("embedding", "a textual inversion, not a base", r"^<.+>$", 8),
)

PARTS: tuple[Sign, ...] = (
    _sign("vae", "the VAE of Wan or Qwen-Image, not a base", r"(^|\.)decoder\.middle\.0\.residual\.0\.gamma$"),
    _sign("vae", "the VAE of Wan or Qwen-Image, not a base", r"(^|\.)decoder\.mid_block\.resnets\.0\.norm1\.gamma$"),
    _sign(
        "vae", "the VAE of LTX, not a base", r"(^|\.)(per_channel_statistics\.(mean-of-means|channel)|latents_mean$)"
    ),
    _sign("vae", "the VAE of LTX, not a base", r"(^|\.)decoder\.last_scale_shift_table$"),
    _sign(
        "vae",
        "the autoencoder of Sana (DC-AE), not a base",
        r"^(encoder|decoder)\.(stages|up_blocks)\.\d+\.(op_list|\d+\.attn)",
    ),
    _sign(
        "vae", "the autoencoder of Sana (DC-AE), not a base", r"^(encoder|decoder)\.(down|up)_blocks\.\d+\.\d+\.conv"
    ),
    _sign("vae", "a VAE, not a base", r"(^|\.)decoder\.(mid|mid_block|up|up_blocks|down|layers)\.\w+[.\d]"),
    _sign("vae", "a VAE, not a base", r"^(taesd|taef1|taesdxl|tae\w*)_?(decoder|encoder)\.|^(vae|first_stage_model)\."),
    _sign("vae", "a VAE, not a base", r"^decoder\.(conv_in|conv1|layers\.\d+)\.\w*"),
    _sign(
        "image_encoder",
        "an image encoder (CLIP vision), not a base",
        r"(^|\.)vision_model\.(encoder|embeddings|head)\b",
    ),
    _sign("image_encoder", "an image encoder, not a base", r"(^|\.)embeddings\.patch_embedding\."),
    _sign(
        "image_encoder",
        "an image encoder (CLIP vision), not a base",
        r"^visual\.(transformer|trunk)\.|^visual\.(proj|conv1)\b",
    ),
    _sign(
        "image_encoder",
        "an image encoder, not a base",
        r"(^|\.)(encoder|embeddings)\.(layer\.0\.attention|patch_embeddings)\.",
    ),
    _sign("text_encoder", "a CLIP text encoder, not a base", r"(^|\.)text_model\.(encoder|embeddings)\."),
    _sign("text_encoder", "a CLIP text encoder, not a base", r"(^|\.)embeddings\.token_embedding\.weight$"),
    _sign("text_encoder", "a CLIP text encoder, not a base", r"(^|\.)transformer\.resblocks\.\d+\."),
    _sign("text_encoder", "a T5 text encoder, not a base", r"(^|\.)encoder\.block\.\d+\.layer\.0\.SelfAttention\."),
    _sign("text_encoder", "a T5 text encoder, not a base", r"^enc\.blk\.\d+\.attn_q\.weight$"),
    _sign(
        "text_encoder",
        "a language model, a text encoder at most, not a base",
        r"(^|\.)layers\.\d+\.self_attn\.[qk]_proj\.",
    ),
    _sign("text_encoder", "a language model, a text encoder at most, not a base", r"^blk\.\d+\.attn_(q|qkv)\.weight$"),
    _sign(
        "upscaler", "an upscaler, not a base", r"^model\.\d\.sub\.\d+\.|(^|\.)(body|RRDB_trunk)\.\d+\.(rdb|RDB)\d\.conv"
    ),
    _sign(
        "upscaler", "an upscaler, not a base", r"(^|\.)layers\.\d+\.(residual_group\.)?blocks\.\d+\.(attn|norm1)\b.*"
    ),
    _sign(
        "upscaler", "an upscaler, not a base", r"^(conv_first|conv_before_upsample|upsample|block_\d\.c1_r|upconv1)\b"
    ),
)

INSIDE: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("vae", re.compile(r"^(first_stage_model|vae)\.")),
    ("text_encoder", re.compile(r"^(cond_stage_model|conditioner|text_encoders|text_encoder(_\d)?)[./]")),
)
"""Prefixes of the parts that stand beside a denoiser in one file."""
