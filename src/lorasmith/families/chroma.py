"""Chroma: FLUX.1 schnell without its modulation layers, T5 tokens with a mask, no pooled vector, no guidance inside."""

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
from lorasmith.families.latents import decode_scaled, encode_scaled, packed, picture_ids, unpacked

if TYPE_CHECKING:
    from torch import Tensor

_ATTENTION = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")
_TEXT = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out")
_FEED_FORWARD = ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2")
_SINGLE = ("proj_mlp", "proj_out")
_ALL = _ATTENTION + _TEXT + _FEED_FORWARD + _SINGLE


class Chroma(Family):
    """Lodestone Rock 2025, after FLUX.1 schnell."""

    name: ClassVar[str] = "chroma"
    title: ClassVar[str] = "Chroma"
    pretrained: ClassVar[tuple[Pretrained, ...]] = (
        Pretrained("Chroma1-HD", "lodestones/Chroma1-HD", "Apache-2.0"),
        Pretrained("Chroma1-Base", "lodestones/Chroma1-Base", "Apache-2.0"),
    )
    pipelines: ClassVar[frozenset[str]] = frozenset(("ChromaPipeline",))
    refused: ClassVar[Mapping[str, str]] = MappingProxyType({"radiance": "it works on pixels, not latents"})
    objectives: ClassVar[frozenset[ObjectiveName]] = frozenset(("flow",))
    bucket_multiple: ClassVar[int] = 64
    default_resolution: ClassVar[int] = 1024
    max_prompt_tokens: ClassVar[int] = 512
    text_precision: ClassVar = "bf16"
    denoiser_part: ClassVar[str] = "transformer"
    file_form: ClassVar[FileForm] = "peft"
    elsewhere: ClassVar[Mapping[str, str]] = MappingProxyType({"ComfyUI": "Chroma", "Forge": "chroma"})
    time_sampling: ClassVar[TimeSampling] = TimeSampling("logit_normal")
    lacks: ClassVar[Mapping[str, str]] = MappingProxyType({"objective.guidance": "it has no guidance built in"})
    billions: ClassVar[Mapping[str, float]] = MappingProxyType({"1": 8.90})
    excluded_targets: ClassVar[tuple[str, ...]] = (
        "proj_out",
    )  # the last layer; each single block has one of that name
    predicted_memory: ClassVar[Mapping[str, tuple[float, float]]] = MappingProxyType({"1024 px": (41.7, 20.7)})
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "max_train_steps": 1500,
            "mixed_precision": "bf16",
            "gradient_checkpointing": True,
            "adapter": {"rank": 16, "targets": "attention_ff"},
            "optimizer": {"learning_rate": 1e-4, "lr_warmup_steps": 50},
            "export": {"dtype": "bf16"},
            "sample": {"guidance_scale": 5.0},
        }
    )
    target_presets: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {"attention": _ATTENTION + _TEXT, "attention_ff": _ALL, "all_linear": _ALL, "all_linear_conv": _ALL}
    )

    def pipeline_class(self, base: Base) -> str:
        return "ChromaPipeline"

    def made_of(self, variant: str) -> Mapping[str, Component]:
        return {
            "text_encoder": Component("t5_xxl", "T5EncoderModel"),
            "tokenizer": Component("t5", "T5TokenizerFast"),
            "vae": Component("vae_16", "AutoencoderKL", "vae_flux"),
            "scheduler": Component("schedule_chroma", "FlowMatchEulerDiscreteScheduler"),
        }

    def file_metadata(self, detection: Detection, objective: ObjectiveName) -> dict[str, str]:
        return {
            "ss_base_model_version": "chroma",
            "modelspec.architecture": "chroma/lora",
            "modelspec.implementation": "diffusers",
        }

    def latent_channels(self, model: Model) -> int:
        denoiser: Any = model.denoiser
        return int(denoiser.config.in_channels) // 4

    def encode_images(self, model: Model, pixels: Tensor) -> Tensor:
        return encode_scaled(model.vae, pixels)

    def decode_latents(self, model: Model, latents: Tensor) -> Tensor:
        return decode_scaled(model.vae, latents)

    def encode_prompts(self, model: Model, prompts: Sequence[str]) -> Conditioning:
        states, _, mask, *_ = model.extras["pipeline"].encode_prompt(list(prompts), do_classifier_free_guidance=False)
        return Conditioning({"encoder_hidden_states": states, "attention_mask": mask})  # (B, 512, 4096), (B, 512)

    def denoise(self, model: Model, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        import torch

        states, mask = conditioning.tensors["encoder_hidden_states"], conditioning.tensors["attention_mask"]
        tokens = packed(noisy)
        # The picture's tokens all count. Numbers and not booleans, as diffusers' pipeline gives them.
        seen = torch.cat([mask, mask.new_ones(tokens.shape[:2])], dim=1).to(states.dtype)
        denoiser: Any = model.denoiser
        prediction: Tensor = denoiser(
            hidden_states=tokens,
            encoder_hidden_states=states,
            timestep=time,
            img_ids=picture_ids(noisy),
            txt_ids=states.new_zeros(states.shape[1], 3),
            attention_mask=seen,
            return_dict=False,
        )[0]
        return unpacked(prediction, noisy).float()


plugin = Chroma()
