"""Code for diffusers that paints with LoRAs, as the family's pipeline is called."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lorasmith.bases.pipelines import PIPELINES

if TYPE_CHECKING:
    from lorasmith.families import Family

_OF_CLIPS = "# Writing the clip needs: pip install imageio imageio-ffmpeg"
_DEVICE = 'pipe.to("cuda" if torch.cuda.is_available() else "cpu")'


@dataclass(frozen=True)
class Loaded:
    """One LoRA as the code loads it."""

    path: Path
    strength: float
    second: bool = False
    """Whether it belongs to the second of two denoisers."""


def snippet(loras: Sequence[Loaded], family: str, base: str, prompt: str, *, beside: bool) -> str:
    """The code, ready to be run where the base is.

    Args:
        loras: the files in order.
        family: a registered one, or any that ``bases.pipelines`` knows; empty for none.
        base: folder or repository; empty: a placeholder.
        prompt: what to paint.
        beside: the files lie beside the code, and not where they lie here.
    """
    from lorasmith.bases.detection import registered_families

    known = registered_families().get(family)
    pipeline = _pipeline(family, known)
    modular = "Modular" in pipeline
    clips, shown = known is not None and known.frame_step > 0, known is not None and _is_shown(known)
    beyond = [name for name, wanted in (("export_to_video", clips), ("load_image", shown)) if wanted]
    where = base or "the base, a folder or repository"
    lines = [*([_OF_CLIPS] if clips else []), "import torch", f"from diffusers import {pipeline}"]
    lines += [f"from diffusers.utils import {', '.join(beyond)}"] if beyond else []
    numbers = "" if modular else ", torch_dtype=torch.bfloat16"
    lines += ["", f"pipe = {pipeline}.from_pretrained({where!r}{numbers})"]
    lines += ["pipe.load_components(torch_dtype=torch.bfloat16)"] if modular else []
    names = [_identifier(one.path.stem) for one in loras]
    names = [f"{name}_{number}" if names.count(name) > 1 else name for number, name in enumerate(names)]
    for one, name in zip(loras, names, strict=True):
        folder = "." if beside else str(one.path.parent)
        second = ", load_into_transformer_2=True" if one.second else ""
        lines.append(
            f"pipe.load_lora_weights({folder!r}, weight_name={one.path.name!r}, adapter_name={name!r}{second})"
        )
    lines += _weights(loras, names)
    given = 'image=load_image("picture.png"), ' if shown else ""
    call = f"pipe({given}prompt={prompt!r}{', output=' + repr('images') if modular else ''})"
    fps = f"{known.default_fps:g}" if known is not None else ""
    if clips:
        last = [f"frames = {call}.frames[0]", f'export_to_video(frames, "clip.mp4", fps={fps})']
    else:
        last = [f"image = {call}{'[0]' if modular else '.images[0]'}", 'image.save("picture-painted.png")']
    return "\n".join([*lines, _DEVICE, *last]) + "\n"


def through_transformer(loras: Sequence[Loaded], base: str, prompt: str, *, shown: bool, beside: bool) -> str:
    """For a pipeline that loads no LoRA: its transformer takes a file in diffusers' names, after conversion.

    Args:
        loras: as for ``snippet``, like ``base``, ``prompt`` and ``beside``.
        shown: whether clips begin with a picture.
    """
    weights = f"{base or 'the base, a folder or repository'!r}"
    pipeline = "HunyuanVideo15ImageToVideoPipeline" if shown else "HunyuanVideo15Pipeline"
    given = 'image=load_image("picture.png"), ' if shown else ""
    lines = ["# This pipeline of diffusers loads no LoRA; its transformer does, under diffusers' names. First, once:"]
    lines += [
        f"#   lorasmith lora convert {shlex.quote(one.path.stem)} --dialect peft --only-for diffusers" for one in loras
    ]
    lines += [_OF_CLIPS, "import torch", f"from diffusers import {pipeline}"]
    lines += [f"from diffusers.utils import export_to_video{', load_image' if shown else ''}", ""]
    lines.append(f"pipe = {pipeline}.from_pretrained({weights}, torch_dtype=torch.bfloat16)")
    names = [_identifier(one.path.stem) for one in loras]
    for one, name in zip(loras, names, strict=True):
        folder, file = "." if beside else str(one.path.parent), f"{one.path.stem}-peft.safetensors"
        lines.append(f"pipe.transformer.load_lora_adapter({folder!r}, weight_name={file!r}, adapter_name={name!r})")
    lines.append(f"pipe.transformer.set_adapters({names!r}, {[one.strength for one in loras]!r})")
    lines += [_DEVICE, f"frames = pipe({given}prompt={prompt!r}, num_frames=33).frames[0]"]
    return "\n".join([*lines, 'export_to_video(frames, "clip.mp4", fps=24)']) + "\n"


def _weights(loras: Sequence[Loaded], names: Sequence[str]) -> list[str]:
    """Strengths; of two denoisers each is told those of its own, since it knows no other names."""
    if not any(one.second for one in loras):
        return [f"pipe.set_adapters({list(names)!r}, adapter_weights={[one.strength for one in loras]!r})"]
    lines = []
    for part, second in (("transformer", False), ("transformer_2", True)):
        own = [(name, one.strength) for name, one in zip(names, loras, strict=True) if one.second == second]
        if own:
            lines.append(f"pipe.{part}.set_adapters({[name for name, _ in own]!r}, {[weight for _, weight in own]!r})")
    return lines


def _is_shown(family: Family) -> bool:
    return bool(family.reference_pictures[0]) or family.begins_with_picture


def _pipeline(family: str, known: Family | None) -> str:
    """The class by name; where bases of one family have several that paint from text, the one that finds out."""
    if known is not None and known.recognised_as and len(known.pipelines) == 1:
        return next(iter(known.pipelines))
    special = ("Img2Img", "ImageToVideo", "Condition", "Inpaint", "Depth2Img", "Pix2Pix", "Upscale", "UnCLIP")
    found = [
        name for name, (own, _, _) in PIPELINES.items() if own == family and not any(word in name for word in special)
    ]
    trained = [name for name in found if known is None or name in known.pipelines] or found[:1]
    return trained[0] if len(trained) == 1 else "DiffusionPipeline"


def _identifier(name: str) -> str:
    """peft takes no dots in the name of an adapter."""
    return re.sub(r"\W", "_", name) or "lora"
