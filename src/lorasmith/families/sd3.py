"""Stable Diffusion 3 and 3.5: a transformer of two streams, two CLIP encoders and T5, flow matching."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from lorasmith.families.latents import decode_scaled, encode_scaled

if TYPE_CHECKING:
    from torch import Tensor

_LICENSE = "Stability AI Community License"
_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
_TEXT = ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
_FEED_FORWARD = ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2")
_MODULATION = ("norm1.linear", "norm1_context.linear")
_TEXT_TOKENS = 256
_ARCHITECTURES = MappingProxyType(
    {
        "3_medium": "stable-diffusion-3-medium",
        "3.5_medium": "stable-diffusion-3-5-medium",
        "3.5_large": "stable-diffusion-3-5-large",
    }
)


class StableDiffusion3(Family):
    """Esser et al. 2024 (arXiv:2403.03206)."""

    name: ClassVar[str] = "sd3"
    title: ClassVar[str] = "Stable Diffusion 3 and 3.5"
    pretrained: ClassVar[tuple[Pretrained, ...]] = (
        Pretrained("Stable Diffusion 3.5 Medium", "stabilityai/stable-diffusion-3.5-medium", _LICENSE),
        Pretrained("Stable Diffusion 3.5 Large", "stabilityai/stable-diffusion-3.5-large", _LICENSE),
        Pretrained(
            "Stable Diffusion 3.5 Large Turbo",
            "stabilityai/stable-diffusion-3.5-large-turbo",
            _LICENSE,
            "distilled to few steps: train on Large",
        ),
        Pretrained("Stable Diffusion 3 Medium", "stabilityai/stable-diffusion-3-medium-diffusers", _LICENSE),
    )
    pipelines: ClassVar[frozenset[str]] = frozenset(("StableDiffusion3Pipeline",))
    objectives: ClassVar[frozenset[ObjectiveName]] = frozenset(("flow",))
    bucket_multiple: ClassVar[int] = 64
    default_resolution: ClassVar[int] = 1024
    max_prompt_tokens: ClassVar[int] = _TEXT_TOKENS
    longest_reader: ClassVar[str] = "tokenizer_3"
    text_encoder_parts: ClassVar[tuple[str, ...]] = ("text_encoder", "text_encoder_2", "text_encoder_3")
    text_precision: ClassVar = "bf16"
    denoiser_part: ClassVar[str] = "transformer"
    file_form: ClassVar[FileForm] = "peft"
    elsewhere: ClassVar[Mapping[str, str]] = MappingProxyType({"ComfyUI": "SD3", "A1111": "SD3", "Forge": "sd35"})
    distilled_steps: ClassVar[int] = 4
    time_sampling: ClassVar[TimeSampling] = TimeSampling("logit_normal")
    lacks: ClassVar[Mapping[str, str]] = MappingProxyType({"objective.guidance": "it has no guidance built in"})
    billions: ClassVar[Mapping[str, float]] = MappingProxyType(
        {"3_medium": 2.03, "3.5_medium": 2.24, "3.5_large": 8.06}
    )
    predicted_memory: ClassVar[Mapping[str, tuple[float, float]]] = MappingProxyType(
        {"3.5 Medium, 1024 px": (13.0, 6.1), "3.5 Large, 1024 px": (31.2, 18.1)}
    )
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "max_train_steps": 1500,
            "mixed_precision": "bf16",
            "gradient_checkpointing": True,
            "adapter": {"rank": 16, "targets": "attention_ff"},
            "optimizer": {"learning_rate": 1e-4, "lr_warmup_steps": 50},
            "export": {"dtype": "bf16"},
            "sample": {"guidance_scale": 4.5},
        }
    )
    target_presets: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {
            "attention": _ATTENTION + _TEXT,
            "attention_ff": _ATTENTION + _TEXT + _FEED_FORWARD,
            "all_linear": _ATTENTION + _TEXT + _FEED_FORWARD + _MODULATION,
            "all_linear_conv": _ATTENTION + _TEXT + _FEED_FORWARD + _MODULATION,
        }
    )

    def pipeline_class(self, base: Base) -> str:
        return "StableDiffusion3Pipeline"

    def made_of(self, variant: str) -> Mapping[str, Component]:
        return {
            "text_encoder": Component("clip_l", "CLIPTextModelWithProjection"),
            "tokenizer": Component("clip", "CLIPTokenizer"),
            "text_encoder_2": Component("clip_g", "CLIPTextModelWithProjection"),
            "tokenizer_2": Component("clip_padded", "CLIPTokenizer"),
            "text_encoder_3": Component("t5_xxl", "T5EncoderModel"),
            "tokenizer_3": Component("t5", "T5TokenizerFast"),
            "vae": Component("vae_16", "AutoencoderKL", "vae_sd3"),
            "scheduler": Component("schedule_flow_3", "FlowMatchEulerDiscreteScheduler"),
        }

    def file_metadata(self, detection: Detection, objective: ObjectiveName) -> dict[str, str]:
        architecture = _ARCHITECTURES.get(detection.variant, "stable-diffusion-3")
        return {"modelspec.architecture": f"{architecture}/lora", "modelspec.implementation": "diffusers"}

    def encode_images(self, model: Model, pixels: Tensor) -> Tensor:
        return encode_scaled(model.vae, pixels)

    def decode_latents(self, model: Model, latents: Tensor) -> Tensor:
        return decode_scaled(model.vae, latents)

    def encode_prompts(self, model: Model, prompts: Sequence[str]) -> Conditioning:
        states, _, pooled, _ = model.extras["pipeline"].encode_prompt(
            list(prompts), None, None, do_classifier_free_guidance=False, max_sequence_length=_TEXT_TOKENS
        )
        return Conditioning({"encoder_hidden_states": states, "pooled_projections": pooled})  # (B, 333, 4096)

    def denoise(self, model: Model, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        denoiser: Any = model.denoiser
        prediction: Tensor = denoiser(
            hidden_states=noisy, timestep=time * 1000, return_dict=False, **conditioning.tensors
        )[0]
        return prediction.float()


plugin = StableDiffusion3()
