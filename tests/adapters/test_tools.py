"""The tools on adapter files: what they write is what they promise, and bad input is one sentence and no file."""

# ruff: noqa: E501, PLW0108  tables: one case a line

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from lorasmith.adapters.algebra import Factors, effective_rank, relative_difference, sketched, spectrum, truncated
from lorasmith.adapters.arrays import decoded, encoded
from lorasmith.adapters.dialects.formats import FORMATS
from lorasmith.adapters.opened import open_adapter
from lorasmith.adapters.tools.averaging import average, exponent, power_weights
from lorasmith.adapters.tools.baking import bake
from lorasmith.adapters.tools.comparing import diff, interfere
from lorasmith.adapters.tools.converting import convert
from lorasmith.adapters.tools.describing import describe, picture
from lorasmith.adapters.tools.editing import edit
from lorasmith.adapters.tools.extracting import extract
from lorasmith.adapters.tools.merging import Ingredient, elected, largest_entries, merge
from lorasmith.adapters.tools.resizing import chosen_rank, resize
from lorasmith.adapters.tools.scaling import scale
from lorasmith.adapters.tools.using import Chosen, install, use
from lorasmith.errors import AdapterError, Stopped
from tests.adapters.files import FLUX, SDXL, deltas_of, furthest, noise, save_lora

MakeFile = Callable[..., Path]


@pytest.fixture
def sdxl(tmp_path: Path) -> Path:
    path = tmp_path / "a lora é.safetensors"
    save_lora(path)
    return path


@pytest.fixture
def flux(tmp_path: Path) -> Path:
    path = tmp_path / "flux.safetensors"
    save_lora(path, "flux")
    return path


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("dialect", ["kohya", "peft", "comfyui", "onetrainer", "simpletuner", "omi", "fal_kontext"])
def test_flux_goes_to_every_dialect_and_back(tmp_path: Path, flux: Path, dialect: str) -> None:
    there, back = tmp_path / "there.safetensors", tmp_path / "back.safetensors"
    convert(flux, there, dialect=dialect, family="flux", only_for="any")
    assert furthest(deltas_of(flux, "flux"), _without_zeros(deltas_of(there, "flux"))) < 1e-6
    convert(there, back, dialect="peft", family="flux")
    assert furthest(deltas_of(flux, "flux"), _without_zeros(deltas_of(back, "flux"))) < 1e-6


def _without_zeros(deltas: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A fused layer brings zero rows for the parts that had no LoRA."""
    return {name: delta for name, delta in deltas.items() if np.abs(delta).max() > 0}


@pytest.mark.parametrize("dialect", ["kohya", "peft", "comfyui", "onetrainer", "simpletuner"])
def test_sdxl_goes_to_every_dialect_and_back_with_its_alpha(tmp_path: Path, sdxl: Path, dialect: str) -> None:
    there, back = tmp_path / "there.safetensors", tmp_path / "back.safetensors"
    made = convert(sdxl, there, dialect=dialect, only_for="any")
    assert made.exact and made.layers == len(SDXL)
    convert(there, back, dialect="kohya")
    assert furthest(deltas_of(sdxl, "sdxl"), deltas_of(back, "sdxl")) < 1e-6
    if FORMATS[dialect].alpha:  # the matrices are the same, bit for bit
        before, after = load_file(sdxl), load_file(back)
        assert all(np.array_equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize(("width", "encoder"), [(768, "clip_l"), (1024, "clip_h")])
@pytest.mark.parametrize("layer", ["self_attn_q_proj", "mlp_fc1", "mlp_fc2"])
def test_comfyui_calls_the_text_encoders_of_sd_1_and_2_differently(
    tmp_path: Path, width: int, encoder: str, layer: str
) -> None:
    path, there, back = (tmp_path / f"{name}.safetensors" for name in ("one", "there", "back"))
    stem = f"lora_te_text_model_encoder_layers_3_{layer}"
    inputs, outputs = 4 * width if layer == "mlp_fc2" else width, 4 * width if layer == "mlp_fc1" else width
    save_file(
        {
            f"{stem}.lora_down.weight": noise((4, inputs), 1),
            f"{stem}.lora_up.weight": noise((outputs, 4), 2),
            f"{stem}.alpha": np.array(4, dtype=np.float32),
        },
        path,
    )
    convert(path, there, dialect="comfyui", family="sd", only_for="comfyui")
    dotted = layer.replace("attn_", "attn.").replace("mlp_", "mlp.")
    beginning = f"text_encoders.{encoder}.transformer.text_model.encoder.layers.3.{dotted}."
    assert all(key.startswith(beginning) for key in load_file(there))
    convert(there, back, dialect="kohya", family="sd")
    assert furthest(deltas_of(path, "sd"), deltas_of(back, "sd")) < 1e-6


def test_separate_parts_fuse_to_the_sum_of_their_ranks_and_a_shared_one_stays(tmp_path: Path, flux: Path) -> None:
    fused, again, shared = (tmp_path / f"{name}.safetensors" for name in ("fused", "again", "shared"))
    convert(flux, fused, dialect="kohya", family="flux", only_for="any")
    assert load_file(fused)["lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight"].shape == (12, 48)
    assert load_file(fused)["lora_unet_single_blocks_1_linear1.lora_down.weight"].shape == (12, 48)
    convert(fused, again, dialect="peft", family="flux")
    convert(fused, shared, dialect="comfyui", family="flux", only_for="any")
    assert load_file(shared)["diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight"].shape == (12, 48)
    assert furthest(deltas_of(fused, "flux"), deltas_of(again, "flux")) < 1e-6


def test_the_halves_of_the_output_norm_change_places(tmp_path: Path, flux: Path) -> None:
    out = tmp_path / "out.safetensors"
    convert(flux, out, dialect="comfyui", family="flux", only_for="comfyui")
    before = load_file(flux)["transformer.norm_out.linear.lora_B.weight"]
    after = load_file(out)["diffusion_model.final_layer.adaLN_modulation.1.lora_B.weight"]
    assert np.array_equal(after, np.concatenate([before[48:], before[:48]]))


def _lycoris(kind: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Pieces of one layer, 64 x 96, and its ΔW."""
    n = noise
    if kind == "loha":
        w = {
            "hada_w1_a": n((64, 2), 1, 1),
            "hada_w1_b": n((2, 96), 2, 1),
            "hada_w2_a": n((64, 2), 3, 1),
            "hada_w2_b": n((2, 96), 4, 1),
        }
        return w | {"alpha": np.float32(1)}, 0.5 * (w["hada_w1_a"] @ w["hada_w1_b"]) * (w["hada_w2_a"] @ w["hada_w2_b"])
    if kind == "lokr":
        w = {"lokr_w1": n((4, 4), 1, 1), "lokr_w2_a": n((16, 2), 2, 1), "lokr_w2_b": n((2, 24), 3, 1)}
        return w | {"alpha": np.float32(1)}, 0.5 * np.kron(w["lokr_w1"], w["lokr_w2_a"] @ w["lokr_w2_b"])
    if kind == "lokr_whole":
        w = {"lokr_w1": n((4, 4), 1, 1), "lokr_w2": n((16, 24), 2, 1)}
        return w | {"alpha": np.float32(7)}, np.kron(w["lokr_w1"], w["lokr_w2"])
    delta = n((64, 3), 1) @ n((3, 96), 2)
    return {"diff": delta}, delta


@pytest.mark.parametrize("kind", ["loha", "lokr", "lokr_whole", "full"])
def test_other_kinds_become_a_lora_with_the_measured_error(tmp_path: Path, kind: str) -> None:
    pieces, delta = _lycoris(kind)
    name = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    stem = f"lora_unet_{name.replace('.', '_')}"
    path = tmp_path / "it.safetensors"
    save_file({f"{stem}.{p}": np.asarray(a, np.float32) for p, a in pieces.items()}, path, {"lorasmith.family": "sdxl"})
    whole = convert(path, tmp_path / "whole.safetensors", rank=64, family="sdxl")
    assert whole.exact and furthest({name: delta}, deltas_of(whole.out, "sdxl")) < 1e-4
    cut = convert(path, tmp_path / "cut.safetensors", rank=1, family="sdxl")
    got = deltas_of(cut.out, "sdxl")[name]
    assert cut.largest_error == pytest.approx(np.linalg.norm(got - delta) / np.linalg.norm(delta), rel=1e-3)
    values = np.linalg.svd(delta, compute_uv=False)
    assert cut.largest_error == pytest.approx(float(np.sqrt((values[1:] ** 2).sum() / (values**2).sum())), rel=1e-3)


def test_dora_and_oft_need_their_base_and_are_exact_with_it(tmp_path: Path) -> None:
    weight = noise((64, 96), 5, 1.0)
    name = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    stem, path = f"lora_unet_{name.replace('.', '_')}", tmp_path / "it.safetensors"
    up, down, size = noise((64, 4), 1, 1), noise((4, 96), 2, 1), np.abs(noise((64, 1), 3, 5.0)) + 1
    save_file({f"{stem}.lora_up.weight": up, f"{stem}.lora_down.weight": down, f"{stem}.dora_scale": size}, path)
    with pytest.raises(AdapterError, match="base"):
        convert(path, tmp_path / "no.safetensors", family="sdxl")
    turned = weight + up @ down
    wanted = size * turned / np.linalg.norm(turned, axis=1, keepdims=True) - weight
    convert(path, tmp_path / "yes.safetensors", family="sdxl", rank=64, base=lambda part, layer: weight)
    assert furthest({name: wanted}, deltas_of(tmp_path / "yes.safetensors", "sdxl")) < 1e-4
    blocks = noise((4, 16, 16), 9)
    save_file({f"{stem}.oft_blocks": blocks}, path)
    convert(path, tmp_path / "oft.safetensors", family="sdxl", rank=64, base=lambda part, layer: weight)
    after = weight + deltas_of(tmp_path / "oft.safetensors", "sdxl")[name]
    lengths = np.linalg.norm(after.reshape(4, 16, 96), axis=1), np.linalg.norm(weight.reshape(4, 16, 96), axis=1)
    assert np.abs(lengths[0] - lengths[1]).max() < 1e-3  # a rotation keeps lengths
    assert "yes.safetensors" in left(tmp_path) and "no.safetensors" not in left(tmp_path)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12), st.integers(1, 12), st.integers(0, 9999))
def test_the_core_agrees_with_the_plain_svd(rows: int, columns: int, rank: int, cut: int, seed: int) -> None:
    factors = Factors(noise((rows, rank), seed, 1), noise((rank, columns), seed + 1, 1), (rows, columns))
    left_, values, right = np.linalg.svd(factors.product().astype(np.float64), full_matrices=False)
    found = spectrum(factors)
    count = min(found.values.size, values.size)
    assert np.abs(found.values[:count] - values[:count]).max() < 1e-5 * values[0]
    wanted = (left_[:, :cut] * values[:cut]) @ right[:cut]
    gaps = values[cut - 1] - values[cut] if cut < values.size else 1.0
    if gaps > 1e-2 * values[0]:  # with equal values the best approximation is not one
        assert np.abs(truncated(factors, found, cut).product() - wanted).max() < 1e-4 * np.abs(factors.product()).max()


@pytest.mark.parametrize(
    ("method", "value"), [("fixed", 0.0), ("sv_ratio", 3.0), ("sv_cumulative", 0.7), ("sv_fro", 0.8)]
)
def test_a_resize_keeps_the_best(tmp_path: Path, sdxl: Path, method: str, value: float) -> None:
    out = tmp_path / "out.safetensors"
    rank = 2 if method == "fixed" else None
    made = resize(sdxl, out, rank=rank, method=method, value=value)  # type: ignore[arg-type]
    kept = whole = 0.0
    got = deltas_of(out, "sdxl")
    for name, delta in deltas_of(sdxl, "sdxl").items():
        left_, values, right = np.linalg.svd(delta, full_matrices=False)
        count = chosen_rank(values[:4], method, value, rank)  # type: ignore[arg-type]
        wanted = (left_[:, :count] * values[:count]) @ right[:count]
        assert np.abs(got[name] - wanted).max() < 1e-5 * np.abs(wanted).max()
        kept, whole = kept + float((values[:count] ** 2).sum()), whole + float((values**2).sum())
    assert made.kept == pytest.approx((kept / whole) ** 0.5, rel=1e-5)
    keys = set(load_file(out))
    assert keys == set(load_file(sdxl))  # the names stay


def test_ranks_by_value_are_what_their_names_say() -> None:
    values = np.array([8.0, 4.0, 2.0, 1.0])
    assert chosen_rank(values, "sv_ratio", 3.0, None) == 2
    assert chosen_rank(values, "sv_cumulative", 0.8, None) == 2
    assert chosen_rank(values, "sv_cumulative", 1.0, None) == 4
    assert chosen_rank(values, "sv_fro", 0.97, None) == 2
    assert chosen_rank(values, "sv_fro", 0.97, 1) == 1
    assert chosen_rank(np.zeros(0), "sv_fro", 0.9, None) == 1


def test_blocks_get_their_own_rank(tmp_path: Path, sdxl: Path) -> None:
    out = tmp_path / "out.safetensors"
    resize(sdxl, out, rank=3, by_block={"mid_block": 1, "*attn2*": 2})
    ranks = {key: a.shape[0] for key, a in load_file(out).items() if key.endswith("lora_down.weight")}
    assert ranks["lora_unet_mid_block_attentions_0_transformer_blocks_3_ff_net_0_proj.lora_down.weight"] == 1
    assert ranks["lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight"] == 2
    assert ranks["lora_unet_up_blocks_0_attentions_1_proj_in.lora_down.weight"] == 3
    with pytest.raises(AdapterError, match="No layer is called"):
        resize(sdxl, tmp_path / "x.safetensors", rank=2, by_block={"midblock": 1})


def test_a_sum_is_exact_and_a_cut_one_is_the_best(tmp_path: Path, sdxl: Path) -> None:
    other = tmp_path / "other.safetensors"
    theirs = save_lora(other, rank=2, alpha=2.0, seed=77)
    mine = deltas_of(sdxl, "sdxl")
    made = merge([Ingredient(sdxl, 0.7), Ingredient(other, -0.4)], tmp_path / "sum.safetensors")
    wanted = {name: 0.7 * mine[name] - 0.4 * theirs[name] for name in mine}
    assert made.exact and dict(made.ranks) == {6: len(SDXL)}
    assert furthest(wanted, deltas_of(made.out, "sdxl")) < 1e-5
    cut = merge([Ingredient(sdxl, 0.7), Ingredient(other, -0.4)], tmp_path / "cut.safetensors", rank=3)
    for name, delta in deltas_of(cut.out, "sdxl").items():
        values = np.linalg.svd(wanted[name], compute_uv=False)
        lost = np.linalg.norm(delta - wanted[name])
        assert lost == pytest.approx(float(np.sqrt((values[3:] ** 2).sum())), rel=1e-3)


def test_merged_files_may_speak_different_dialects(tmp_path: Path, sdxl: Path) -> None:
    as_peft = tmp_path / "peft.safetensors"
    convert(sdxl, as_peft, dialect="comfyui", only_for="comfyui")
    made = merge([Ingredient(sdxl, 1.0), Ingredient(as_peft, 1.0)], tmp_path / "twice.safetensors", rank=4)
    twice = {name: 2 * delta for name, delta in deltas_of(sdxl, "sdxl").items()}
    assert furthest(twice, deltas_of(made.out, "sdxl")) < 1e-5


def test_weights_by_block_count_for_their_layers(tmp_path: Path, sdxl: Path) -> None:
    made = merge([Ingredient(sdxl, 1.0, {"up_blocks*": 0.0, "mid_block": 2.0})], tmp_path / "m.safetensors")
    got, mine = deltas_of(made.out, "sdxl"), deltas_of(sdxl, "sdxl")
    assert not [name for name in got if name.startswith("up_blocks")]
    middle = next(name for name in got if name.startswith("mid_block"))
    assert np.abs(got[middle] - 2 * mine[middle]).max() < 1e-5


def test_entries_are_elected_and_thinned_as_published() -> None:
    one, two = np.array([[3.0, -1.0, 2.0, 0.0]]), np.array([[1.0, 2.0, -1.0, 5.0]])
    assert np.array_equal(elected([one, two]), [[2.0, 2.0, 2.0, 5.0]])
    assert np.array_equal(largest_entries(one, 0.5), [[3.0, 0.0, 2.0, 0.0]])


@pytest.mark.parametrize("method", ["ties", "dare", "dare_ties", "magnitude"])
def test_pruned_merges_with_full_density_are_sums_of_one_file(tmp_path: Path, sdxl: Path, method: str) -> None:
    made = merge([Ingredient(sdxl, 1.0)], tmp_path / "m.safetensors", method=method, rank=4, density=1.0)  # type: ignore[arg-type]
    assert furthest(deltas_of(sdxl, "sdxl"), deltas_of(made.out, "sdxl")) < 1e-4
    assert not made.exact


def test_the_same_seed_drops_the_same(tmp_path: Path, sdxl: Path) -> None:
    shas = [
        merge([Ingredient(sdxl)], tmp_path / f"{n}.safetensors", method="dare", rank=2, seed=seed).sha256
        for n, seed in enumerate((5, 5, 6))
    ]
    assert shas[0] == shas[1] != shas[2]


def test_a_scale_goes_through_alpha_and_leaves_the_matrices(tmp_path: Path, sdxl: Path, flux: Path) -> None:
    made = scale(sdxl, tmp_path / "s.safetensors", 0.5)
    before, after = load_file(sdxl), load_file(made.out)
    assert all(np.array_equal(before[k], after[k]) for k in before if not k.endswith(".alpha"))
    assert made.through_alpha == len(SDXL)
    half = {name: delta / 2 for name, delta in deltas_of(sdxl, "sdxl").items()}
    assert furthest(half, deltas_of(made.out, "sdxl")) < 1e-6
    without = scale(flux, tmp_path / "f.safetensors", -2.0)
    assert furthest({n: -2 * d for n, d in deltas_of(flux, "flux").items()}, deltas_of(without.out, "flux")) < 1e-6


def test_checkpoints_are_averaged_in_the_space_of_updates(tmp_path: Path) -> None:
    paths = [tmp_path / f"{step}.safetensors" for step in (100, 200, 300)]
    deltas = [save_lora(path, rank=2, seed=n + 1, metadata={"ss_steps": path.stem}) for n, path in enumerate(paths)]
    made = average(paths, tmp_path / "mean.safetensors", sigma_rel=None, rank=6)
    wanted = {name: np.mean([delta[name] for delta in deltas], axis=0) for name in deltas[0]}
    assert furthest(wanted, deltas_of(made.merged.out, "sdxl")) < 1e-5
    late = average(paths, tmp_path / "late.safetensors", sigma_rel=0.1, dry_run=True)
    shares = [weight for _, _, weight in late.weights]
    assert sum(shares) == pytest.approx(1) and shares == sorted(shares)
    gamma = exponent(0.1)
    assert (gamma + 1) ** 0.5 / (gamma + 2) / (gamma + 3) ** 0.5 == pytest.approx(0.1, rel=1e-6)
    assert power_weights([1, 2], 0.28)[1] == pytest.approx(1 - 0.5 ** (exponent(0.28) + 1))


def test_interference_of_equal_opposite_and_unrelated(tmp_path: Path, sdxl: Path) -> None:
    against, apart = tmp_path / "against.safetensors", tmp_path / "apart.safetensors"
    scale(sdxl, against, -1.0)
    save_lora(apart, seed=99)
    same = interfere(sdxl, sdxl)
    assert same.cosine == pytest.approx(1) and same.overlap == pytest.approx(1, abs=1e-3)
    assert same.weights[0] == pytest.approx(0.71)  # 1 / √2
    assert interfere(sdxl, against).cosine == pytest.approx(-1) and interfere(sdxl, against).weights == (1.0, 1.0)
    strangers = interfere(sdxl, apart)
    assert abs(strangers.cosine) < 0.2 and strangers.overlap < 0.3


def test_a_difference_names_what_differs(tmp_path: Path, sdxl: Path) -> None:
    other = tmp_path / "other.safetensors"
    convert(sdxl, other, dialect="comfyui", only_for="comfyui")
    assert diff(sdxl, sdxl).same_bytes
    assert diff(sdxl, other).same_weights and not diff(sdxl, other).same_bytes
    tensors = load_file(sdxl)
    tensors["lora_unet_up_blocks_0_attentions_1_proj_in.lora_up.weight"] *= -1
    changed = tmp_path / "changed.safetensors"
    save_file(tensors, changed, {"note": "x", "lorasmith.family": "sdxl"})
    found = diff(sdxl, changed)
    assert found.layers[0].name == "up_blocks.0.attentions.1.proj_in" and found.layers[0].cosine == pytest.approx(-1)
    assert not found.same_weights and found.metadata["note"] == ("", "x")


def _base_file(path: Path, *, fused: bool) -> dict[str, np.ndarray]:
    """A FLUX-shaped base in the original layout or in diffusers'."""
    tensors = {f"{name}.weight": noise(shape, n, 1.0) for n, (name, shape) in enumerate(FLUX.items())}
    for number, name in enumerate(("x_embedder", "context_embedder", "time_text_embed.text_embedder.linear_1")):
        tensors[f"{name}.weight"] = noise((48, 48), 50 + number, 1.0)
    tensors["transformer_blocks.0.attn.norm_k.weight"] = noise((16,), 60)
    if fused:
        t = tensors
        tensors = {
            "double_blocks.0.img_attn.qkv.weight": np.concatenate([t[f"transformer_blocks.0.attn.to_{x}.weight"] for x in "qkv"]),
            "double_blocks.0.img_mlp.0.weight": t["transformer_blocks.0.ff.net.0.proj.weight"],
            "single_blocks.1.linear1.weight": np.concatenate([
                t["single_transformer_blocks.1.attn.to_q.weight"], noise((48, 48), 91, 1.0),
                t["single_transformer_blocks.1.attn.to_v.weight"], t["single_transformer_blocks.1.proj_mlp.weight"],
            ]),
            "single_blocks.1.linear2.weight": t["single_transformer_blocks.1.proj_out.weight"],
            "final_layer.adaLN_modulation.1.weight": np.concatenate([t["norm_out.linear.weight"][48:], t["norm_out.linear.weight"][:48]]),
            "img_in.weight": t["x_embedder.weight"],
            "double_blocks.0.img_attn.norm.key_norm.scale": noise((16,), 60),
        }  # fmt: skip
    save_file(tensors, path, {"format": "pt"})
    return tensors


@pytest.mark.parametrize("fused", [False, True])
def test_what_is_baked_in_is_extracted_again(tmp_path: Path, flux: Path, fused: bool) -> None:
    base, tuned, again = (tmp_path / f"{name}.safetensors" for name in ("base", "tuned", "again"))
    before = _base_file(base, fused=fused)
    made = bake(base, [Ingredient(flux, 0.5)], tuned, family="flux")
    after = load_file(tuned)
    untouched = "img_in.weight" if fused else "x_embedder.weight"
    assert np.array_equal(after[untouched], before[untouched]) and made.layers == len(FLUX)
    found = extract(base, tuned, again, rank=4, family="flux", dtype="fp32")
    assert found.kept == pytest.approx(1, abs=1e-4) and found.unchanged >= 1
    half = {name: delta / 2 for name, delta in deltas_of(flux, "flux").items()}
    assert furthest(half, _without_zeros(deltas_of(again, "flux"))) < 1e-4
    with pytest.raises(AdapterError, match="one base twice"):
        extract(base, base, tmp_path / "none.safetensors", family="flux")
    with pytest.raises(AdapterError, match="do not differ"):
        extract(base, Path(shutil.copy(base, tmp_path / "copy.safetensors")), tmp_path / "n.safetensors", family="flux")


def test_a_sketch_is_close_to_the_best() -> None:
    delta = noise((300, 200), 1) @ np.diag(0.9 ** np.arange(200)).astype(np.float32) @ noise((200, 260), 2)
    values = np.linalg.svd(delta, compute_uv=False)
    best = float(np.sqrt((values[16:] ** 2).sum() / (values**2).sum()))
    thin = sketched(delta, (300, 260), 16)
    got = np.linalg.norm(delta - thin.product()) / np.linalg.norm(delta)
    assert best <= got < 1.01 * best


def test_a_deep_look_finds_what_is_wrong(tmp_path: Path, sdxl: Path) -> None:
    tensors = load_file(sdxl)
    stems = [key.removesuffix(".alpha") for key in tensors if key.endswith(".alpha")]
    tensors[f"{stems[0]}.lora_up.weight"][:] = 0
    tensors[f"{stems[1]}.lora_down.weight"][0, 0] = np.nan
    tensors[f"{stems[2]}.lora_up.weight"][0, 0] = 1e6
    broken = tmp_path / "broken.safetensors"
    save_file(tensors, broken, {"sshs_model_hash": "0" * 64, "lorasmith.family": "sdxl"})
    found = describe(broken, deep=True)
    assert found.depth is not None and found.hashes is not None
    assert found.depth.dead == (stems[0],) and found.depth.not_finite == (stems[1],)
    assert found.depth.too_large_for_fp16 == (stems[2],)
    assert found.hashes.sha256 == hashlib.sha256(broken.read_bytes()).hexdigest()
    assert found.hashes.autov2 == found.hashes.sha256[:10].upper() and found.hashes.stated != found.hashes.data
    assert picture(found).startswith("<svg") or "<svg" in picture(found)
    with pytest.raises(AdapterError, match="NaN"):
        resize(broken, tmp_path / "x.safetensors", rank=2)
    assert "x.safetensors" not in left(tmp_path)


def test_the_effective_rank_counts_directions() -> None:
    assert effective_rank(np.array([2.0, 2.0, 2.0])) == pytest.approx(3)
    assert effective_rank(np.array([5.0, 0.0])) == pytest.approx(1)
    assert effective_rank(np.zeros(3)) == 0


def test_what_a_file_says_is_shown_and_what_it_leaks(tmp_path: Path) -> None:
    path = tmp_path / "it.safetensors"
    tags = {"10_ohwx": {"ohwx": 12, "red": 3}}
    says = {
        "ss_tag_frequency": json.dumps(tags), "ss_dataset_dirs": json.dumps({"10_ohwx": {"n_repeats": 10, "img_count": 12}}),
        "ss_sd_model_name": "/home/bob/models/xl.safetensors", "modelspec.trigger_phrase": "ohwx", "ss_learning_rate": "1e-4",
        "ss_training_comment": "ask bob@example.org", "x": "hf_abcdefghijklmnopqrstuvwxyz", "modelspec.license": "CC0-1.0",
    }  # fmt: skip
    save_lora(path, metadata=says)
    found = describe(path)
    assert found.tags == (("ohwx", 12), ("red", 3)) and found.likely_triggers == ("ohwx",)
    assert found.trigger_words == ("ohwx",) and found.recipe["learning_rate"] == "1e-4" and found.license == "CC0-1.0"
    assert {leak.kind for leak in found.leaks} == {"paths", "names", "captions", "secrets"}
    assert not any("abcdefghijkl" in leak.excerpt for leak in found.leaks)
    made = edit(path, tmp_path / "clean.safetensors", strip=["paths", "names", "captions", "secrets"])
    assert not made.leaks and len(made.leaked) == len(found.leaks)
    raw = (tmp_path / "clean.safetensors").read_bytes()
    assert b"bob" not in raw and b"hf_abc" not in raw and b'ohwx\\"' not in raw


def test_an_edit_leaves_the_weights_and_their_hash(tmp_path: Path, sdxl: Path) -> None:
    from PIL import Image

    Image.new("RGB", (900, 300), "red").save(tmp_path / "p.png")
    data = describe(sdxl, deep=True).hashes
    made = edit(
        sdxl,
        fields={"title": "Ohwx é", "trigger": "ohwx"},
        tags=["a", " b "],
        thumbnail=tmp_path / "p.png",
        values={"k": "v"},
    )
    with safe_open(sdxl, framework="np") as stream:
        metadata = stream.metadata()
    assert metadata["modelspec.title"] == "Ohwx é" and metadata["modelspec.tags"] == "a, b" and metadata["k"] == "v"
    assert metadata["modelspec.thumbnail"].startswith("data:image/jpeg;base64,") and made.out == sdxl
    after = describe(sdxl, deep=True).hashes
    assert data is not None and after is not None and data.data == after.data == after.stated
    edit(sdxl, fields={"title": ""}, remove=["k"])
    with safe_open(sdxl, framework="np") as stream:
        assert "modelspec.title" not in stream.metadata() and "k" not in stream.metadata()


def test_use_gives_text_for_every_program(tmp_path: Path, sdxl: Path, flux: Path) -> None:
    edit(sdxl, fields={"trigger": "ohwx"})
    found = use([Chosen(sdxl, 0.8), Chosen(sdxl, 1.0)], prompt="a dog")
    assert found.a1111 == "ohwx, a dog <lora:a lora é:0.8> <lora:a lora é:1>"
    loaders = [node for node in found.comfyui.values() if node["class_type"] == "LoraLoader"]
    assert [node["inputs"]["strength_model"] for node in loaders] == [0.8, 1.0]
    compile(found.diffusers, "it", "exec")
    assert "StableDiffusionXLPipeline" in found.diffusers
    other = use([Chosen(flux)], family="flux")
    assert other.a1111 == "" and any(n["class_type"] == "LoraLoaderModelOnly" for n in other.comfyui.values())
    for nodes in (found.comfyui, other.comfyui):
        wires = [v for node in nodes.values() for v in node["inputs"].values() if isinstance(v, list)]
        assert all(wire[0] in nodes for wire in wires)
    with pytest.raises(AdapterError, match="one of"):
        use([Chosen(sdxl), Chosen(flux)])


def test_copies_go_where_the_program_looks(tmp_path: Path, sdxl: Path) -> None:
    for inside, program in (("comfy/models/loras", "ComfyUI"), ("webui/models/Lora", "A1111")):
        (tmp_path / inside).mkdir(parents=True)
        made = install(sdxl, tmp_path / inside.partition("/")[0])
        assert made.program == program and made.path.parent == tmp_path / inside and made.new
        assert not install(sdxl, tmp_path / inside.partition("/")[0]).new
        made.path.write_bytes(b"another")
        with pytest.raises(AdapterError, match="another file"):
            install(sdxl, tmp_path / inside.partition("/")[0])
    with pytest.raises(AdapterError, match="neither"):
        install(sdxl, tmp_path)
    with pytest.raises(AdapterError, match="no name"):
        install(sdxl, tmp_path / "comfy", name="../x")


def test_a_dialect_that_loads_as_nothing_is_refused_with_the_one_that_works(tmp_path: Path, flux: Path) -> None:
    with pytest.raises(AdapterError, match="diffusers would not read") as caught:
        convert(flux, tmp_path / "x.safetensors", dialect="comfyui", family="flux")
    assert "peft" in caught.value.hint and "x.safetensors" not in left(tmp_path)


def _hostile(folder: Path) -> dict[str, Path]:
    """Files that are no LoRA, or want to do harm."""

    def raw(name: str, header: bytes, data: bytes = b"") -> None:
        (folder / name).write_bytes(struct.pack("<Q", len(header)) + header + data)

    one = {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}
    key = "lora_unet_mid_block_attentions_0_proj_in.lora_{}.weight"
    raw("overlap.safetensors", json.dumps({key.format("down"): one, key.format("up"): one}).encode(), b"0000")
    raw("gap.safetensors", json.dumps({key.format("down"): one | {"data_offsets": [4, 8]}}).encode(), b"00000000")
    raw("big.safetensors", json.dumps({"__metadata__": {"x": "y" * 50_000_000}}).encode())
    raw("class.safetensors", json.dumps({"__class__": one}).encode(), b"0000")
    raw("deep.safetensors", b"[" * 100_000)
    raw("cut.safetensors", json.dumps({key.format("down"): one}).encode(), b"00")
    raw("long.safetensors", json.dumps({"x" * 600: one}).encode(), b"0000")
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "text.safetensors").write_text("hello " * 20)
    save_file({"model.diffusion_model.x.weight": noise((4, 4), 1)}, folder / "base.safetensors")
    return {path.name: path for path in folder.glob("*.safetensors")}


def test_hostile_files_are_one_sentence_and_nothing_is_written(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "in").mkdir()
    for path in [*_hostile(tmp_path / "in").values(), tmp_path / "missing.safetensors", tmp_path]:
        for tool in (
            lambda p: describe(p),
            lambda p: resize(p, out / "x.safetensors", rank=2),
            lambda p: convert(p, out / "x.safetensors"),
            lambda p: merge([Ingredient(p)], out / "x.safetensors"),
            lambda p: edit(p, fields={"title": "x"}),
        ):
            with pytest.raises(AdapterError) as caught:
                tool(path)
            assert caught.value.message.endswith(".") and "\n" not in caught.value.message and caught.value.hint
    assert not left(out)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "No rank"),
        ({"rank": 0}, "no rank"),
        ({"rank": 9}, "has a rank over"),
        ({"method": "sv_fro", "value": 2.0}, "share between"),
        ({"method": "sv_ratio", "value": 0.5}, "keeps nothing"),
        ({"method": "best"}, "no way"),
        ({"rank": 2, "dtype": "int4"}, "no number format"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    tmp_path: Path, sdxl: Path, options: dict[str, object], words: str
) -> None:
    with pytest.raises(AdapterError, match=words):
        resize(sdxl, tmp_path / "x.safetensors", **options)  # type: ignore[arg-type]
    assert "x.safetensors" not in left(tmp_path)


def test_merges_that_make_no_sense_are_refused(tmp_path: Path, sdxl: Path, flux: Path) -> None:
    out = tmp_path / "x.safetensors"
    for ingredients, options, words in (
        ([], {}, "nothing to merge"),
        ([Ingredient(sdxl, 0.0)], {}, "zero"),
        ([Ingredient(sdxl, float("nan"))], {}, "no weight"),
        ([Ingredient(sdxl), Ingredient(flux)], {}, "one of"),
        ([Ingredient(sdxl)], {"method": "ties"}, "needs a rank"),
        ([Ingredient(sdxl)], {"method": "ties", "rank": 2, "density": 0.0}, "density"),
        ([Ingredient(sdxl, 1.0), Ingredient(sdxl, -1.0)], {"rank": 2}, "cancel"),
    ):
        with pytest.raises(AdapterError, match=words):
            merge(ingredients, out, **options)  # type: ignore[arg-type]
        assert not out.exists()


def test_values_too_large_for_fp16_are_refused_before_the_file_appears(tmp_path: Path) -> None:
    path, out = tmp_path / "big.safetensors", tmp_path / "x.safetensors"
    tensors = {"lora_unet_up_blocks_0_attentions_1_proj_in.lora_up.weight": np.full((64, 4), 1e6, np.float32)}
    tensors["lora_unet_up_blocks_0_attentions_1_proj_in.lora_down.weight"] = np.ones((4, 64), np.float32)
    save_file(tensors, path, {"lorasmith.family": "sdxl"})
    with pytest.raises(AdapterError, match="too large for fp16"):
        convert(path, out, dtype="fp16", family="sdxl")
    assert left(tmp_path) == {"big.safetensors"}


def test_a_stop_leaves_nothing_behind_and_progress_reaches_the_end(tmp_path: Path, sdxl: Path) -> None:
    seen: list[tuple[int, int]] = []
    resize(sdxl, tmp_path / "y.safetensors", rank=2, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(SDXL), len(SDXL)) and [done for done, _ in seen] == list(range(1, len(SDXL) + 1))
    for tool in (
        lambda **k: resize(sdxl, tmp_path / "x.safetensors", rank=2, **k),
        lambda **k: convert(sdxl, tmp_path / "x.safetensors", dialect="comfyui", only_for="comfyui", **k),
        lambda **k: merge([Ingredient(sdxl)], tmp_path / "x.safetensors", **k),
        lambda **k: scale(sdxl, tmp_path / "x.safetensors", 2.0, **k),
    ):
        calls = iter([False, True, True, True, True, True, True])
        with pytest.raises(Stopped):
            tool(cancelled=lambda calls=calls: next(calls))
        assert left(tmp_path) == {sdxl.name, "y.safetensors"}


def test_a_dry_run_says_the_same_and_writes_nothing(tmp_path: Path, sdxl: Path) -> None:
    dry = resize(sdxl, tmp_path / "x.safetensors", rank=2, dry_run=True)
    assert left(tmp_path) == {sdxl.name}
    real = resize(sdxl, tmp_path / "x.safetensors", rank=2)
    assert (dry.kept, dry.size_after, dry.ranks_after) == (real.kept, real.size_after, real.ranks_after)
    with pytest.raises(AdapterError, match="exists already"):
        resize(sdxl, tmp_path / "x.safetensors", rank=2)
    resize(sdxl, tmp_path / "x.safetensors", rank=1, overwrite=True)


def test_a_pickled_lora_goes_through_the_locked_process(tmp_path: Path, sdxl: Path) -> None:
    torch = pytest.importorskip("torch")
    old = tmp_path / "old.pt"
    torch.save({key: torch.from_numpy(array) for key, array in load_file(sdxl).items()}, old)
    with pytest.raises(AdapterError, match="pickle"):
        resize(old, tmp_path / "x.safetensors", rank=2)
    convert(old, tmp_path / "new.safetensors", family="sdxl")
    assert furthest(deltas_of(sdxl, "sdxl"), deltas_of(tmp_path / "new.safetensors", "sdxl")) < 1e-6
    assert describe(old).modules == len(SDXL)


def test_stated_hashes_are_those_other_programs_compute(tmp_path: Path, sdxl: Path) -> None:
    out = tmp_path / "out.safetensors"
    made = resize(sdxl, out, rank=2)
    raw = out.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    with safe_open(out, framework="np") as stream:
        metadata = stream.metadata()
    assert metadata["sshs_model_hash"] == hashlib.sha256(raw[8 + length :]).hexdigest()
    assert made.sha256 == hashlib.sha256(raw).hexdigest()
    assert json.loads(metadata["lorasmith.operations"])[0]["operation"] == "resize"


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
def test_bfloat16_rounds_as_torch_does(values: list[float]) -> None:
    torch = pytest.importorskip("torch")
    array = np.array(values, dtype=np.float32)
    wanted = torch.from_numpy(array).to(torch.bfloat16)
    assert encoded(array, "BF16") == wanted.view(torch.uint16).numpy().tobytes()
    assert np.array_equal(decoded(encoded(array, "BF16"), "BF16"), wanted.float().numpy(), equal_nan=True)


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2"])
def test_eight_bit_floats_are_read_as_torch_reads_them(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    raw = bytes(range(256))
    kind = torch.float8_e4m3fn if dtype == "F8_E4M3" else torch.float8_e5m2
    wanted = torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(kind).float().numpy()
    assert np.array_equal(decoded(raw, dtype), wanted, equal_nan=True)


def test_relative_differences_are_measured() -> None:
    one = Factors(noise((8, 2), 1), noise((2, 9), 2), (8, 9))
    assert relative_difference(one, one.scaled(0.9)) == pytest.approx(0.1, rel=1e-4)
    assert open_adapter.__doc__


def _with_others(path: Path) -> dict[str, np.ndarray]:
    """A LoRA of which more than matrices is learned: a bias, a norm and an embedding."""
    save_lora(path)
    others = {
        "lora_unet_up_blocks_0_attentions_1_proj_in.diff_b": noise((64,), 5),
        "lora_unet_mid_block_attentions_0_norm.w_norm": noise((64,), 6),
        "bundle_emb.ohwx.clip_l": noise((2, 768), 7),
        "bundle_emb.ohwx.clip_g": noise((2, 1280), 8),
    }
    save_file(load_file(path) | others, path, {"lorasmith.family": "sdxl"})
    return others


def test_biases_norms_and_embeddings_are_kept_or_told_of_and_never_lost(tmp_path: Path, sdxl: Path) -> None:
    path, out = tmp_path / "more.safetensors", tmp_path / "out.safetensors"
    others = _with_others(path)
    resize(path, out, rank=2)
    assert all(np.array_equal(load_file(out)[key], array) for key, array in others.items())
    scale(path, out, 0.5, overwrite=True)
    assert np.array_equal(load_file(out)["bundle_emb.ohwx.clip_g"], others["bundle_emb.ohwx.clip_g"])
    halves = load_file(out)["lora_unet_up_blocks_0_attentions_1_proj_in.diff_b"]
    assert np.allclose(halves, 0.5 * others["lora_unet_up_blocks_0_attentions_1_proj_in.diff_b"])
    out.unlink()
    for tool in (
        lambda **k: convert(path, out, dialect="comfyui", only_for="any", **k),
        lambda **k: merge([Ingredient(sdxl), Ingredient(path)], out, **k),
        lambda **k: average([sdxl, path], out, steps=(1, 2), **k).merged,
    ):
        with pytest.raises(AdapterError, match="also holds what a plain LoRA cannot") as caught:
            tool()
        assert "--drop-others" in caught.value.hint and not out.exists()
        assert len(tool(drop_others=True).left_out) == 3
        out.unlink()
    assert not diff(sdxl, path).same_weights and set(diff(sdxl, path).beside) == set(others)
    assert diff(path, path).same_weights
    others["lora_unet_mid_block_attentions_0_norm.w_norm"][0] = np.nan
    save_file(load_file(path) | others, path, {"lorasmith.family": "sdxl"})
    found = describe(path, deep=True)
    assert found.depth is not None and found.depth.not_finite == ("lora_unet_mid_block_attentions_0_norm",)
    assert found.kind.embeddings == ("ohwx",)


def test_what_a_base_cannot_take_is_not_baked_in_silently(tmp_path: Path, flux: Path) -> None:
    base, more = tmp_path / "base.safetensors", tmp_path / "more.safetensors"
    _base_file(base, fused=False)
    bias = {"transformer.transformer_blocks.0.attn.to_q.lora_B.bias": noise((48,), 1)}
    save_file(load_file(flux) | bias, more, {"lorasmith.family": "flux"})
    with pytest.raises(AdapterError, match="not baked in"):
        bake(base, [Ingredient(more)], tmp_path / "x.safetensors", family="flux")
    made = bake(base, [Ingredient(more)], tmp_path / "x.safetensors", family="flux", allow_missing=True)
    assert made.left_out == tuple(bias)


def test_a_folded_scale_leaves_fp16_its_digits(tmp_path: Path) -> None:
    """alpha 1 of rank 128 in the up matrix alone would round its numbers to a hundredth."""
    path, out = tmp_path / "thin.safetensors", tmp_path / "out.safetensors"
    stem = "lora_unet_mid_block_attentions_0_proj_in"
    up, down = (noise((64, 128), 1, 3e-4).astype(np.float16), noise((128, 64), 2, 0.02).astype(np.float16))
    pieces = {f"{stem}.lora_up.weight": up, f"{stem}.lora_down.weight": down, f"{stem}.alpha": np.array(1, "float32")}
    save_file(pieces, path, {"lorasmith.family": "sdxl"})
    convert(path, out, dialect="peft", family="sdxl", only_for="any")
    wanted = deltas_of(path, "sdxl")["mid_block.attentions.0.proj_in"]
    got = deltas_of(out, "sdxl")["mid_block.attentions.0.proj_in"]
    assert load_file(out)["unet.mid_block.attentions.0.proj_in.lora_B.weight"].dtype == np.float16
    assert np.linalg.norm(got - wanted) < 1e-3 * np.linalg.norm(wanted)


def test_products_have_more_rank_than_their_factors_say(tmp_path: Path) -> None:
    pieces, delta = _lycoris("loha")  # 2 x 2 columns: its true rank is 4
    name = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    path, out = tmp_path / "it.safetensors", tmp_path / "out.safetensors"
    stem = f"lora_unet_{name.replace('.', '_')}"
    save_file({f"{stem}.{p}": np.asarray(a, np.float32) for p, a in pieces.items()}, path, {"lorasmith.family": "sdxl"})
    made = resize(path, out, rank=4)
    assert made.kept == pytest.approx(1) and furthest({name: delta}, deltas_of(out, "sdxl")) < 1e-4
    values = np.linalg.svd(delta, compute_uv=False)
    assert resize(path, out, rank=3, overwrite=True).kept == pytest.approx(
        float(np.sqrt((values[:3] ** 2).sum() / (values**2).sum())), rel=1e-4
    )


def test_a_file_without_matrices_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "ia3.safetensors"
    stem = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    save_file({f"{stem}.weight": noise((64,), 1), f"{stem}.on_input": np.array(False)}, path)
    with pytest.raises(AdapterError, match="no matrices"):
        resize(path, tmp_path / "x.safetensors", rank=2)
    for tool in (
        lambda: convert(path, tmp_path / "x.safetensors", family="sdxl", drop_others=True),
        lambda: merge([Ingredient(path)], tmp_path / "x.safetensors", family="sdxl", drop_others=True),
    ):
        with pytest.raises(AdapterError):
            tool()
    assert left(tmp_path) == {"ia3.safetensors"}


def _layer_of(stem: str, rows: int, columns: int, *, ends: str = "down up") -> dict[str, np.ndarray]:
    down, up = ends.split()
    return {f"{stem}.lora_{down}.weight": noise((4, columns), 1), f"{stem}.lora_{up}.weight": noise((rows, 4), 2)}


_STEM = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        (_layer_of("lora_unet_wobble_3", 64, 64), "none of sdxl"),
        (_layer_of(_STEM, 640, 2048) | _layer_of("transformer.single_transformer_blocks.1.attn.to_q", 64, 64, ends="A B"), "none of sdxl"),
        (_layer_of(_STEM, 640, 2048) | {f"{_STEM}.alpha": np.array([1, 2], np.float32)}, "alpha"),
        (_layer_of(_STEM, 640, 2048) | {f"{_STEM}.alpha": np.zeros(0, np.float32)}, "alpha"),
        ({f"{_STEM}.lora_down.weight": noise((4, 2048), 1)}, "lacks pieces"),
        ({f"{_STEM}.lora_down.weight": noise((4,), 1), f"{_STEM}.lora_up.weight": noise((640,), 1)}, "lacks pieces"),
        ({f"{_STEM}.lora_down.weight": noise((0, 2048), 1), f"{_STEM}.lora_up.weight": noise((640, 0), 1)}, "fit each other"),
        ({f"{_STEM}.hada_w1_a": noise((640, 4), 1), f"{_STEM}.hada_w1_b": noise((4, 96), 1), f"{_STEM}.hada_w2_a": noise((64, 4), 1), f"{_STEM}.hada_w2_b": noise((4, 20), 1)}, "fit each other"),
        ({f"{_STEM}.lora_mid.weight": noise((3, 3, 3, 3), 1), f"{_STEM}.lora_down.weight": noise((4, 48, 1, 1), 1), f"{_STEM}.lora_up.weight": noise((32, 4, 1, 1), 1)}, "fit each other"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_themselves_or_the_family_are_one_sentence(
    tmp_path: Path, sdxl: Path, pieces: dict[str, np.ndarray], words: str
) -> None:
    path, out = tmp_path / "it.safetensors", tmp_path / "x.safetensors"
    save_file(pieces, path)
    for tool in (
        lambda: convert(path, out, dialect="peft", family="sdxl", only_for="any"),
        lambda: merge([Ingredient(path), Ingredient(sdxl)], out, family="sdxl", rank=2),
    ):
        with pytest.raises(AdapterError, match=words) as caught:
            tool()
        assert "\n" not in caught.value.message and caught.value.hint
    assert not out.exists()


def test_a_file_and_its_opposite_cancel_at_equal_weights_too(tmp_path: Path, sdxl: Path) -> None:
    against = scale(sdxl, tmp_path / "against.safetensors", -1.0).out
    for rank in (None, 2):
        with pytest.raises(AdapterError, match="cancel"):
            merge([Ingredient(sdxl), Ingredient(against)], tmp_path / "x.safetensors", rank=rank)
    assert not (tmp_path / "x.safetensors").exists()
    assert merge([Ingredient(sdxl, 0.9), Ingredient(against)], tmp_path / "x.safetensors").layers == len(SDXL)
