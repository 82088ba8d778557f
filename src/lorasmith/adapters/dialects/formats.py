"""The dialects a file can be written in: how each spells a layer, and which programs then read it, family by family.

``READ_BY_DIFFUSERS`` is measured with the real loaders of diffusers 0.42 (``tests/adapters/test_loaders.py`` measures
it again). What is not listed there is refused by diffusers or, worse, loaded as nothing with a line in a log.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from lorasmith.adapters.dialects.canonical import rules_of
from lorasmith.adapters.dialects.stems import DENOISER
from lorasmith.adapters.dialects.table import Layout, Place, original_unet, table, to_original
from lorasmith.errors import AdapterError

FormatName = Literal["kohya", "peft", "comfyui", "onetrainer", "simpletuner", "diffusion_pipe", "omi", "fal_kontext"]
Program = Literal["diffusers", "comfyui"]


@dataclass(frozen=True)
class Format:
    """One way of writing."""

    name: FormatName
    unet: str
    """Before a UNet's layers; empty: cannot be written for a UNet."""
    transformer: str
    layout: Layout
    """Whose names it uses for transformers; a UNet's are diffusers' in all but ``comfyui``."""
    flat: bool
    down: str
    up: str
    alpha: bool
    """Whether the scale stands in ``.alpha``; otherwise it is folded into the up matrix."""


_KOHYA_ENDINGS: Final = (".lora_down.weight", ".lora_up.weight", True)
_PEFT_ENDINGS: Final = (".lora_A.weight", ".lora_B.weight", False)
FORMATS: Final[Mapping[str, Format]] = {
    one.name: one
    for one in (
        Format("kohya", "lora_unet_", "lora_unet_", "original", True, *_KOHYA_ENDINGS),
        Format("peft", "unet.", "transformer.", "diffusers", False, *_PEFT_ENDINGS),
        Format("comfyui", "diffusion_model.", "diffusion_model.", "original", False, *_PEFT_ENDINGS),
        Format("onetrainer", "lora_unet_", "lora_transformer_", "diffusers", True, *_KOHYA_ENDINGS),
        Format("simpletuner", "lycoris_", "lycoris_", "diffusers", True, *_KOHYA_ENDINGS),
        Format("diffusion_pipe", "", "transformer.", "original", False, *_PEFT_ENDINGS),
        Format("omi", "", "transformer.", "original", False, *_KOHYA_ENDINGS),
        Format("fal_kontext", "", "base_model.model.", "original", False, *_PEFT_ENDINGS),
    )
}

_UNETS: Final = ("sd", "sdxl")
_OPEN_CLIP_WIDTH: Final = 1024  # of SD 2's text encoder; SD 1's has 768
BEST: Final[Mapping[str, FormatName]] = {
    "sd": "kohya", "sdxl": "kohya",
    "wan": "comfyui", "ltx": "comfyui", "ltx2": "comfyui", "lumina2": "comfyui", "cosmos": "comfyui",
    "anima": "comfyui",
    "hunyuan_video": "diffusion_pipe",
}  # fmt: skip
"""The one form that diffusers and ComfyUI both read; ``peft`` for every other family."""

READ_BY_DIFFUSERS: Final[Mapping[str, frozenset[str]]] = {
    "sd": frozenset({"kohya", "peft", "onetrainer"}),
    "sdxl": frozenset({"kohya", "peft", "onetrainer"}),
    "sd3": frozenset({"peft"}),
    "flux": frozenset({"peft", "kohya"}),
    "chroma": frozenset({"peft"}),
    "flux2": frozenset({"peft", "kohya", "comfyui", "fal_kontext"}),
    "qwen_image": frozenset({"peft", "kohya", "comfyui", "diffusion_pipe"}),
    "z_image": frozenset({"peft", "kohya"}),
    "krea2": frozenset({"peft", "comfyui", "fal_kontext"}),
    "lumina2": frozenset({"peft", "comfyui"}),
    "wan": frozenset({"peft", "kohya", "comfyui"}),
    "ltx": frozenset({"peft", "comfyui", "diffusion_pipe"}),
    "ltx2": frozenset({"peft", "comfyui", "diffusion_pipe"}),
    "qwen_image_21": frozenset({"peft"}),
    "anima": frozenset({"comfyui"}),
    "hunyuan_video": frozenset({"peft", "diffusion_pipe"}),
}
_LUMINA2_BLOCK: Final = frozenset(
    {"attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0", "norm1.linear"}
    | {f"feed_forward.linear_{number}" for number in (1, 2, 3)}
)
_COMFYUI_DIFFUSERS: Final = frozenset(
    {"sd3", "auraflow", "pixart", "flux", "chroma", "flux2", "qwen_image", "krea2", "z_image"}
)
"""Families whose diffusers' names ComfyUI maps too (comfy/lora.py)."""


def best_format(family: str) -> FormatName:
    """The dialect to write for a family when nobody asks for another."""
    return BEST.get(family, "peft")


def format_named(name: str, family: str) -> Format:
    """The format of that name; empty: the best one.

    Raises:
        AdapterError: there is none, or it cannot be written for the family.
    """
    chosen = FORMATS.get(name or best_format(family))
    if chosen is None:
        raise AdapterError(f"'{name}' is no dialect that can be written.", f"Choose one of {', '.join(FORMATS)}.")
    if family in _UNETS and not chosen.unet:
        raise AdapterError(f"Nobody writes a LoRA of {family} in the {name} dialect.", "Choose kohya or peft.")
    rules = rules_of(family)
    if chosen.layout == "original" and not rules and family:
        raise AdapterError(
            f"The original names of {family} are not known here, so {chosen.name} cannot be written.", "Choose peft."
        )
    return chosen


def readers(chosen: Format, family: str) -> dict[Program, bool]:
    """Which programs read a file of this family in this dialect."""
    comfyui = chosen.name != "peft" if family in _UNETS else _comfyui_reads(chosen, family)
    known = READ_BY_DIFFUSERS.get(family)
    return {"diffusers": chosen.name in known if known is not None else chosen.name == "peft", "comfyui": comfyui}


def _comfyui_reads(chosen: Format, family: str) -> bool:
    """By the class that the family says ComfyUI runs it as; of a family that is none here, by what holds for all."""
    from lorasmith.adapters.programs import CLASSES
    from lorasmith.bases.detection import registered_families

    known = registered_families().get(family)
    if known is None:
        if chosen.layout == "diffusers":
            return family in _COMFYUI_DIFFUSERS and chosen.name == "peft"
        return chosen.name in ("kohya", "comfyui") or (chosen.name == "diffusion_pipe" and family == "hunyuan_video")
    reads = CLASSES["ComfyUI"].get(known.elsewhere.get("ComfyUI", ""))
    if reads is None:
        return False
    if chosen.layout == "diffusers":
        return chosen.transformer in reads.diffusers and _in_table(reads.table, family)
    return chosen.transformer in (reads.released if reads.own else reads.original)


@functools.cache
def _in_table(pattern: str, family: str) -> bool:
    """Whether a program's table of diffusers' names has those of a family's blocks."""
    names = [
        row.name.replace("#", "0")
        for model in table().models
        if model.family == family
        for row in model.rows["diffusers"].values()
        if "#" in row.name
    ]
    return 2 * sum(re.fullmatch(pattern, name) is not None for name in names) > len(names)


def refuse_unread(chosen: Format, family: str, only_for: str = "") -> None:
    """Refuse a file that a program would load as nothing; ``any`` refuses none.

    Raises:
        AdapterError: it would, and the user did not say which program it is for, or that one does not read it either.
    """
    if only_for == "any":
        return
    if only_for and only_for not in ("diffusers", "comfyui"):
        raise AdapterError(f"'{only_for}' is no program known here.", "Choose diffusers, comfyui or any.")
    read = readers(chosen, family)
    lost = [program for program, reads in read.items() if not reads and only_for in ("", program)]
    works = best_format(family)
    if not lost or chosen.name == works:
        return
    other = "; --only-for says which program it is for" if any(read.values()) and not only_for else ""
    raise AdapterError(
        f"{' and '.join(lost)} would not read a LoRA of {family} in the {chosen.name} dialect, often without a word.",
        f"Write it as {works}, which is read everywhere{other}.",
    )


def refuse_partial(chosen: Format, family: str, names: Iterable[str], only_for: str = "") -> None:
    """Refuse a Lumina-Image 2 file that diffusers cannot read because its converter wants all layers of a block.

    Raises:
        AdapterError: a block lacks one, and the file is not for ComfyUI alone.
    """
    if family != "lumina2" or chosen.name != "comfyui" or only_for in ("comfyui", "any"):
        return
    blocks: dict[str, set[str]] = {}
    for name in names:
        kind, _, rest = name.partition(".")
        number, _, layer = rest.partition(".")
        blocks.setdefault(f"{kind}.{number}", set()).add(layer)
    for block, layers in blocks.items():
        wanted = _LUMINA2_BLOCK - ({"norm1.linear"} if block.startswith("context_refiner") else set())
        if missing := wanted - layers:
            raise AdapterError(
                f"diffusers reads a LoRA of lumina2 in the comfyui dialect only when every layer of a block has one; "
                f"{block} lacks {min(missing)}.",
                "Choose peft for diffusers, or say --only-for comfyui.",
            )


def place_in(chosen: Format, family: str, part: str, name: str, layer: Sequence[int] = ()) -> Place:
    """Stem of a layer in a format, with the rows it takes where the format fuses it with others.

    ``layer`` is the shape of its matrix, by which the text encoders of SD 1 and SD 2 are told apart.

    Raises:
        AdapterError: the layer has no name there.
    """
    if part.startswith("text_encoder"):
        return Place(_text_stem(chosen, family, part, name, min(layer[:2], default=0)))
    second = part != DENOISER
    if family in _UNETS:
        text = name
        if chosen.name == "comfyui":
            text = original_unet(family)[0].get(name, "")
        place, beginning = Place(text), chosen.unet
    else:
        beginning = chosen.transformer
        found = to_original(rules_of(family), name) if chosen.layout == "original" else Place(name)
        place = found if found is not None else Place("")
        if place.sizes and chosen.name == "omi":
            place = Place(f"{place.name}.{place.part}", swapped=place.swapped)
    if not place.name:
        raise AdapterError(f"{name} has no name in the {chosen.name} dialect that is known here.", "Choose peft.")
    if second:
        if not beginning.startswith("transformer."):
            raise AdapterError("The two experts of Wan 2.2 are two files in this dialect.", "Choose peft.")
        beginning = "transformer_2."
    text = place.name.replace(".", "_") if chosen.flat else place.name
    return Place(beginning + text, place.part, place.sizes, place.swapped)


def comfyui_text_encoder(family: str, part: str, width: int, *, clip: bool = True) -> str:
    """Before the layers of a text encoder of so many channels, in ComfyUI's generic names (comfy/lora.py)."""
    first = "clip_h" if family == "sd" and width == _OPEN_CLIP_WIDTH else "clip_l"
    encoder = first if part == "text_encoder" else "clip_g" if clip else "t5xxl"
    return f"text_encoders.{encoder}.transformer."


def _text_stem(chosen: Format, family: str, part: str, name: str, width: int) -> str:
    clip = name.startswith("encoder.layers.")
    whole = f"text_model.{name}" if clip else name
    if chosen.flat:
        number = {"text_encoder": "1", "text_encoder_2": "2", "text_encoder_3": "3"}[part]
        return f"lora_te{'' if family == 'sd' else number}_{whole.replace('.', '_')}"
    if chosen.name == "comfyui":
        return comfyui_text_encoder(family, part, width, clip=clip) + whole
    return f"{part}.{whole}"
