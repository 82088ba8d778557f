"""LTX-Video 2B and 13B: T5 tokens with their mask, a VAE that makes one position of 32 x 32 pixels and 8 frames."""

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
from lorasmith.families.latents import linear_shift

if TYPE_CHECKING:
    from torch import Tensor

_SELF = ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0")
_CROSS = ("attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0")
_FEED_FORWARD = ("ff.net.0.proj", "ff.net.2")
_ALL = _SELF + _CROSS + _FEED_FORWARD
_LICENSE = "LTX-Video Open Weights License"
_DISTILLED = "distilled to few steps: an adapter trained straight on it undoes that"
_FRAME_RATE = 25.0
_SIDE, _FRAMES = 32, 8  # pixels and frames that are one position of the latents
# What its makers decode with where the VAE was trained to be told a noise level.
_DECODING = {"decode_timestep": 0.05, "decode_noise_scale": 0.025}


class LTX(Family):
    """HaCohen et al. 2024 (arXiv:2501.00103)."""

    name: ClassVar[str] = "ltx"
    title: ClassVar[str] = "LTX-Video"
    pretrained: ClassVar[tuple[Pretrained, ...]] = (
        Pretrained("LTX-Video 2B", "Lightricks/LTX-Video", _LICENSE),
        Pretrained("LTX-Video 13B dev", "Lightricks/LTX-Video-0.9.7-dev", _LICENSE),
        Pretrained("LTX-Video 13B distilled", "Lightricks/LTX-Video-0.9.7-distilled", _LICENSE, _DISTILLED),
    )
    task: ClassVar[str] = "text to video, from pictures"
    pipelines: ClassVar[frozenset[str]] = frozenset(("LTXPipeline", "LTXImageToVideoPipeline", "LTXConditionPipeline"))
    objectives: ClassVar[frozenset[ObjectiveName]] = frozenset(("flow",))
    bucket_multiple: ClassVar[int] = _SIDE
    least_multiple: ClassVar[int] = _SIDE
    default_resolution: ClassVar[int] = 768
    max_prompt_tokens: ClassVar[int] = 128
    text_precision: ClassVar = "bf16"
    denoiser_part: ClassVar[str] = "transformer"
    file_form: ClassVar[FileForm] = "peft"
    time_sampling: ClassVar[TimeSampling] = TimeSampling("logit_normal")
    lacks: ClassVar[Mapping[str, str]] = MappingProxyType({"objective.guidance": "it has no guidance built in"})
    billions: ClassVar[Mapping[str, float]] = MappingProxyType({"2b": 1.92, "13b": 13.04})
    predicted_memory: ClassVar[Mapping[str, tuple[float, float]]] = MappingProxyType(
        {"2B, 768 x 512, 49 frames": (12.7, 5.5)}
    )
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "max_train_steps": 2000,
            "mixed_precision": "bf16",
            "gradient_checkpointing": True,
            "adapter": {"rank": 32, "targets": "attention_ff"},
            "optimizer": {"learning_rate": 2e-4, "lr_warmup_steps": 50},
            "export": {"dtype": "bf16"},
            "sample": {"guidance_scale": 3.0},
        }
    )
    target_presets: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {"attention": _SELF + _CROSS, "attention_ff": _ALL, "all_linear": _ALL, "all_linear_conv": _ALL}
    )

    def pipeline_class(self, base: Base) -> str:
        """From 0.9.5 on the first latent frame is one frame in time and not eight, and prompts are longer."""
        stated = base.header.configs.get("model_index", {}).get("_class_name")
        return "LTXConditionPipeline" if stated == "LTXConditionPipeline" else "LTXPipeline"

    def file_metadata(self, detection: Detection, objective: ObjectiveName) -> dict[str, str]:
        return {"modelspec.architecture": "ltx-video/lora", "modelspec.implementation": "diffusers"}

    def key_names(self, part: str, module: str) -> str:
        return f"diffusion_model.{module}" if part == self.denoiser_part else f"{part}.{module}"

    def flow_shift(self, width: int, height: int) -> float:
        """Its makers' trainer moves the mean of a logit-normal; that is this shift of the standard one."""
        return linear_shift(width * height // _SIDE**2, 0.95, 2.05, 1024, 4096)

    def sampling_arguments(self, pipeline: Any, negative_prompt: Sequence[str], scale: float) -> dict[str, Any]:
        told = _DECODING if pipeline.vae.config.timestep_conditioning else {}
        return {"negative_prompt": list(negative_prompt), "guidance_scale": scale, "num_frames": 1, **told}

    def latent_scale(self, side: int) -> int:
        return side // _SIDE

    def encode_images(self, model: Model, pixels: Tensor) -> Tensor:
        vae = model.vae
        latents: Tensor = vae.encode(pixels.to(vae.dtype).unsqueeze(2)).latent_dist.mode().float()  # (B, C, 1, h, w)
        mean, deviation = _statistics(vae, latents)
        return ((latents - mean) / deviation).squeeze(2)

    def decode_latents(self, model: Model, latents: Tensor) -> Tensor:
        vae, clips = model.vae, latents.float().unsqueeze(2)
        mean, deviation = _statistics(vae, clips)
        plain = (clips * deviation + mean).to(vae.dtype)
        time = plain.new_zeros(len(plain)) if vae.config.timestep_conditioning else None
        pixels: Tensor = vae.decode(plain, time, return_dict=False)[0]
        return pixels.float().squeeze(2)

    def encode_prompts(self, model: Model, prompts: Sequence[str]) -> Conditioning:
        pipeline = model.extras["pipeline"]
        states, mask, *_ = pipeline.encode_prompt(
            list(prompts), do_classifier_free_guidance=False, max_sequence_length=256 if _causal(model) else 128
        )
        return Conditioning({"encoder_hidden_states": states, "encoder_attention_mask": mask})

    def denoise(self, model: Model, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        count, _, height, width = noisy.shape
        denoiser: Any = model.denoiser
        prediction: Tensor = denoiser(
            hidden_states=noisy.flatten(2).transpose(1, 2),  # one token a position: patches of one
            timestep=time[:, None] * 1000 if _causal(model) else time * 1000,
            return_dict=False,
            **_where(noisy, _causal(model)),
            **conditioning.tensors,
        )[0]
        return prediction.transpose(1, 2).reshape(count, -1, height, width).float()


def _causal(model: Model) -> bool:
    return type(model.extras["pipeline"]).__name__ == "LTXConditionPipeline"


def _where(noisy: Tensor, causal: bool) -> dict[str, Any]:
    """Where each token lies, in seconds and pixels."""
    import torch

    count, _, height, width = noisy.shape
    if not causal:
        scale = (_FRAMES / _FRAME_RATE, _SIDE, _SIDE)
        return {"num_frames": 1, "height": height, "width": width, "rope_interpolation_scale": scale}
    grid = torch.meshgrid(
        torch.zeros(1, device=noisy.device),
        torch.arange(height, device=noisy.device) * float(_SIDE),
        torch.arange(width, device=noisy.device) * float(_SIDE),
        indexing="ij",
    )
    return {"video_coords": torch.stack(grid).flatten(1).expand(count, -1, -1)}  # (B, 3, tokens)


def _statistics(vae: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every channel as the pipeline uses them, (1, C, 1, 1, 1)."""
    shape = (1, -1, 1, 1, 1)
    return vae.latents_mean.to(like).view(shape), vae.latents_std.to(like).view(shape) / vae.config.scaling_factor


plugin = LTX()
