"""Variants of families whose denoiser, schedule or text encoder differs from that of the family's own record."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tests.families.tiny import (
    RECORDS,
    Record,
    build_flux,
    build_flux2,
    build_hunyuan_video_i2v,
    build_qwen_image_edit_plus,
    build_sd,
    build_sd3,
    build_sdxl,
    build_wan_i2v,
)
from tests.families.words import mistral_tokenizer

_V: dict[str, Any] = {"prediction_type": "v_prediction"}
_ENDS_IN_NOISE: dict[str, Any] = {**_V, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


def build_flux2_dev(folder: Path) -> Any:
    """Mistral instead of Qwen, and guidance that is told. The processor that is published beside it can do more than
    its words need; here it is the tokenizer alone."""
    from diffusers import Flux2Pipeline
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration

    words = mistral_tokenizer(folder)
    text = {
        "model_type": "mistral", "vocab_size": len(words), "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 31, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    }  # fmt: skip
    vision = {
        "model_type": "pixtral", "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "head_dim": 16, "image_size": 32,
    }  # fmt: skip
    encoder = Mistral3ForConditionalGeneration(Mistral3Config(text_config=text, vision_config=vision))
    plain = build_flux2(folder, guidance_embeds=True).components
    return Flux2Pipeline(**{**plain, "tokenizer": words, "text_encoder": encoder})


def as_published(base: Path) -> None:
    """The index of FLUX.2 dev names classes that look at pictures as well."""
    path = base / "model_index.json"
    index = json.loads(path.read_text())
    index |= {"tokenizer": ["transformers", "PixtralProcessor"]}
    path.write_text(json.dumps(index))


def build_edit_2511(folder: Path) -> Any:
    return build_qwen_image_edit_plus(folder, zero_cond_t=True)


def build_i2v_pair(folder: Path) -> Any:
    """Wan 2.2 I2V A14B: two experts, of which the first is asked at the first step."""
    pipe, second = build_wan_i2v(folder, sees=False), build_wan_i2v(folder, sees=False)
    pipe.register_modules(transformer_2=second.transformer)
    pipe.register_to_config(boundary_ratio=0.9)
    return pipe


VARIANTS: dict[str, Record] = {
    "sd 2.1": replace(RECORDS["sd"], build=partial(build_sd, cross_attention_dim=64, **_V)),
    "sd ends in noise": replace(RECORDS["sd"], build=partial(build_sd, **_ENDS_IN_NOISE)),
    "sdxl v": replace(RECORDS["sdxl"], build=partial(build_sdxl, **_V)),
    "sdxl v, ends in noise": replace(RECORDS["sdxl"], build=partial(build_sdxl, **_ENDS_IN_NOISE)),
    "sd3 medium": replace(RECORDS["sd3"], build=partial(build_sd3, dual_attention_layers=(), qk_norm=None)),
    "sd3.5 large": replace(RECORDS["sd3"], build=partial(build_sd3, dual_attention_layers=())),
    "flux schnell": replace(
        RECORDS["flux"], build=partial(build_flux, guidance_embeds=False), call={"max_sequence_length": 256},
        shifts={(256, 256, 1): 1.0, (1024, 1024, 1): 1.0}, painted_with=1.0,
    ),
    "flux2 dev": replace(
        RECORDS["flux2"], pipeline="Flux2Pipeline", build=build_flux2_dev, call={"guidance_scale": 2.5},
        finish=as_published,
    ),
    "qwen_image_edit 2511": replace(RECORDS["qwen_image_edit_plus"], build=build_edit_2511),
    "hunyuan_video_i2v 33": replace(
        RECORDS["hunyuan_video_i2v"], build=partial(build_hunyuan_video_i2v, beside=True), unseen=4
    ),
    "wan_i2v 2.2": replace(RECORDS["wan_i2v"], build=build_i2v_pair),
}  # fmt: skip
EVERY: dict[str, Record] = {**RECORDS, **VARIANTS}
"""All records, by name of the family or variant."""
