"""Lumina-Image 2: one stream of picture and Gemma tokens with a mask; time backwards, output negated, fused names."""

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
from lorasmith.families.instructions import left_by
from lorasmith.families.latents import decode_scaled, encode_scaled

if TYPE_CHECKING:
    from torch import Tensor

_ATTENTION = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")
_FEED_FORWARD = ("feed_forward.linear_1", "feed_forward.linear_2", "feed_forward.linear_3")
_MODULATION = ("norm1.linear",)
_QKV = ("to_q", "to_k", "to_v")
# The released names, which ComfyUI goes by and diffusers translates.
_RELEASED = {
    **{f"attn.{name}": "attention.qkv" for name in _QKV},
    "attn.to_out.0": "attention.out",
    **{f"feed_forward.linear_{number}": f"feed_forward.w{number}" for number in (1, 2, 3)},
    "norm1.linear": "adaLN_modulation.1",
}


class Lumina2(Family):
    """Qin et al. 2025 (arXiv:2503.21758)."""

    name: ClassVar[str] = "lumina2"
    title: ClassVar[str] = "Lumina-Image 2"
    pretrained: ClassVar[tuple[Pretrained, ...]] = (
        Pretrained("Lumina-Image 2.0", "Alpha-VLLM/Lumina-Image-2.0", "Apache-2.0"),
    )
    pipelines: ClassVar[frozenset[str]] = frozenset(("Lumina2Pipeline",))
    objectives: ClassVar[frozenset[ObjectiveName]] = frozenset(("flow",))
    bucket_multiple: ClassVar[int] = 64
    default_resolution: ClassVar[int] = 1024
    max_prompt_tokens: ClassVar[int] = 256
    text_precision: ClassVar = "bf16"
    denoiser_part: ClassVar[str] = "transformer"
    file_form: ClassVar[FileForm] = "peft"
    elsewhere: ClassVar[Mapping[str, str]] = MappingProxyType({"ComfyUI": "Lumina2"})
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
            "sample": {"guidance_scale": 4.0},
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

    def made_of(self, variant: str) -> Mapping[str, Component]:
        return {
            "text_encoder": Component("gemma2_2b", "Gemma2Model"),
            "tokenizer": Component("gemma2", "GemmaTokenizerFast"),
            "vae": Component("vae_16", "AutoencoderKL", "vae_flux"),
            "scheduler": Component("schedule_flow_6", "FlowMatchEulerDiscreteScheduler"),
        }

    def file_metadata(self, detection: Detection, objective: ObjectiveName) -> dict[str, str]:
        return {"modelspec.architecture": "lumina-2/lora", "modelspec.implementation": "diffusers"}

    def key_names(self, part: str, module: str) -> str:
        if part != self.denoiser_part:
            return super().key_names(part, module)
        block, layer = _split(module)
        return f"diffusion_model.{block}{_RELEASED.get(layer, layer)}"

    def fused(self, part: str, module: str) -> tuple[str, ...]:
        block, layer = _split(module)
        if part != self.denoiser_part or _RELEASED.get(layer) != "attention.qkv":
            return ()
        return tuple(f"{block}attn.{name}" for name in _QKV)

    def companions(self, part: str, module: str) -> tuple[str, ...]:
        """diffusers reads a file of these names only when it has every layer of a block."""
        block, layer = _split(module)
        return tuple(block + name for name in _RELEASED) if part == self.denoiser_part and layer in _RELEASED else ()

    def encode_images(self, model: Model, pixels: Tensor) -> Tensor:
        return encode_scaled(model.vae, pixels)

    def decode_latents(self, model: Model, latents: Tensor) -> Tensor:
        return decode_scaled(model.vae, latents)

    def tokens_read(self, base: Base, pipeline: Any) -> int:
        return left_by(pipeline.tokenizer, f"{pipeline.system_prompt} <Prompt Start> ", self.max_prompt_tokens)

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


def _split(module: str) -> tuple[str, str]:
    """``layers.3.`` and what lies in it; the names of a layer outside the blocks stay whole."""
    pieces = module.split(".", 2)
    if len(pieces) == 3 and pieces[1].isdigit():
        return f"{pieces[0]}.{pieces[1]}.", pieces[2]
    return "", module


plugin = Lumina2()
