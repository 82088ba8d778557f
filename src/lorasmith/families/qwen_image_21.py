"""Qwen-Image 2.1: one causal stream, text first and the picture as a block, 64 channels of a VAE with transparency."""

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
from lorasmith.families.latents import decode_frames, encode_frames

if TYPE_CHECKING:
    from torch import Tensor

_ATTENTION = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")
_FEED_FORWARD = ("img_mlp.proj", "img_mlp.gate_layer", "img_mlp.out")


class QwenImage21(Family):
    """Qwen team 2026."""

    name: ClassVar[str] = "qwen_image_21"
    title: ClassVar[str] = "Qwen-Image 2.1"
    pretrained: ClassVar[tuple[Pretrained, ...]] = (
        Pretrained(
            "Qwen-Image 2.1", "Qwen/Qwen-Image-2.1", "Qwen Research License", "for research and evaluation only"
        ),
    )
    pipelines: ClassVar[frozenset[str]] = frozenset(("QwenImage21Pipeline",))
    objectives: ClassVar[frozenset[ObjectiveName]] = frozenset(("flow",))
    bucket_multiple: ClassVar[int] = 64
    least_multiple: ClassVar[int] = 32
    default_resolution: ClassVar[int] = 1024
    max_prompt_tokens: ClassVar[int] = 1024  # its pipeline cuts nothing; captions longer than this are none
    text_precision: ClassVar = "bf16"
    denoiser_part: ClassVar[str] = "transformer"
    file_form: ClassVar[FileForm] = "peft"
    elsewhere: ClassVar[Mapping[str, str]] = MappingProxyType({"ComfyUI": "QwenImage"})
    time_sampling: ClassVar[TimeSampling] = TimeSampling("logit_normal")
    lacks: ClassVar[Mapping[str, str]] = MappingProxyType({"objective.guidance": "it has no guidance built in"})
    billions: ClassVar[Mapping[str, float]] = MappingProxyType({"2.1": 7.12})
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "max_train_steps": 1500,
            "mixed_precision": "bf16",
            "gradient_checkpointing": True,
            "adapter": {"rank": 16, "targets": "attention_ff"},
            "optimizer": {"learning_rate": 1e-4, "lr_warmup_steps": 50},
            "export": {"dtype": "bf16"},
            "sample": {"guidance_scale": 1.0},
        }
    )
    target_presets: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {
            "attention": _ATTENTION,
            "attention_ff": _ATTENTION + _FEED_FORWARD,
            "all_linear": _ATTENTION + _FEED_FORWARD,
            "all_linear_conv": _ATTENTION + _FEED_FORWARD,
        }
    )

    def pipeline_class(self, base: Base) -> str:
        return "QwenImage21Pipeline"

    def file_metadata(self, detection: Detection, objective: ObjectiveName) -> dict[str, str]:
        return {"modelspec.architecture": "qwen-image-2.1/lora", "modelspec.implementation": "diffusers"}

    def latent_scale(self, side: int) -> int:
        return side // 16

    def sampling_arguments(self, pipeline: Any, negative_prompt: Sequence[str], scale: float) -> dict[str, Any]:
        """It compares with another prompt only above 1; a space says nothing, as its pipeline has it."""
        negative = {"negative_prompt": [prompt or " " for prompt in negative_prompt]} if scale > 1 else {}
        return {**negative, "true_cfg_scale": scale}

    def encode_images(self, model: Model, pixels: Tensor) -> Tensor:
        """Pictures are opaque: the fourth channel is full."""
        from torch import cat, ones_like

        return encode_frames(model.vae, cat([pixels, ones_like(pixels[:, :1])], dim=1))

    def decode_latents(self, model: Model, latents: Tensor) -> Tensor:
        return decode_frames(model.vae, latents)[:, :3]

    def tokens_read(self, base: Base, pipeline: Any) -> int | None:
        return None

    def encode_prompts(self, model: Model, prompts: Sequence[str]) -> Conditioning:
        states, mask, _ = model.extras["pipeline"].encode_prompt(list(prompts))
        return Conditioning({"states": states, "mask": states.new_ones(states.shape[:2]) if mask is None else mask})

    def denoise(self, model: Model, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        """Where a picture begins is how long its text is, so rows of one length go together and none is filled up."""
        import torch

        lengths = conditioning.tensors["mask"].sum(dim=1).long()
        found = torch.empty_like(noisy, dtype=torch.float32)
        for length in sorted(set(lengths.tolist())):
            rows = lengths == length
            states = conditioning.tensors["states"][rows, :length]
            found[rows] = _predict(model.denoiser, noisy[rows], time[rows], states).float()
        return found


def _predict(denoiser: Any, noisy: Tensor, time: Tensor, states: Tensor) -> Tensor:
    import torch

    height, width = noisy.shape[2:]
    slots = states.shape[1] + height * width // 4  # 2 x 2 positions of the picture are one slot after the text
    prediction: Tensor = denoiser(
        hidden_states=noisy.flatten(2).transpose(1, 2).to(denoiser.dtype),
        timestep=time,
        encoder_hidden_states=states.to(denoiser.dtype),
        img_shapes=[[(1, height, width)]] * len(noisy),
        img_mask=torch.arange(slots, device=noisy.device).expand(len(noisy), -1) >= states.shape[1],
        return_dict=False,
    )[0]
    return prediction[:, -height * width :].transpose(1, 2).reshape(noisy.shape)


plugin = QwenImage21()
