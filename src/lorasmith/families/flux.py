"""FLUX.1 dev and schnell: a transformer over packed latents, T5 tokens, a pooled CLIP vector, guidance built in."""

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
    Framing,
    Guidance,
    Model,
    ObjectiveName,
    Pretrained,
    TimeSampling,
)
from lorasmith.families.gaps import without_guidance
from lorasmith.families.latents import (
    decode_scaled,
    encode_scaled,
    packed,
    picture_ids,
    unpacked,
    without_negative,
)

if TYPE_CHECKING:
    from torch import Tensor

_STREAMS = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")
_TEXT = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out")
_FEED_FORWARD = ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2")
_SINGLE = ("proj_mlp", "proj_out")
_MODULATION = ("norm1.linear", "norm1_context.linear", "norm.linear")
_TEXT_TOKENS = 512
_SCHNELL_TOKENS = 256


class Flux(Family):
    """Black Forest Labs 2024; rectified flow (arXiv:2209.03003) in a transformer of two streams and then one."""

    name: ClassVar[str] = "flux"
    title: ClassVar[str] = "FLUX.1"
    pretrained: ClassVar[tuple[Pretrained, ...]] = (
        Pretrained("FLUX.1 dev", "black-forest-labs/FLUX.1-dev", "FLUX.1 [dev] Non-Commercial License"),
        Pretrained(
            "FLUX.1 schnell", "black-forest-labs/FLUX.1-schnell", "Apache-2.0",
            "distilled to few steps: train on dev, or with a training adapter",
        ),
        Pretrained("FLUX.1 Krea dev", "black-forest-labs/FLUX.1-Krea-dev", "FLUX.1 [dev] Non-Commercial License"),
    )  # fmt: skip
    pipelines: ClassVar[frozenset[str]] = frozenset(("FluxPipeline", "FluxImg2ImgPipeline"))
    refused: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "fill": "it is for inpainting",
            "control": "it takes a control picture",
        }
    )
    left_to_others: ClassVar[frozenset[str]] = frozenset(("kontext",))
    objectives: ClassVar[frozenset[ObjectiveName]] = frozenset(("flow",))
    bucket_multiple: ClassVar[int] = 64
    default_resolution: ClassVar[int] = 1024
    max_prompt_tokens: ClassVar[int] = _TEXT_TOKENS
    longest_reader: ClassVar[str] = "tokenizer_2"
    text_encoder_parts: ClassVar[tuple[str, ...]] = ("text_encoder", "text_encoder_2")
    text_precision: ClassVar = "bf16"
    denoiser_part: ClassVar[str] = "transformer"
    file_form: ClassVar[FileForm] = "peft"
    elsewhere: ClassVar[Mapping[str, str]] = MappingProxyType({"ComfyUI": "Flux", "Forge": "flux", "InvokeAI": "flux"})
    layer_rules: ClassVar[str] = "flux"
    distilled_steps: ClassVar[int] = 4
    time_sampling: ClassVar[TimeSampling] = TimeSampling("logit_normal")
    billions: ClassVar[Mapping[str, float]] = MappingProxyType({"dev": 11.90, "schnell": 11.89})
    excluded_targets: ClassVar[tuple[str, ...]] = (
        "proj_out",
    )  # the last layer; each single block has one of that name
    predicted_memory: ClassVar[Mapping[str, tuple[float, float]]] = MappingProxyType(
        {"512 px": (32.0, 25.1), "1024 px": (47.5, 26.6)}
    )
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "max_train_steps": 1500,
            "mixed_precision": "bf16",
            "gradient_checkpointing": True,
            "adapter": {"rank": 16, "targets": "attention_ff"},
            "optimizer": {"learning_rate": 1e-4, "lr_warmup_steps": 50},
            "export": {"dtype": "bf16"},
            "sample": {"guidance_scale": 3.5},
        }
    )
    target_presets: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {
            "attention": _STREAMS[:3] + _TEXT + _STREAMS[3:],
            "attention_ff": _STREAMS + _TEXT + _FEED_FORWARD + _SINGLE,
            "all_linear": _STREAMS + _TEXT + _FEED_FORWARD + _SINGLE + _MODULATION,
            "all_linear_conv": _STREAMS + _TEXT + _FEED_FORWARD + _SINGLE + _MODULATION,
        }
    )

    def pipeline_class(self, base: Base) -> str:
        return "FluxPipeline"

    def made_of(self, variant: str) -> Mapping[str, Component]:
        return {
            "text_encoder": Component("clip_l", "CLIPTextModel"),
            "tokenizer": Component("clip", "CLIPTokenizer"),
            "text_encoder_2": Component("t5_xxl", "T5EncoderModel"),
            "tokenizer_2": Component("t5", "T5TokenizerFast"),
            "vae": Component("vae_16", "AutoencoderKL", "vae_flux"),
        }

    def file_metadata(self, detection: Detection, objective: ObjectiveName) -> dict[str, str]:
        kind = "schnell" if detection.variant == "schnell" else "dev"
        return {
            "ss_base_model_version": "flux1",
            "modelspec.architecture": f"flux-1-{kind}/lora",
            "modelspec.implementation": "diffusers",
        }

    def lacks_of(self, base: Base) -> Mapping[str, str]:
        return without_guidance(base)

    def guidance(self, model: Model) -> Guidance:
        return "embedded" if _config(model).guidance_embeds else "none"

    def sampling_arguments(self, pipeline: Any, negative_prompt: Sequence[str], scale: float) -> dict[str, Any]:
        told = without_negative(self.title, negative_prompt, scale)
        schnell = not pipeline.transformer.config.guidance_embeds
        return told | {"max_sequence_length": _SCHNELL_TOKENS if schnell else _TEXT_TOKENS}

    def latent_channels(self, model: Model) -> int:
        return int(_config(model).in_channels) // 4

    def encode_images(self, model: Model, pixels: Tensor) -> Tensor:
        return encode_scaled(model.vae, pixels)

    def decode_latents(self, model: Model, latents: Tensor) -> Tensor:
        return decode_scaled(model.vae, latents)

    def tokens_read(self, base: Base, pipeline: Any) -> int:
        schnell = base.header.configs.get("transformer", {}).get("guidance_embeds") is False
        return _SCHNELL_TOKENS if schnell else _TEXT_TOKENS

    def encode_prompts(self, model: Model, prompts: Sequence[str]) -> Conditioning:
        pipeline = model.extras["pipeline"]
        tokens = self.tokens_read(model.base, pipeline)
        states, pooled, _ = pipeline.encode_prompt(list(prompts), None, max_sequence_length=tokens)
        return Conditioning({"encoder_hidden_states": states, "pooled_projections": pooled})

    def frame(
        self, model: Model, conditioning: Conditioning, framings: Sequence[Framing], guidance: float
    ) -> Conditioning:
        if not _config(model).guidance_embeds:
            return conditioning
        pooled = conditioning.tensors["pooled_projections"]
        return Conditioning({**conditioning.tensors, "guidance": pooled.new_full((len(pooled),), guidance)})

    def denoise(self, model: Model, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        return predict(model, noisy, time, conditioning.tensors)


def predict(
    model: Model, noisy: Tensor, time: Tensor, tensors: Mapping[str, Tensor], references: Sequence[Tensor] = ()
) -> Tensor:
    """The velocity of ``noisy`` (B, C, h, w); tokens of references stand behind its own and are told from them by the
    first of their ids (arXiv:2506.15742, section 3)."""
    import torch

    states = tensors["encoder_hidden_states"]
    own = packed(noisy)
    ids = [picture_ids(noisy)]
    for number, reference in enumerate(references, start=1):
        ids.append(picture_ids(reference).to(noisy.dtype))
        ids[-1][:, 0] = number
    denoiser: Any = model.denoiser
    prediction: Tensor = denoiser(
        hidden_states=torch.cat([own, *(packed(reference).to(own) for reference in references)], dim=1),
        timestep=time,
        img_ids=torch.cat(ids),
        txt_ids=states.new_zeros(states.shape[1], 3),
        return_dict=False,
        **tensors,
    )[0]
    return unpacked(prediction[:, : own.shape[1]], noisy).float()


def _config(model: Model) -> Any:
    denoiser: Any = model.denoiser
    return denoiser.config


plugin = Flux()
