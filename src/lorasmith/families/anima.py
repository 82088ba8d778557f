"""Anima: the body of Cosmos-Predict2 2B, told of words by a bridge from Qwen3 to tokens of T5; modular in diffusers."""

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
from lorasmith.families.latents import decode_frames, encode_frames

if TYPE_CHECKING:
    from torch import Tensor

_FOLDER = "circlestone-labs/Anima-Base-v1.0-Diffusers"
# By diffusers' names: what the released weights call them, which ComfyUI goes by and diffusers translates.
_SELF = {
    "attn1.to_q": "self_attn.q_proj",
    "attn1.to_k": "self_attn.k_proj",
    "attn1.to_v": "self_attn.v_proj",
    "attn1.to_out.0": "self_attn.output_proj",
}
_CROSS = {
    "attn2.to_q": "cross_attn.q_proj",
    "attn2.to_k": "cross_attn.k_proj",
    "attn2.to_v": "cross_attn.v_proj",
    "attn2.to_out.0": "cross_attn.output_proj",
}
_FEED_FORWARD = {"ff.net.0.proj": "mlp.layer1", "ff.net.2": "mlp.layer2"}
_MODULATION = {
    f"norm{number}.linear_{layer}": f"adaln_modulation_{name}.{layer}"
    for number, name in ((1, "self_attn"), (2, "cross_attn"), (3, "mlp"))
    for layer in (1, 2)
}
_RELEASED = _SELF | _CROSS | _FEED_FORWARD | _MODULATION


class Anima(Family):
    """CircleStone Labs 2026, on Cosmos-Predict2 (arXiv:2501.03575)."""

    name: ClassVar[str] = "anima"
    title: ClassVar[str] = "Anima"
    pretrained: ClassVar[tuple[Pretrained, ...]] = (
        Pretrained(
            "Anima Base 1.0",
            _FOLDER,
            "CircleStone Labs Non-Commercial License",
            "individuals may sell LoRAs of it, companies may not",
        ),
    )
    pipelines: ClassVar[frozenset[str]] = frozenset(("AnimaModularPipeline",))
    objectives: ClassVar[frozenset[ObjectiveName]] = frozenset(("flow",))
    bucket_multiple: ClassVar[int] = 64
    default_resolution: ClassVar[int] = 1024
    max_prompt_tokens: ClassVar[int] = 512
    text_precision: ClassVar = "bf16"
    denoiser_part: ClassVar[str] = "transformer"
    file_form: ClassVar[FileForm] = "peft"
    elsewhere: ClassVar[Mapping[str, str]] = MappingProxyType({"ComfyUI": "Anima", "InvokeAI": "anima"})
    layer_rules: ClassVar[str] = "cosmos2"
    time_sampling: ClassVar[TimeSampling] = TimeSampling("logit_normal")
    lacks: ClassVar[Mapping[str, str]] = MappingProxyType({"objective.guidance": "it has no guidance built in"})
    billions: ClassVar[Mapping[str, float]] = MappingProxyType({"1": 1.96})
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
            "attention": (*_SELF, *_CROSS),
            "attention_ff": (*_SELF, *_CROSS, *_FEED_FORWARD),
            "all_linear": tuple(_RELEASED),
            "all_linear_conv": tuple(_RELEASED),
        }
    )

    def made_of(self, variant: str) -> Mapping[str, Component]:
        return {
            "text_encoder": Component("qwen3_0.6b", "Qwen3Model"),
            "tokenizer": Component("qwen3", "Qwen2Tokenizer"),
            "text_conditioner": Component("bridge_t5", "AnimaTextConditioner", "anima_bridge"),
            "t5_tokenizer": Component("t5", "T5TokenizerFast"),
            "vae": Component("vae_wan", "AutoencoderKLQwenImage", "vae_qwen"),
            "scheduler": Component("schedule_flow_3", "FlowMatchEulerDiscreteScheduler"),
        }

    def load(self, base: Base, *, parts: Sequence[str], dtype: Any, device: Any) -> Model:
        _without_torchvision()
        return super().load(base, parts=parts, dtype=dtype, device=device)

    def pipeline(self, base: Base, *, dtype: Any, device: Any) -> Any:
        _without_torchvision()
        return super().pipeline(base, dtype=dtype, device=device)

    def pipeline_class(self, base: Base) -> str:
        return "AnimaModularPipeline"

    def file_metadata(self, detection: Detection, objective: ObjectiveName) -> dict[str, str]:
        return {"modelspec.architecture": "anima/lora", "modelspec.implementation": "diffusers"}

    def key_names(self, part: str, module: str) -> str:
        if part != self.denoiser_part:
            return super().key_names(part, module)
        head, _, rest = module.partition("transformer_blocks.")
        number, _, layer = rest.partition(".")
        return f"diffusion_model.{f'blocks.{number}.{_RELEASED.get(layer, layer)}' if rest and not head else module}"

    def encode_images(self, model: Model, pixels: Tensor) -> Tensor:
        return encode_frames(model.vae, pixels)

    def decode_latents(self, model: Model, latents: Tensor) -> Tensor:
        return decode_frames(model.vae, latents)

    def encode_prompts(self, model: Model, prompts: Sequence[str]) -> Conditioning:
        """One by one, so that none is filled up; the bridge itself makes 512 tokens of each, the rest of them zero."""
        import torch

        rows = [_bridged(model.extras["pipeline"], prompt) for prompt in prompts]
        return Conditioning({"encoder_hidden_states": torch.cat(rows)})  # (B, 512, 1024)

    def denoise(self, model: Model, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        denoiser: Any = model.denoiser
        empty = noisy.new_zeros(1, 1, noisy.shape[2] * 8, noisy.shape[3] * 8, dtype=denoiser.dtype)
        prediction: Tensor = denoiser(
            hidden_states=noisy.unsqueeze(2).to(denoiser.dtype),
            timestep=time,
            padding_mask=empty,
            encoder_hidden_states=conditioning.tensors["encoder_hidden_states"].to(denoiser.dtype),
            return_dict=False,
        )[0]
        return prediction.squeeze(2).float()


def _bridged(pipe: Any, prompt: str) -> Tensor:
    """What the two first steps of its pipeline make of a prompt."""
    from diffusers.modular_pipelines.anima.before_denoise import AnimaTextConditioningStep
    from diffusers.modular_pipelines.anima.encoders import AnimaTextEncoderStep

    read = AnimaTextEncoderStep.encode_prompt(
        pipe, [prompt], prepare_unconditional_embeds=False, device=pipe.text_encoder.device
    )
    states: Tensor = AnimaTextConditioningStep._condition_prompt_embeds(
        pipe,
        **{name: value for name, value in read.items() if not name.startswith("negative_")},
        device=pipe.text_encoder.device,
        conditioning_dtype=pipe.text_conditioner.dtype,
        output_dtype=pipe.text_conditioner.dtype,
    )
    return states


def _without_torchvision() -> None:
    """Give diffusers the one thing its denoiser takes from torchvision, the nearest pixels of an empty mask."""
    from types import SimpleNamespace

    from diffusers.models.transformers import transformer_cosmos
    from torch.nn.functional import interpolate

    if not hasattr(transformer_cosmos, "transforms"):

        def resize(picture: Tensor, size: list[int], interpolation: str) -> Tensor:
            return interpolate(picture, size, mode=interpolation)

        transformer_cosmos.transforms = SimpleNamespace(
            functional=SimpleNamespace(resize=resize), InterpolationMode=SimpleNamespace(NEAREST="nearest")
        )


plugin = Anima()
