"""HunyuanVideo: a transformer of two streams and then one, LLaMA 3 tokens with their mask, a CLIP vector."""

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
from lorasmith.families.latents import without_negative

if TYPE_CHECKING:
    from torch import Tensor

_QKV = ("attn.to_q", "attn.to_k", "attn.to_v")
_TEXT_QKV = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
_FEED_FORWARD = ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2")
_SINGLE = ("proj_mlp", "proj_out")
_MODULATION = ("norm1.linear", "norm1_context.linear", "norm.linear")
_ATTENTION = (*_QKV, *_TEXT_QKV, "attn.to_out.0", "attn.to_add_out")
_DOUBLE_BLOCKS, _SINGLE_BLOCKS = "transformer_blocks", "single_transformer_blocks"
# What the layers of a block are called in the released file, by diffusers' names.
_RELEASED: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        _DOUBLE_BLOCKS: {
            **dict.fromkeys(_QKV, "img_attn_qkv"),
            **dict.fromkeys(_TEXT_QKV, "txt_attn_qkv"),
            "attn.to_out.0": "img_attn_proj",
            "attn.to_add_out": "txt_attn_proj",
            "ff.net.0.proj": "img_mlp.fc1",
            "ff.net.2": "img_mlp.fc2",
            "ff_context.net.0.proj": "txt_mlp.fc1",
            "ff_context.net.2": "txt_mlp.fc2",
            "norm1.linear": "img_mod.linear",
            "norm1_context.linear": "txt_mod.linear",
        },
        _SINGLE_BLOCKS: {
            **dict.fromkeys((*_QKV, "proj_mlp"), "linear1"),
            "proj_out": "linear2",
            "norm.linear": "modulation.linear",
        },
    }
)


class HunyuanVideo(Family):
    """Kong et al. 2024 (arXiv:2412.03603)."""

    name: ClassVar[str] = "hunyuan_video"
    title: ClassVar[str] = "HunyuanVideo"
    pretrained: ClassVar[tuple[Pretrained, ...]] = (
        Pretrained("HunyuanVideo", "hunyuanvideo-community/HunyuanVideo", "Tencent Hunyuan Community License"),
    )
    task: ClassVar[str] = "text to video"
    pipelines: ClassVar[frozenset[str]] = frozenset(("HunyuanVideoPipeline",))
    refused: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "skyreels": "it begins from a picture, which cannot be trained here yet",
            "framepack": "it goes on from frames it has made, which cannot be trained here",
        }
    )
    left_to_others: ClassVar[frozenset[str]] = frozenset(("1.5", "i2v", "i2v_33ch"))
    objectives: ClassVar[frozenset[ObjectiveName]] = frozenset(("flow",))
    bucket_multiple: ClassVar[int] = 16
    frame_step: ClassVar[int] = 4
    default_frames: ClassVar[int] = 33
    default_fps: ClassVar[float] = 24.0
    default_resolution: ClassVar[int] = 544
    max_prompt_tokens: ClassVar[int] = 256
    text_encoder_parts: ClassVar[tuple[str, ...]] = ("text_encoder", "text_encoder_2")
    text_precision: ClassVar = "bf16"
    denoiser_part: ClassVar[str] = "transformer"
    file_form: ClassVar[FileForm] = "peft"
    elsewhere: ClassVar[Mapping[str, str]] = MappingProxyType({"ComfyUI": "HunyuanVideo"})
    time_sampling: ClassVar[TimeSampling] = TimeSampling("logit_normal")
    billions: ClassVar[Mapping[str, float]] = MappingProxyType({"1": 12.82})
    excluded_targets: ClassVar[tuple[str, ...]] = ("context_embedder", "proj_out")  # what refines text; the last layer
    predicted_memory: ClassVar[Mapping[str, tuple[float, float]]] = MappingProxyType(
        {"544 x 960, 33 frames": (138.5, 35.8)}
    )
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "max_train_steps": 2000,
            "mixed_precision": "bf16",
            "gradient_checkpointing": True,
            "adapter": {"rank": 32, "targets": "attention_ff"},
            "optimizer": {"learning_rate": 2e-4, "lr_warmup_steps": 50},
            "export": {"dtype": "bf16"},
            "sample": {"guidance_scale": 6.0},
        }
    )
    target_presets: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {
            "attention": _ATTENTION,
            "attention_ff": _ATTENTION + _FEED_FORWARD + _SINGLE,
            "all_linear": _ATTENTION + _FEED_FORWARD + _SINGLE + _MODULATION,
            "all_linear_conv": _ATTENTION + _FEED_FORWARD + _SINGLE + _MODULATION,
        }
    )

    def pipeline_class(self, base: Base) -> str:
        return "HunyuanVideoPipeline"

    def made_of(self, variant: str) -> Mapping[str, Component]:
        if variant != "1":  # those from pictures, and 1.5, read prompts in other ways
            return {}
        return {
            "text_encoder": Component("llama3_8b", "LlamaModel"),
            "tokenizer": Component("llama3_llava", "LlamaTokenizerFast"),
            "text_encoder_2": Component("clip_l", "CLIPTextModel"),
            "tokenizer_2": Component("clip", "CLIPTokenizer"),
            "vae": Component("vae_hunyuan", "AutoencoderKLHunyuanVideo"),
            "scheduler": Component("schedule_flow_7", "FlowMatchEulerDiscreteScheduler"),
        }

    def file_metadata(self, detection: Detection, objective: ObjectiveName) -> dict[str, str]:
        return {"modelspec.architecture": "hunyuan-video/lora", "modelspec.implementation": "diffusers"}

    def key_names(self, part: str, module: str) -> str:
        """``transformer.`` and the released name, which diffusers and ComfyUI read, where there is one."""
        blocks, number, layer = _split(module)
        released = _RELEASED.get(blocks, {}).get(layer)
        if part != self.denoiser_part or released is None:
            return super().key_names(part, module)
        return f"{part}.{'double' if blocks == _DOUBLE_BLOCKS else 'single'}_blocks.{number}.{released}"

    def fused(self, part: str, module: str) -> tuple[str, ...]:
        blocks, number, layer = _split(module)
        released = _RELEASED.get(blocks, {})
        if part != self.denoiser_part or layer not in released:
            return ()
        together = [name for name, theirs in released.items() if theirs == released[layer]]
        return tuple(f"{blocks}.{number}.{name}" for name in together) if len(together) > 1 else ()

    def lacks_of(self, base: Base) -> Mapping[str, str]:
        return without_guidance(base)

    def guidance(self, model: Model) -> Guidance:
        return "embedded" if _config(model).guidance_embeds else "none"

    def sampling_arguments(self, pipeline: Any, negative_prompt: Sequence[str], scale: float) -> dict[str, Any]:
        return without_negative(self.title, negative_prompt, scale)

    def encode_images(self, model: Model, pixels: Tensor) -> Tensor:
        latents: Tensor = model.vae.encode(pixels.to(model.vae.dtype)).latent_dist.mode().float()  # (B, 16, f, h, w)
        scaled: Tensor = latents * model.vae.config.scaling_factor
        return scaled

    def decode_latents(self, model: Model, latents: Tensor) -> Tensor:
        plain = latents.float() / model.vae.config.scaling_factor
        pixels: Tensor = model.vae.decode(plain.to(model.vae.dtype), return_dict=False)[0]
        return pixels.float()

    def encode_prompts(self, model: Model, prompts: Sequence[str]) -> Conditioning:
        """Within the pipeline's own instructions to LLaMA, which are cut away again."""
        states, pooled, mask = model.extras["pipeline"].encode_prompt(
            list(prompts), max_sequence_length=self.max_prompt_tokens
        )
        return Conditioning(
            {"encoder_hidden_states": states, "pooled_projections": pooled, "encoder_attention_mask": mask}
        )

    def frame(
        self, model: Model, conditioning: Conditioning, framings: Sequence[Framing], guidance: float
    ) -> Conditioning:
        if not _config(model).guidance_embeds:
            return conditioning
        pooled = conditioning.tensors["pooled_projections"]
        return Conditioning({**conditioning.tensors, "guidance": pooled.new_full((len(pooled),), guidance * 1000)})

    def denoise(self, model: Model, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        denoiser: Any = model.denoiser
        prediction: Tensor = denoiser(
            hidden_states=noisy, timestep=time * 1000, return_dict=False, **conditioning.tensors
        )[0]
        return prediction.float()


def _split(module: str) -> tuple[str, str, str]:
    """Kind and number of a block, and its layer: ``single_transformer_blocks``, ``3``, ``attn.to_q``."""
    blocks, _, rest = module.partition(".")
    number, _, layer = rest.partition(".")
    return blocks, number, layer


def _config(model: Model) -> Any:
    denoiser: Any = model.denoiser
    return denoiser.config


plugin = HunyuanVideo()
