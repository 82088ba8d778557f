"""A workflow of ComfyUI (API format) with the nodes that load LoRAs, for each family as ComfyUI runs it.

Nodes and their inputs are those of ComfyUI 0.3 and later. Where it is not known here how ComfyUI encodes a family's
prompts, the workflow has the loaders alone: what is left out can be added there, what is wrong has to be found first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

Node = dict[str, Any]
Wire = list[Any]
WHOLE: Final = ("sd", "sdxl")
"""Families of which one file holds everything."""
PICTURE: Final = "picture.png"


@dataclass(frozen=True)
class _Loader:
    """How ComfyUI loads a family: its text encoders, the node of its latents, and what it is shown."""

    text: tuple[str, str]
    """Node and type of the text encoders; empty for those of a whole checkpoint."""
    latent: str = "EmptySD3LatentImage"
    side: int = 1024
    steps: int = 20
    cfg: float = 4.0
    shown: Literal["", "reference", "prompt", "prompt_plus", "first_frame", "seen_first_frame"] = ""
    """Where a picture that is given goes: beside the prompt, into the prompt, before the clip, or into both."""
    guidance: float = 0.0
    """What a denoiser with guidance built in is told; 0 for others."""


_LOADERS: Final[Mapping[str, _Loader]] = {
    "sd": _Loader(("", ""), "EmptyLatentImage", 512, 25, 7.0),
    "sdxl": _Loader(("", ""), "EmptyLatentImage", 1024, 25, 6.0),
    "sd3": _Loader(("TripleCLIPLoader", "")),
    "flux": _Loader(("DualCLIPLoader", "flux"), cfg=1.0),
    "flux_kontext": _Loader(("DualCLIPLoader", "flux"), cfg=1.0, shown="reference"),
    "chroma": _Loader(("CLIPLoader", "chroma")),
    "flux2": _Loader(("CLIPLoader", "flux2"), "EmptyFlux2LatentImage", cfg=1.0),
    "qwen_image": _Loader(("CLIPLoader", "qwen_image")),
    "qwen_image_edit": _Loader(("CLIPLoader", "qwen_image"), shown="prompt"),
    "qwen_image_edit_plus": _Loader(("CLIPLoader", "qwen_image"), shown="prompt_plus"),
    "z_image": _Loader(("CLIPLoader", "lumina2")),
    "lumina2": _Loader(("CLIPLoader", "lumina2")),
    "krea2": _Loader(("CLIPLoader", "krea2")),
    "anima": _Loader(("CLIPLoader", "stable_diffusion")),  # its encoder tells itself, whatever the type
    "wan": _Loader(("CLIPLoader", "wan"), "EmptyHunyuanLatentVideo", 832),
    "wan_i2v": _Loader(("CLIPLoader", "wan"), "WanImageToVideo", 832, shown="first_frame"),
    "wan_ti2v": _Loader(("CLIPLoader", "wan"), "Wan22ImageToVideoLatent", 832),
    "hunyuan_video": _Loader(
        ("DualCLIPLoader", "hunyuan_video"), "EmptyHunyuanLatentVideo", 832, cfg=1.0, guidance=6.0
    ),
    "hunyuan_video_i2v": _Loader(
        ("DualCLIPLoader", "hunyuan_video"), "HunyuanImageToVideo", 832, cfg=1.0, shown="seen_first_frame", guidance=6.0
    ),
    "hunyuan_video_15": _Loader(("DualCLIPLoader", "hunyuan_video_15"), "EmptyHunyuanVideo15Latent", 848),
    "ltx": _Loader(("CLIPLoader", "ltxv"), "EmptyLTXVLatentVideo", 768),
}
_CLIPS: Final = {"TripleCLIPLoader": 3, "DualCLIPLoader": 2, "CLIPLoader": 1}


def is_whole(family: str) -> bool:
    """Whether the workflow of a family can be run as it is, once its files are chosen."""
    return family in _LOADERS


def workflow(loras: Sequence[tuple[Path, float]], family: str, base: str, prompt: str) -> dict[str, Node]:
    """The nodes by their numbers. Loaders stand first, LoRAs from 10 on, then what paints."""
    nodes: dict[str, Node] = {}
    known = _LOADERS.get(family)
    if family in WHOLE:
        nodes["1"] = _node("CheckpointLoaderSimple", ckpt_name=base or "base.safetensors")
        model, clip, vae = ["1", 0], ["1", 1], ["1", 2]
    else:
        nodes["1"] = _node("UNETLoader", unet_name=base or "base.safetensors", weight_dtype="default")
        model, clip, vae = ["1", 0], ["2", 0], ["3", 0]
    if known is not None and family not in WHOLE:
        nodes["2"], nodes["3"] = _text_encoders(known), _node("VAELoader", vae_name="")
    for number, (path, strength) in enumerate(loras, start=10):
        inputs: dict[str, Any] = {"lora_name": path.name, "strength_model": strength, "model": model}
        if family in WHOLE:
            nodes[str(number)] = _node("LoraLoader", **inputs, strength_clip=strength, clip=clip)
            clip = [str(number), 1]
        else:
            nodes[str(number)] = _node("LoraLoaderModelOnly", **inputs)
        model = [str(number), 0]
    if known is not None:
        _paint(nodes, known, (model, clip, vae), prompt, loras[0][0].stem)
    return nodes


def _node(kind: str, **inputs: Any) -> Node:
    return {"class_type": kind, "inputs": inputs}


def _text_encoders(known: _Loader) -> Node:
    kind, type_ = known.text
    count = _CLIPS[kind]
    names = {f"clip_name{number or ''}": "" for number in (range(1, count + 1) if count > 1 else (0,))}
    return _node(kind, **names, **({"type": type_} if type_ else {}))


def _paint(nodes: dict[str, Node], known: _Loader, wires: tuple[Wire, Wire, Wire], prompt: str, name: str) -> None:
    """The nodes from the prompt to the picture."""
    model, clip, vae = wires
    encode, picture = "CLIPTextEncode", {}
    if known.shown:
        nodes["20"] = _node("LoadImage", image=PICTURE)
    if known.shown in ("prompt", "prompt_plus"):
        encode = "TextEncodeQwenImageEdit" + ("Plus" if known.shown == "prompt_plus" else "")
        picture = {"vae": vae, "image1" if known.shown == "prompt_plus" else "image": ["21", 0]}
    for number, text in (("30", prompt), ("31", "")):
        words = {"text": text} if encode == "CLIPTextEncode" else {"prompt": text}
        nodes[number] = _node(encode, clip=clip, **words, **picture)
    positive, negative, latent = ["30", 0], ["31", 0], ["32", 0]
    if known.shown in ("reference", "prompt", "prompt_plus"):
        nodes["21"] = _node("FluxKontextImageScale", image=["20", 0])  # sizes that these models were trained at
        nodes["32"] = _node("VAEEncode", pixels=["21", 0], vae=vae)
        if known.shown == "reference":
            nodes["22"] = _node("ReferenceLatent", conditioning=positive, latent=latent)
            positive = ["22", 0]
    else:
        nodes["32"] = _node(known.latent, **_size(known), **({"vae": vae} if known.latent.startswith("Wan") else {}))
    if known.guidance:
        nodes["36"] = _node("FluxGuidance", conditioning=positive, guidance=known.guidance)
        positive = ["36", 0]
    if known.shown == "seen_first_frame":
        # "v2 (replace)" and every fourth token are for the weights with 16 channels, v1 and every second for 33
        nodes["21"] = _node("CLIPVisionLoader", clip_name="")
        nodes["22"] = _node("CLIPVisionEncode", clip_vision=["21", 0], image=["20", 0], crop="center")
        nodes["30"] = _node(
            "TextEncodeHunyuanVideo_ImageToVideo", clip=clip, clip_vision_output=["22", 0], prompt=prompt,
            image_interleave=4,
        )  # fmt: skip
        nodes["32"]["inputs"] |= {"positive": positive, "guidance_type": "v2 (replace)", "start_image": ["20", 0]}
        nodes["32"]["inputs"] |= {"vae": vae}
        positive, latent = ["32", 0], ["32", 1]
    if known.shown == "first_frame":
        nodes["32"]["inputs"] |= {"positive": positive, "negative": negative, "start_image": ["20", 0]}
        positive, negative, latent = ["32", 0], ["32", 1], ["32", 2]
    nodes["33"] = _node(
        "KSampler", seed=1, steps=known.steps, cfg=known.cfg, sampler_name="euler", scheduler="normal", denoise=1.0,
        model=model, positive=positive, negative=negative, latent_image=latent,
    )  # fmt: skip
    nodes["34"] = _node("VAEDecode", samples=["33", 0], vae=vae)
    nodes["35"] = _node("SaveImage", filename_prefix=name, images=["34", 0])


def _size(known: _Loader) -> dict[str, int]:
    size = {"width": known.side, "height": known.side, "batch_size": 1}
    return size | {"height": 480, "length": 33} if "Video" in known.latent else size
