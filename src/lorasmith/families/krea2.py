"""Krea 2: one stream of picture tokens and twelve layers of a vision-language model, fused by the denoiser itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from lorasmith.bases.parts import Component
from lorasmith.families import (
    Base,
    Conditioning,
    Detection,
    Family,
    FileForm,
    Model,
    ObjectiveName,
    Pretrained,
    TimeSampling,
)
from lorasmith.families.latents import decode_frames, encode_frames, packed, unpacked

if TYPE_CHECKING:
    from torch import Tensor

# Of the blocks alone: what fuses the twelve layers of text stays as it is, as refiners do elsewhere.
_ATTENTION = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_gate", "attn.to_out.0")
_FEED_FORWARD = ("ff.gate", "ff.up", "ff.down")
_LICENSE = "Krea 2 Community License"
_SHIFT_OF_TURBO = math.exp(1.15)


class Krea2(Family):
    """Krea 2026."""

    name: ClassVar[str] = "krea2"
    title: ClassVar[str] = "Krea 2"
    pretrained: ClassVar[tuple[Pretrained, ...]] = (
        Pretrained("Krea 2 Raw", "krea/Krea-2-Raw", _LICENSE),
        Pretrained(
            "Krea 2 Turbo",
            "krea/Krea-2-Turbo",
            _LICENSE,
            "distilled to eight steps: train on Raw, the LoRA works on Turbo as well",
        ),
    )
    pipelines: ClassVar[frozenset[str]] = frozenset(("Krea2Pipeline",))
    objectives: ClassVar[frozenset[ObjectiveName]] = frozenset(("flow",))
    bucket_multiple: ClassVar[int] = 64
    default_resolution: ClassVar[int] = 1024
    max_prompt_tokens: ClassVar[int] = 507  # of 512, five are the end of its template
    text_precision: ClassVar = "bf16"
    denoiser_part: ClassVar[str] = "transformer"
    file_form: ClassVar[FileForm] = "peft"
    elsewhere: ClassVar[Mapping[str, str]] = MappingProxyType({"ComfyUI": "Krea2", "InvokeAI": "krea-2"})
    distilled_steps: ClassVar[int] = 8
    time_sampling: ClassVar[TimeSampling] = TimeSampling("logit_normal")
    lacks: ClassVar[Mapping[str, str]] = MappingProxyType({"objective.guidance": "it has no guidance built in"})
    billions: ClassVar[Mapping[str, float]] = MappingProxyType({"2": 12.82})
    excluded_targets: ClassVar[tuple[str, ...]] = ("text_fusion",)
    predicted_memory: ClassVar[Mapping[str, tuple[float, float]]] = MappingProxyType({"1024 px": (62.8, 31.3)})
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "max_train_steps": 1500,
            "mixed_precision": "bf16",
            "gradient_checkpointing": True,
            "adapter": {"rank": 16, "targets": "attention_ff"},
            "optimizer": {"learning_rate": 1e-4, "lr_warmup_steps": 50},
            "export": {"dtype": "bf16"},
            "sample": {"guidance_scale": 5.5},
        }
    )
    target_presets: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {"attention": _ATTENTION}
        | dict.fromkeys(("attention_ff", "all_linear", "all_linear_conv"), _ATTENTION + _FEED_FORWARD)
    )

    def pipeline_class(self, base: Base) -> str:
        return "Krea2Pipeline"

    def made_of(self, variant: str) -> Mapping[str, Component]:
        return {
            "text_encoder": Component("qwen3_vl_4b", "Qwen3VLModel"),
            "tokenizer": Component("qwen3_vl", "Qwen2Tokenizer"),
            "vae": Component("vae_wan", "AutoencoderKLQwenImage", "vae_qwen"),
            "scheduler": Component("schedule_krea2", "FlowMatchEulerDiscreteScheduler"),
        }

    def file_metadata(self, detection: Detection, objective: ObjectiveName) -> dict[str, str]:
        return {"modelspec.architecture": "krea-2/lora", "modelspec.implementation": "diffusers"}

    def shift_for(self, model: Model) -> Callable[[int, int, int], float]:
        """By size as the schedule says; of the distilled Turbo one for all sizes, as its pipeline has it."""
        if model.extras["pipeline"].config.get("is_distilled"):
            return lambda width, height, frames: _SHIFT_OF_TURBO
        return super().shift_for(model)

    def latent_channels(self, model: Model) -> int:
        denoiser: Any = model.denoiser
        return int(denoiser.config.in_channels) // 4

    def sampling_arguments(self, pipeline: Any, negative_prompt: Sequence[str], scale: float) -> dict[str, Any]:
        """Its pipeline adds the difference on top of the prompted prediction: 0 there is what 1 is elsewhere."""
        return {"negative_prompt": list(negative_prompt), "guidance_scale": max(0.0, scale - 1)}

    def encode_images(self, model: Model, pixels: Tensor) -> Tensor:
        return encode_frames(model.vae, pixels)

    def decode_latents(self, model: Model, latents: Tensor) -> Tensor:
        return decode_frames(model.vae, latents)

    def encode_prompts(self, model: Model, prompts: Sequence[str]) -> Conditioning:
        """Tokens of text alone: what fills them up to 512 is masked everywhere and would be 60 MB a caption."""
        states, mask = model.extras["pipeline"].encode_prompt(list(prompts))
        rows = [{"states": row[kept], "mask": kept[kept]} for row, kept in zip(states, mask.bool(), strict=True)]
        return Conditioning.joined(rows, states.device)  # (B, tokens, 12, 2560), (B, tokens)

    def denoise(self, model: Model, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        states, mask = conditioning.tensors["states"], conditioning.tensors["mask"].bool()
        denoiser: Any = model.denoiser
        places = type(model.extras["pipeline"]).prepare_position_ids
        prediction: Tensor = denoiser(
            hidden_states=packed(noisy).to(denoiser.dtype),
            encoder_hidden_states=states.to(denoiser.dtype),
            timestep=time,
            position_ids=places(states.shape[1], noisy.shape[2] // 2, noisy.shape[3] // 2, noisy.device),
            encoder_attention_mask=None if bool(mask.all()) else mask,
            return_dict=False,
        )[0]
        return unpacked(prediction, noisy).float()


plugin = Krea2()
