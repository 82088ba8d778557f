"""Which layer of a base a stem names: all spellings of all layers, from the loaded pipeline itself."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lorasmith.adapters.file import AdapterFile, StoredModule
from lorasmith.adapters.fusion import Slice, slices_of
from lorasmith.adapters.ui_keys import Place, comfyui_stems

if TYPE_CHECKING:
    from lorasmith.families import Family


@dataclass(frozen=True)
class Places:
    """The layers of one base. ``shapes`` is keyed by (part, module), modules named without ``text_model.``."""

    shapes: dict[Place, tuple[int, ...]]
    by_stem: dict[str, Place]
    fused: dict[str, tuple[Slice, ...]] = field(default_factory=dict)
    """By stem: the layers that are one matrix in the file. Each is found as ``stem[0]``, ``stem[1]`` ..."""

    def find(self, stem: str) -> Place | None:
        return self.by_stem.get(stem)


def parts_of(pipeline: Any) -> dict[str, Any]:
    """The parts of a diffusers pipeline that a LoRA can change, by name: the denoiser and the text encoders."""
    from torch import nn

    return {
        name: part
        for name, part in pipeline.components.items()
        if isinstance(part, nn.Module) and (name in ("unet", "transformer") or name.startswith("text_encoder"))
    }


def plain_name(part: str, module: str) -> str:
    """The module's name without the ``text_model.`` level, which transformers had until 5.6 and LoRA files keep."""
    return module.removeprefix("text_model.") if part.startswith("text_encoder") else module


def places_of(pipeline: Any, family: Family) -> Places:
    """Every layer of the pipeline's parts and every stem that can name it. Call before an adapter is loaded."""
    from torch import nn

    shapes: dict[Place, tuple[int, ...]] = {}
    by_stem: dict[str, Place] = {}
    parts = parts_of(pipeline)
    for part, component in parts.items():
        for module, layer in component.named_modules():
            if not isinstance(layer, nn.Linear | nn.Conv2d):
                continue
            name = plain_name(part, module)
            place = (part, name)
            shapes[place] = tuple(layer.weight.shape)
            by_stem[family.key_names(part, module)] = place
            by_stem[f"{part}.{name}"] = place
            if part.startswith("text_encoder"):
                by_stem[f"{part}.text_model.{name}"] = place
            by_stem[f"{part}.{name.replace('.to_', '.processor.to_').removesuffix('.0')}"] = place
    if "unet" in parts:
        counts = text_layer_count(parts), text_layer_count(parts, "text_encoder_2")
        for stem, place in comfyui_stems(parts["unet"].config, *counts).items():
            if place in shapes:
                by_stem.setdefault(stem, place)
    fused = slices_of(((part, name, shape[0]) for (part, name), shape in shapes.items()), family)
    for stem, slices in fused.items():
        by_stem |= {f"{stem}[{number}]": (one.part, one.module) for number, one in enumerate(slices)}
    return Places(shapes, by_stem, fused)


def taken_apart(adapter: AdapterFile, places: Places) -> AdapterFile:
    """The file with every fused module as the layers it is made of; one that does not fit stays whole."""
    modules: dict[str, StoredModule] = {}
    for stem, module in adapter.modules.items():
        slices = places.fused.get(stem, ())
        if not slices or module.up.shape[0] != slices[-1].last or module.dora_scale is not None:
            modules[stem] = module
            continue
        for number, one in enumerate(slices):
            modules[f"{stem}[{number}]"] = replace(module, up=module.up[one.first : one.last])
    return replace(adapter, modules=modules)


def text_layer_count(parts: dict[str, Any], part: str = "text_encoder") -> int:
    """Number of layers of a text encoder; 0 when there is none."""
    encoder = parts.get(part)
    return int(encoder.config.num_hidden_layers) if encoder is not None else 0
