"""What can be said of an adapter without loading it: of its pieces, its fit to a base, its names elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from lorasmith.adapters.dialects.canonical import rules_of
from lorasmith.adapters.file import AdapterFile, data_hash
from lorasmith.adapters.places import Places, parts_of, text_layer_count
from lorasmith.adapters.programs import PROGRAMS, UNKNOWN, key_map
from lorasmith.adapters.ui_keys import Place, a1111_map, comfyui_stems, invokeai_stems

if TYPE_CHECKING:
    from lorasmith.families import Family


Meant = Mapping[str, Set[Place]]
"""The stems of a file, each with the layers it stands for."""


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
            "The file is a LyCORIS adapter (LoHa, LoKr or the like), which diffusers cannot load into this base; "
            "`lorasmith lora convert` makes a plain LoRA of it."
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
    """What ComfyUI, A1111, Forge and InvokeAI make of the names, by our statement of their key maps.

    A file fails for a program when another spelling of the same layers, the family's own, would be read there: then
    the names are at fault. Where a program reads no spelling that diffusers reads too, the check says so and no more.
    """
    parts = parts_of(pipeline)
    meant: dict[str, set[Place]] = {}
    own: dict[str, set[Place]] = {}
    for key, module in adapter.modules.items():  # of a fused module, one key for each layer of it
        place = places.find(key)
        meant.setdefault(module.stem, set()).update(() if place is None else (place,))
        if place is not None:
            own.setdefault(family.key_names(*place), set()).add(place)
    checks: dict[str, ProgramCheck] = {}
    faults: dict[tuple[str, ...], list[str]] = {}
    unet = _unet_finders(parts) if "unet" in parts else {}
    for program in PROGRAMS:
        finder = unet[program] if unet else _finder(program, places, family)
        if finder.reason:
            checks[program] = ProgramCheck(modules=0, applies=False, note=finder.reason)
            continue
        lost = finder.skipped(meant)
        count = sum(module.stem not in lost for module in adapter.modules.values())
        note = _remedy(program, lost, count, family) if lost else finder.remark(meant)
        checks[program] = ProgramCheck(modules=count, note=note)
        if lost and not finder.skipped(own):
            faults.setdefault(tuple(lost), []).append(program)
    return checks, [_fault(adapter, lost, programs) for lost, programs in faults.items()]


def _fault(adapter: AdapterFile, lost: Sequence[str], programs: Sequence[str]) -> str:
    missed = sum(module.stem in lost for module in adapter.modules.values())
    reads = " diffusers reads that spelling." if adapter.dialect in ("peft", "diffusers") else ""
    who = " and ".join([", ".join(programs[:-1])] * (len(programs) > 1) + [programs[-1]])
    return f"{who} would skip {missed} of {len(adapter.modules)} modules silently, {lost[0]} first.{reads}"


@dataclass(frozen=True)
class _Finder:
    """One program, ready to be asked which stems it passes over."""

    skipped: Callable[[Meant], list[str]]
    reason: str = ""
    """Why the program cannot run the base at all."""
    rows: frozenset[str] = frozenset()

    def remark(self, meant: Meant) -> str:
        """What is to be known of a file that is read whole."""
        fused = sum(name in self.rows for layers in meant.values() for _, name in layers)
        return f"{fused} of its layers are rows of larger matrices there." if fused else ""


def _unet_finders(parts: dict[str, Any]) -> dict[str, _Finder]:
    """UNets: every program computes its names from the config."""
    config, layers = parts["unet"].config, (text_layer_count(parts), text_layer_count(parts, "text_encoder_2"))
    comfyui, a1111 = comfyui_stems(config, *layers), a1111_map(config, *layers)
    invokeai = invokeai_stems(config, *layers)

    def finder(find: Callable[[str], Place | None], reason: str) -> _Finder:
        def skipped(stems: Meant) -> list[str]:
            return [stem for stem, meant in stems.items() if (at := find(stem)) is None or (meant and {at} != meant)]

        return _Finder(skipped, reason)

    levels = "" if a1111.applies else "it only builds UNets of four levels with two layers each."
    width = "" if invokeai else "it tells a base by its width, and knows none of this one's."
    return {
        "ComfyUI": finder(comfyui.get, ""),
        "A1111": finder(a1111.place, levels),
        "Forge": finder(comfyui.get, ""),
        "InvokeAI": finder(invokeai.get, width),
    }


def _finder(program: str, places: Places, family: Family) -> _Finder:
    """Transformers: by the class the program runs them as."""
    part = family.denoiser_part
    names = [module for at, module in places.shapes if at == part]
    keys = key_map(program, family.elsewhere.get(program, ""), rules_of(family.recognised_as or family.name), names)
    if keys is None:
        return _Finder(list, f"{UNKNOWN}.")

    def skipped(stems: Meant) -> list[str]:
        ours = {s: {name for _, name in meant} for s, meant in stems.items() if all(at == part for at, _ in meant)}
        lost = set(keys.skipped(ours))
        return [stem for stem in stems if stem in lost or stem not in ours]

    return _Finder(skipped, rows=keys.rows)


def _rules(family: Family) -> str:
    return family.layer_rules or rules_of(family.name)


def _remedy(program: str, lost: Sequence[str], count: int, family: Family) -> str:
    """What a program passes over, and what can be done."""
    what = (
        f"{lost[0]} and {len(lost) - 1} other names mean nothing to it"
        if count
        else "none of the names means anything to it"
    )
    if program == "ComfyUI" and rules_of(family.recognised_as or family.name):
        return f"{what}; `lorasmith lora convert` writes those of its own (--dialect comfyui --only-for comfyui)."
    return f"{what}."
