"""Lumina-Image 2: one stream of picture and Gemma tokens with a mask; time runs backwards, output negated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

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

_ATTENTION = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")
_FEED_FORWARD = ("feed_forward.linear_1", "feed_forward.linear_2", "feed_forward.linear_3")
_MODULATION = ("norm1.linear",)


class Lumina2(Family):
    """Qin et al. 2025 (arXiv:2503.21758)."""

    name: ClassVar[str] = "lumina2"
    title: ClassVar[str] = "Lumina-Image 2"
    pretrained: ClassVar[tuple[Pretrained, ...]] = (
        Pretrained(
            "Lumina-Image 2.0",
            "Alpha-VLLM/Lumina-Image-2.0",
            "Apache-2.0",
            "its adapters load in diffusers; ComfyUI has other names for its layers and skips them",
        ),
    )
    pipelines: ClassVar[frozenset[str]] = frozenset(("Lumina2Pipeline",))
    objectives: ClassVar[frozenset[ObjectiveName]] = frozenset(("flow",))
    bucket_multiple: ClassVar[int] = 64
    default_resolution: ClassVar[int] = 1024
    max_prompt_tokens: ClassVar[int] = 256
    text_precision: ClassVar = "bf16"
    denoiser_part: ClassVar[str] = "transformer"
    file_form: ClassVar[FileForm] = "peft"
    time_sampling: ClassVar[TimeSampling] = TimeSampling("uniform")
    lacks: ClassVar[Mapping[str, str]] = MappingProxyType({"objective.guidance": "it has no guidance built in"})
    billions: ClassVar[Mapping[str, float]] = MappingProxyType({"2": 2.61})
    excluded_targets: ClassVar[tuple[str, ...]] = ("noise_refiner", "context_refiner")
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "max_train_steps": 1500,
            "mixed_precision": "bf16",
            "gradient_checkpointing": True,
            "adapter": {"rank": 16, "targets": "attention_ff"},
            "optimizer": {"learning_rate": 1e-4, "lr_warmup_steps": 50},
            "export": {"dtype": "bf16"},
        }
    )
    target_presets: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {
            "attention": _ATTENTION,
            "attention_ff": _ATTENTION + _FEED_FORWARD,
            "all_linear": _ATTENTION + _FEED_FORWARD + _MODULATION,
            "all_linear_conv": _ATTENTION + _FEED_FORWARD + _MODULATION,
        }
    )

    def pipeline_class(self, base: Base) -> str:
        return "Lumina2Pipeline"

    def file_metadata(self, detection: Detection, objective: ObjectiveName) -> dict[str, str]:
        return {"modelspec.architecture": "lumina-2/lora", "modelspec.implementation": "diffusers"}

    def flow_shift(self, width: int, height: int) -> float:
        return 6.0

    def encode_images(self, model: Model, pixels: Tensor) -> Tensor:
        return encode_scaled(model.vae, pixels)

    def decode_latents(self, model: Model, latents: Tensor) -> Tensor:
        return decode_scaled(model.vae, latents)

    def encode_prompts(self, model: Model, prompts: Sequence[str]) -> Conditioning:
        states, mask, *_ = model.extras["pipeline"].encode_prompt(list(prompts), do_classifier_free_guidance=False)
        return Conditioning({"encoder_hidden_states": states, "encoder_attention_mask": mask})

    def denoise(self, model: Model, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        denoiser: Any = model.denoiser
        prediction: Tensor = denoiser(
            hidden_states=noisy,
            timestep=1 - time,
            encoder_hidden_states=conditioning.tensors["encoder_hidden_states"],
            encoder_attention_mask=conditioning.tensors["encoder_attention_mask"].long(),
            return_dict=False,
        )[0]
        return -prediction.float()


plugin = Lumina2()
