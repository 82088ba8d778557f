"""Wan 2.1 and 2.2, text to video: UMT5 tokens, a video VAE, clips with pictures among them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from lorasmith.bases.header import Header
from lorasmith.bases.parts import EXPERT, Component
from lorasmith.bases.recognition import recognise
from lorasmith.config import layer
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
from lorasmith.families.latents import decode_clips, encode_clips

if TYPE_CHECKING:
    from torch import Tensor

_SELF = ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0")
_CROSS = ("attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0")
ATTENTION = _SELF + _CROSS
FEED_FORWARD = ("ffn.net.0.proj", "ffn.net.2")
_ALL = ATTENTION + FEED_FORWARD
TWO_EXPERTS = "two experts, both in memory: one job, two adapters"
# diffusers' names and those of the original, which every other program knows.
_ORIGINAL = (
    (".attn1.", ".self_attn."),
    (".attn2.", ".cross_attn."),
    (".add_k_proj", ".k_img"),
    (".add_v_proj", ".v_img"),
    (".to_q", ".q"),
    (".to_k", ".k"),
    (".to_v", ".v"),
    (".to_out.0", ".o"),
    (".ffn.net.0.proj", ".ffn.0"),
    (".ffn.net.2", ".ffn.2"),
)


class Wan(Family):
    """Wan team 2025 (arXiv:2503.20314)."""

    name: ClassVar[str] = "wan"
    title: ClassVar[str] = "Wan"
    pretrained: ClassVar[tuple[Pretrained, ...]] = (
        Pretrained("Wan 2.1 T2V 1.3B", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "Apache-2.0"),
        Pretrained("Wan 2.1 T2V 14B", "Wan-AI/Wan2.1-T2V-14B-Diffusers", "Apache-2.0"),
        Pretrained("Wan 2.2 T2V A14B", "Wan-AI/Wan2.2-T2V-A14B-Diffusers", "Apache-2.0", TWO_EXPERTS),
    )
    task: ClassVar[str] = "text to video"
    pipelines: ClassVar[frozenset[str]] = frozenset(("WanPipeline",))
    refused: ClassVar[Mapping[str, str]] = MappingProxyType(
        dict.fromkeys(
            ("vace_1.3b", "vace_14b", "animate_14b", "s2v_14b", "camera", "skyreels_v2"), "it takes more than a prompt"
        )
    )
    objectives: ClassVar[frozenset[ObjectiveName]] = frozenset(("flow",))
    bucket_multiple: ClassVar[int] = 16
    frame_step: ClassVar[int] = 4
    default_frames: ClassVar[int] = 33
    default_fps: ClassVar[float] = 16.0
    default_resolution: ClassVar[int] = 512
    max_prompt_tokens: ClassVar[int] = 512
    text_precision: ClassVar = "bf16"
    denoiser_part: ClassVar[str] = "transformer"
    file_form: ClassVar[FileForm] = "peft"
    elsewhere: ClassVar[Mapping[str, str]] = MappingProxyType({"ComfyUI": "WAN21", "InvokeAI": "wan"})
    layer_rules: ClassVar[str] = "wan"
    time_sampling: ClassVar[TimeSampling] = TimeSampling("uniform")
    lacks: ClassVar[Mapping[str, str]] = MappingProxyType({"objective.guidance": "it has no guidance built in"})
    billions: ClassVar[Mapping[str, float]] = MappingProxyType({"t2v_1.3b": 1.42, "t2v_14b": 14.29})
    predicted_memory: ClassVar[Mapping[str, tuple[float, float]]] = MappingProxyType(
        {
            "1.3B, 480p, 81 frames": (86.4, 11.0),
            "14B, 480p, 1 frame": (45.8, 30.8),
            "14B, 480p, 81 frames": (355.2, 55.5),
        }
    )
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "max_train_steps": 2000,
            "mixed_precision": "bf16",
            "gradient_checkpointing": True,
            "adapter": {"rank": 32, "targets": "attention_ff"},
            "optimizer": {"learning_rate": 2e-4, "lr_warmup_steps": 50},
            "export": {"dtype": "bf16"},
            "sample": {"guidance_scale": 5.0},
        }
    )
    target_presets: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {"attention": ATTENTION, "attention_ff": _ALL, "all_linear": _ALL, "all_linear_conv": _ALL}
    )

    recognised_as: ClassVar[str] = "wan"
    experts: ClassVar[Mapping[str, str]] = MappingProxyType({"transformer": "high_noise", "transformer_2": "low_noise"})
    shift_of_pair: ClassVar[float] = 12.0
    guidance_of_pair: ClassVar[float] = 4.0
    boundary: ClassVar[float] = 0.875
    """Of a pair: the share of the noise from which on the first expert is asked; its makers' (``model_index.json``)."""
    task_of: ClassVar[str] = "t2v"
    """Which of Wan's tasks: from a prompt, from a picture, or the small model's one for both."""

    def detect(self, header: Header) -> Detection | None:
        return super().detect(header) if _task_of(header) == self.task_of else None

    def pipeline_class(self, base: Base) -> str:
        return next(iter(self.pipelines))

    def made_of(self, variant: str) -> Mapping[str, Component]:
        """Of 14B, 2.1 is one denoiser and 2.2 two with the same tensors."""
        second = {"transformer_2": Component(EXPERT, "WanTransformer3DModel", optional=True)}
        return {
            **(second if variant == "t2v_14b" else {}),
            "text_encoder": Component("umt5_xxl", "UMT5EncoderModel"),
            "tokenizer": Component("umt5", "T5TokenizerFast"),
            "vae": Component("vae_wan", "AutoencoderKLWan", "vae_wan2.1"),
            "scheduler": Component("schedule_wan", "UniPCMultistepScheduler"),
        }

    def states(self, variant: str, having: Collection[str]) -> Mapping[str, Any]:
        return {"boundary_ratio": self.boundary} if EXPERT in having else {}

    def file_metadata(self, detection: Detection, objective: ObjectiveName) -> dict[str, str]:
        return {"modelspec.architecture": "wan2.1/lora", "modelspec.implementation": "diffusers"}

    def key_names(self, part: str, module: str) -> str:
        for ours, theirs in _ORIGINAL:
            module = module.replace(ours, theirs)
        return f"diffusion_model.{module}" if part in self.experts else f"{part}.{module}"

    def sampling_arguments(self, pipeline: Any, negative_prompt: Sequence[str], scale: float) -> dict[str, Any]:
        return {"negative_prompt": list(negative_prompt), "guidance_scale": scale}

    def defaults_for(self, base: Base) -> dict[str, Any]:
        second = base.header.configs.get("model_index", {}).get("transformer_2") or [None]
        pair = {} if second[-1] is None else {"sample.guidance_scale": self.guidance_of_pair}
        return layer(super().defaults_for(base), pair)

    def latent_channels(self, model: Model) -> int:
        return int(model.denoiser.config.out_channels)  # type: ignore[union-attr, arg-type]

    def encode_images(self, model: Model, pixels: Tensor) -> Tensor:
        return encode_clips(model.vae, pixels)

    def decode_latents(self, model: Model, latents: Tensor) -> Tensor:
        return decode_clips(model.vae, latents)

    def encode_prompts(self, model: Model, prompts: Sequence[str]) -> Conditioning:
        states, _ = model.extras["pipeline"].encode_prompt(
            list(prompts), do_classifier_free_guidance=False, max_sequence_length=self.max_prompt_tokens
        )
        return Conditioning({"encoder_hidden_states": states})  # (B, 512, 4096), zeros behind the prompt

    def denoise(self, model: Model, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        if not model.experts:
            return self._ask(model.denoiser, noisy, time, conditioning)
        import torch

        (low,) = model.experts.values()
        high = time >= model.extras["pipeline"].config.boundary_ratio
        sides = ((model.denoiser, high.nonzero().flatten()), (low, (~high).nonzero().flatten()))  # a sync point
        asked = [(expert, rows) for expert, rows in sides if len(rows)]
        told = conditioning.tensors
        predictions = [
            self._ask(expert, noisy[rows], time[rows], Conditioning({name: told[name][rows] for name in told}))
            for expert, rows in asked
        ]
        return torch.cat(predictions)[torch.cat([rows for _, rows in asked]).argsort()]

    def _ask(self, denoiser: Any, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        prediction: Tensor = denoiser(
            hidden_states=noisy, timestep=time * 1000, return_dict=False, **conditioning.tensors
        )[0]
        return prediction.float()

    def shift_for(self, model: Model) -> Callable[[int, int, int], float]:
        """Its makers' for 720p and 480p, and for the pair: experts are chosen by noise level, so the shift says how
        much each of them sees. The published schedules say 3 for nearly all of them."""
        if model.experts:
            return lambda width, height, frames: self.shift_of_pair
        return lambda width, height, frames: 5.0 if width * height > 640 * 640 else 3.0


def _task_of(header: Header) -> str:
    """What a base is for, of all that are Wan's: ``t2v``, ``i2v`` or ``ti2v``; the shapes say it, or the pipeline."""
    index = header.configs.get("model_index", {})
    variant = recognise(header).variant
    if variant.startswith("ti2v") or index.get("expand_timesteps"):
        return "ti2v"
    if variant.startswith("i2v") or index.get("_class_name") == "WanImageToVideoPipeline":
        return "i2v"
    return "t2v"


plugin = Wan()
