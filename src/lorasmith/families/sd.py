"""Stable Diffusion 1.x and 2.x: a UNet over 4-channel latents, one CLIP text encoder, noise or velocity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from lorasmith.bases.header import Header
from lorasmith.bases.parts import Component
from lorasmith.bases.reading import weight_variant
from lorasmith.config import layer
from lorasmith.errors import BaseError
from lorasmith.families import Base, Conditioning, Detection, Family, Model, ObjectiveName, Pretrained
from lorasmith.families.parts import clip_tokenizer, is_plain_whole

if TYPE_CHECKING:
    from torch import Tensor

_VARIANTS = {768: ("sd1", "Stable Diffusion 1.x"), 1024: ("sd2", "Stable Diffusion 2.x")}
_OTHER_WIDTH = ("sd", "Stable Diffusion in the layout of 1.x")
_SDXL_WIDTH = 2048
_PREDICTS = {"sd2": "velocity", "sd2_base": "noise"}
_OBJECTIVES: dict[str, ObjectiveName] = {"epsilon": "epsilon", "v_prediction": "v_prediction"}
_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
_FEED_FORWARD = ("ff.net.0.proj", "ff.net.2")
_LINEAR = ("proj_in", "proj_out", "time_emb_proj")
_CONVOLUTIONS = ("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv")


class StableDiffusion(Family):
    """Rombach et al. 2022 (arXiv:2112.10752); velocity as in Salimans and Ho 2022 (arXiv:2202.00512)."""

    name: ClassVar[str] = "sd"
    title: ClassVar[str] = "Stable Diffusion 1.x and 2.x"
    pretrained: ClassVar[tuple[Pretrained, ...]] = (
        Pretrained("Stable Diffusion 1.5", "stable-diffusion-v1-5/stable-diffusion-v1-5", "CreativeML OpenRAIL-M"),
        Pretrained(
            "Stable Diffusion 2.1", "stabilityai/stable-diffusion-2-1", "CreativeML OpenRAIL++-M", "predicts velocity"
        ),
        Pretrained(
            "Stable Diffusion 2.1 base", "stabilityai/stable-diffusion-2-1-base", "CreativeML OpenRAIL++-M",
            "for 512 px; predicts noise",
        ),
    )  # fmt: skip
    objectives: ClassVar[frozenset[ObjectiveName]] = frozenset(_OBJECTIVES.values())
    bucket_multiple: ClassVar[int] = 64
    least_multiple: ClassVar[int] = 8
    default_resolution: ClassVar[int] = 512
    max_prompt_tokens: ClassVar[int] = 77
    predicted_memory: ClassVar[Mapping[str, tuple[float, float]]] = MappingProxyType({"512 px": (3.4, 2.8)})
    lacks: ClassVar[Mapping[str, str]] = MappingProxyType({"objective.guidance": "it has no guidance built in"})
    billions: ClassVar[Mapping[str, float]] = MappingProxyType({"sd1": 0.860, "sd2": 0.866})
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "max_train_steps": 1500,
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
    text_encoder_targets: ClassVar[tuple[str, ...]] = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")

    def detect(self, header: Header) -> Detection | None:
        if header.layout == "folder":
            return self._detect_folder(header)
        probes = [n for n in header.shapes if n.endswith("attn2.to_k.weight") and "input_blocks." in n]
        if not probes or len(header.shapes[probes[0]]) != 2:
            return None
        width = header.shapes[probes[0]][1]
        conv_in = next(
            (n for n, s in header.shapes.items() if n.endswith("input_blocks.0.0.weight") and len(s) == 4), ""
        )
        if width == _SDXL_WIDTH or any(
            n.startswith("conditioner.embedders.") or n.endswith("label_emb.0.0.weight") for n in header.shapes
        ):
            return None  # SDXL, its refiner, and unCLIP take size or picture embeddings beside the text
        variant, title = _VARIANTS.get(width, _OTHER_WIDTH)
        channels = header.shapes[conv_in][1] if conv_in else 4
        evidence = [f"'{probes[0]}' has a context width of {width}", f"the UNet takes {channels} channels"]
        if channels != 4:
            raise BaseError(
                f"{header.path.name} is an inpainting or edit model ({channels} input channels), not trainable here.",
                "Choose the plain text-to-image base it was made from.",
            )
        if variant == "sd2":
            evidence.append("noise or velocity cannot be told from the keys of a 2.x file; the config decides")
        return Detection(self.name, variant, title, tuple(evidence), certain=variant == "sd1")

    def _detect_folder(self, header: Header) -> Detection | None:
        pipeline = str(header.configs.get("model_index", {}).get("_class_name", ""))
        if pipeline not in ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"):
            return None
        unet = header.configs.get("unet", {})
        width = unet.get("cross_attention_dim")
        if not isinstance(width, int):
            return None
        variant, title = _VARIANTS.get(width, _OTHER_WIDTH)
        prediction = header.configs.get("scheduler", {}).get("prediction_type", "epsilon")
        evidence = (
            f"model_index.json names {pipeline}",
            f"the UNet's cross_attention_dim is {width}",
            f"the scheduler's prediction_type is {prediction}",
        )
        return Detection(self.name, variant, title, evidence)

    def pipeline_class(self, base: Base) -> str:
        return "StableDiffusionPipeline"

    def native_resolution(self, base: Base) -> int:
        side = base.header.configs.get("unet", {}).get("sample_size")  # of latents; single files do not tell
        return int(side) * 8 if isinstance(side, int) else self.default_resolution

    def defaults_for(self, base: Base) -> dict[str, Any]:
        """Without min-SNR where the schedule ends in pure noise.

        Its weight there is 0 for velocity, and such a base decides a picture's ground and overall tone just there:
        with it, a style's ground is hardly learned (measured on the sandbox: 13 of 40 pictures against 27).
        """
        scheduler = base.header.configs.get("scheduler", {})
        ends_in_noise = bool(scheduler.get("rescale_betas_zero_snr"))
        return layer(super().defaults_for(base), {"objective.min_snr_gamma": None} if ends_in_noise else {})

    def load(self, base: Base, *, parts: Sequence[str], dtype: Any, device: Any) -> Model:
        import torch
        from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer

        if base.layout == "single_file" and not is_plain_whole(base):
            model = super().load(base, parts=parts, dtype=dtype, device=device)
            model.scheduler = DDIMScheduler.from_config(model.scheduler.config)
            return model
        denoiser: Any = None
        vae: Any = None
        text_encoders: dict[str, Any] = {}
        tokenizers: dict[str, Any] = {}
        if base.layout == "single_file":
            pipe = self.pipeline(base, dtype=dtype, device="cpu")
            scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
            denoiser = pipe.unet if "denoiser" in parts else None
            vae = pipe.vae if "vae" in parts else None
            if "text_encoders" in parts:
                text_encoders, tokenizers = {"text_encoder": pipe.text_encoder}, {"tokenizer": pipe.tokenizer}
        else:
            where = {"pretrained_model_name_or_path": base.path, "local_files_only": True}
            variant = weight_variant(base.path / "unet")  # "fp16" when only that form was downloaded
            weights = where | {"dtype": dtype, "use_safetensors": True, "variant": variant}
            scheduler = DDIMScheduler.from_pretrained(subfolder="scheduler", **where)
            if "denoiser" in parts:
                denoiser = UNet2DConditionModel.from_pretrained(subfolder="unet", **weights)
            if "vae" in parts:
                vae = AutoencoderKL.from_pretrained(subfolder="vae", **weights)
            if "text_encoders" in parts:
                encoder = CLIPTextModel.from_pretrained(
                    base.path,
                    subfolder="text_encoder",
                    local_files_only=True,
                    dtype=dtype,
                    use_safetensors=True,
                    variant=variant,
                )
                text_encoders = {"text_encoder": encoder}
                tokenizers = {"tokenizer": CLIPTokenizer.from_pretrained(base.path, subfolder="tokenizer")}
        for module in (denoiser, vae, *text_encoders.values()):
            if module is not None:
                module.requires_grad_(False).eval().to(device=torch.device(device))
        objective = _OBJECTIVES.get(scheduler.config.prediction_type)
        if objective is None:
            raise BaseError(
                f"{base.name} predicts '{scheduler.config.prediction_type}', which Stable Diffusion never does.",
                "Check scheduler/scheduler_config.json of the base.",
            )
        return Model(base, denoiser, text_encoders, tokenizers, vae, scheduler, objective)

    def objective_of(self, scheduler: Any) -> ObjectiveName:
        return _OBJECTIVES.get(scheduler.config.prediction_type, "epsilon")

    def encode_images(self, model: Model, pixels: Tensor) -> Tensor:
        latents: Tensor = model.vae.encode(pixels.to(model.vae.dtype)).latent_dist.mode()  # (B, 4, h, w)
        return latents.float() * float(model.vae.config.scaling_factor)

    def decode_latents(self, model: Model, latents: Tensor) -> Tensor:
        scaled = (latents / model.vae.config.scaling_factor).to(model.vae.dtype)
        pixels: Tensor = model.vae.decode(scaled, return_dict=False)[0]
        return pixels.float()

    def encode_prompts(self, model: Model, prompts: Sequence[str]) -> Conditioning:
        tokenizer, encoder = model.tokenizers["tokenizer"], model.text_encoders["text_encoder"]
        ids = tokenizer(
            list(prompts),
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        states: Tensor = encoder(ids.to(encoder.device))[0]  # (B, tokens, width)
        return Conditioning({"encoder_hidden_states": states})

    def denoise(self, model: Model, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        count = model.scheduler.config.num_train_timesteps
        timestep = (time * count).long().clamp(0, count - 1)  # (B,)
        prediction: Tensor = model.denoiser(noisy, timestep, return_dict=False, **conditioning.tensors)[0]
        return prediction.float()

    def pipeline(self, base: Base, *, dtype: Any, device: Any) -> Any:
        from diffusers import StableDiffusionPipeline

        if base.layout == "single_file" and not is_plain_whole(base):
            return super().pipeline(base, dtype=dtype, device=device)
        if base.layout == "folder":
            pipe = StableDiffusionPipeline.from_pretrained(
                base.path,
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                variant=weight_variant(base.path / "unet"),
                safety_checker=None,
                feature_extractor=None,
                requires_safety_checker=False,
            )
        else:
            if base.config_folder is None:
                raise BaseError(
                    f"No configs are known for {base.path.name}.", "Open it with lorasmith.bases.open_base."
                )
            pipe = StableDiffusionPipeline.from_single_file(
                str(base.path),
                config=str(base.config_folder),
                local_files_only=True,
                dtype=dtype,
                tokenizer=clip_tokenizer(base),
                safety_checker=None,
                feature_extractor=None,
                requires_safety_checker=False,
            )
        pipe.set_progress_bar_config(disable=True)
        return pipe.to(device)

    def key_names(self, part: str, module: str) -> str:
        prefix = {"unet": "lora_unet", "text_encoder": "lora_te"}[part]
        if part == "text_encoder" and not module.startswith("text_model."):
            module = f"text_model.{module}"  # transformers >= 5.6 dropped this level; every LoRA file keeps it
        return f"{prefix}_{module.replace('.', '_')}"

    def shipped_config(self, header: Header, detection: Detection) -> tuple[str, str]:
        if detection.variant == "sd1":
            return "sd1", "the configs are those of Stable Diffusion 1.5"
        if detection.variant != "sd2":
            return "", "no shipped configs fit its shapes"
        stated = header.metadata.get("modelspec.prediction_type", "") or header.metadata.get(
            "modelspec.architecture", ""
        )
        for word, folder in (("512", "sd2_base"), ("epsilon", "sd2_base"), ("768", "sd2"), ("v", "sd2")):
            if stated.endswith(word) or (word.isdigit() and word in stated):
                return folder, f"its metadata says '{stated}', so it predicts {_PREDICTS[folder]}"
        name = header.path.stem.lower()
        for word, folder in (("512", "sd2_base"), ("768", "sd2")):
            if word in name:
                return folder, f"its name holds {word}, so it predicts {_PREDICTS[folder]}"
        return "", "its keys do not say whether it predicts noise or velocity"

    def made_of(self, variant: str) -> Mapping[str, Component]:
        second = variant.startswith("sd2")
        return {
            "text_encoder": Component("clip_h" if second else "clip_l", "CLIPTextModel"),
            "tokenizer": Component("clip_padded" if second else "clip", "CLIPTokenizer"),
            "vae": Component("vae_4", "AutoencoderKL", "vae_sd"),
        }

    def file_metadata(self, detection: Detection, objective: ObjectiveName) -> dict[str, str]:
        second, velocity = detection.variant == "sd2", objective == "v_prediction"
        architecture = "stable-diffusion-v2-768-v" if velocity else "stable-diffusion-v2-512"
        return {
            "ss_base_model_version": ("sd_v2_v" if velocity else "sd_v2") if second else "sd_v1",
            "ss_v2": str(second),
            "modelspec.architecture": f"{architecture if second else 'stable-diffusion-v1'}/lora",
            "modelspec.implementation": "diffusers",
            "modelspec.prediction_type": "v" if velocity else "epsilon",
        }


plugin = StableDiffusion()
