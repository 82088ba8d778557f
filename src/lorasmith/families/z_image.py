"""Z-Image: one stream of picture and Qwen3 tokens, each row of its own length; time runs backwards, output negated."""

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
from lorasmith.families.instructions import left_by_chat
from lorasmith.families.latents import decode_scaled, encode_scaled

if TYPE_CHECKING:
    from torch import Tensor

# Under "layers." alone: the refiners before them stay as they are, as in other trainers.
_ATTENTION = ("attention.to_q", "attention.to_k", "attention.to_v", "attention.to_out.0")
_FEED_FORWARD = ("feed_forward.w1", "feed_forward.w2", "feed_forward.w3")
_MODULATION = ("adaLN_modulation.0",)


class ZImage(Family):
    """Tongyi-MAI 2025."""

    name: ClassVar[str] = "z_image"
    title: ClassVar[str] = "Z-Image"
    pretrained: ClassVar[tuple[Pretrained, ...]] = (
        Pretrained("Z-Image", "Tongyi-MAI/Z-Image", "Apache-2.0"),
        Pretrained(
            "Z-Image Turbo",
            "Tongyi-MAI/Z-Image-Turbo",
            "Apache-2.0",
            "distilled to few steps: train on Z-Image, or with a training adapter",
        ),
    )
    pipelines: ClassVar[frozenset[str]] = frozenset(("ZImagePipeline",))
    refused: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"omni": "it takes reference pictures", "pixel": "it works on pixels, not latents"}
    )
    objectives: ClassVar[frozenset[ObjectiveName]] = frozenset(("flow",))
    bucket_multiple: ClassVar[int] = 64
    default_resolution: ClassVar[int] = 1024
    max_prompt_tokens: ClassVar[int] = 512
    text_precision: ClassVar = "bf16"
    denoiser_part: ClassVar[str] = "transformer"
    file_form: ClassVar[FileForm] = "peft"
    elsewhere: ClassVar[Mapping[str, str]] = MappingProxyType({"ComfyUI": "Lumina2", "InvokeAI": "z-image"})
    distilled_steps: ClassVar[int] = 9
    time_sampling: ClassVar[TimeSampling] = TimeSampling("logit_normal")
    lacks: ClassVar[Mapping[str, str]] = MappingProxyType({"objective.guidance": "it has no guidance built in"})
    billions: ClassVar[Mapping[str, float]] = MappingProxyType({"base_or_turbo": 6.15})
    excluded_targets: ClassVar[tuple[str, ...]] = ("noise_refiner", "context_refiner")
    predicted_memory: ClassVar[Mapping[str, tuple[float, float]]] = MappingProxyType(
        {"512 px": (22.9, 13.8), "1024 px": (46.6, 15.6)}
    )
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
        {
            "attention": _ATTENTION,
            "attention_ff": _ATTENTION + _FEED_FORWARD,
            "all_linear": _ATTENTION + _FEED_FORWARD + _MODULATION,
            "all_linear_conv": _ATTENTION + _FEED_FORWARD + _MODULATION,
        }
    )

    def pipeline_class(self, base: Base) -> str:
        return "ZImagePipeline"

    def made_of(self, variant: str) -> Mapping[str, Component]:
        return {
            "text_encoder": Component("qwen3_4b", "Qwen3Model"),
            "tokenizer": Component("qwen3", "Qwen2Tokenizer"),
            "vae": Component("vae_16", "AutoencoderKL", "vae_flux"),
            "scheduler": Component("schedule_flow_3", "FlowMatchEulerDiscreteScheduler"),
        }

    def file_metadata(self, detection: Detection, objective: ObjectiveName) -> dict[str, str]:
        return {"modelspec.architecture": "z-image/lora", "modelspec.implementation": "diffusers"}

    def sampling_arguments(self, pipeline: Any, negative_prompt: Sequence[str], scale: float) -> dict[str, Any]:
        """Its pipeline adds the difference on top of the prompted prediction: 0 there is what 1 is elsewhere."""
        return {"negative_prompt": list(negative_prompt), "guidance_scale": max(0.0, scale - 1)}

    def encode_images(self, model: Model, pixels: Tensor) -> Tensor:
        return encode_scaled(model.vae, pixels)

    def decode_latents(self, model: Model, latents: Tensor) -> Tensor:
        return decode_scaled(model.vae, latents)

    def tokens_read(self, base: Base, pipeline: Any) -> int:
        said = [{"role": "user", "content": ""}]
        chat = {"add_generation_prompt": True, "enable_thinking": True}
        return left_by_chat(pipeline.tokenizer, said, self.max_prompt_tokens, **chat)

    def encode_prompts(self, model: Model, prompts: Sequence[str]) -> Conditioning:
        from torch import ones

        rows, _ = model.extras["pipeline"].encode_prompt(list(prompts), do_classifier_free_guidance=False)
        masked = [{"states": row, "mask": ones(len(row), device=row.device)} for row in rows]
        return Conditioning.joined(masked, rows[0].device)  # (B, tokens, 2560), (B, tokens)

    def denoise(self, model: Model, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        import torch

        lengths = conditioning.tensors["mask"].sum(dim=1).long().tolist()
        denoiser: Any = model.denoiser
        states = [
            row[:length].to(denoiser.dtype) for row, length in zip(conditioning.tensors["states"], lengths, strict=True)
        ]
        pictures = list(noisy.to(denoiser.dtype).unsqueeze(2).unbind(0))  # each (C, 1, h, w)
        predictions = denoiser(pictures, 1 - time, states, return_dict=False)[0]
        return -torch.stack([prediction.float() for prediction in predictions]).squeeze(2)


plugin = ZImage()
