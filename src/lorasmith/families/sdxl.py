"""SDXL and what is made of it (Pony, Illustrious, NoobAI): a UNet, two CLIP text encoders, a pooled vector, sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from lorasmith.bases.header import Header
from lorasmith.bases.parts import Component
from lorasmith.config import layer
from lorasmith.families import Base, Conditioning, Detection, Family, Framing, Model, ObjectiveName, Pretrained

if TYPE_CHECKING:
    from torch import Tensor

_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
_FEED_FORWARD = ("ff.net.0.proj", "ff.net.2")
_LINEAR = ("proj_in", "proj_out", "time_emb_proj")
# Not the upsamplers: A1111 finds the first one by an arithmetic that is right for SD 1.x only.
_CONVOLUTIONS = ("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv")


class SDXL(Family):
    """Podell et al. 2023 (arXiv:2307.01952)."""

    name: ClassVar[str] = "sdxl"
    title: ClassVar[str] = "SDXL"
    pretrained: ClassVar[tuple[Pretrained, ...]] = (
        Pretrained("SDXL 1.0", "stabilityai/stable-diffusion-xl-base-1.0", "CreativeML OpenRAIL++-M"),
        Pretrained(
            "Illustrious XL", "OnomaAIResearch/Illustrious-xl-early-release-v0", "Fair AI Public License 1.0-SD"
        ),
        Pretrained("Pony Diffusion V6 XL", "https://civitai.com/models/257749", "Fair AI Public License 1.0-SD"),
        Pretrained(
            "NoobAI XL v-pred", "Laxhar/noobai-XL-Vpred-1.0", "Fair AI Public License 1.0-SD", "predicts velocity"
        ),
    )
    pipelines: ClassVar[frozenset[str]] = frozenset(("StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline"))
    refused: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "inpaint": "an inpainting model is not trainable here",
            "edit": "an edit model is not trainable here",
            "refiner": "it paints the last steps only",
            "playground": "its noise is of another kind (EDM)",
        }
    )
    objectives: ClassVar[frozenset[ObjectiveName]] = frozenset(("epsilon", "v_prediction"))
    bucket_multiple: ClassVar[int] = 64
    least_multiple: ClassVar[int] = 8
    default_resolution: ClassVar[int] = 1024
    max_prompt_tokens: ClassVar[int] = 77
    text_encoder_parts: ClassVar[tuple[str, ...]] = ("text_encoder", "text_encoder_2")
    text_encoder_targets: ClassVar[tuple[str, ...]] = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
    lacks: ClassVar[Mapping[str, str]] = MappingProxyType({"objective.guidance": "it has no guidance built in"})
    billions: ClassVar[Mapping[str, float]] = MappingProxyType({"base": 2.567})
    predicted_memory: ClassVar[Mapping[str, tuple[float, float]]] = MappingProxyType({"1024 px": (12.1, 6.8)})
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "max_train_steps": 2000,
            "adapter": {"rank": 16, "targets": "attention"},
            "optimizer": {"learning_rate": 1e-4, "lr_warmup_steps": 50},
            "objective": {"min_snr_gamma": 5.0},
        }
    )
    target_presets: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {
            "attention": _ATTENTION,
            "attention_ff": _ATTENTION + _FEED_FORWARD,
            "all_linear": _ATTENTION + _FEED_FORWARD + _LINEAR,
            "all_linear_conv": _ATTENTION + _FEED_FORWARD + _LINEAR + _CONVOLUTIONS,
        }
    )

    def shipped_config(self, header: Header, detection: Detection) -> tuple[str, str]:
        stated = header.metadata.get("modelspec.prediction_type", "")
        if detection.variant == "v_prediction" or stated == "v":
            ends_in_noise = "ztsnr" in header.shapes
            says = "'v_pred'" + (" and 'ztsnr'" if ends_in_noise else "") if "v_pred" in header.shapes else "'v'"
            return ("sdxl_v_ztsnr" if ends_in_noise else "sdxl_v"), f"it says {says}, so it predicts velocity"
        return "sdxl", "nothing in it says that it predicts velocity, so it predicts noise"

    def made_of(self, variant: str) -> Mapping[str, Component]:
        return {
            "text_encoder": Component("clip_l", "CLIPTextModel"),
            "tokenizer": Component("clip", "CLIPTokenizer"),
            "text_encoder_2": Component("clip_g", "CLIPTextModelWithProjection"),
            "tokenizer_2": Component("clip_padded", "CLIPTokenizer"),
            "vae": Component("vae_4", "AutoencoderKL", "vae_sdxl"),
        }

    def file_metadata(self, detection: Detection, objective: ObjectiveName) -> dict[str, str]:
        return {
            "ss_base_model_version": "sdxl_base_v1-0",
            "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
            "modelspec.implementation": "diffusers",
            "modelspec.prediction_type": "v" if objective == "v_prediction" else "epsilon",
        }

    def defaults_for(self, base: Base) -> dict[str, Any]:
        """Without min-SNR where the schedule ends in pure noise, as for Stable Diffusion: its weight there is 0."""
        ends_in_noise = bool(base.header.configs.get("scheduler", {}).get("rescale_betas_zero_snr"))
        return layer(super().defaults_for(base), {"objective.min_snr_gamma": None} if ends_in_noise else {})

    def native_resolution(self, base: Base) -> int:
        side = base.header.configs.get("unet", {}).get("sample_size")
        return int(side) * 8 if isinstance(side, int) else self.default_resolution

    def pipeline_class(self, base: Base) -> str:
        return "StableDiffusionXLPipeline"

    def objective_of(self, scheduler: Any) -> ObjectiveName:
        objective: ObjectiveName = "v_prediction" if scheduler.config.prediction_type == "v_prediction" else "epsilon"
        return objective

    def encode_images(self, model: Model, pixels: Tensor) -> Tensor:
        latents: Tensor = model.vae.encode(pixels.to(model.vae.dtype)).latent_dist.mode()  # (B, 4, h, w)
        return latents.float() * float(model.vae.config.scaling_factor)

    def decode_latents(self, model: Model, latents: Tensor) -> Tensor:
        scaled = (latents / model.vae.config.scaling_factor).to(model.vae.dtype)
        pixels: Tensor = model.vae.decode(scaled, return_dict=False)[0]
        return pixels.float()

    def encode_prompts(self, model: Model, prompts: Sequence[str]) -> Conditioning:
        encode = model.extras["pipeline"].encode_prompt
        states, _, pooled, _ = encode(list(prompts), do_classifier_free_guidance=False)
        return Conditioning({"encoder_hidden_states": states, "text_embeds": pooled})  # (B, 77, 2048), (B, 1280)

    def frame(
        self, model: Model, conditioning: Conditioning, framings: Sequence[Framing], guidance: float
    ) -> Conditioning:
        """Adds ``time_ids`` (B, 6): original height and width, top and left of the crop, height and width."""
        rows = [(*f.original[::-1], *f.corner[::-1], *f.size[::-1]) for f in framings]
        states = conditioning.tensors["encoder_hidden_states"]
        return Conditioning({**conditioning.tensors, "time_ids": states.new_tensor(rows)})

    def denoise(self, model: Model, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        count = model.scheduler.config.num_train_timesteps
        timestep = (time * count).long().clamp(0, count - 1)  # (B,)
        told = dict(conditioning.tensors)
        states = told.pop("encoder_hidden_states")
        denoiser: Any = model.denoiser
        prediction: Tensor = denoiser(noisy, timestep, states, added_cond_kwargs=told, return_dict=False)[0]
        return prediction.float()

    def key_names(self, part: str, module: str) -> str:
        prefix = {"unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}[part]
        if part != "unet" and not module.startswith("text_model."):
            module = f"text_model.{module}"  # transformers >= 5.6 dropped this level; every LoRA file keeps it
        return f"{prefix}_{module.replace('.', '_')}"


plugin = SDXL()
