"""Our statement of other programs' key maps, over every family at full size: no weights, the real classes' layers."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import pytest

from lorasmith.adapters.dialects.canonical import rules_of
from lorasmith.adapters.dialects.formats import FORMATS, best_format, format_named, place_in, readers
from lorasmith.adapters.dialects.stems import DENOISER
from lorasmith.adapters.programs import CLASSES, PROGRAMS, KeyMap, key_map
from lorasmith.bases.detection import registered_families
from lorasmith.errors import AdapterError
from lorasmith.families import Family
from lorasmith.training.lora import targeted
from tests.families.tiny import RECORDS

# Of the family's own file, default targets: None where the program does not know the family, else the share it reads.
EXPECTED: Mapping[str, tuple[float | None, ...]] = {  # ComfyUI, A1111, Forge, InvokeAI
    "sd3": (1, 96 / 285, 0, None),
    "flux": (1, None, 1, 1),
    "chroma": (1, None, 0, None),
    "flux2": (1, None, None, 1),
    "qwen_image": (1, None, None, 1),
    "z_image": (1, None, None, 1),
    "lumina2": (1, None, None, None),
    "wan": (1, None, None, 1),
    "ltx": (1, None, None, None),
    "ltx2": (1, None, None, None),
    "hunyuan_video": (1, None, None, None),
    "hunyuan_video_15": (1, None, None, None),
    "krea2": (1, None, None, 0),  # InvokeAI tells it by the text fusion, which is not trained; one can say it by hand
    "qwen_image_21": (1, None, None, None),
    "flux_kontext": (1, None, 1, 1),
    "qwen_image_edit": (1, None, None, 1),
    "qwen_image_edit_plus": (1, None, None, 1),
    "wan_ti2v": (1, None, None, 1),
    "wan_i2v": (1, None, None, None),
    "anima": (1, None, None, 1),
}
FAMILIES = {name: record for name, record in RECORDS.items() if registered_families()[name].denoiser_part != "unet"}


@functools.cache
def denoiser(name: str) -> Any:
    """The first published variant, without memory."""
    import diffusers
    import torch

    class_name, config = next(iter(FAMILIES[name].full.values()))
    with torch.device("meta"):
        return getattr(diffusers, class_name)(**config)


def layers_of(name: str) -> list[str]:
    from torch import nn

    return [layer for layer, module in denoiser(name).named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]


def stems_of(family: Family, layers: Any) -> dict[str, set[str]]:
    """What a file of the family calls these layers."""
    stems: dict[str, set[str]] = {}
    for layer in layers:
        stems.setdefault(family.key_names(family.denoiser_part, layer), set()).add(layer)
    return stems


def map_of(program: str, name: str) -> KeyMap | None:
    family = registered_families()[name]
    rules = family.layer_rules or rules_of(name)
    return key_map(program, family.elsewhere.get(program, ""), rules, layers_of(name))


@pytest.mark.parametrize("name", FAMILIES)
def test_what_each_program_reads_of_the_file_we_write(name: str) -> None:
    family = registered_families()[name]
    preset = family.target_presets[str(family.defaults["adapter"]["targets"])]
    stems = stems_of(family, targeted(denoiser(name), preset, family.excluded_targets))
    shares: list[float | None] = []
    for program in PROGRAMS:
        keys = map_of(program, name)
        shares.append(None if keys is None else 1 - len(keys.skipped(stems)) / len(stems))
    assert shares[0] == 1, "what is written unasked has to be read by ComfyUI"
    like = name if name in EXPECTED else registered_families()[name].layer_rules  # layers of the same names
    assert shares == [share if share is None else pytest.approx(share) for share in EXPECTED[like]]


def test_every_family_is_in_the_table() -> None:
    """Itself, or by the family whose layers it has."""
    known = registered_families()
    stated = {name if name in EXPECTED else known[name].layer_rules for name in FAMILIES}
    assert stated == set(EXPECTED), "state `elsewhere` in the family, and here what comes of it"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_names_classes_that_are_stated(name: str) -> None:
    for program, kind in registered_families()[name].elsewhere.items():
        assert kind in CLASSES[program]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_table_of_dialects_agrees_with_the_key_maps(name: str) -> None:
    """What ``formats`` promises of ComfyUI before a file is written is what its key map then reads."""
    family, keys = registered_families()[name], map_of("ComfyUI", name)
    if not rules_of(name):
        pytest.skip("its dialects are those of the family that its layers are called after")
    preset = family.target_presets[str(family.defaults["adapter"]["targets"])]
    targets = targeted(denoiser(name), preset, family.excluded_targets)
    assert keys is not None
    for chosen in FORMATS:
        try:
            written = format_named(chosen, name)
            stems: dict[str, set[str]] = {}
            for layer in targets:
                stems.setdefault(place_in(written, name, DENOISER, layer).name, set()).add(layer)
        except AdapterError:
            continue
        if chosen != "omi":  # its parts of fused matrices are keys of their own
            promised = readers(written, name)["comfyui"]
            assert promised == (not keys.skipped(stems)) or (not promised and chosen != best_format(name)), chosen


def test_invokeai_refuses_a_flux_file_it_cannot_read_whole() -> None:
    keys = map_of("InvokeAI", "flux")
    assert keys is not None
    layers = [
        f"transformer_blocks.0.attn.{x}" for x in ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj")
    ]
    layers.append("single_transformer_blocks.0.attn.to_q")
    stems = {f"transformer.{layer}": {layer} for layer in layers}
    assert keys.skipped(stems) == []
    without_v = {stem: meant for stem, meant in stems.items() if not stem.endswith("0.attn.to_v")}
    assert keys.skipped(without_v) == list(without_v)
    without_mark = {stem: meant for stem, meant in stems.items() if "single" not in stem}
    assert keys.skipped(without_mark) == list(without_mark)
    one_more = stems | {"transformer.norm_out.linear": {"norm_out.linear"}}
    assert keys.skipped(one_more) == list(one_more)


def test_a_name_that_means_another_layer_there_counts_as_lost() -> None:
    keys = map_of("ComfyUI", "flux")
    assert keys is not None
    assert keys.layers("diffusion_model.double_blocks.0.img_attn.qkv") == {
        f"transformer_blocks.0.attn.to_{letter}" for letter in "qkv"
    }
    assert keys.skipped({"diffusion_model.double_blocks.0.img_attn.qkv": {"transformer_blocks.0.attn.to_q"}})
    assert "single_transformer_blocks.3.proj_mlp" in keys.rows


def test_what_no_program_knows_is_said() -> None:
    assert key_map("ComfyUI", "", "", ["blocks.0.attn"]) is None
    assert key_map("A1111", "Flux", "flux", ["blocks.0.attn"]) is None
