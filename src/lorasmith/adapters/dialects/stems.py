"""What stands before the name of a layer in a key, and what it says: which part of the base, and who wrote it."""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

Dialect = Literal[
    "kohya",
    "peft",
    "diffusers_old",
    "comfyui",
    "onetrainer",
    "simpletuner",
    "xlabs",
    "bfl_control",
    "fal_kontext",
    "omi",
    "diffusion_pipe",
    "bare",
    "unknown",
]

MEANINGS: Final[dict[str, str]] = {
    "kohya": "kohya names (lora_unet_...), as sd-scripts and musubi-tuner write them",
    "peft": "diffusers names with peft endings (transformer....lora_A)",
    "diffusers_old": "the names diffusers wrote before peft (...processor.to_q_lora.up)",
    "comfyui": "ComfyUI's generic names (diffusion_model....)",
    "onetrainer": "OneTrainer's names (lora_transformer_...)",
    "simpletuner": "SimpleTuner's LyCORIS names (lycoris_...)",
    "xlabs": "XLabs names of FLUX (processor.qkv_lora1)",
    "bfl_control": "a control LoRA of Black Forest Labs (bare original names with norms)",
    "fal_kontext": "fal's names (base_model.model. before original names)",
    "omi": "OMI names (original names in parts, lora_down)",
    "diffusion_pipe": "diffusion-pipe names (transformer. before original names)",
    "bare": "names of layers with nothing before them (DiffSynth and others)",
    "unknown": "no known kind of names",
}

DENOISER: Final = "denoiser"


class Stem(NamedTuple):
    """One stem, taken apart. A file has a thousand, and tuples are made in a third of the time."""

    text: str
    beginning: str
    part: str
    """``denoiser``, ``denoiser_2`` (the second expert of Wan 2.2), ``text_encoder``, ``text_encoder_2`` ..."""
    name: str
    """The rest: dotted, or flat with underscores."""
    flat: bool


# The longest beginning that fits decides. ``True``: dots are underscores.
_BEGINNINGS: Final[tuple[tuple[str, str, bool], ...]] = (
    ("lora_unet__", DENOISER, True),  # Wan Fun
    ("lora_unet_", DENOISER, True),
    ("lora_prior_unet_", DENOISER, True),
    ("oft_unet_", DENOISER, True),  # the OFT of sd-scripts
    ("lora_transformer_2_", "denoiser_2", True),
    ("lora_transformer_", DENOISER, True),
    ("lycoris_", DENOISER, True),
    ("lora_te1_", "text_encoder", True),
    ("lora_te2_", "text_encoder_2", True),
    ("lora_te3_", "text_encoder_3", True),
    ("lora_te_", "text_encoder", True),
    ("unet.base_model.model.", DENOISER, False),
    ("transformer.base_model.model.", DENOISER, False),
    ("base_model.model.", DENOISER, False),
    ("transformer_2.", "denoiser_2", False),
    ("transformer.", DENOISER, False),
    ("diffusion_model.", DENOISER, False),
    ("model.diffusion_model.", DENOISER, False),
    ("unet.", DENOISER, False),
    ("text_encoder.", "text_encoder", False),
    ("text_encoder_2.", "text_encoder_2", False),
    ("text_encoder_3.", "text_encoder_3", False),
    ("text_encoders.clip_l.transformer.", "text_encoder", False),
    ("text_encoders.clip_h.transformer.", "text_encoder", False),
    ("text_encoders.clip_g.transformer.", "text_encoder_2", False),
    ("text_encoders.t5xxl.transformer.", "text_encoder_3", False),
    ("text_encoders.", "text_encoder", False),
    ("clip_l.", "text_encoder", False),
    ("clip_g.", "text_encoder_2", False),
    ("t5.", "text_encoder_3", False),
)


def take_apart(stem: str) -> Stem:
    """A stem's beginning, part and name."""
    for beginning, part, flat in _BEGINNINGS:
        if stem.startswith(beginning) and len(stem) > len(beginning):
            return Stem(stem, beginning, part, stem[len(beginning) :], flat)
    return Stem(stem, "", DENOISER, stem, False)


_TEXT: Final = (
    (
        re.compile(r"(?:text_model_)?encoder_layers_(\d+)_(self_attn|mlp)_(q_proj|k_proj|v_proj|out_proj|fc1|fc2)"),
        "encoder.layers.{}.{}.{}",
    ),
    (
        re.compile(r"encoder_block_(\d+)_layer_(\d+)_(SelfAttention|DenseReluDense)_(q|k|v|o|wi_0|wi_1|wi|wo)"),
        "encoder.block.{}.layer.{}.{}.{}",
    ),
    (
        re.compile(r"(?:model_)?(?:language_model_)?layers_(\d+)_(self_attn|mlp)_((?:q|k|v|o|gate|up|down)_proj)"),
        "layers.{}.{}.{}",
    ),
    (re.compile(r"text_projection"), "text_projection"),
)


def text_module(name: str) -> str | None:
    """A text encoder's layer in transformers' words, without ``text_model.``; None for no layer that is known."""
    flat = name.replace(".", "_")
    for pattern, words in _TEXT:
        found = pattern.fullmatch(flat)
        if found:
            return words.format(*found.groups())
    return None
