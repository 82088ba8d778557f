"""Qwen-Image: two streams, tokens of a vision-language model behind a template, a video VAE, guidance by comparison."""

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
from lorasmith.families.latents import decode_frames, encode_frames, packed, unpacked

if TYPE_CHECKING:
    from torch import Tensor

_ATTENTION = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")
_TEXT = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out")
_FEED_FORWARD = ("img_mlp.net.0.proj", "img_mlp.net.2", "txt_mlp.net.0.proj", "txt_mlp.net.2")
_MODULATION = ("img_mod.1", "txt_mod.1")


class QwenImage(Family):
    """Wu et al. 2025 (arXiv:2508.02324)."""

    name: ClassVar[str] = "qwen_image"
    title: ClassVar[str] = "Qwen-Image"
    pretrained: ClassVar[tuple[Pretrained, ...]] = (
        Pretrained("Qwen-Image", "Qwen/Qwen-Image", "Apache-2.0"),
        Pretrained("Qwen-Image 2512", "Qwen/Qwen-Image-2512", "Apache-2.0"),
    )
    pipelines: ClassVar[frozenset[str]] = frozenset(("QwenImagePipeline",))
    refused: ClassVar[Mapping[str, str]] = MappingProxyType({"layered": "it paints several layers at once"})
    left_to_others: ClassVar[frozenset[str]] = frozenset(("edit", "edit_plus", "edit_2511"))
    objectives: ClassVar[frozenset[ObjectiveName]] = frozenset(("flow",))
    bucket_multiple: ClassVar[int] = 64
    default_resolution: ClassVar[int] = 1024
    max_prompt_tokens: ClassVar[int] = 512  # its pipeline reads no more unless it is told to
    text_precision: ClassVar = "bf16"
    denoiser_part: ClassVar[str] = "transformer"
    file_form: ClassVar[FileForm] = "peft"
    elsewhere: ClassVar[Mapping[str, str]] = MappingProxyType({"ComfyUI": "QwenImage", "InvokeAI": "qwen-image"})
    layer_rules: ClassVar[str] = "qwen_image"
    time_sampling: ClassVar[TimeSampling] = TimeSampling("logit_normal")
    lacks: ClassVar[Mapping[str, str]] = MappingProxyType({"objective.guidance": "it has no guidance built in"})
    billions: ClassVar[Mapping[str, float]] = MappingProxyType({"1": 20.43})
    predicted_memory: ClassVar[Mapping[str, tuple[float, float]]] = MappingProxyType({"1024 px": (69.4, 43.4)})
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "max_train_steps": 1500,
            "mixed_precision": "bf16",
            "gradient_checkpointing": True,
            "adapter": {"rank": 16, "targets": "attention_ff"},
            "optimizer": {"learning_rate": 1e-4, "lr_warmup_steps": 50},
            "export": {"dtype": "bf16"},
            "sample": {"guidance_scale": 4.0},
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
        return "QwenImagePipeline"

    def made_of(self, variant: str) -> Mapping[str, Component]:
        return {
            "text_encoder": Component("qwen2.5_vl_7b", "Qwen2_5_VLForConditionalGeneration"),
            "tokenizer": Component("qwen2.5_vl", "Qwen2Tokenizer"),
            "vae": Component("vae_wan", "AutoencoderKLQwenImage", "vae_qwen"),
            "scheduler": Component("schedule_qwen", "FlowMatchEulerDiscreteScheduler"),
        }

    def file_metadata(self, detection: Detection, objective: ObjectiveName) -> dict[str, str]:
        return {"modelspec.architecture": "qwen-image/lora", "modelspec.implementation": "diffusers"}

    def latent_channels(self, model: Model) -> int:
        denoiser: Any = model.denoiser
        return int(denoiser.config.in_channels) // 4

    def sampling_arguments(self, pipeline: Any, negative_prompt: Sequence[str], scale: float) -> dict[str, Any]:
        """It compares with another prompt only when there is one; a space says nothing, as its makers use it."""
        return {"negative_prompt": [prompt or " " for prompt in negative_prompt], "true_cfg_scale": scale}

    def encode_images(self, model: Model, pixels: Tensor) -> Tensor:
        return encode_frames(model.vae, pixels)

    def decode_latents(self, model: Model, latents: Tensor) -> Tensor:
        return decode_frames(model.vae, latents)

    def encode_prompts(self, model: Model, prompts: Sequence[str]) -> Conditioning:
        states, mask = model.extras["pipeline"].encode_prompt(list(prompts), max_sequence_length=self.max_prompt_tokens)
        mask = states.new_ones(states.shape[:2]) if mask is None else mask
        return Conditioning({"encoder_hidden_states": states, "encoder_hidden_states_mask": mask})

    def denoise(self, model: Model, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        return predict(model, noisy, time, conditioning.tensors)


def predict(
    model: Model, noisy: Tensor, time: Tensor, tensors: Mapping[str, Tensor], references: Sequence[Tensor] = ()
) -> Tensor:
    """The velocity of ``noisy`` (B, C, h, w); tokens of references stand behind its own, each picture with its grid."""
    import torch

    mask = tensors["encoder_hidden_states_mask"].bool()
    own = packed(noisy)
    grids = [(1, latents.shape[2] // 2, latents.shape[3] // 2) for latents in (noisy, *references)]
    denoiser: Any = model.denoiser
    prediction: Tensor = denoiser(
        hidden_states=torch.cat([own, *(packed(reference).to(own) for reference in references)], dim=1),
        timestep=time,
        encoder_hidden_states=tensors["encoder_hidden_states"],
        encoder_hidden_states_mask=None if bool(mask.all()) else mask,
        img_shapes=[grids] * len(noisy),
        return_dict=False,
    )[0]
    return unpacked(prediction[:, : own.shape[1]], noisy).float()


plugin = QwenImage()
