"""The sandbox base as facts: a Stable Diffusion small enough to train on two cores.

Every part is the real diffusers or transformers class, only smaller, in the folder layout that
``StableDiffusionPipeline.from_pretrained`` reads. The schedule is that of a Stable Diffusion 2.x v-prediction
base with zero terminal SNR (Lin et al. 2023, arXiv:2305.08891): at 16 x 16 latents the original schedule leaks
flat colours through the noise, and the words for them are never learned.
"""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lorasmith.sandbox import world

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

SCALING_FACTOR: Final = 0.18215  # Stable Diffusion's own; the VAE's 1x1 convolutions are folded to make it true
MAX_TOKENS: Final = 32  # start and end included

VAE: Final[dict[str, Any]] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (16, 32, 64, 128),
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 8,
    "sample_size": world.SIZE,
    "scaling_factor": SCALING_FACTOR,
}
TEXT_ENCODER: Final[dict[str, Any]] = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "projection_dim": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": MAX_TOKENS,
    "hidden_act": "quick_gelu",
}
UNET: Final[dict[str, Any]] = {
    "sample_size": world.SIZE // 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (64, 128, 160),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 4,  # diffusers reads this as the number of heads
    "cross_attention_dim": 128,
    "norm_num_groups": 16,
    "use_linear_projection": True,
}
SCHEDULER: Final[dict[str, Any]] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def vocabulary_words() -> list[str]:
    """Every word a caption of the world can contain, longest first where it matters to nobody."""
    words = {"a", "on", "background", "one", "two", "shape", "shapes", "side", "by", "stacked", ",", "."}
    words.update(world.SHAPES, world.COLORS, world.BACKGROUNDS, world.SIZES, world.POSITIONS, (world.CHARACTER,))
    for relation in world.RELATIONS:
        words.update(relation.split())
    return sorted(words)


def write_tokenizer(folder: Path) -> None:
    """Write ``vocab.json`` and ``merges.txt`` of a byte-level BPE that knows the world's words.

    Every lower-case letter and digit has a token of its own, inside a word and at its end, so that words
    nobody has seen (a trigger word, for one) become letters and never ``unknown``.
    """
    letters = list(string.ascii_lowercase + string.digits + string.punctuation)
    vocabulary = [*letters, *(letter + "</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in vocabulary_words():
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            pair = (pieces[0], pieces[1])
            if pair not in merges:
                merges.append(pair)
            pieces = [pieces[0] + pieces[1], *pieces[2:]]
            if pieces[0] not in vocabulary:
                vocabulary.append(pieces[0])
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    table = {token: index for index, token in enumerate(vocabulary)}
    (folder / "vocab.json").write_text(json.dumps(table, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": MAX_TOKENS,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "do_lower_case": True,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")


def build_pipeline(tokenizer_folder: Path, **overrides: dict[str, Any]) -> StableDiffusionPipeline:
    """The untrained pipeline, with weights drawn from torch's current seed.

    ``overrides`` maps a part (``unet``, ``vae``, ``text_encoder``, ``scheduler``) to changes of its configuration.
    ``tokenizer_folder`` must hold what ``write_tokenizer`` wrote.
    """
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(tokenizer_folder)
    text = TEXT_ENCODER | {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return StableDiffusionPipeline(
        vae=AutoencoderKL(**(VAE | overrides.get("vae", {}))),
        text_encoder=CLIPTextModel(CLIPTextConfig(**(text | overrides.get("text_encoder", {})))),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(**(UNET | overrides.get("unet", {}))),
        scheduler=DDIMScheduler(**(SCHEDULER | overrides.get("scheduler", {}))),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
