"""Our own statement of which names of LoRA layers ComfyUI, A1111, Forge and InvokeAI read, for transformers.

A program chooses its key map by the class it runs a model as. A family says which class that is (``Family.elsewhere``);
here stands what each class reads. A program's own names of the layers are those of the original release, which
``dialects/layers.json`` translates; which of diffusers' names it takes beside them is a pattern. UNets, whose names
programs compute from their configs, are in ``ui_keys``. Read in the programs' public source (ComfyUI's comfy/lora.py
and comfy/utils.py of 2026, Forge of June 2025, A1111 1.10, InvokeAI of August 2026); the words here are our own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from lorasmith.adapters.dialects.table import to_original

PROGRAMS: Final = ("ComfyUI", "A1111", "Forge", "InvokeAI")
UNKNOWN: Final = "it does not know this family"


@dataclass(frozen=True)
class Reads:
    """What one program reads for models of one of its classes.

    A beginning that ends in ``_`` stands before flat names (dots as underscores), any other before dotted ones.
    """

    original: tuple[str, ...] = ("diffusion_model.", "lora_unet_")
    """Beginnings before the program's own names, the original release's."""
    diffusers: tuple[str, ...] = ()
    """Beginnings before diffusers' names."""
    table: str = ".*"
    """Which of diffusers' names it has in its table: a pattern of the whole dotted name."""
    own: tuple[tuple[str, str], ...] = ()
    """Where its own names are not the release's: patterns of the latter, and what it says instead."""
    released: tuple[str, ...] = ()
    """Beginnings before the release's names where its own are others."""
    unreleased: str = ""
    """Which of the release's names it does not find its way back to."""
    needs: tuple[str, ...] = ()
    """Patterns of which each has to fit a diffusers' name in the file; otherwise it is not recognised."""
    together: tuple[tuple[str, int], ...] = ()
    """Patterns whose group is a block, and how many names of the block fit if any does; otherwise it is refused."""
    whole: bool = False
    """Whether one name that it does not know makes it refuse the file."""


_BLOCK = r"transformer_blocks\.\d+\."
_SINGLE = rf"single_{_BLOCK}"
_EMBEDDERS = r"time_text_embed\.(timestep|text|guidance)_embedder\.linear_[12]|context_embedder|proj_out"
_STREAMS = r"attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)"
_WIDE = r"norm1(_context)?\.linear|ff(_context)?\.net\.(0\.proj|2)"
_MMDIT = rf"{_BLOCK}({_STREAMS}|attn2\.(to_[qkv]|to_out\.0)|{_WIDE})|{_EMBEDDERS}|pos_embed\.proj|norm_out\.linear"
_FLUX = (
    rf"{_BLOCK}({_STREAMS}|{_WIDE})|{_SINGLE}(attn\.to_[qkv]|proj_mlp|proj_out|norm\.linear)|{_EMBEDDERS}|x_embedder"
)
_FLUX_AND_2 = (  # the blocks of FLUX.2 stand in the same table of ComfyUI, its embedders and modulations do not
    rf"{_FLUX}|norm_out\.linear|{_BLOCK}ff(_context)?\.linear_(in|out)|{_SINGLE}attn\.(to_qkv_mlp_proj|to_out)"
)
_Z_IMAGE = (
    r"(layers|context_refiner|noise_refiner)\.\d+\.(attention\.(to_[qkv]|to_out\.0)|feed_forward\.w[123]"
    r"|adaLN_modulation\.0)|all_final_layer\.2-1\.(linear|adaLN_modulation\.1)|all_x_embedder\.2-1"
    r"|cap_embedder\.1|t_embedder\.mlp\.[02]"
)
_KREA2 = (
    r"(transformer_blocks|text_fusion\.(layerwise|refiner)_blocks)\.\d+\.(attn\.(to_[qkv]|to_gate|to_out\.0)"
    r"|ff\.(gate|up|down))|img_in|time_embed\.linear_[12]|time_mod_proj|txt_in\.linear_[12]"
    r"|text_fusion\.projector|final_layer\.linear"
)
_QWEN = rf"{_BLOCK}({_STREAMS}|(img|txt)_mlp\.net\.(0\.proj|2)|(img|txt)_mod\.1)"
_WAN = r"blocks\.\d+\.(attn[12]\.(to_[qkv]|to_out\.0)|ffn\.net\.(0\.proj|2))"
_HUNYUAN = (
    (r"(?<=_)mod\.linear$", "mod.lin"),
    (r"(?<=_)attn_(qkv|proj)$", r"attn.\1"),
    (r"mlp\.fc1$", "mlp.0"),
    (r"mlp\.fc2$", "mlp.2"),
    (r"\.modulation\.linear$", ".modulation.lin"),
    (r"(?<=_in)\.mlp\.0$|(?<=t_embedder)\.mlp\.0$|(?<=c_embedder)\.linear_1$", ".in_layer"),
    (r"(?<=_in)\.mlp\.2$|(?<=t_embedder)\.mlp\.2$|(?<=c_embedder)\.linear_2$", ".out_layer"),
)

_PLAIN = Reads()
_COMFYUI_FLUX = Reads(diffusers=("transformer.", "lycoris_", "lora_transformer_", ""), table=_FLUX_AND_2)
_COMFYUI_HUNYUAN = Reads(
    own=_HUNYUAN, released=("transformer.", "diffusion_model."), unreleased=r".*(_in\.mlp\.[02]|[tc]_embedder\..*)"
)
_EVERY = ("diffusion_model.", "lora_unet_", "", "transformer.", "lycoris_")
_SAME_NAMES = Reads(original=_EVERY, diffusers=_EVERY)
CLASSES: Final[Mapping[str, Mapping[str, Reads]]] = MappingProxyType(
    {
        "ComfyUI": {
            "SD3": Reads(
                diffusers=("transformer.", "base_model.model.", "lora_transformer_", "lycoris_"), table=_MMDIT
            ),
            "Flux": _COMFYUI_FLUX,
            "Flux2": _COMFYUI_FLUX,
            "Chroma": _COMFYUI_FLUX,
            "LongCatImage": _COMFYUI_FLUX,
            "QwenImage": _SAME_NAMES,
            "Krea2": Reads(diffusers=("diffusion_model.", "transformer.", "lycoris_", ""), table=_KREA2),
            # One class for two families: its table has the names of Z-Image only.
            "Lumina2": Reads(diffusers=("diffusion_model.", "transformer.", "lycoris_", ""), table=_Z_IMAGE),
            "HunyuanVideo": _COMFYUI_HUNYUAN,
            "HunyuanVideo15": _COMFYUI_HUNYUAN,
            "LTXV": Reads(original=("diffusion_model.", "lora_unet_", "")),
            "LTXAV": Reads(original=("diffusion_model.", "lora_unet_", "")),
            "ErnieImage": Reads(
                original=("diffusion_model.", "lora_unet_", "transformer."), diffusers=("transformer.",)
            ),
            "WAN21": _PLAIN,
            "WAN22": _PLAIN,
            "Anima": _PLAIN,
        },
        "A1111": {
            # Of the text stream its table has names that its own model lacks.
            "SD3": Reads(original=(), diffusers=("transformer.",), table=rf"{_BLOCK}attn\.(to_[qkv]|to_out\.0)"),
        },
        "Forge": {
            "flux": Reads(
                diffusers=("transformer.", "lycoris_", "lora_transformer_"), table=rf"{_FLUX}|norm_out\.linear"
            ),
            "chroma": _PLAIN,
            "sd35": _PLAIN,
        },
        "InvokeAI": {
            "flux": Reads(
                original=("lora_unet_", "diffusion_model.", "base_model.model."),
                diffusers=("transformer.", "base_model.model."),
                table=_FLUX,
                needs=(r"single_transformer_blocks\.0\.attn\.to_q", r"transformer_blocks\.0\.attn\.add_q_proj"),
                together=((rf"({_BLOCK})attn\.to_[qkv]", 3), (rf"({_BLOCK})attn\.add_[qkv]_proj", 3)),
                whole=True,
            ),
            "flux2": Reads(
                original=("diffusion_model.", "base_model.model."),
                diffusers=("transformer.", "base_model.model.", ""),
                needs=(r".*(to_qkv_mlp_proj|ff(_context)?\.linear_in)",),
            ),
            "z-image": Reads(
                original=(), diffusers=("transformer.", "diffusion_model.", "base_model.model.transformer.")
            ),
            "qwen-image": Reads(original=(), diffusers=("transformer.", "", "lora_unet_"), table=_QWEN),
            "krea-2": Reads(
                original=("diffusion_model.",),
                diffusers=("transformer.", "diffusion_model.", ""),
                table=_KREA2,
                needs=(r".*(text_fusion|time_mod_proj).*",),
            ),
            "wan": Reads(
                original=("diffusion_model.", "transformer.", "", "lora_unet_"),
                diffusers=("transformer.", "diffusion_model.", "", "lora_unet_"),
                table=_WAN,
            ),
            "anima": Reads(original=("lora_unet_", "diffusion_model.", "transformer."), table=r".*blocks\.\d+\..*"),
        },
    }
)


@dataclass(frozen=True)
class KeyMap:
    """The names one program reads for one model, and the layers each changes."""

    reads: Reads
    original: Mapping[str, frozenset[str]]
    """Stems in the program's own names, with diffusers' names of the layers: several where its matrix is fused."""
    diffusers: Mapping[str, str]
    """Stems in diffusers' names, with the layer."""
    rows: frozenset[str]
    """Layers that are rows of a larger matrix there."""

    def layers(self, stem: str) -> frozenset[str]:
        """The layers that a stem changes there; none where it is not read."""
        if stem in self.diffusers:
            return frozenset((self.diffusers[stem],))
        return self.original.get(stem, frozenset())

    def skipped(self, stems: Mapping[str, Set[str]]) -> list[str]:
        """Which stems of a file the program does not put on the layers they mean; all when it refuses the file."""
        lost = [stem for stem, meant in stems.items() if self.layers(stem) != meant]
        if (lost and self.reads.whole) or not self.recognises(stems):
            return list(stems)
        return lost

    def recognises(self, stems: Mapping[str, Set[str]]) -> bool:
        """Whether a file of these stems is taken for one of this model at all."""
        layers = [self.diffusers[stem] for stem in stems if stem in self.diffusers and stem not in self.original]
        if not layers:
            return True
        if not all(any(re.fullmatch(pattern, layer) for layer in layers) for pattern in self.reads.needs):
            return False
        for pattern, wanted in self.reads.together:
            blocks = [found[1] for layer in layers if (found := re.fullmatch(pattern, layer))]
            if any(blocks.count(block) != wanted for block in set(blocks)):
                return False
        return True


def key_map(program: str, kind: str, rules: str, layers: Sequence[str]) -> KeyMap | None:
    """What ``program`` reads for a model it runs as class ``kind``; None when it knows no such class.

    Args:
        program: one of ``PROGRAMS``.
        kind: the program's name of the class.
        rules: by which the model's two layouts translate (``dialects.canonical.rules_of``); empty when unknown.
        layers: all layers of the model, by diffusers' names.
    """
    reads = CLASSES.get(program, {}).get(kind)
    if reads is None:
        return None
    original: dict[str, set[str]] = {}
    diffusers: dict[str, str] = {}
    rows: set[str] = set()
    table = re.compile(reads.table)
    for layer in layers:
        place = to_original(rules, layer)
        if place is not None:
            rows.update((layer,) if place.sizes else ())
            for beginning in reads.original:
                original.setdefault(_stem(beginning, _own(place.name, reads)), set()).add(layer)
            for beginning in reads.released if not re.fullmatch(reads.unreleased, place.name) else ():
                original.setdefault(_stem(beginning, place.name), set()).add(layer)
        if table.fullmatch(layer):
            for beginning in reads.diffusers:
                diffusers[_stem(beginning, layer)] = layer
    return KeyMap(reads, {stem: frozenset(found) for stem, found in original.items()}, diffusers, frozenset(rows))


def _stem(beginning: str, name: str) -> str:
    return beginning + (name.replace(".", "_") if beginning.endswith("_") else name)


def _own(name: str, reads: Reads) -> str:
    for pattern, instead in reads.own:
        name = re.sub(pattern, instead, name)
    return name
