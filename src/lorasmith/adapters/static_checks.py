"""What can be said of an adapter without loading it: of its pieces, its fit to a base, its names elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from lorasmith.adapters.file import AdapterFile, data_hash
from lorasmith.adapters.places import Places, parts_of, text_layer_count
from lorasmith.adapters.ui_keys import a1111_map, comfyui_stems, unmapped

if TYPE_CHECKING:
    from lorasmith.families import Family


class ProgramCheck(BaseModel):
    """Whether one program maps every module of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    modules: int
    """Modules it maps to the right layer."""
    applies: bool = True
    """False when the program cannot run this base at all, so that the names do not matter there."""
    note: str = ""


def check_file(adapter: AdapterFile) -> list[str]:
    """What is wrong with the file in itself."""
    found: list[str] = []
    if adapter.dialect == "lycoris":
        found.append(
            "The file is a LyCORIS adapter (LoHa, LoKr or the like), which diffusers cannot load into this base."
        )
    elif adapter.leftover:
        found.append(
            f"{len(adapter.leftover)} keys belong to no complete pair of matrices, for instance {adapter.leftover[0]}."
        )
    for stem, module in adapter.modules.items():
        if module.up.shape[1:2] != module.down.shape[:1]:
            turned = module.up.shape[0] == module.down.shape[0] or module.up.shape[1:2] == module.down.shape[1:2]
            found.append(
                f"{stem} does not fit together: up {tuple(module.up.shape)} and down {tuple(module.down.shape)} "
                f"have different ranks{'; one of them is transposed' if turned else ''}."
            )
        if not bool(module.up.isfinite().all() and module.down.isfinite().all()):
            found.append(f"{stem} holds NaN or infinite values.")
    without = [stem for stem, module in adapter.modules.items() if module.alpha is None]
    if without and len(without) < len(adapter.modules):
        found.append(
            f"{len(without)} of {len(adapter.modules)} modules have no alpha, {without[0]} first: "
            "programs scale them differently."
        )
    if any(module.dora_scale is not None for module in adapter.modules.values()):
        found.append(
            "The file is weight-decomposed (DoRA): diffusers drops dora_scale, and ComfyUI divides by another norm, "
            "so neither shows what was trained. Export it as a plain LoRA, as lorasmith does with adapter.use_dora."
        )
    stated = adapter.metadata.get("sshs_model_hash", "")
    if stated and stated.removeprefix("0x") != data_hash(adapter.path):
        found.append("The weights are not the ones the file was written with: their hash differs from sshs_model_hash.")
    return found


def check_against_base(adapter: AdapterFile, places: Places, base: str) -> list[str]:
    """Modules that name nothing in the base, or a layer of another shape."""
    found: list[str] = []
    unknown = [stem for stem in adapter.modules if places.find(stem) is None]
    if unknown:
        wrong = adapter.dialect in ("transformer", "onetrainer")
        why = f"The names are in the '{adapter.dialect}' dialect, of other model families: " if wrong else ""
        found.append(
            f"{why}{len(unknown)} of {len(adapter.modules)} modules name nothing in {base}, {unknown[0]} first."
        )
    misfits: list[str] = []
    for stem, module in adapter.modules.items():
        place = places.find(stem)
        if place is None or module.up.ndim not in (2, 4) or module.down.ndim not in (2, 4):
            continue
        wanted, has = places.shapes[place], (module.up.shape[0], *module.down.shape[1:])
        if _squeezed(has) != _squeezed(wanted):
            hint = ": the matrices are transposed" if has == wanted[::-1] else ""
            misfits.append(f"{stem} updates {has} but the layer in {base} is {wanted}{hint}")
    if misfits:
        found.append(
            f"{len(misfits)} modules have another shape than the base's layers; the file was made for another base: "
            f"{misfits[0]}."
        )
    return found


def _squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    """A 1x1 convolution and a linear layer hold the same numbers."""
    return tuple(shape[:2]) if tuple(shape[2:]) == (1, 1) else tuple(shape)


def check_names(
    adapter: AdapterFile, places: Places, pipeline: Any, family: Family
) -> tuple[dict[str, ProgramCheck], list[str]]:
    """What ComfyUI and A1111 make of the names, by our statement of their key maps."""
    parts = parts_of(pipeline)
    if "unet" not in parts:
        own = {stem for (part, module) in places.shapes for stem in (family.key_names(part, module),)}
        if own.issuperset(module.stem for module in adapter.modules.values()) and adapter.dialect in (
            "transformer",
            "comfyui",
        ):
            return {}, []  # the family's one-file form, whose keys are what its programs call the layers
        return {}, [f"No key maps are known here for {type(pipeline).__name__}; the names could not be checked."]
    config, layers = parts["unet"].config, (text_layer_count(parts), text_layer_count(parts, "text_encoder_2"))
    comfyui, a1111 = comfyui_stems(config, *layers), a1111_map(config, *layers)
    checks: dict[str, ProgramCheck] = {}
    found: list[str] = []
    known = {stem: place for stem in adapter.modules if (place := places.find(stem)) is not None}
    for program, find, applies in (("ComfyUI", comfyui.get, True), ("A1111", a1111.place, a1111.applies)):
        lost = unmapped(adapter.modules, known, find) if applies else []
        count = len(adapter.modules) - len(lost) if applies else 0
        note = "" if applies else "it only builds UNets of four levels with two layers each."
        checks[program] = ProgramCheck(modules=count, applies=applies, note=note)
        if lost:
            reads = " diffusers reads that spelling." if adapter.dialect in ("peft", "diffusers") else ""
            found.append(
                f"{program} would skip {len(lost)} of {len(adapter.modules)} modules silently, {lost[0]} first.{reads}"
            )
    return checks, found
