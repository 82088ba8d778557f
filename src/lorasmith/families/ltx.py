"""LTX-Video 2B and 13B: T5 tokens with their mask, a VAE that makes one position of 32 x 32 pixels and 8 frames."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from lorasmith.bases.parts import Component
from lorasmith.families import (
    Base,
    Conditioning,
    Detection,
    Family,
    FileForm,
    Framing,
    Model,
    ObjectiveName,
    Pretrained,
    TimeSampling,
)
from lorasmith.families.beginnings import held
from lorasmith.families.latents import buffered_statistics, linear_shift

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

_SELF = ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0")
_CROSS = ("attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0")
_FEED_FORWARD = ("ff.net.0.proj", "ff.net.2")
_ALL = _SELF + _CROSS + _FEED_FORWARD
_LICENSE = "LTX-Video Open Weights License"
_DISTILLED = "distilled to few steps: train on dev"
_OLDER = ("vae_ltx_0.9.0", "vae_ltx_0.9.1")
_LATER_TOKENS = 256  # of releases from 0.9.5 on
_SIDE, _STEP = 32, 8  # pixels and frames that are one position of the latents
_GRAIN = 0.15  # of a given first frame from 0.9.5 on, what diffusers leaves of noise on it so that it moves
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
    task: ClassVar[str] = "text to video"
    pipelines: ClassVar[frozenset[str]] = frozenset(("LTXPipeline", "LTXImageToVideoPipeline", "LTXConditionPipeline"))
    objectives: ClassVar[frozenset[ObjectiveName]] = frozenset(("flow",))
    bucket_multiple: ClassVar[int] = _SIDE
    least_multiple: ClassVar[int] = _SIDE
    frame_step: ClassVar[int] = _STEP
    default_frames: ClassVar[int] = 49
    default_fps: ClassVar[float] = 25.0
    may_begin_with_picture: ClassVar[bool] = True
    default_resolution: ClassVar[int] = 768
    max_prompt_tokens: ClassVar[int] = 128
    text_precision: ClassVar = "bf16"
    denoiser_part: ClassVar[str] = "transformer"
    file_form: ClassVar[FileForm] = "peft"
    elsewhere: ClassVar[Mapping[str, str]] = MappingProxyType({"ComfyUI": "LTXV"})
    distilled_steps: ClassVar[int] = 8
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
            "data": {"first_frame_conditioning": 0.1},
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

    def made_of(self, variant: str) -> Mapping[str, Component]:
        return self.made_with(variant, ())

    def made_with(self, variant: str, having: Collection[str]) -> Mapping[str, Component]:
        """Releases of one denoiser differ in their VAE, which says which of them it is."""
        older = next((kind for kind in _OLDER if kind in having), "") if variant == "2b" else ""
        return {
            "text_encoder": Component("t5_xxl", "T5EncoderModel"),
            "tokenizer": Component("t5", "T5TokenizerFast"),
            "vae": Component(older or "vae_ltx_0.9.5", "AutoencoderKLLTXVideo"),
            "scheduler": Component("schedule_ltx" if older else "schedule_flow_1", "FlowMatchEulerDiscreteScheduler"),
        }

    def states(self, variant: str, having: Collection[str]) -> Mapping[str, Any]:
        older = variant == "2b" and any(kind in having for kind in _OLDER)
        return {"_class_name": "LTXPipeline" if older else "LTXConditionPipeline"}

    def file_metadata(self, detection: Detection, objective: ObjectiveName) -> dict[str, str]:
        return {"modelspec.architecture": "ltx-video/lora", "modelspec.implementation": "diffusers"}

    def key_names(self, part: str, module: str) -> str:
        return f"diffusion_model.{module}" if part == self.denoiser_part else f"{part}.{module}"

    def shift_for(self, model: Model) -> Callable[[int, int, int], float]:
        """Its makers' trainer moves the mean of a logit-normal, by one line for all releases though the schedules of
        some shift nothing; that is this shift of the standard one."""

        def by_tokens(width: int, height: int, frames: int) -> float:
            tokens = width * height // _SIDE**2 * ((frames - 1) // _STEP + 1)
            return linear_shift(tokens, 0.95, 2.05, 1024, 4096)

        return by_tokens

    def clip_arguments(self, base: Base, frames: int, fps: float, first_frame: Image | None) -> dict[str, Any]:
        return {"frame_rate": fps, **super().clip_arguments(base, frames, fps, first_frame)}

    def begun_pipeline(self, pipeline: Any) -> Any:
        from diffusers import LTXImageToVideoPipeline, LTXPipeline

        return LTXImageToVideoPipeline(**pipeline.components) if type(pipeline) is LTXPipeline else pipeline

    def sampling_arguments(self, pipeline: Any, negative_prompt: Sequence[str], scale: float) -> dict[str, Any]:
        told = _DECODING if pipeline.vae.config.timestep_conditioning else {}
        return {"negative_prompt": list(negative_prompt), "guidance_scale": scale, **told}

    def latent_scale(self, side: int) -> int:
        return side // _SIDE

    def encode_images(self, model: Model, pixels: Tensor) -> Tensor:
        vae = model.vae
        latents: Tensor = vae.encode(pixels.to(vae.dtype)).latent_dist.mode().float()  # (B, C, f, h, w)
        mean, deviation = buffered_statistics(vae, latents)
        return (latents - mean) / deviation

    def decode_latents(self, model: Model, latents: Tensor) -> Tensor:
        vae = model.vae
        mean, deviation = buffered_statistics(vae, latents.float())
        plain = (latents.float() * deviation + mean).to(vae.dtype)
        time = plain.new_zeros(len(plain)) if vae.config.timestep_conditioning else None
        pixels: Tensor = vae.decode(plain, time, return_dict=False)[0]
        return pixels.float()

    def tokens_read(self, base: Base, pipeline: Any) -> int:
        return _LATER_TOKENS if _is_later(pipeline) else self.max_prompt_tokens

    def encode_prompts(self, model: Model, prompts: Sequence[str]) -> Conditioning:
        pipeline = model.extras["pipeline"]
        states, mask, *_ = pipeline.encode_prompt(
            list(prompts), do_classifier_free_guidance=False, max_sequence_length=self.tokens_read(model.base, pipeline)
        )
        return Conditioning({"encoder_hidden_states": states, "encoder_attention_mask": mask})

    def frame(
        self, model: Model, conditioning: Conditioning, framings: Sequence[Framing], guidance: float
    ) -> Conditioning:
        states = conditioning.tensors["encoder_hidden_states"]
        fps = states.new_tensor([framing.fps or self.default_fps for framing in framings])
        return Conditioning({**conditioning.tensors, "fps": fps})

    def denoise(self, model: Model, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        told = dict(conditioning.tensors)
        places = _causal_places if _causal(model) else _places
        begun = held(noisy, time, told, _GRAIN if _causal(model) else 0.0)
        if begun is not None:
            noisy, times = begun.latents, begun.times(time, noisy[0, 0, 0].numel())
        else:
            times = time[:, None] if _causal(model) else time
        denoiser: Any = model.denoiser
        prediction: Tensor = denoiser(
            hidden_states=noisy.flatten(2).transpose(1, 2),  # (B, f * h * w, C): a token is one position
            timestep=times * 1000,
            return_dict=False,
            **places(noisy, told.pop("fps").float()),
            **told,
        )[0]
        return prediction.transpose(1, 2).reshape(noisy.shape).float()


def _causal(model: Model) -> bool:
    return _is_later(model.extras["pipeline"])


def _is_later(pipeline: Any) -> bool:
    return type(pipeline).__name__ == "LTXConditionPipeline"


def _places(noisy: Tensor, fps: Tensor) -> dict[str, Any]:
    """Where tokens lie, in seconds and pixels: as if every position were eight frames."""
    _, _, length, height, width = noisy.shape
    scale = (_STEP / fps.view(-1, 1, 1, 1, 1), _SIDE, _SIDE)
    return {"num_frames": length, "height": height, "width": width, "rope_interpolation_scale": scale}


def _causal_places(noisy: Tensor, fps: Tensor) -> dict[str, Any]:
    """The same, with a first position of one frame; the rest lies seven frames earlier."""
    import torch

    count, _, *size = noisy.shape
    frames, rows, columns = (torch.arange(n, device=noisy.device, dtype=torch.float32) for n in size)
    frames = (frames * _STEP + 1 - _STEP).clamp(min=0)
    grid = torch.meshgrid(frames, rows * _SIDE, columns * _SIDE, indexing="ij")
    places = torch.stack(grid).flatten(1).repeat(count, 1, 1)  # (B, 3, f * h * w)
    places[:, 0] /= fps[:, None]
    return {"video_coords": places}


plugin = LTX()
