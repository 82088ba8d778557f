"""Headers of real models without their weights: built from their configs on the meta device, in every layout.

Config values are those of the published models (the classes' own defaults where these are the published ones).
"""
# ruff: noqa: E501, PLW0108  tables: one model a line

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lorasmith.bases.header import Header
from lorasmith.bases.opening import CONFIGS
from lorasmith.bases.original_layout import original_unet_module, unet_blocks
from tests.bases.originals import Shapes, original


@dataclass(frozen=True)
class Model:
    """A published model: its class and config, and what has to be said of it."""

    name: str
    family: str
    variant: str
    model_class: str
    config: dict[str, Any] = field(default_factory=dict)
    rules: str = ""
    """Name of the rules that make its original names; ``unet`` for those of Stable Diffusion; empty: none are known."""
    asks: frozenset[str] = frozenset()
    pipeline: str = ""
    folder_variant: str = ""
    folder_asks: frozenset[str] = frozenset()
    extra: Shapes = field(default_factory=dict)


def _unet(**changes: Any) -> dict[str, Any]:
    return json.loads((CONFIGS / "sd1" / "unet" / "config.json").read_text()) | changes


def _unet2(**changes: Any) -> dict[str, Any]:
    return json.loads((CONFIGS / "sd2" / "unet" / "config.json").read_text()) | changes


def _xl(**changes: Any) -> dict[str, Any]:
    return {
        "in_channels": 4,
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
    } | changes


_REFINER = _xl(
    block_out_channels=(384, 768, 1536, 1536),
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    transformer_layers_per_block=4,
    attention_head_dim=(6, 12, 24, 24),
    cross_attention_dim=1280,
    projection_class_embeddings_input_dim=2560,
)
_SD3 = {
    "sample_size": 128, "num_layers": 24, "num_attention_heads": 24, "attention_head_dim": 64,
    "caption_projection_dim": 1536, "pooled_projection_dim": 2048, "pos_embed_max_size": 192,
}  # fmt: skip
_UNET, _FLUX, _WAN = "UNet2DConditionModel", "FluxTransformer2DModel", "WanTransformer3DModel"
_COSMOS = "CosmosTransformer3DModel"
_I2V = {"image_dim": 1280, "added_kv_proj_dim": 5120, "in_channels": 36}
_W13 = {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30}
_W5 = {"num_attention_heads": 24, "ffn_dim": 14336, "num_layers": 30, "in_channels": 48, "out_channels": 48}
_C2 = {"extra_pos_embed_type": None}
_C14 = {"num_attention_heads": 40, "num_layers": 36}
_ask = frozenset

MODELS: tuple[Model, ...] = (
    Model("sd1", "sd", "sd1", _UNET, _unet(), "unet", pipeline="StableDiffusionPipeline"),
    Model("sd1 inpaint", "sd", "sd1_inpaint", _UNET, _unet(in_channels=9), "unet", pipeline="StableDiffusionInpaintPipeline"),
    Model("ip2p", "sd", "sd1_edit", _UNET, _unet(in_channels=8), "unet", pipeline="StableDiffusionInstructPix2PixPipeline"),
    Model("sd2", "sd", "sd2", _UNET, _unet2(), "unet", _ask({"prediction"}), "StableDiffusionPipeline"),
    Model("sd2 inpaint", "sd", "sd2_inpaint", _UNET, _unet2(in_channels=9), "unet", pipeline="StableDiffusionInpaintPipeline"),
    Model("sd2 depth", "sd", "sd2_depth", _UNET, _unet2(in_channels=5), "unet", pipeline="StableDiffusionDepth2ImgPipeline"),
    Model("sdxl", "sdxl", "base", _UNET, _xl(), "unet", _ask({"prediction"}), "StableDiffusionXLPipeline"),
    Model("noobai v", "sdxl", "v_prediction", _UNET, _xl(), "unet", extra={"v_pred": (), "ztsnr": ()}),
    Model("playground", "sdxl", "playground", _UNET, _xl(), "unet", extra={"edm_mean": (4,), "edm_std": (4,)}),
    Model("sdxl inpaint", "sdxl", "inpaint", _UNET, _xl(in_channels=9), "unet", pipeline="StableDiffusionXLInpaintPipeline"),
    Model("sdxl edit", "sdxl", "edit", _UNET, _xl(in_channels=8), "unet"),
    Model("sdxl refiner", "sdxl", "refiner", _UNET, _REFINER, "unet", pipeline="StableDiffusionXLImg2ImgPipeline"),
    Model("sd3 medium", "sd3", "3_medium", "SD3Transformer2DModel", _SD3, "sd3", pipeline="StableDiffusion3Pipeline"),
    Model(
        "sd3.5 medium", "sd3", "3.5_medium", "SD3Transformer2DModel",
        _SD3 | {"dual_attention_layers": tuple(range(13)), "qk_norm": "rms_norm", "pos_embed_max_size": 384},
        "sd3", pipeline="StableDiffusion3Pipeline",
    ),
    Model(
        "sd3.5 large", "sd3", "3.5_large", "SD3Transformer2DModel",
        _SD3 | {"num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432, "qk_norm": "rms_norm"},
        "sd3", _ask({"sd35_large"}), "StableDiffusion3Pipeline", folder_asks=_ask({"sd35_large"}),
    ),
    Model("flux dev", "flux", "dev_or_kontext", _FLUX, {"guidance_embeds": True}, "flux", _ask({"flux1_dev"}), "FluxPipeline", folder_asks=_ask({"flux1_dev"})),
    Model("flux kontext", "flux", "dev_or_kontext", _FLUX, {"guidance_embeds": True}, "flux", _ask({"flux1_dev"}), "FluxKontextPipeline", "kontext"),
    Model("flux schnell", "flux", "schnell", _FLUX, {}, "flux", pipeline="FluxPipeline"),
    Model("flux fill", "flux", "fill", _FLUX, {"guidance_embeds": True, "in_channels": 384, "out_channels": 64}, "flux", pipeline="FluxFillPipeline"),
    Model(
        "flux depth", "flux", "control", _FLUX, {"guidance_embeds": True, "in_channels": 128, "out_channels": 64}, "flux",
        _ask({"flux1_control"}), "FluxControlPipeline", folder_asks=_ask({"flux1_control"}),
    ),
    Model("flux2 dev", "flux2", "dev", "Flux2Transformer2DModel", {}, "flux2", pipeline="Flux2Pipeline"),
    Model(
        "flux2 klein 4b", "flux2", "klein_4b", "Flux2Transformer2DModel",
        {"num_layers": 5, "num_single_layers": 20, "num_attention_heads": 24, "joint_attention_dim": 7680, "guidance_embeds": False},
        "flux2", _ask({"step_distilled"}), "Flux2KleinPipeline", folder_asks=_ask({"step_distilled"}),
    ),
    Model(
        "flux2 klein 9b", "flux2", "klein_9b", "Flux2Transformer2DModel",
        {"num_layers": 8, "num_single_layers": 24, "num_attention_heads": 32, "joint_attention_dim": 12288, "guidance_embeds": False},
        "flux2", _ask({"step_distilled"}), "Flux2KleinPipeline", folder_asks=_ask({"step_distilled"}),
    ),
    Model("flux3", "flux3", "base", "Flux3Transformer2DModel", {}, "flux3"),
    Model("chroma", "chroma", "1", "ChromaTransformer2DModel", {}, "chroma", pipeline="ChromaPipeline"),
    Model("qwen image", "qwen_image", "1", "QwenImageTransformer2DModel", {}, "qwen_image", _ask({"qwen_edit"}), "QwenImagePipeline", "text_to_image"),
    Model("qwen edit", "qwen_image", "1", "QwenImageTransformer2DModel", {}, "qwen_image", _ask({"qwen_edit"}), "QwenImageEditPipeline", "edit"),
    Model(
        "qwen edit 2511", "qwen_image", "edit_2511", "QwenImageTransformer2DModel", {}, "qwen_image",
        pipeline="QwenImageEditPlusPipeline", extra={"__index_timestep_zero__": ()},
    ),
    Model("qwen 2.1", "qwen_image_21", "2.1", "QwenImage21Transformer2DModel", {}, "qwen_image_21", pipeline="QwenImage21Pipeline"),
    Model("z-image", "z_image", "base_or_turbo", "ZImageTransformer2DModel", {}, "z_image", _ask({"step_distilled"}), "ZImagePipeline", folder_asks=_ask({"step_distilled"})),
    Model("lumina 2", "lumina2", "2", "Lumina2Transformer2DModel", {"cap_feat_dim": 2304}, "lumina2", pipeline="Lumina2Pipeline"),
    Model("krea 2", "krea2", "2", "Krea2Transformer2DModel", {}, "krea2", _ask({"step_distilled"}), "Krea2Pipeline", folder_asks=_ask({"step_distilled"})),
    Model("ideogram 4", "ideogram4", "4", "Ideogram4Transformer2DModel", pipeline="Ideogram4Pipeline"),
    Model("wan t2v 1.3b", "wan", "t2v_1.3b", _WAN, _W13, "wan", pipeline="WanPipeline"),
    Model("wan t2v 14b", "wan", "t2v_14b", _WAN, {}, "wan", _ask({"wan_expert"}), "WanPipeline", folder_asks=_ask({"wan_expert"})),
    Model("wan 2.1 i2v", "wan", "i2v_14b_2.1", _WAN, _I2V, "wan", _ask({"wan_size"}), "WanImageToVideoPipeline", folder_asks=_ask({"wan_size"})),
    Model("wan 2.2 i2v", "wan", "i2v_14b_2.2", _WAN, {"in_channels": 36}, "wan", _ask({"wan_i2v_expert"}), "WanImageToVideoPipeline", folder_asks=_ask({"wan_i2v_expert"})),
    Model("wan 2.2 5b", "wan", "ti2v_5b", _WAN, _W5, "wan", pipeline="WanPipeline"),
    Model("wan vace 1.3b", "wan", "vace_1.3b", "WanVACETransformer3DModel", _W13 | {"vace_layers": [0, 2, 4]}, "wan", pipeline="WanVACEPipeline"),
    Model("wan vace 14b", "wan", "vace_14b", "WanVACETransformer3DModel", {}, "wan", pipeline="WanVACEPipeline"),
    Model("wan animate", "wan", "animate_14b", "WanAnimateTransformer3DModel", pipeline="WanAnimatePipeline"),
    Model("ltx 2b", "ltx", "2b", "LTXVideoTransformer3DModel", {}, "ltx", _ask({"step_distilled"}), "LTXPipeline", folder_asks=_ask({"step_distilled"})),
    Model(
        "ltx 13b", "ltx", "13b", "LTXVideoTransformer3DModel", {"num_layers": 48, "attention_head_dim": 128, "cross_attention_dim": 4096},
        "ltx", _ask({"step_distilled"}), "LTXConditionPipeline", folder_asks=_ask({"step_distilled"}),
    ),
    Model("ltx 2", "ltx2", "2", "LTX2VideoTransformer3DModel", {}, "ltx2", pipeline="LTX2Pipeline"),
    Model("hunyuan video", "hunyuan_video", "1", "HunyuanVideoTransformer3DModel", {}, "hunyuan_video", _ask({"hunyuan1"}), "HunyuanVideoPipeline"),
    Model("hunyuan i2v", "hunyuan_video", "1", "HunyuanVideoTransformer3DModel", {"image_condition_type": "token_replace"}, "hunyuan_video", _ask({"hunyuan1"}), "HunyuanVideoImageToVideoPipeline", "i2v"),
    Model("hunyuan i2v 33", "hunyuan_video", "i2v_33ch", "HunyuanVideoTransformer3DModel", {"in_channels": 33, "out_channels": 16, "guidance_embeds": False, "image_condition_type": "latent_concat"}, "hunyuan_video", pipeline="HunyuanVideoImageToVideoPipeline"),
    Model("hunyuan 1.5", "hunyuan_video", "1.5", "HunyuanVideo15Transformer3DModel", {}, "hunyuan_video_15", asks=_ask({"hunyuan15"}), pipeline="HunyuanVideo15Pipeline"),
    Model("hunyuan image", "hunyuan_image", "2.1", "HunyuanImageTransformer2DModel", pipeline="HunyuanImagePipeline"),
    Model("framepack", "hunyuan_video", "framepack", "HunyuanVideoFramepackTransformer3DModel", {"has_image_proj": True, "image_proj_dim": 1152, "has_clean_x_embedder": True}),
    Model("auraflow", "auraflow", "1", "AuraFlowTransformer2DModel", {"num_mmdit_layers": 4, "num_single_dit_layers": 32}, "auraflow", pipeline="AuraFlowPipeline"),
    Model(
        "hidream", "hidream", "i1", "HiDreamImageTransformer2DModel",
        {"patch_size": 2, "in_channels": 16, "out_channels": 16, "caption_channels": [4096, 4096], "axes_dims_rope": (64, 32, 32), "llama_layers": list(range(32)) + [31] * 16},
        "hidream", _ask({"hidream"}), "HiDreamImagePipeline", folder_asks=_ask({"hidream"}),
    ),
    Model("pixart alpha", "pixart", "alpha", "PixArtTransformer2DModel", {"caption_channels": 4096}, "pixart", pipeline="PixArtAlphaPipeline"),
    Model(
        "pixart sigma", "pixart", "sigma", "PixArtTransformer2DModel", {"caption_channels": 4096, "use_additional_conditions": False},
        "pixart", pipeline="PixArtSigmaPipeline",
    ),
    Model("sana", "sana", "1", "SanaTransformer2DModel", {}, "sana", pipeline="SanaPipeline"),
    Model("cosmos 1 7b", "cosmos", "1_7b_t", _COSMOS, {}, "cosmos1", pipeline="CosmosTextToWorldPipeline"),
    Model("cosmos 1 14b", "cosmos", "1_14b_v", _COSMOS, _C14 | {"in_channels": 17}, "cosmos1", pipeline="CosmosVideoToWorldPipeline"),
    Model("cosmos 2 2b", "cosmos", "2_2b_t", _COSMOS, _C2 | {"num_attention_heads": 16}, "cosmos2", _ask({"anima_body"}), "Cosmos2TextToImagePipeline"),
    Model("cosmos 2 14b", "cosmos", "2_14b_v", _COSMOS, _C2 | _C14 | {"in_channels": 17}, "cosmos2", pipeline="Cosmos2VideoToWorldPipeline"),
    Model("ernie", "ernie_image", "1", "ErnieImageTransformer2DModel", {}, "ernie_image", pipeline="ErnieImagePipeline"),
    Model("minimax h3", "minimax_h3", "1", "MiniMaxH3Transformer3DModel", {}, "minimax_h3"),
    Model("longcat", "longcat_image", "1", "LongCatImageTransformer2DModel", {}, "longcat_image", pipeline="LongCatImagePipeline"),
    Model("ovis", "ovis_image", "1", "OvisImageTransformer2DModel", pipeline="OvisImagePipeline"),
    Model("mochi", "mochi", "1", "MochiTransformer3DModel", pipeline="MochiPipeline"),
    Model("cogvideox", "cogvideox", "1", "CogVideoXTransformer3DModel", pipeline="CogVideoXPipeline"),
    Model("cogview 4", "cogview4", "4", "CogView4Transformer2DModel", pipeline="CogView4Pipeline"),
    Model("kandinsky 5", "kandinsky5", "5", "Kandinsky5Transformer3DModel", pipeline="Kandinsky5T2IPipeline"),
    Model("bria fibo 2", "bria_fibo2", "2", "BriaFibo2Transformer2DModel", pipeline="BriaFibo2Pipeline"),
)  # fmt: skip


@functools.cache
def _built(model_class: str, config: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
    import diffusers
    import torch

    with torch.device("meta"):
        made = getattr(diffusers, model_class)(**{k: v for k, v in json.loads(config).items() if k[0] != "_"})
    return tuple((key, tuple(tensor.shape)) for key, tensor in made.state_dict().items())


def build(model: Model) -> Shapes:
    """Names and shapes in diffusers' layout."""
    return {**dict(_built(model.model_class, json.dumps(model.config))), **model.extra}


def in_original_names(model: Model, shapes: Shapes) -> Shapes:
    """Names and shapes in the original layout."""
    if model.rules != "unet":
        return original(model.rules, shapes)
    blocks = unet_blocks(model.config | {"layers_per_block": 2})
    adds = {"add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2"}
    made: Shapes = {}
    for key, shape in shapes.items():
        module, _, kind = key.rpartition(".")
        name = adds.get(module) or original_unet_module(module, blocks)
        made[f"{name}.{kind}" if name else key] = shape
    return made


@dataclass(frozen=True)
class Case:
    """A header with what has to be said of it."""

    name: str
    header: Header
    family: str
    variant: str
    asks: frozenset[str]
    quantisation: str = ""


DTYPES = ("BF16", "F32", "fp8", "fp8, scaled", "nf4", "GGUF Q4_K")


def cases(*, packed: bool = False) -> Iterator[Case]:
    """Every model in every layout and prefix; every number format in one of them each, or ``packed``: in all."""
    for model in MODELS:
        shapes = build(model)
        layouts = {"diffusers": shapes}
        if model.rules:
            layouts["original"] = in_original_names(model, shapes)
        last = list(layouts)[-1]
        for layout, names in layouts.items():
            prefixes = ("", "model.diffusion_model.") if layout == "original" else ("", "transformer.")
            prefixes = (*prefixes, "net.") if model.family in ("cosmos", "anima") and layout == "original" else prefixes
            for prefix in prefixes:
                for dtype in DTYPES if packed or (layout == last and not prefix) else DTYPES[:1]:
                    yield _case(
                        model, layout, {prefix + key.removeprefix("net."): s for key, s in names.items()}, prefix, dtype
                    )
        if model.pipeline:
            part = "unet" if model.model_class == _UNET else "transformer"
            configs = {"model_index": {"_class_name": model.pipeline}, "scheduler": {"prediction_type": "epsilon"}}
            keyed = {f"{part}/{key}": shape for key, shape in shapes.items()}
            header = Header(Path("somewhere"), "folder", keyed, dict.fromkeys(keyed, "BF16"), {}, configs)
            variant = model.folder_variant or model.variant
            yield Case(f"{model.name}, folder", header, model.family, variant, model.folder_asks)


def _case(model: Model, layout: str, shapes: Shapes, prefix: str, dtype: str) -> Case:
    header = Header(Path("file.safetensors"), "single_file", shapes, dict.fromkeys(shapes, dtype))
    name = f"{model.name}, {layout}, prefix '{prefix}', {dtype}"
    case = Case(name, header, model.family, model.variant, model.asks, "" if dtype in ("BF16", "F32") else dtype)
    return replace(case, header=packed_as(header, dtype))


def packed_as(header: Header, dtype: str) -> Header:
    """The header as a tool leaves it that packs matrices in that format and leaves norms, biases and tables."""
    if dtype in ("BF16", "F32"):
        return header
    shapes, dtypes = dict(header.shapes), dict.fromkeys(header.shapes, "BF16")
    matrices = [key for key, shape in header.shapes.items() if len(shape) == 2 and key.endswith(".weight")]
    metadata: dict[str, str] = {}
    for key in matrices:
        if dtype.startswith("fp8"):
            dtypes[key] = "F8_E4M3"
            if dtype == "fp8, scaled":
                shapes[f"{key.removesuffix('.weight')}.scale_weight"] = ()
        elif dtype == "nf4":
            rows, columns = shapes[key]
            if rows * columns < 4096:
                continue
            shapes[key] = ((rows * columns + 1) // 2, 1)
            dtypes[key] = "U8"
            shapes[f"{key}.absmax"] = (rows * columns // 64,)
            shapes[f"{key}.quant_map"] = (16,)
            shapes[f"{key}.quant_state.bitsandbytes__nf4"] = (80,)
        else:
            dtypes[key] = "Q4_K"
            metadata = {"format": "gguf", "general.architecture": "any"}
    return replace(header, shapes=shapes, dtypes=dtypes, metadata=metadata)


def negatives() -> Iterator[tuple[str, str, Header]]:
    """What is no base: name, kind, header."""
    for name, kind, keys in _NEGATIVES:
        shapes = dict(keys)
        yield name, kind, Header(Path("file.safetensors"), "single_file", shapes, dict.fromkeys(shapes, "F16"))
    yield from _built_negatives()


def _many(template: str, count: int, *shape: int) -> list[tuple[str, tuple[int, ...]]]:
    return [(template.format(n), shape) for n in range(count)]


_NEGATIVES: tuple[tuple[str, str, list[tuple[str, tuple[int, ...]]]], ...] = (
    ("kohya LoRA", "lora", _many("lora_unet_down_blocks_{}_attentions_0_proj_in.lora_down.weight", 9, 4, 320)),
    ("peft LoRA", "lora", _many("transformer.single_transformer_blocks.{}.attn.to_q.lora_A.weight", 38, 16, 3072)),
    ("peft LoRA with adapter name", "lora", _many("base_model.model.double_blocks.{}.img_attn.qkv.lora_A.default.weight", 9, 16, 3072)),
    ("ComfyUI LoRA", "lora", _many("diffusion_model.blocks.{}.self_attn.q.lora_B.weight", 30, 1536, 16)),
    ("bare lora_A", "lora", _many("blocks.{}.self_attn.q.lora_A", 30, 16, 1536)),
    ("old diffusers LoRA", "lora", _many("unet.down_blocks.{}.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.up.weight", 4, 320, 4)),
    ("diffusers .lora.up", "lora", _many("unet.down_blocks.{}.attentions.0.proj_in.lora.up.weight", 4, 320, 4)),
    ("lora_linear_layer", "lora", _many("unet.mid_block.attentions.{}.proj_in.lora_linear_layer.up.weight", 4, 320, 4)),
    ("LoHa", "lora", _many("lora_unet_output_blocks_{}_1_proj_in.hada_w1_a", 9, 320, 4)),
    ("LoKr", "lora", _many("lycoris_transformer_blocks_{}_attn_to_q.lokr_w1", 9, 4, 4)),
    ("LoKr in parts", "lora", _many("diffusion_model.layers.{}.attention.qkv.lokr_w2_a", 30, 4, 4)),
    ("OFT", "lora", _many("lora_unet_down_blocks_{}_proj_in.oft_blocks", 9, 4, 4, 4)),
    ("DoRA", "lora", _many("unet.down_blocks.{}.proj_in.dora_scale", 9, 320, 1)),
    ("OneTrainer LoRA", "lora", _many("lora_transformer_transformer_blocks_{}_attn_to_q.lora_up.weight", 19, 3072, 16)),
    ("XLabs LoRA", "lora", _many("double_blocks.{}.processor.qkv_lora1.down.weight", 1, 16, 3072) + _many("double_blocks.{}.img_attn.qkv.lora_A.weight", 2, 16, 3072)),
    ("full difference", "lora", _many("diffusion_model.double_blocks.{}.img_attn.proj.diff", 19, 3072, 3072)),
    ("BFL control LoRA", "lora", [("img_in.lora_A.weight", (128, 128)), ("double_blocks.0.img_attn.norm.key_norm.scale", (128,))]),
    ("textual inversion", "embedding", [("emb_params", (4, 768))]),
    ("SDXL embedding", "embedding", [("clip_l", (8, 768)), ("clip_g", (8, 1280))]),
    ("token embedding", "embedding", [("<cat-toy>", (768,))]),
    ("original ControlNet", "controlnet", [("control_model.time_embed.0.weight", (1280, 320)), ("control_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", (320, 768))]),
    ("bare ControlNet", "controlnet", [("input_hint_block.0.weight", (16, 3, 3, 3)), ("input_blocks.0.0.weight", (320, 4, 3, 3)), ("input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", (320, 768))]),
    ("Z-Image ControlNet", "controlnet", _many("control_layers.{}.attention.to_q.weight", 15, 3840, 3840)),
    ("T2I-Adapter", "adapter", _many("adapter.body.{}.resnets.0.block1.weight", 4, 320, 320, 3, 3)),
    ("IP-Adapter", "adapter", [("image_proj.proj.weight", (3072, 1024)), ("ip_adapter.1.to_k_ip.weight", (320, 768))]),
    ("AnimateDiff", "motion_module", _many("down_blocks.{}.motion_modules.0.temporal_transformer.norm.weight", 4, 320)),
    ("original VAE", "vae", [("decoder.mid.block_1.conv1.weight", (512, 512, 3, 3)), ("encoder.conv_in.weight", (128, 3, 3, 3)), ("decoder.conv_in.weight", (512, 4, 3, 3))]),
    ("VAE with prefix", "vae", [("first_stage_model.decoder.mid.block_1.conv1.weight", (512, 512, 3, 3))]),
    ("Wan VAE", "vae", [("decoder.middle.0.residual.0.gamma", (384, 1, 1, 1)), ("encoder.conv1.weight", (96, 3, 3, 3, 3))]),
    ("TAESD", "vae", _many("decoder.layers.{}.weight", 9, 64, 64, 3, 3)),
    ("ESRGAN", "upscaler", _many("model.1.sub.{}.RDB1.conv1.0.weight", 23, 32, 64, 3, 3)),
    ("RealESRGAN", "upscaler", [("conv_first.weight", (64, 3, 3, 3)), *_many("body.{}.rdb1.conv1.weight", 23, 32, 64, 3, 3)]),
    ("SwinIR", "upscaler", _many("layers.{}.residual_group.blocks.0.attn.qkv.weight", 6, 540, 180)),
    ("OpenCLIP", "text_encoder", _many("transformer.resblocks.{}.attn.in_proj_weight", 24, 3072, 1024)),
    ("llama.cpp text encoder", "text_encoder", _many("blk.{}.attn_q.weight", 32, 4096, 4096)),
    ("llama.cpp T5", "text_encoder", _many("enc.blk.{}.attn_q.weight", 24, 4096, 4096)),
    ("nothing", "unknown", []),
    ("one number", "unknown", [("weight", ())]),
    ("junk", "unknown", _many("module.{}.strange", 99, 3, 3)),
    ("optimizer state", "unknown", _many("state.{}.exp_avg", 99, 3, 3)),
    ("an image classifier", "unknown", [*_many("layer1.{}.conv1.weight", 3, 64, 64, 3, 3), ("fc.weight", (1000, 2048))]),
)  # fmt: skip


def _built_negatives() -> Iterator[tuple[str, str, Header]]:
    """VAEs, ControlNets and text encoders of the real classes."""
    import diffusers
    import torch
    import transformers

    small = {"num_hidden_layers": 2}
    makers: tuple[tuple[str, str, Any], ...] = (
        ("AutoencoderKL", "vae", lambda: diffusers.AutoencoderKL()),
        ("AutoencoderKLFlux2", "vae", lambda: diffusers.AutoencoderKLFlux2()),
        ("AutoencoderKLWan", "vae", lambda: diffusers.AutoencoderKLWan()),
        ("AutoencoderKLQwenImage", "vae", lambda: diffusers.AutoencoderKLQwenImage()),
        ("AutoencoderKLLTXVideo", "vae", lambda: diffusers.AutoencoderKLLTXVideo()),
        ("AutoencoderKLHunyuanVideo", "vae", lambda: diffusers.AutoencoderKLHunyuanVideo()),
        ("AutoencoderTiny", "vae", lambda: diffusers.AutoencoderTiny()),
        ("AutoencoderDC", "vae", lambda: diffusers.AutoencoderDC()),
        ("ControlNetModel", "controlnet", lambda: diffusers.ControlNetModel()),
        ("FluxControlNetModel", "controlnet", lambda: diffusers.FluxControlNetModel(num_layers=2, num_single_layers=2)),
        ("SD3ControlNetModel", "controlnet", lambda: diffusers.SD3ControlNetModel(num_layers=2)),
        ("QwenImageControlNetModel", "controlnet", lambda: diffusers.QwenImageControlNetModel(num_layers=2)),
        ("CLIPTextModel", "text_encoder", lambda: transformers.CLIPTextModel(transformers.CLIPTextConfig())),
        ("T5EncoderModel", "text_encoder", lambda: transformers.T5EncoderModel(transformers.T5Config(num_layers=2))),
        ("UMT5EncoderModel", "text_encoder", lambda: transformers.UMT5EncoderModel(transformers.UMT5Config(num_layers=2))),
        ("Qwen3Model", "text_encoder", lambda: transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**small))),
        ("LlamaModel", "text_encoder", lambda: transformers.LlamaModel(transformers.LlamaConfig(**small))),
        ("CLIPVisionModel", "image_encoder", lambda: transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig())),
        ("SiglipVisionModel", "image_encoder", lambda: transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**small))),
    )  # fmt: skip
    for name, kind, make in makers:
        with torch.device("meta"):
            made = make()
        shapes = {key: tuple(tensor.shape) for key, tensor in made.state_dict().items()}
        yield name, kind, Header(Path("file.safetensors"), "single_file", shapes, dict.fromkeys(shapes, "F16"))


CONVERTERS: dict[str, str] = {
    "unet": "convert_ldm_unet_checkpoint",
    "sd3": "convert_sd3_transformer_checkpoint_to_diffusers",
    "flux": "convert_flux_transformer_checkpoint_to_diffusers",
    "flux2": "convert_flux2_transformer_checkpoint_to_diffusers",
    "flux3": "convert_flux3_transformer_checkpoint_to_diffusers",
    "chroma": "convert_chroma_transformer_checkpoint_to_diffusers",
    "hunyuan_video": "convert_hunyuan_video_transformer_to_diffusers",
    "auraflow": "convert_auraflow_transformer_checkpoint_to_diffusers",
    "lumina2": "convert_lumina2_to_diffusers",
    "sana": "convert_sana_transformer_to_diffusers",
    "wan": "convert_wan_transformer_to_diffusers",
    "cosmos2": "convert_cosmos_transformer_checkpoint_to_diffusers",
    "z_image": "convert_z_image_transformer_checkpoint_to_diffusers",
    "ltx": "convert_ltx_transformer_checkpoint_to_diffusers",
    "ltx2": "convert_ltx2_transformer_to_diffusers",
    "minimax_h3": "convert_minimax_h3_transformer_checkpoint_to_diffusers",
    "qwen_image_21": "convert_qwen_image21_transformer_checkpoint_to_diffusers",
    "krea2": "convert_krea2_transformer_checkpoint_to_diffusers",
}
"""diffusers' converter from the original names, by rules.

Not Cosmos 1.0: the converter of 0.42.1 looks for its mark in a table that it has emptied before.
"""
