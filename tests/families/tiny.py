"""A tiny whole base of every family: the real classes, the real configs shrunk, random weights (seed 0)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tests.families.words import (
    clip_tokenizer,
    gemma_tokenizer,
    llama_tokenizer,
    llava_tokenizer,
    qwen_tokenizer,
    qwen_vision_tokenizer,
    seeing_processor,
    t5_tokenizer,
)

Build = Callable[[Path], Any]


@dataclass(frozen=True)
class Record:
    """What the contract tests know of one family; everything else they ask the family."""

    family: str
    pipeline: str
    build: Build
    """Makes the pipeline; the folder is for its tokenizers."""
    side: int = 64
    resolution: int = 64
    """Of runs; coarser where sides of 16 pixels and more are not fine enough."""
    call: dict[str, Any] = field(default_factory=dict)
    """What the pipeline is called with so that it asks its denoiser once, without a second, unguided pass."""
    sigmas: bool = True
    """Whether the pipeline lets itself be told its noise levels."""
    frames: bool = False
    """Whether the VAE takes clips."""
    references: int = 1
    """Of families that edit: how many pictures a test gives them."""
    passes: int = 1
    """How often the pipeline asks its denoiser then; the last time is the one that training does."""
    aside: tuple[str, ...] = ()
    """Arguments of the denoiser that training leaves empty because, in that pass, they change nothing."""
    begins: bool = False
    """Whether the pipeline begins with a picture."""
    starts: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor] = lambda noise, _: noise
    """What the pipeline makes of the noise it draws and the latents of the picture it begins with."""
    unseen: int = 0
    """Frames at the beginning of a clip that the pipeline paints and does not give."""
    absent: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By variant: targets that only others of the family have."""
    length: int = 1
    """Frames of the clip that its steps are compared with; ``call`` says as many."""
    opaque: bool = False
    """Whether the VAE has a fourth channel, which is full for pictures without transparency."""
    plain: Callable[[dict[str, Any]], dict[str, Any]] = dict
    """What the pipeline tells its denoiser, without what it says to no effect and the family leaves out."""
    full: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    """By variant: class and published config of the denoiser at full size."""
    wide: Build | None = None
    """A base of the published widths, of one block, where diffusers' reader of LoRA files has them written into it."""
    reader: tuple[str, int, int] | None = None
    """Where that would be too large: diffusers' converter, the width written into it, and the width of the tiny base,
    which the tests write there instead; nothing else of it is touched."""
    modules: dict[str, int] = field(default_factory=dict)
    """By variant: layers of the default preset at full size, counted from the published structure."""
    compares: bool = True
    """Whether guidance is the plain comparison of two predictions, without anything done to it afterwards."""
    asked: int = 1
    """Rows that the denoiser is asked for in a step of one picture without a comparison."""
    painted_with: float = math.nan
    """The guidance its bases are painted with when nobody says otherwise, by their model cards and pipelines; where a
    pipeline adds the difference on top of the prompted prediction (Z-Image, Krea 2) it is told one less."""
    shifts: dict[tuple[int, int, int], float] = field(default_factory=dict)
    """Of a flow family: width, height, frames, and the shift there. Sources: the schedulers of the published bases
    (FLUX to Krea 2: a line in the number of tokens, its two ends), else the makers' own training or inference code."""
    own_shift: bool = False
    """Whether that code says otherwise than the published schedules, and is what counts."""
    uniform: bool = False
    """Whether noise levels are drawn evenly before the shift, and not from a logit-normal."""
    shift_of_pair: float | None = None
    """Of two experts, which are chosen by the noise level: what its makers paint with."""
    finish: Callable[[Path], None] | None = None
    """What the saved base still needs, to be as the published one is."""


def make(record: Record, folder: Path) -> Path:
    """Build and save the tiny base; the folder it lies in."""
    base = folder / record.family
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipe = record.build(folder / "tokenizers")
        for name, part in pipe.components.items():
            if name in ("transformer", "transformer_2", "unet") and part is not None:
                _wake(part)
    pipe.save_pretrained(str(base))
    if record.finish is not None:
        record.finish(base)
    return base


def _wake(denoiser: Any) -> None:
    """Give zero-initialised layers numbers, so that everything inside has a say in the output."""
    for parameter in denoiser.parameters():
        if parameter.ndim > 1 and not parameter.detach().any():
            torch.nn.init.normal_(parameter, std=0.02)


def small_vae(channels: int, **changes: Any) -> Any:
    """An AutoencoderKL of eight-fold reduction."""
    from diffusers import AutoencoderKL

    config: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (8, 8, 8, 8),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "latent_channels": channels,
    }
    return AutoencoderKL(**(config | changes))


def small_clip(kind: str, width: int, tokenizer: Any, **changes: Any) -> Any:
    import transformers

    config: dict[str, Any] = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "projection_dim": width,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 77,
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return getattr(transformers, kind)(transformers.CLIPTextConfig(**(config | changes)))


_BETAS: dict[str, Any] = {
    "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1, "clip_sample": False,
    "set_alpha_to_one": False,
}  # fmt: skip


def build_sdxl(folder: Path, **schedule: Any) -> Any:
    from diffusers import DDIMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    first, second = clip_tokenizer(folder), clip_tokenizer(folder, pad_token="!")
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32, 32),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 3),
        attention_head_dim=(2, 4, 4),
        cross_attention_dim=64,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 32,
        norm_num_groups=8,
    )
    return StableDiffusionXLPipeline(
        vae=small_vae(4, scaling_factor=0.13025),
        text_encoder=small_clip("CLIPTextModel", 32, first),
        text_encoder_2=small_clip("CLIPTextModelWithProjection", 32, second, hidden_act="gelu"),
        tokenizer=first,
        tokenizer_2=second,
        unet=unet,
        scheduler=DDIMScheduler(**{**_BETAS, **schedule}),
        add_watermarker=False,
    )


def build_sd(folder: Path, cross_attention_dim: int = 32, **schedule: Any) -> Any:
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    words = clip_tokenizer(folder)
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(16, 32), layers_per_block=1, attention_head_dim=4, norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=cross_attention_dim,
    )  # fmt: skip
    return StableDiffusionPipeline(
        vae=small_vae(4, scaling_factor=0.18215),
        text_encoder=small_clip("CLIPTextModel", cross_attention_dim, words),
        tokenizer=words,
        unet=unet,
        scheduler=DDIMScheduler(**{**_BETAS, **schedule}),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _flow(**changes: Any) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(**changes)


def _dynamic(**changes: Any) -> Any:
    """A schedule shifted by the size of the picture, as FLUX.1's."""
    settings = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15, "shift": 3.0}
    return _flow(**(settings | changes))


def small_t5(kind: str, tokenizer: Any, width: int = 32) -> Any:
    import transformers

    config = getattr(transformers, kind.replace("EncoderModel", "Config"))(
        vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=48, num_layers=2, num_heads=4,
        feed_forward_proj="gated-gelu", pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
    )  # fmt: skip
    return getattr(transformers, kind)(config)


def small_language_model(kind: str, tokenizer: Any, layers: int = 3, width: int = 32) -> Any:
    import transformers

    config = getattr(transformers, kind.replace("ForCausalLM", "Config").replace("Model", "Config"))(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=48, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, pad_token_id=0,
    )  # fmt: skip
    return getattr(transformers, kind)(config)


def build_sd3(folder: Path, **changes: Any) -> Any:
    from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline

    clip, t5 = clip_tokenizer(folder), t5_tokenizer(folder)
    transformer = SD3Transformer2DModel(
        sample_size=16, num_layers=3, attention_head_dim=8, num_attention_heads=4, joint_attention_dim=64,
        caption_projection_dim=32, pooled_projection_dim=64, pos_embed_max_size=24,
        **{"dual_attention_layers": (0,), "qk_norm": "rms_norm", **changes},
    )  # fmt: skip
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=_flow(shift=3.0),
        vae=small_vae(16, scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=small_clip("CLIPTextModelWithProjection", 32, clip),
        tokenizer=clip,
        text_encoder_2=small_clip("CLIPTextModelWithProjection", 32, clip, hidden_act="gelu"),
        tokenizer_2=clip,
        text_encoder_3=small_t5("T5EncoderModel", t5, width=64),
        tokenizer_3=t5,
    )


_FLUX_VAE: dict[str, Any] = {
    "scaling_factor": 0.3611, "shift_factor": 0.1159, "use_quant_conv": False, "use_post_quant_conv": False
}  # fmt: skip


def build_flux(folder: Path, guidance_embeds: bool = True) -> Any:
    from diffusers import FluxPipeline, FluxTransformer2DModel

    clip, t5 = clip_tokenizer(folder), t5_tokenizer(folder)
    transformer = FluxTransformer2DModel(
        num_layers=1, num_single_layers=2, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=32,
        pooled_projection_dim=32, guidance_embeds=guidance_embeds, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    return FluxPipeline(
        transformer=transformer,
        scheduler=_dynamic() if guidance_embeds else _flow(),
        vae=small_vae(16, **_FLUX_VAE),
        text_encoder=small_clip("CLIPTextModel", 32, clip),
        tokenizer=clip,
        text_encoder_2=small_t5("T5EncoderModel", t5),
        tokenizer_2=t5,
    )


def build_chroma(folder: Path) -> Any:
    from diffusers import ChromaPipeline, ChromaTransformer2DModel

    t5 = t5_tokenizer(folder)
    transformer = ChromaTransformer2DModel(
        num_layers=1, num_single_layers=2, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=32,
        axes_dims_rope=(4, 6, 6), approximator_hidden_dim=32, approximator_layers=1,
    )  # fmt: skip
    return ChromaPipeline(
        transformer=transformer,
        scheduler=_flow(),
        vae=small_vae(16, **_FLUX_VAE),
        text_encoder=small_t5("T5EncoderModel", t5),
        tokenizer=t5,
    )


def build_z_image(folder: Path) -> Any:
    from diffusers import ZImagePipeline, ZImageTransformer2DModel

    words = qwen_tokenizer(folder)
    transformer = ZImageTransformer2DModel(
        dim=32, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=32, axes_dims=[4, 6, 6],
        axes_lens=[1024, 64, 64],
    )  # fmt: skip
    return ZImagePipeline(
        transformer=transformer,
        scheduler=_flow(shift=3.0),
        vae=small_vae(16, **_FLUX_VAE),
        text_encoder=small_language_model("Qwen3Model", words),
        tokenizer=words,
    )


def build_qwen_image(folder: Path, **changes: Any) -> Any:
    from diffusers import AutoencoderKLQwenImage, QwenImagePipeline, QwenImageTransformer2DModel
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    words = qwen_tokenizer(folder)
    text = {
        "vocab_size": len(words), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
    }  # fmt: skip
    vision = {"depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32}
    transformer = QwenImageTransformer2DModel(
        num_layers=2, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=32, axes_dims_rope=(4, 6, 6),
        **changes,
    )  # fmt: skip
    return QwenImagePipeline(
        transformer=transformer,
        scheduler=_dynamic(max_shift=0.9, max_image_seq_len=8192, shift=1.0, shift_terminal=0.02),
        vae=AutoencoderKLQwenImage(base_dim=8, num_res_blocks=1),
        text_encoder=Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision)),
        tokenizer=words,
    )


_LUMINA2: dict[str, Any] = {
    "hidden_size": 48, "num_layers": 2, "num_refiner_layers": 1, "num_attention_heads": 3, "num_kv_heads": 1,
    "axes_dim_rope": (4, 6, 6),
}  # fmt: skip
_WIDE_LUMINA2: dict[str, Any] = {
    "hidden_size": 2304, "num_layers": 1, "num_refiner_layers": 0, "num_attention_heads": 24, "num_kv_heads": 8,
    "axes_dim_rope": (32, 32, 32), "ffn_dim_multiplier": 0.001,
}  # fmt: skip


def build_wide_lumina2(folder: Path) -> Any:
    return build_lumina2(folder, _WIDE_LUMINA2)


def build_flux_kontext(folder: Path) -> Any:
    from diffusers import FluxKontextPipeline

    return FluxKontextPipeline(**build_flux(folder).components)


def _edit_parts(folder: Path, **changes: Any) -> dict[str, Any]:
    """Those of Qwen-Image, with a text encoder that sees."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    words = qwen_vision_tokenizer(folder)
    known = {
        name: words.convert_tokens_to_ids(f"<|{name}|>")
        for name in ("vision_start", "vision_end", "image_pad", "video_pad")
    }
    text = {
        "vocab_size": len(words), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
    }  # fmt: skip
    vision = {"depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32}
    config = Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, image_token_id=known["image_pad"], video_token_id=known["video_pad"],
        vision_start_token_id=known["vision_start"], vision_end_token_id=known["vision_end"],
    )  # fmt: skip
    plain = build_qwen_image(folder, **changes).components
    return {
        **plain,
        "text_encoder": Qwen2_5_VLForConditionalGeneration(config),
        "tokenizer": words,
        "processor": seeing_processor("Qwen2VLProcessor", words),
    }


def build_qwen_image_edit(folder: Path) -> Any:
    from diffusers import QwenImageEditPipeline

    return QwenImageEditPipeline(**_edit_parts(folder))


def build_qwen_image_edit_plus(folder: Path, **changes: Any) -> Any:
    from diffusers import QwenImageEditPlusPipeline

    return QwenImageEditPlusPipeline(**_edit_parts(folder, **changes))


def build_lumina2(folder: Path, config: dict[str, Any] = _LUMINA2) -> Any:
    from diffusers import Lumina2Pipeline, Lumina2Transformer2DModel

    words = gemma_tokenizer(folder)
    transformer = Lumina2Transformer2DModel(
        sample_size=8, multiple_of=16, axes_lens=(300, 64, 64), cap_feat_dim=32, **config
    )
    return Lumina2Pipeline(
        transformer=transformer,
        scheduler=_flow(shift=6.0),
        vae=small_vae(16, **_FLUX_VAE),
        text_encoder=small_language_model("Gemma2Model", words),
        tokenizer=words,
    )


def build_wan(folder: Path) -> Any:
    from diffusers import AutoencoderKLWan, WanPipeline, WanTransformer3DModel

    words = t5_tokenizer(folder)
    transformer = WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, text_dim=32, freq_dim=16, ffn_dim=48, num_layers=2
    )
    return WanPipeline(
        transformer=transformer,
        scheduler=_flow(shift=3.0),
        vae=AutoencoderKLWan(base_dim=8, num_res_blocks=1),
        text_encoder=small_t5("UMT5EncoderModel", words),
        tokenizer=words,
    )


def small_ltx_vae(**changes: Any) -> Any:
    """An AutoencoderKLLTXVideo of its 32 x 32 pixels and eight frames, with statistics that are not nothing."""
    from diffusers import AutoencoderKLLTXVideo

    vae = AutoencoderKLLTXVideo(
        latent_channels=16, block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1,) * 5, decoder_layers_per_block=(1,) * 5, **changes,
    )  # fmt: skip
    vae.latents_mean.normal_(std=0.3)
    vae.latents_std.uniform_(0.5, 2.0)
    return vae


def build_ltx(folder: Path, pipeline: str = "LTXPipeline", **vae: Any) -> Any:
    import diffusers

    words = t5_tokenizer(folder)
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=16, out_channels=16, num_attention_heads=2, attention_head_dim=16, cross_attention_dim=32,
        num_layers=2, caption_channels=32,
    )  # fmt: skip
    shifting = {"base_shift": 0.95, "max_shift": 2.05, "base_image_seq_len": 1024, "shift": 1.0}
    return getattr(diffusers, pipeline)(
        transformer=transformer,
        scheduler=_dynamic(**shifting) if pipeline == "LTXPipeline" else _flow(),
        vae=small_ltx_vae(**vae),
        text_encoder=small_t5("T5EncoderModel", words),
        tokenizer=words,
    )


# What LTX-2.3 and 2.5 change: how prompts reach the denoiser, gates in the attention, layers without bias.
LTX23: dict[str, Any] = {
    "gated_attn": True, "cross_attn_mod": True, "audio_gated_attn": True, "audio_cross_attn_mod": True,
    "rope_type": "split", "use_prompt_embeddings": False, "perturbed_attn": True,
}  # fmt: skip
LTX25: dict[str, Any] = LTX23 | {
    "ff_bias": False,
    "use_prompt_adaln_single": False,
    "use_keyframes_abs_pos_embedding": True,
}
_CONNECTORS23: dict[str, Any] = {
    "per_modality_projections": True, "video_hidden_dim": 32, "audio_hidden_dim": 16, "proj_bias": True,
    "rope_type": "split", "video_gated_attn": True, "audio_gated_attn": True,
}  # fmt: skip


def build_ltx2(folder: Path, **later: Any) -> Any:
    import diffusers
    from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    words = gemma_tokenizer(folder)
    text = {
        "vocab_size": len(words), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0,
    }  # fmt: skip
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vae = diffusers.AutoencoderKLLTX2Video(
        latent_channels=16, block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 16, 32),
        layers_per_block=(1,) * 5, decoder_layers_per_block=(1,) * 4, spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )  # fmt: skip
    vae.latents_mean.normal_(std=0.3)
    vae.latents_std.uniform_(0.5, 2.0)
    transformer = diffusers.LTX2VideoTransformer3DModel(
        in_channels=16, out_channels=16, num_attention_heads=2, attention_head_dim=16, cross_attention_dim=32,
        audio_in_channels=8, audio_out_channels=8, audio_num_attention_heads=2, audio_attention_head_dim=8,
        audio_cross_attention_dim=16, num_layers=2, caption_channels=32, **later,
    )  # fmt: skip
    connectors = LTX2TextConnectors(
        caption_channels=32, text_proj_in_factor=3, video_connector_num_attention_heads=2,
        video_connector_attention_head_dim=16, video_connector_num_layers=1, audio_connector_num_attention_heads=2,
        audio_connector_attention_head_dim=8 if later else 16, audio_connector_num_layers=1,
        **(_CONNECTORS23 if later else {}),
    )  # fmt: skip
    return diffusers.LTX2Pipeline(
        transformer=transformer,
        scheduler=_dynamic(base_shift=0.95, max_shift=2.05, base_image_seq_len=1024, shift=1.0),
        vae=vae,
        audio_vae=diffusers.AutoencoderKLLTX2Audio(
            base_channels=8, ch_mult=(1, 1, 1), num_res_blocks=1, latent_channels=2, mel_bins=16
        ),
        vocoder=LTX2Vocoder(
            in_channels=32, hidden_channels=16, upsample_kernel_sizes=[4, 4], upsample_factors=[2, 2],
            resnet_kernel_sizes=[3], resnet_dilations=[[1]],
        ),
        connectors=connectors,
        text_encoder=Gemma3ForConditionalGeneration(Gemma3Config(text_config=text, vision_config=vision)),
        tokenizer=words,
    )  # fmt: skip


def build_hunyuan_video(folder: Path) -> Any:
    from diffusers import AutoencoderKLHunyuanVideo, HunyuanVideoPipeline, HunyuanVideoTransformer3DModel

    clip, words = clip_tokenizer(folder), llama_tokenizer(folder)
    transformer = HunyuanVideoTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, num_layers=1, num_single_layers=2, num_refiner_layers=1,
        text_embed_dim=32, pooled_projection_dim=32, rope_axes_dim=(4, 6, 6),
    )  # fmt: skip
    return HunyuanVideoPipeline(
        transformer=transformer,
        scheduler=_flow(shift=7.0),
        vae=AutoencoderKLHunyuanVideo(block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4),
        text_encoder=small_language_model("LlamaModel", words),
        tokenizer=words,
        text_encoder_2=small_clip("CLIPTextModel", 32, clip),
        tokenizer_2=clip,
    )


def build_hunyuan_video_i2v(folder: Path, beside: bool = False) -> Any:
    """``beside``: the first frame stands beside the noise, in 33 channels, and not in its place."""
    import transformers
    from diffusers import AutoencoderKLHunyuanVideo, HunyuanVideoImageToVideoPipeline, HunyuanVideoTransformer3DModel

    clip, words = clip_tokenizer(folder), llava_tokenizer(folder)
    transformer = HunyuanVideoTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, num_layers=1, num_single_layers=2, num_refiner_layers=1,
        text_embed_dim=32, pooled_projection_dim=32, rope_axes_dim=(4, 6, 6), in_channels=33 if beside else 16,
        out_channels=16, guidance_embeds=not beside,
        image_condition_type="latent_concat" if beside else "token_replace",
    )  # fmt: skip
    eye = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=48, patch_size=2
    )
    language = transformers.LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8,
    )  # fmt: skip
    llava = transformers.LlavaConfig(
        vision_config=eye, text_config=language, image_token_index=words.convert_tokens_to_ids("<image>"),
        pad_token_id=words.pad_token_id,
    )  # fmt: skip
    size = {"height": 48, "width": 48}
    return HunyuanVideoImageToVideoPipeline(
        transformer=transformer,
        scheduler=_flow(shift=7.0),
        vae=AutoencoderKLHunyuanVideo(block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4),
        text_encoder=transformers.LlavaForConditionalGeneration(llava),
        tokenizer=words,
        text_encoder_2=small_clip("CLIPTextModel", 32, clip),
        tokenizer_2=clip,
        image_processor=transformers.CLIPImageProcessor(size={"shortest_edge": 48}, crop_size=size),
    )


def mostly_noise(noise: torch.Tensor, first: torch.Tensor | None) -> torch.Tensor:
    """A thousandth of the picture goes into all of the noise that HunyuanVideo begins with."""
    assert first is not None
    return 0.999 * noise + (1 - torch.tensor(0.999)) * first


def without_masked(call: dict[str, Any]) -> dict[str, Any]:
    """Tokens that are masked say nothing."""
    kept = call["encoder_attention_mask"][0].bool()
    return {n: t[:, kept] if n.startswith("encoder_") else t for n, t in call.items()}


def build_hunyuan_video_15(folder: Path) -> Any:
    from diffusers import AutoencoderKLHunyuanVideo15, HunyuanVideo15Pipeline, HunyuanVideo15Transformer3DModel
    from diffusers.guiders import ClassifierFreeGuidance
    from transformers import ByT5Tokenizer, Qwen2_5_VLTextConfig, Qwen2_5_VLTextModel, T5Config, T5EncoderModel

    words = qwen_tokenizer(folder)
    text = Qwen2_5_VLTextConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, pad_token_id=0,
        rope_parameters={"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
    )  # fmt: skip
    glyphs = T5Config(vocab_size=384, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
    transformer = HunyuanVideo15Transformer3DModel(
        in_channels=9, out_channels=4, num_attention_heads=2, attention_head_dim=16, num_layers=2, num_refiner_layers=1,
        text_embed_dim=32, text_embed_2_dim=32, image_embed_dim=16, rope_axes_dim=(4, 6, 6),
    )  # fmt: skip
    return HunyuanVideo15Pipeline(
        transformer=transformer,
        scheduler=_flow(shift=5.0),
        vae=AutoencoderKLHunyuanVideo15(latent_channels=4, block_out_channels=(16,) * 5, layers_per_block=1),
        text_encoder=Qwen2_5_VLTextModel(text),
        tokenizer=words,
        text_encoder_2=T5EncoderModel(glyphs),
        tokenizer_2=ByT5Tokenizer(),
        guider=ClassifierFreeGuidance(guidance_scale=6.0),
    )


def build_hunyuan_video_15_i2v(folder: Path) -> Any:
    from diffusers import HunyuanVideo15ImageToVideoPipeline
    from transformers import SiglipImageProcessor, SiglipVisionConfig, SiglipVisionModel

    eye = SiglipVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=54, patch_size=2
    )
    return HunyuanVideo15ImageToVideoPipeline(
        **build_hunyuan_video_15(folder).components,
        image_encoder=SiglipVisionModel(eye),
        feature_extractor=SiglipImageProcessor(size={"height": 54, "width": 54}),
    )


def without_tokens_that_say_nothing(call: dict[str, Any]) -> dict[str, Any]:
    """Masked tokens of the prompt and of what is to be written, and all of a picture that is not there."""
    call = dict(call)
    for states, mask in (
        ("encoder_hidden_states", "encoder_attention_mask"), ("encoder_hidden_states_2", "encoder_attention_mask_2")
    ):  # fmt: skip
        kept = call[mask][0].bool()
        call |= {states: call[states][:, kept], mask: call[mask][:, kept]}
    seen = call["image_embeds"]
    return call if seen.any() else call | {"image_embeds": seen[:, :0]}


def build_wan_ti2v(folder: Path) -> Any:
    from diffusers import AutoencoderKLWan, WanPipeline, WanTransformer3DModel

    words = t5_tokenizer(folder)
    transformer = WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, text_dim=32, freq_dim=16, ffn_dim=48, num_layers=2,
        in_channels=48, out_channels=48,
    )  # fmt: skip
    vae = AutoencoderKLWan(
        base_dim=8, decoder_base_dim=8, z_dim=48, num_res_blocks=1, is_residual=True, in_channels=12, out_channels=12,
        patch_size=2, scale_factor_spatial=16, latents_mean=[0.1] * 48, latents_std=[1.5] * 48,
    )  # fmt: skip
    return WanPipeline(
        transformer=transformer,
        scheduler=_flow(shift=5.0),
        vae=vae,
        text_encoder=small_t5("UMT5EncoderModel", words),
        tokenizer=words,
        expand_timesteps=True,
    )


def build_wan_i2v(folder: Path, sees: bool = True) -> Any:
    """``sees``: through CLIP too, as 2.1 does and 2.2 does not."""
    from diffusers import AutoencoderKLWan, WanImageToVideoPipeline, WanTransformer3DModel
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    words = t5_tokenizer(folder)
    transformer = WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, text_dim=32, freq_dim=16, ffn_dim=48, num_layers=2,
        in_channels=36, out_channels=16, **({"image_dim": 32, "added_kv_proj_dim": 32} if sees else {}),
    )  # fmt: skip
    eye = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=2,
    )  # fmt: skip
    return WanImageToVideoPipeline(
        transformer=transformer,
        scheduler=_flow(shift=3.0),
        vae=AutoencoderKLWan(base_dim=8, num_res_blocks=1),
        text_encoder=small_t5("UMT5EncoderModel", words),
        tokenizer=words,
        image_encoder=CLIPVisionModel(eye) if sees else None,
        image_processor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
        if sees
        else None,
    )


def build_flux2(folder: Path, guidance_embeds: bool = False) -> Any:
    from diffusers import AutoencoderKLFlux2, Flux2KleinPipeline, Flux2Transformer2DModel

    words = qwen_tokenizer(folder)
    transformer = Flux2Transformer2DModel(
        num_layers=1, num_single_layers=2, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=96,
        timestep_guidance_channels=16, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=guidance_embeds,
    )  # fmt: skip
    vae = AutoencoderKLFlux2(block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4)
    vae.bn.running_mean.normal_(std=0.3)
    vae.bn.running_var.uniform_(0.5, 2.0)
    return Flux2KleinPipeline(
        transformer=transformer,
        scheduler=_dynamic(),
        vae=vae,
        text_encoder=small_language_model("Qwen3ForCausalLM", words, layers=28, width=32),
        tokenizer=words,
    )


def small_vision(words: Any, layers: int, words_too: bool = False) -> Any:
    """Qwen3-VL, with or without its last layer of words."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLModel

    text = {
        "vocab_size": len(words), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": layers,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0,
        "rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0},
    }  # fmt: skip
    vision = {
        "depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32,
        "deepstack_visual_indexes": [0], "num_position_embeddings": 16,
    }  # fmt: skip
    kind = Qwen3VLForConditionalGeneration if words_too else Qwen3VLModel
    return kind(Qwen3VLConfig(text_config=text, vision_config=vision))


def build_qwen_image_21(folder: Path) -> Any:
    from diffusers import AutoencoderKLQwenImage21, QwenImage21Pipeline, QwenImage21Transformer2DModel

    words = qwen_tokenizer(folder)
    transformer = QwenImage21Transformer2DModel(
        in_channels=8, out_channels=8, num_layers=2, attention_head_dim=16, num_attention_heads=2, context_in_dim=32,
        axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    vae = AutoencoderKLQwenImage21(
        base_dim=4, decoder_base_dim=4, z_dim=8, num_res_blocks=1, latents_mean=[0.1] * 8, latents_std=[1.5] * 8
    )
    return QwenImage21Pipeline(
        transformer=transformer,
        scheduler=_dynamic(),
        vae=vae,
        text_encoder=small_vision(words, layers=2, words_too=True),
        processor=seeing_processor("Qwen3VLProcessor", words),
    )


def build_krea2(folder: Path) -> Any:
    from diffusers import AutoencoderKLQwenImage, Krea2Pipeline, Krea2Transformer2DModel

    words = qwen_tokenizer(folder)
    transformer = Krea2Transformer2DModel(
        num_layers=2, attention_head_dim=16, num_attention_heads=4, num_key_value_heads=2, intermediate_size=96,
        timestep_embed_dim=16, text_hidden_dim=32, num_text_layers=3, text_num_attention_heads=2,
        text_num_key_value_heads=2, text_intermediate_size=48, num_layerwise_text_blocks=1, num_refiner_text_blocks=1,
        axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    return Krea2Pipeline(
        transformer=transformer,
        scheduler=_dynamic(max_image_seq_len=6400),
        vae=AutoencoderKLQwenImage(base_dim=8, num_res_blocks=1),
        text_encoder=small_vision(words, layers=3),
        tokenizer=words,
        text_encoder_select_layers=(1, 2, 3),
    )


def without_padding(call: dict[str, Any]) -> dict[str, Any]:
    """Tokens that are masked, and places for them, say nothing; nor does a mask that masks nothing."""
    kept = call["encoder_attention_mask"][0].bool()
    call = {name: value for name, value in call.items() if name != "encoder_attention_mask"}
    call["encoder_hidden_states"] = call["encoder_hidden_states"][:, kept]
    call["position_ids"] = call["position_ids"][int((~kept).sum()) :]
    return call


def build_anima(folder: Path) -> Any:
    from diffusers import AnimaModularPipeline, AnimaTextConditioner, AutoencoderKLQwenImage, CosmosTransformer3DModel

    words, targets = qwen_tokenizer(folder), t5_tokenizer(folder)
    pipe = AnimaModularPipeline()
    pipe.update_components(
        transformer=CosmosTransformer3DModel(
            num_attention_heads=2, attention_head_dim=16, num_layers=2, text_embed_dim=32, adaln_lora_dim=8,
            max_size=(4, 32, 32), extra_pos_embed_type=None,
        ),
        text_conditioner=AnimaTextConditioner(
            source_dim=32, target_dim=32, model_dim=32, num_layers=1, num_attention_heads=2,
            target_vocab_size=len(targets),
        ),
        text_encoder=small_language_model("Qwen3Model", words),
        tokenizer=words,
        t5_tokenizer=targets,
        vae=AutoencoderKLQwenImage(base_dim=8, num_res_blocks=1),
        scheduler=_flow(shift=3.0),
    )  # fmt: skip
    return pipe


_XL: dict[str, Any] = {
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}

_SD1: dict[str, Any] = {"cross_attention_dim": 768}
_SD2: dict[str, Any] = {
    "attention_head_dim": (5, 10, 20, 20), "cross_attention_dim": 1024, "use_linear_projection": True
}  # fmt: skip
_SD3: dict[str, Any] = {
    "num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536, "pooled_projection_dim": 2048,
    "pos_embed_max_size": 192,
}  # fmt: skip
_SD35: dict[str, Any] = {"dual_attention_layers": tuple(range(13)), "qk_norm": "rms_norm", "pos_embed_max_size": 384}
_SD35L: dict[str, Any] = {
    "num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432, "qk_norm": "rms_norm"
}  # fmt: skip
_FLUX, _SD, _WAN = "FluxTransformer2DModel", "SD3Transformer2DModel", "WanTransformer3DModel"
_SMALL_WAN: dict[str, Any] = {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30}
_LTX13: dict[str, Any] = {"num_layers": 48, "attention_head_dim": 128, "cross_attention_dim": 4096}
_WAN_5B: dict[str, Any] = {
    "num_attention_heads": 24, "in_channels": 48, "out_channels": 48, "ffn_dim": 14336, "num_layers": 30
}  # fmt: skip
_WAN_I2V: dict[str, Any] = {"in_channels": 36}
_HUNYUAN = "HunyuanVideoTransformer3DModel"
_HUNYUAN_33: dict[str, Any] = {
    "in_channels": 33, "out_channels": 16, "guidance_embeds": False, "image_condition_type": "latent_concat"
}  # fmt: skip
_KLEIN4: dict[str, Any] = {
    "num_layers": 5, "num_single_layers": 20, "num_attention_heads": 24, "joint_attention_dim": 7680,
    "guidance_embeds": False,
}  # fmt: skip
_KLEIN9: dict[str, Any] = {
    "num_layers": 8, "num_single_layers": 24, "num_attention_heads": 32, "joint_attention_dim": 12288,
    "guidance_embeds": False,
}  # fmt: skip

# Layers of the default preset are written as blocks times layers in a block.
_ALL_RECORDS: tuple[Record, ...] = (
    Record(
        "sd", "StableDiffusionPipeline", build_sd, painted_with=7.0, call={"guidance_scale": 1.0},
        full={"sd1": ("UNet2DConditionModel", _SD1), "sd2": ("UNet2DConditionModel", _SD2)},
        modules={"sd1": 16 * 8, "sd2": 16 * 8},
    ),
    Record(
        "sdxl", "StableDiffusionXLPipeline", build_sdxl, painted_with=7.0, call={"guidance_scale": 1.0},
        full={"base": ("UNet2DConditionModel", _XL)}, modules={"base": 70 * 8},
    ),
    Record(
        "sd3", "StableDiffusion3Pipeline", build_sd3, painted_with=4.5,
        shifts={(512, 512, 1): 3.0, (1024, 1024, 1): 3.0},
        call={"guidance_scale": 1.0},
        full={"3_medium": (_SD, _SD3), "3.5_medium": (_SD, _SD3 | _SD35), "3.5_large": (_SD, _SD3 | _SD35L)},
        # the last block has no way out for text: one projection and two feed-forward layers less
        modules={"3_medium": 24 * 12 - 3, "3.5_medium": 24 * 12 - 3 + 13 * 4, "3.5_large": 38 * 12 - 3},
    ),
    Record(
        "flux", "FluxPipeline", build_flux, painted_with=3.5,
        shifts={(256, 256, 1): math.exp(0.5), (1024, 1024, 1): math.exp(1.15), (1024, 512, 1): 2.2330},
        call={"guidance_scale": 2.5},
        full={"dev": (_FLUX, {"guidance_embeds": True}), "schnell": (_FLUX, {})},
        modules={"dev": 19 * 12 + 38 * 5, "schnell": 19 * 12 + 38 * 5},
    ),
    Record(
        "chroma", "ChromaPipeline", build_chroma, painted_with=5.0,
        shifts={(256, 256, 1): 1.0, (1024, 1024, 1): 1.0},
        call={"guidance_scale": 1.0},
        full={"1": ("ChromaTransformer2DModel", {})}, modules={"1": 19 * 12 + 38 * 5},
    ),
    Record(
        "z_image", "ZImagePipeline", build_z_image, painted_with=5.0,
        shifts={(256, 256, 1): 3.0, (1024, 1024, 1): 3.0},
        call={"guidance_scale": 0.0},
        full={"base_or_turbo": ("ZImageTransformer2DModel", {})}, modules={"base_or_turbo": 30 * 7},
    ),
    Record(
        "qwen_image", "QwenImagePipeline", build_qwen_image, painted_with=4.0,
        shifts={(256, 256, 1): math.exp(0.5), (2048, 1024, 1): math.exp(0.9), (1024, 1024, 1): 2.0129},
        call={"true_cfg_scale": 1.0}, frames=True,
        full={"1": ("QwenImageTransformer2DModel", {})}, modules={"1": 60 * 12},
    ),
    Record(
        "flux_kontext", "FluxKontextPipeline", build_flux_kontext, painted_with=2.5,
        shifts={(256, 256, 1): math.exp(0.5), (1024, 1024, 1): math.exp(1.15)},
        call={"guidance_scale": 2.5},
        full={"kontext": (_FLUX, {"guidance_embeds": True})}, modules={"kontext": 19 * 12 + 38 * 5},
    ),
    Record(
        "qwen_image_edit", "QwenImageEditPipeline", build_qwen_image_edit, painted_with=4.0,
        shifts={(256, 256, 1): math.exp(0.5), (2048, 1024, 1): math.exp(0.9)},
        call={"true_cfg_scale": 1.0}, frames=True,
        full={"edit": ("QwenImageTransformer2DModel", {})}, modules={"edit": 60 * 12},
    ),
    Record(
        "qwen_image_edit_plus", "QwenImageEditPlusPipeline", build_qwen_image_edit_plus, painted_with=4.0,
        shifts={(256, 256, 1): math.exp(0.5), (2048, 1024, 1): math.exp(0.9)},
        call={"true_cfg_scale": 1.0},
        frames=True, references=2,
        full={
            "edit_plus": ("QwenImageTransformer2DModel", {}),
            "edit_2511": ("QwenImageTransformer2DModel", {"zero_cond_t": True}),
        },
        modules={"edit_plus": 60 * 12, "edit_2511": 60 * 12},
    ),
    Record(
        "lumina2", "Lumina2Pipeline", build_lumina2, painted_with=4.0,
        shifts={(512, 512, 1): 6.0, (1024, 1024, 1): 6.0}, uniform=True,
        call={"guidance_scale": 1.0}, compares=False,
        full={"2": ("Lumina2Transformer2DModel", {"cap_feat_dim": 2304})}, modules={"2": 26 * 7},
        wide=build_wide_lumina2,
    ),
    Record(
        "wan", "WanPipeline", build_wan, painted_with=5.0,
        shifts={(832, 480, 1): 3.0, (832, 480, 81): 3.0, (1280, 720, 81): 5.0}, uniform=True, shift_of_pair=12.0,
        own_shift=True,
        call={"guidance_scale": 1.0, "num_frames": 9}, frames=True, length=9,
        sigmas=False,
        full={"t2v_1.3b": (_WAN, _SMALL_WAN), "t2v_14b": (_WAN, {})},
        modules={"t2v_1.3b": 30 * 10, "t2v_14b": 40 * 10},
    ),
    Record(
        # shifts: of tokens of 32 x 32 pixels and 8 frames, 1024 of them and 4096
        "ltx", "LTXPipeline", build_ltx, painted_with=3.0,
        shifts={(1024, 1024, 1): math.exp(0.95), (1024, 1024, 25): math.exp(2.05), (768, 512, 49): 4.6919},
        own_shift=True,
        resolution=128, frames=True, sigmas=False, length=17,
        call={"guidance_scale": 1.0, "num_frames": 17},
        full={"2b": ("LTXVideoTransformer3DModel", {}), "13b": ("LTXVideoTransformer3DModel", _LTX13)},
        modules={"2b": 28 * 10, "13b": 48 * 10},
    ),
    Record(
        # By this guidance the picture is that of the pass in which the halves do not hear each other.
        "ltx2", "LTX2Pipeline", build_ltx2, painted_with=3.0,
        shifts={(1024, 1024, 1): math.exp(0.95), (1024, 1024, 25): math.exp(2.05)},
        own_shift=True,
        resolution=128, frames=True, passes=2, length=17, compares=False,
        call={
            "guidance_scale": 1.0, "audio_guidance_scale": 1.0, "stg_scale": 0.0, "audio_stg_scale": 0.0,
            "modality_scale": 0.0, "audio_modality_scale": 2.0, "guidance_rescale": 0.0,
            "audio_guidance_rescale": 0.0, "num_frames": 17,
        },
        aside=(
            "audio_hidden_states", "audio_encoder_hidden_states", "audio_encoder_attention_mask", "audio_coords",
            "audio_num_frames", "fps",
        ),
        full={"2": ("LTX2VideoTransformer3DModel", {})}, modules={"2": 48 * 10},
    ),
    Record(
        "hunyuan_video", "HunyuanVideoPipeline", build_hunyuan_video, painted_with=6.0,
        shifts={(544, 960, 33): 7.0, (1280, 720, 1): 7.0},
        frames=True, length=9,
        call={"guidance_scale": 2.5, "num_frames": 9},
        full={"1": ("HunyuanVideoTransformer3DModel", {})}, modules={"1": 20 * 12 + 40 * 5},
        reader=("_convert_hunyuan_video_lora_to_diffusers", 3072, 32),
    ),
    Record(
        "hunyuan_video_i2v", "HunyuanVideoImageToVideoPipeline", build_hunyuan_video_i2v, painted_with=6.0,
        shifts={(544, 960, 33): 7.0, (1280, 720, 129): 7.0},
        frames=True, length=9, begins=True, starts=mostly_noise, plain=without_masked,
        call={"guidance_scale": 2.5, "num_frames": 9},
        full={"i2v": (_HUNYUAN, {"image_condition_type": "token_replace"}), "i2v_33ch": (_HUNYUAN, _HUNYUAN_33)},
        modules={"i2v": 20 * 12 + 40 * 5, "i2v_33ch": 20 * 12 + 40 * 5},
        reader=("_convert_hunyuan_video_lora_to_diffusers", 3072, 32),
    ),
    Record(
        "hunyuan_video_15", "HunyuanVideo15Pipeline", build_hunyuan_video_15, painted_with=6.0,
        shifts={(848, 480, 33): 5.0, (1280, 720, 121): 5.0},
        frames=True, length=9,
        call={"guidance_scale": 1.0, "num_frames": 9}, plain=without_tokens_that_say_nothing, resolution=64,
        full={"1.5": ("HunyuanVideo15Transformer3DModel", {})}, modules={"1.5": 54 * 12},
    ),
    Record(
        "hunyuan_video_15_i2v", "HunyuanVideo15ImageToVideoPipeline", build_hunyuan_video_15_i2v, painted_with=6.0,
        shifts={(848, 480, 33): 5.0, (1280, 720, 121): 5.0},
        begins=True,
        frames=True, length=9,
        call={"guidance_scale": 1.0, "num_frames": 9}, plain=without_tokens_that_say_nothing, resolution=64,
        full={"1.5": ("HunyuanVideo15Transformer3DModel", {})}, modules={"1.5": 54 * 12},
    ),
    Record(
        "wan_ti2v", "WanPipeline", build_wan_ti2v, painted_with=5.0,
        shifts={(1280, 704, 121): 5.0, (640, 352, 1): 5.0}, uniform=True,
        call={"guidance_scale": 1.0, "num_frames": 9}, frames=True,
        length=9, sigmas=False, resolution=128, full={"ti2v_5b": (_WAN, _WAN_5B)}, modules={"ti2v_5b": 30 * 10},
    ),
    Record(
        "wan_i2v", "WanImageToVideoPipeline", build_wan_i2v, painted_with=5.0,
        shifts={(832, 480, 81): 3.0, (1280, 720, 81): 5.0}, uniform=True, shift_of_pair=5.0,
        own_shift=True,
        call={"guidance_scale": 1.0, "num_frames": 9},
        frames=True, length=9, sigmas=False, begins=True,
        full={"i2v_14b_2.1": (_WAN, _WAN_I2V | {"image_dim": 1280, "added_kv_proj_dim": 5120}),
              "i2v_14b_2.2": (_WAN, _WAN_I2V)},
        absent={"i2v_14b_2.2": ("attn2.add_k_proj", "attn2.add_v_proj")},
        modules={"i2v_14b_2.1": 40 * 12, "i2v_14b_2.2": 40 * 10},
    ),
    Record(
        # its makers' fit over tokens and steps, at 50 of these: between 0.00016927 n + 0.45666666 at 200 steps and
        # 0.0000873809524 n + 1.89833333 at 10
        "flux2", "Flux2KleinPipeline", build_flux2, painted_with=4.0,
        shifts={(1024, 1024, 1): 7.564, (512, 512, 1): 5.4847},
        own_shift=True,
        call={"guidance_scale": 1.0},
        full={
            "dev": ("Flux2Transformer2DModel", {}),
            "klein_4b": ("Flux2Transformer2DModel", _KLEIN4),
            "klein_9b": ("Flux2Transformer2DModel", _KLEIN9),
        },
        modules={"dev": 8 * 12 + 48 * 2, "klein_4b": 5 * 12 + 20 * 2, "klein_9b": 8 * 12 + 24 * 2},
    ),
    Record(
        "krea2", "Krea2Pipeline", build_krea2, painted_with=5.5,
        shifts={(256, 256, 1): math.exp(0.5), (1280, 1280, 1): math.exp(1.15), (1024, 1024, 1): 2.5},
        call={"guidance_scale": 0.0}, frames=True, plain=without_padding,
        full={"2": ("Krea2Transformer2DModel", {})}, modules={"2": 28 * 8},
    ),
    Record(
        "qwen_image_21", "QwenImage21Pipeline", build_qwen_image_21, painted_with=1.0,
        shifts={(256, 256, 1): math.exp(0.5), (1024, 1024, 1): math.exp(1.15)},
        resolution=128, frames=True, opaque=True,
        call={"use_kv_cache": False}, full={"2.1": ("QwenImage21Transformer2DModel", {})}, modules={"2.1": 32 * 7},
    ),
    Record(
        "anima", "AnimaModularPipeline", build_anima, painted_with=4.0,
        shifts={(512, 512, 1): 3.0, (1024, 1024, 1): 3.0},
        call={"guidance_scale": 1.0}, frames=True,
        full={"1": ("CosmosTransformer3DModel", {"num_attention_heads": 16, "extra_pos_embed_type": None})},
        modules={"1": 28 * 10},
    ),
)  # fmt: skip
RECORDS: dict[str, Record] = {record.family: record for record in _ALL_RECORDS}
