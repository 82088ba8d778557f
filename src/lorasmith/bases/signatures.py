"""What the keys of a weights file look like, for the sentence that says why it cannot be used.

A table of evidence, not of families: a match here never makes a base usable, it only names what the user has.
Tests stand in the order in which the first match is the right one (the facts are those of the programs that
load these files, chiefly ComfyUI's ``model_detection.py``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lorasmith.bases.header import Header

_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "model.", "net.", "transformer.")


@dataclass(frozen=True)
class Signature:
    """A file with every key of ``all_of`` (as an ending or beginning, see ``_has``) is a ``title``."""

    title: str
    all_of: tuple[str, ...]


# Not bases at all: asked first, on the keys as they stand.
NOT_A_BASE: tuple[Signature, ...] = (
    Signature("a LoRA, not a base", ("*.lora_down.weight",)),
    Signature("a LoRA, not a base", ("*.lora_A.weight",)),
    Signature("a LyCORIS adapter, not a base", ("*.hada_w1_a",)),
    Signature("a LyCORIS adapter, not a base", ("*.lokr_w1",)),
    Signature("a textual inversion, not a base", ("emb_params",)),
    Signature("a ControlNet, not a base", ("control_model.*",)),
    Signature("a ControlNet, not a base", ("controlnet_cond_embedding.*",)),
)

SINGLE_FILES: tuple[Signature, ...] = (
    Signature("Stable Diffusion 3", ("joint_blocks.0.context_block.attn.qkv.weight",)),
    Signature("HunyuanVideo", ("txt_in.individual_token_refiner.blocks.0.norm1.weight",)),
    Signature("FLUX.3", ("early_stream_modulations.image.lin.weight",)),
    Signature("FLUX.2", ("double_stream_modulation_img.lin.weight",)),
    Signature("Chroma", ("distilled_guidance_layer.*",)),
    Signature("FLUX.1", ("double_blocks.0.img_attn.norm.key_norm.scale",)),
    Signature("LTX-2", ("adaln_single.emb.timestep_embedder.linear_1.bias", "audio_adaln_single.linear.weight")),
    Signature("LTX-Video", ("adaln_single.emb.timestep_embedder.linear_1.bias",)),
    Signature("Z-Image", ("cap_embedder.1.weight", "cap_pad_token")),
    Signature("Lumina-Image 2", ("cap_embedder.1.weight", "noise_refiner.0.attention.k_norm.weight")),
    Signature("Wan", ("head.modulation",)),
    Signature("Qwen-Image 2.1", ("txt_in.text_norm.weight", "modulation.1.weight")),
    Signature("Qwen-Image", ("txt_norm.weight", "transformer_blocks.0.*")),
    Signature("Krea 2", ("txtfusion.projector.weight",)),
    Signature("Anima or another Cosmos-Predict2 model", ("blocks.0.mlp.layer1.weight",)),
    Signature("AuraFlow", ("double_layers.0.attn.w1q.weight",)),
    Signature("SDXL", ("conditioner.embedders.1.*", "input_blocks.*")),
    Signature("the SDXL refiner", ("conditioner.embedders.0.model.*", "input_blocks.*")),
    Signature("SDXL", ("label_emb.0.0.weight", "input_blocks.*")),
    Signature("Stable Diffusion's UNet in diffusers' names", ("down_blocks.0.*", "conv_in.weight")),
    Signature("a VAE alone", ("decoder.conv_in.weight", "encoder.conv_in.weight")),
    Signature("a text encoder alone", ("text_model.encoder.layers.0.*",)),
)

# model_index.json's class names of common pipelines.
PIPELINES: dict[str, str] = {
    "StableDiffusionXLPipeline": "SDXL",
    "StableDiffusionXLImg2ImgPipeline": "SDXL",
    "StableDiffusionXLInpaintPipeline": "SDXL for inpainting",
    "StableDiffusionInpaintPipeline": "Stable Diffusion for inpainting",
    "StableDiffusion3Pipeline": "Stable Diffusion 3",
    "FluxPipeline": "FLUX.1",
    "FluxKontextPipeline": "FLUX.1 Kontext",
    "Flux2Pipeline": "FLUX.2",
    "Flux2KleinPipeline": "FLUX.2 klein",
    "ChromaPipeline": "Chroma",
    "QwenImagePipeline": "Qwen-Image",
    "QwenImageEditPipeline": "Qwen-Image Edit",
    "ZImagePipeline": "Z-Image",
    "WanPipeline": "Wan",
    "LTXPipeline": "LTX-Video",
    "LTX2Pipeline": "LTX-2",
    "HunyuanVideoPipeline": "HunyuanVideo",
    "Lumina2Pipeline": "Lumina-Image 2",
    "Krea2Pipeline": "Krea 2",
}


def recognise(header: Header) -> str:
    """What these weights most likely are, in the user's words; empty when nothing known matches."""
    if header.layout == "folder":
        pipeline = str(header.configs.get("model_index", {}).get("_class_name", ""))
        return PIPELINES.get(pipeline, pipeline)
    keys = list(header.shapes)
    for signature in NOT_A_BASE:
        if all(_has(keys, wanted) for wanted in signature.all_of):
            return signature.title
    stripped = {key.removeprefix(prefix) for prefix in _PREFIXES for key in keys if key.startswith(prefix)} | set(keys)
    for signature in SINGLE_FILES:
        if all(_has(stripped, wanted) for wanted in signature.all_of):
            return signature.title
    return ""


def _has(keys: Iterable[str], wanted: str) -> bool:
    """Whether a key matches: equal, or with ``*`` at one end any key that begins or ends so."""
    if wanted.startswith("*"):
        return any(key.endswith(wanted[1:]) for key in keys)
    if wanted.endswith("*"):
        return any(key.startswith(wanted[:-1]) for key in keys)
    return wanted in keys
