"""Layers that are one matrix in the file: written exactly, taken apart exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lorasmith.adapters.file import read_adapter, write_adapter
from lorasmith.adapters.fusion import slices_of, stemmed
from lorasmith.adapters.module import LoraModule
from lorasmith.adapters.places import Places, taken_apart
from lorasmith.adapters.static_checks import check_against_base
from lorasmith.bases.detection import registered_families
from lorasmith.errors import AdapterError
from tests.bases.corpus import MODELS, Model, build, in_original_names

FAMILY = registered_families()["lumina2"]
ROWS = {"attn.to_q": 12, "attn.to_k": 4, "attn.to_v": 4, "attn.to_out.0": 12}


def block(number: int = 0, rank: int = 2) -> list[LoraModule]:
    generator = torch.Generator().manual_seed(number)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    return [
        LoraModule("transformer", f"layers.{number}.{name}", draw(rank, 12), draw(rows, rank), alpha=rank / 2 + place)
        for place, (name, rows) in enumerate(ROWS.items())
    ]


def test_three_layers_become_one_of_three_times_the_rank_and_come_apart_again(tmp_path: Path) -> None:
    modules = block(0) + block(1)
    path = tmp_path / "fused.safetensors"
    write_adapter(path, modules[::-1], family=FAMILY, dtype="fp32", metadata={})
    stored = read_adapter(path).modules
    assert set(stored) == {f"diffusion_model.layers.{n}.attention.{name}" for n in (0, 1) for name in ("qkv", "out")}
    found = slices_of([(m.part, m.module, m.up.shape[0]) for m in modules], FAMILY)
    for number in (0, 1):
        stem = f"diffusion_model.layers.{number}.attention.qkv"
        whole = stored[stem].delta()
        assert stored[stem].rank == 6 and whole.shape == (20, 12)
        for one, module in zip(found[stem], modules[4 * number :], strict=False):
            assert one.module == module.module
            torch.testing.assert_close(whole[one.first : one.last], module.delta())


def test_layers_that_share_their_down_matrix_keep_its_rank() -> None:
    modules = block()
    shared = [replace(module, down=modules[0].down) for module in modules]
    (stem, fused), _ = stemmed(shared, FAMILY)
    assert stem.endswith("attention.qkv") and fused.rank == 2
    torch.testing.assert_close(fused.delta(), torch.cat([module.delta() for module in shared[:3]]))


def test_a_layer_that_learned_nothing_takes_rows_and_no_rank() -> None:
    modules = block()
    modules[1] = replace(modules[1], up=torch.zeros(4, 2))
    (_, fused), _ = stemmed(modules, FAMILY)
    assert fused.rank == 4 and not fused.delta()[12:16].any()
    torch.testing.assert_close(fused.delta()[16:], modules[2].delta())
    (_, nothing), _ = stemmed([replace(module, up=torch.zeros_like(module.up)) for module in modules], FAMILY)
    assert nothing.rank == 2 and not nothing.delta().any()


def test_what_cannot_be_fused_is_refused(tmp_path: Path) -> None:
    modules = block()
    path = tmp_path / "refused.safetensors"
    for wrong, said in (
        (modules[1:], r"layers\.0\.attn\.to_q is not among"),
        ([modules[0], replace(modules[1], dora_scale=torch.ones(4)), *modules[2:]], "magnitudes"),
        ([*modules, modules[3]], "Two modules would be written as"),
    ):
        with pytest.raises(AdapterError, match=said):
            write_adapter(path, wrong, family=FAMILY, dtype="fp32", metadata={})
        assert not path.exists()


def _original(model: Model) -> bool:
    """Whether files of this model's family use the names of the released weights."""
    family = registered_families().get(model.family)
    return (
        bool(model.rules)
        and family is not None
        and family.key_names(family.denoiser_part, "x").startswith("diffusion_model.")
    )


@pytest.mark.parametrize("model", list(filter(_original, MODELS)), ids=lambda model: f"{model.family}-{model.variant}")
def test_original_names_in_files_are_layers_of_the_original_model(model: Model) -> None:
    """ComfyUI reads ``diffusion_model.`` and the name a layer has in the released file, and nothing else of it."""
    family, shapes = registered_families()[model.family], build(model)
    released = {name.removeprefix("net.") for name in in_original_names(model, shapes)}
    targets = {target for preset in family.target_presets.values() for target in preset}
    layers = [name.removesuffix(".weight") for name in shapes if name.endswith(".weight")]
    chosen = [layer for layer in layers if any(layer.endswith(f".{target}") for target in targets)]
    assert chosen
    for layer in chosen:
        stem = family.key_names(family.denoiser_part, layer)
        assert f"{stem.removeprefix('diffusion_model.')}.weight" in released, layer


def test_a_fused_module_that_does_not_fit_the_base_stays_whole_and_is_found_out(tmp_path: Path) -> None:
    modules = block()
    path = tmp_path / "fused.safetensors"
    write_adapter(path, modules, family=FAMILY, dtype="fp32", metadata={})
    adapter = read_adapter(path)
    for wider in (0, 4):
        rows = {(m.part, m.module): (m.up.shape[0] + (wider if m.module.endswith("to_v") else 0), 12) for m in modules}
        fused = slices_of([(part, module, shape[0]) for (part, module), shape in rows.items()], FAMILY)
        stems = {f"{stem}[{n}]": (one.part, one.module) for stem, made in fused.items() for n, one in enumerate(made)}
        stems |= {FAMILY.key_names(part, module): (part, module) for part, module in rows}
        places = Places(rows, stems, fused)
        apart = taken_apart(adapter, places)
        assert len(apart.modules) == (2 if wider else 4)
        found = check_against_base(apart, places, "the base")
        assert bool(found) == bool(wider), found
        assert not found or "another shape than the base's layers" in found[0]
