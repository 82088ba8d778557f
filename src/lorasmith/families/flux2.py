"""FLUX.2 dev and klein: latents brought to unit size by the VAE's batch norm, language model tokens, 4-D places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    Guidance,
    Model,
    ObjectiveName,
    Pretrained,
    TimeSampling,
)
from lorasmith.families.gaps import without_guidance
from lorasmith.families.instructions import left_by_chat
from lorasmith.families.latents import without_negative

if TYPE_CHECKING:
    from torch import Tensor

_STREAMS = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")
_TEXT = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out")
_FEED_FORWARD = ("ff.linear_in", "ff.linear_out", "ff_context.linear_in", "ff_context.linear_out")
_SINGLE = ("attn.to_qkv_mlp_proj", "attn.to_out")
_ALL = _STREAMS + _TEXT + _FEED_FORWARD + _SINGLE
_DISTILLED = "distilled to few steps: train on its base model, whose LoRAs it takes"
_STEPS = 50  # the schedule whose shift training takes; its makers' shift depends on the number of steps


class Flux2(Family):
    """Black Forest Labs 2025."""

    name: ClassVar[str] = "flux2"
    title: ClassVar[str] = "FLUX.2"
    pretrained: ClassVar[tuple[Pretrained, ...]] = (
        Pretrained("FLUX.2 dev", "black-forest-labs/FLUX.2-dev", "FLUX [dev] Non-Commercial License"),
        Pretrained("FLUX.2 klein base 4B", "black-forest-labs/FLUX.2-klein-base-4B", "Apache-2.0"),
        Pretrained("FLUX.2 klein base 9B", "black-forest-labs/FLUX.2-klein-base-9B", "FLUX Non-Commercial License"),
        Pretrained("FLUX.2 klein 4B", "black-forest-labs/FLUX.2-klein-4B", "Apache-2.0", _DISTILLED),
        Pretrained("FLUX.2 klein 9B", "black-forest-labs/FLUX.2-klein-9B", "FLUX Non-Commercial License", _DISTILLED),
    )
    pipelines: ClassVar[frozenset[str]] = frozenset(("Flux2Pipeline", "Flux2KleinPipeline"))
    objectives: ClassVar[frozenset[ObjectiveName]] = frozenset(("flow",))
    bucket_multiple: ClassVar[int] = 64
    default_resolution: ClassVar[int] = 1024
    max_prompt_tokens: ClassVar[int] = 512
    text_precision: ClassVar = "bf16"
    denoiser_part: ClassVar[str] = "transformer"
    file_form: ClassVar[FileForm] = "peft"
    elsewhere: ClassVar[Mapping[str, str]] = MappingProxyType({"ComfyUI": "Flux2", "InvokeAI": "flux2"})
    distilled_steps: ClassVar[int] = 4
    time_sampling: ClassVar[TimeSampling] = TimeSampling("logit_normal")
    billions: ClassVar[Mapping[str, float]] = MappingProxyType({"dev": 32.22, "klein_4b": 3.88, "klein_9b": 9.08})
    predicted_memory: ClassVar[Mapping[str, tuple[float, float]]] = MappingProxyType(
        {"klein 4B, 1024 px": (23.1, 10.2), "klein 9B, 1024 px": (43.7, 21.2), "dev, 1024 px": (129.8, 69.5)}
    )
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
            "attention": (*_STREAMS, *_TEXT, *_SINGLE),
            "attention_ff": _ALL,
            "all_linear": _ALL,
            "all_linear_conv": _ALL,
        }
    )

    def pipeline_class(self, base: Base) -> str:
        stated = str(base.header.configs.get("model_index", {}).get("_class_name", ""))
        return stated if stated in self.pipelines else "Flux2Pipeline"

    def made_of(self, variant: str) -> Mapping[str, Component]:
        if variant not in ("klein_4b", "klein_9b"):
            return {}  # dev reads Mistral's words through Pixtral's processor, of which no file holds the settings
        return {
            "text_encoder": Component("qwen3_4b" if variant == "klein_4b" else "qwen3_8b", "Qwen3ForCausalLM"),
            "tokenizer": Component("qwen3", "Qwen2Tokenizer"),
            "vae": Component("vae_flux2", "AutoencoderKLFlux2"),
            "scheduler": Component("schedule_flux2", "FlowMatchEulerDiscreteScheduler"),
        }

    def file_metadata(self, detection: Detection, objective: ObjectiveName) -> dict[str, str]:
        kind = detection.variant.replace("_", "-") or "dev"
        return {"modelspec.architecture": f"flux-2-{kind}/lora", "modelspec.implementation": "diffusers"}

    def lacks_of(self, base: Base) -> Mapping[str, str]:
        return without_guidance(base)

    def guidance(self, model: Model) -> Guidance:
        if model.extras["pipeline"].config.get("is_distilled"):  # its pipeline compares nothing then
            return "none"
        return "embedded" if _config(model).guidance_embeds else "classifier_free"

    def sampling_arguments(self, pipeline: Any, negative_prompt: Sequence[str], scale: float) -> dict[str, Any]:
        return without_negative(self.title, negative_prompt, scale)

    def shift_for(self, model: Model) -> Callable[[int, int, int], float]:
        """What its pipelines compute and not what the schedule says, which they pass over."""
        import math

        from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu

        return lambda width, height, frames: math.exp(compute_empirical_mu(width * height // 256, _STEPS))

    def latent_scale(self, side: int) -> int:
        return side // 16

    def encode_images(self, model: Model, pixels: Tensor) -> Tensor:
        """Latents of 2 x 2 positions as one, (B, 128, H/16, W/16)."""
        latents: Tensor = model.vae.encode(pixels.to(model.vae.dtype)).latent_dist.mode()
        blocks = type(model.extras["pipeline"])._patchify_latents(latents).float()
        mean, deviation = _statistics(model.vae, blocks)
        normal: Tensor = (blocks - mean) / deviation
        return normal

    def decode_latents(self, model: Model, latents: Tensor) -> Tensor:
        mean, deviation = _statistics(model.vae, latents.float())
        blocks = latents.float() * deviation + mean
        plain = type(model.extras["pipeline"])._unpatchify_latents(blocks)
        pixels: Tensor = model.vae.decode(plain.to(model.vae.dtype), return_dict=False)[0]
        return pixels.float()

    def tokens_read(self, base: Base, pipeline: Any) -> int:
        if hasattr(pipeline, "system_message"):
            from diffusers.pipelines.flux2.pipeline_flux2 import format_input

            (said,) = format_input([""], pipeline.system_message)
            return left_by_chat(pipeline.tokenizer, said, self.max_prompt_tokens)
        chat = {"add_generation_prompt": True, "enable_thinking": False}
        return left_by_chat(pipeline.tokenizer, [{"role": "user", "content": ""}], self.max_prompt_tokens, **chat)

    def encode_prompts(self, model: Model, prompts: Sequence[str]) -> Conditioning:
        states, _ = model.extras["pipeline"].encode_prompt(list(prompts))
        return Conditioning({"encoder_hidden_states": states})  # (B, 512, width of three layers)

    def frame(
        self, model: Model, conditioning: Conditioning, framings: Sequence[Framing], guidance: float
    ) -> Conditioning:
        if not _config(model).guidance_embeds:
            return conditioning
        states = conditioning.tensors["encoder_hidden_states"]
        return Conditioning({**conditioning.tensors, "guidance": states.new_full((len(states),), guidance)})

    def denoise(self, model: Model, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        kind = type(model.extras["pipeline"])
        denoiser: Any = model.denoiser
        prediction: Tensor = denoiser(
            hidden_states=noisy.flatten(2).transpose(1, 2).to(denoiser.dtype),
            timestep=time,
            img_ids=kind._prepare_latent_ids(noisy).to(noisy.device),
            txt_ids=kind._prepare_text_ids(conditioning.tensors["encoder_hidden_states"]).to(noisy.device),
            return_dict=False,
            **{"guidance": None, **conditioning.tensors},
        )[0]
        return prediction.transpose(1, 2).reshape(noisy.shape).float()


def _config(model: Model) -> Any:
    denoiser: Any = model.denoiser
    return denoiser.config


def _statistics(vae: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation per channel (1, 128, 1, 1), as the VAE's batch norm learned them."""
    mean = vae.bn.running_mean.view(1, -1, 1, 1).to(like)
    variance = vae.bn.running_var.view(1, -1, 1, 1).to(like)
    return mean, (variance + vae.config.batch_norm_eps).sqrt()


plugin = Flux2()
