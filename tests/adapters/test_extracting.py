"""What differs between two checkpoints beside the matrices: all of it told, and kept where programs look for it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lorasmith.adapters.tools.extracting import Extracted, extract
from lorasmith.adapters.tools.merging import Ingredient, merge
from lorasmith.errors import AdapterError
from lorasmith.sandbox import sandbox_weights
from tests.adapters.files import Arrays, noise

BEFORE = "model.diffusion_model."
NORM = "double_blocks.0.img_attn.norm.key_norm.scale"
FUSED = "double_blocks.0.img_attn.qkv"


def flux(path: Path) -> Arrays:
    """A FLUX-shaped base in the released layout, with what is no matrix."""
    made = {
        f"{FUSED}.weight": noise((144, 48), 1, 1.0),
        f"{FUSED}.bias": noise((144,), 2, 1.0),
        "single_blocks.1.linear2.weight": noise((48, 240), 3, 1.0),
        "single_blocks.1.linear2.bias": noise((48,), 4, 1.0),
        "final_layer.adaLN_modulation.1.weight": noise((96, 48), 5, 1.0),
        "final_layer.adaLN_modulation.1.bias": noise((96,), 6, 1.0),
        "img_in.weight": noise((48, 48), 7, 1.0),
        NORM: noise((16,), 8, 1.0),
        "first_stage_model.decoder.conv_in.weight": noise((8, 4, 3, 3), 9, 1.0),
    }
    made = {key if key.startswith("first") else BEFORE + key: value for key, value in made.items()}
    save_file(made, path, {"format": "pt"})
    return made


def tuned(path: Path, before: Mapping[str, np.ndarray], changed: Mapping[str, float]) -> Arrays:
    """The same with noise on some tensors, of a share of their own size."""
    made = {key: np.array(value) for key, value in before.items()}
    for number, (named, share) in enumerate(changed.items()):
        key = named if named in made else BEFORE + named
        delta = noise(made[key].shape, 100 + number, 1.0)
        if delta.ndim > 1:  # of rank 2, so that the matrices are no part of the error
            flat = delta.reshape(delta.shape[0], -1)
            delta = (flat[:, :2] @ flat[:2]).reshape(delta.shape)
        made[key] = made[key] + (delta * share * np.linalg.norm(made[key]) / np.linalg.norm(delta)).astype(np.float32)
    save_file(made, path, {"format": "pt"})
    return made


def bare(whole: Mapping[str, np.ndarray]) -> Arrays:
    """The denoiser alone, without what stands before its names."""
    return {key.removeprefix(BEFORE): value for key, value in whole.items() if key.startswith(BEFORE)}


def as_comfyui(file: Path, base: Mapping[str, np.ndarray], names: Callable[[str], str]) -> Arrays:
    """A base with a file in it, by ComfyUI's rules in words of our own: what is not looked for there stays out."""
    held, made = load_file(file), {key: np.array(value) for key, value in base.items()}
    unread = set(held)
    for key in base:
        whole, stem = names(key), names(key.removesuffix(".weight").removesuffix(".scale"))
        beside = f"{key.removesuffix('.weight')}.bias"
        pieces = {f"{stem}.w_norm": key, f"{stem}.b_norm": beside, f"{stem}.diff": key, f"{stem}.diff_b": beside}
        if not key.endswith((".weight", ".scale")):
            pieces = {f"{whole}.diff": key}
        if f"{stem}.w_norm" not in held:
            pieces.pop(f"{stem}.b_norm", None)
        for piece, target in pieces.items():
            if piece in held and target in made:
                made[target] = made[target] + held[piece].astype(np.float32)
                unread.discard(piece)
        for down, up in (("lora_A", "lora_B"), ("lora_down", "lora_up")):
            if f"{stem}.{down}.weight" in held and key.endswith(".weight"):
                below, above = held[f"{stem}.{down}.weight"], held[f"{stem}.{up}.weight"]
                alpha = float(held.get(f"{stem}.alpha", np.float32(below.shape[0])))
                delta = above.reshape(above.shape[0], -1) @ below.reshape(below.shape[0], -1)
                made[key] = made[key] + (alpha / below.shape[0] * delta).reshape(made[key].shape)
                unread -= {f"{stem}.{down}.weight", f"{stem}.{up}.weight", f"{stem}.alpha"}
    assert not unread, unread
    return made


def gap(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray], base: Mapping[str, np.ndarray]) -> float:
    """‖what differs still‖ over ‖what differed‖."""
    left = sum(float(((one[key] - other[key]) ** 2).sum()) for key in base)
    return float(np.sqrt(left / sum(float(((one[key] - base[key]) ** 2).sum()) for key in base)))


CHANGED = {
    f"{FUSED}.weight": 0.01, f"{FUSED}.bias": 0.4, "single_blocks.1.linear2.bias": 0.02, NORM: 0.05,
    "final_layer.adaLN_modulation.1.bias": 0.03,
}  # fmt: skip


@pytest.mark.parametrize(("dialect", "beginning"), [("comfyui", "diffusion_model."), ("kohya", "lora_unet_")])
def test_all_that_differs_is_told_and_kept_where_it_was_asked_for(tmp_path: Path, dialect: str, beginning: str) -> None:
    base, fine, out = (tmp_path / f"{name}.safetensors" for name in ("base", "fine", "out"))
    before = flux(base)
    after = tuned(fine, before, CHANGED | {"first_stage_model.decoder.conv_in.weight": 0.5})
    plain = extract(base, fine, out, rank=2, family="flux", dtype="fp32")
    assert plain.rest.counts == {"bias": 5, "norm": 1, "elsewhere": 1}, "a fused bias is three of diffusers' layers"
    assert plain.rest.differing[0].name == "first_stage_model.decoder.conv_in.weight"
    assert plain.rest.differing[0].relative == pytest.approx(0.5, rel=1e-4) and plain.rest.kept == 0
    assert NORM in "".join(plain.left_out) and plain.kept == pytest.approx(1, abs=1e-4)
    assert plain.whole**2 + plain.rest.share**2 == pytest.approx(1, abs=1e-4) and 0.5 < plain.rest.share < 1

    kept = extract(base, fine, out, rank=2, family="flux", dtype="fp32", dialect=dialect, keep_rest=True,
                   only_for="comfyui", overwrite=True)  # fmt: skip
    flat = dialect == "kohya"
    inside, wanted = bare(before), bare(after)
    made = as_comfyui(out, inside, lambda key: beginning + (key.replace(".", "_") if flat else key))
    assert gap(wanted, made, inside) < 1e-3
    assert kept.whole > 0.9999 and kept.rest.kept == 6
    assert kept.left_out == ("first_stage_model.decoder.conv_in.weight",)


def test_a_file_in_bf16_says_what_it_really_holds(tmp_path: Path) -> None:
    """The error that is told is the error that is measured by putting the file into the base."""
    base, fine, out = (tmp_path / f"{name}.safetensors" for name in ("base", "fine", "out"))
    before = flux(base)
    before |= {f"{BEFORE}double_blocks.0.odd_table": noise((3, 40), 11, 1.0)}
    save_file(before, base)
    after = tuned(fine, before, {f"{BEFORE}double_blocks.0.odd_table": 0.3, "single_blocks.1.linear2.weight": 0.001})
    told = extract(base, fine, out, rank=2, family="flux", dtype="fp16", dialect="comfyui", keep_rest=True,
                   only_for="comfyui")  # fmt: skip
    assert told.rest.counts == {"parameter": 1} and told.left_out == ()
    made = as_comfyui(out, bare(before), lambda key: f"diffusion_model.{key}")
    measured = gap(bare(after), made, bare(before))
    assert 1e-5 < measured < 1e-3 and np.sqrt(1 - told.whole**2) == pytest.approx(measured, rel=0.3)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Arrays], dict[str, Arrays]]:
    """A real Stable Diffusion, tiny, and the same with changes in every kind of tensor."""
    folder = tmp_path_factory.mktemp("two")
    base, fine = sandbox_weights() / "base", folder / "fine"
    shutil.copytree(base, fine)
    before, after = {}, {}
    for part in ("unet", "text_encoder"):
        (path,) = (fine / part).glob("*.safetensors")
        before[part] = {key: value.astype(np.float32) for key, value in load_file(path).items()}
        wanted = [key for key in before[part] if "norm" in key or key.endswith(("to_q.weight", "to_out.0.bias"))]
        wanted += [key for key in before[part] if "conv1.bias" in key or "token_embedding" in key]
        path.unlink()
        after[part] = tuned(path, before[part], dict.fromkeys(wanted, 0.02))
    return base, fine, before, after


def test_norms_of_a_unet_come_in_pairs_under_the_names_that_programs_map(
    tmp_path: Path, sandbox: tuple[Path, Path, dict[str, Arrays], dict[str, Arrays]]
) -> None:
    base, fine, before, after = sandbox
    out = tmp_path / "out.safetensors"
    told = extract(base, fine, out, rank=2, family="sd", dtype="fp32", keep_rest=True, only_for="comfyui")
    held = load_file(out)
    norms = [key for key in held if key.endswith(".w_norm")]
    assert norms and all(key.replace(".w_norm", ".b_norm") in held for key in norms)
    made = as_comfyui(
        out, before["unet"] | {f"te.{key}": value for key, value in before["text_encoder"].items()},
        lambda key: key.replace("te.", "lora_te_", 1).replace(".", "_") if key.startswith("te.")
        else f"lora_unet_{key.replace('.', '_')}",
    )  # fmt: skip
    assert gap(after["unet"], made, before["unet"]) < 1e-3
    lost = {one.name for one in told.rest.differing if not one.kept}
    assert lost and all(name.startswith("text_encoder.") for name in lost), "kohya has no keys for CLIP's norms"
    assert "text_encoder.embeddings.token_embedding.weight" in lost and 0.5 < told.whole < 1
    assert not any("token_embedding" in key for key in held), "a LoRA beside a table is read by nobody"
    with_text = extract(
        base, fine, out, rank=2, family="sd", dtype="fp32", keep_rest=True, only_for="any", dialect="comfyui",
        overwrite=True, dry_run=True,
    )  # fmt: skip
    assert with_text.rest.kept == len(with_text.rest.differing) and with_text.whole > 0.999
    without = extract(base, fine, out, family="sd", text_encoders=False, overwrite=True, dry_run=True)
    assert not any(one.name.startswith("text") for one in without.rest.differing)


def test_what_cannot_hold_it_is_refused(tmp_path: Path) -> None:
    base, fine, out = (tmp_path / f"{name}.safetensors" for name in ("base", "fine", "out"))
    before = flux(base)
    tuned(fine, before, {NORM: 0.1})

    def refused(match: str, **options: object) -> None:
        with pytest.raises(AdapterError, match=match):
            extract(base, fine, out, family="flux", **options)  # type: ignore[arg-type]
        assert not out.exists()

    refused("diffusers reads no differences", keep_rest=True)
    refused("diffusers reads no differences", keep_rest=True, only_for="diffusers")
    refused("peft dialect has no keys", keep_rest=True, only_for="comfyui", dialect="peft")
    refused("differ in no matrix that a LoRA stands beside, but in 1 other", rank=2)
    norms: Extracted = extract(base, fine, out, family="flux", keep_rest=True, only_for="comfyui")
    assert (
        norms.layers == 0
        and norms.dialect == "comfyui"
        and set(load_file(out)) == {f"diffusion_model.{NORM.removesuffix('.scale')}.w_norm"}
    )
    out.unlink()
    tuned(fine, before, {NORM: float("nan")})
    refused("holds NaN", rank=2)
    tuned(fine, before, {"first_stage_model.decoder.conv_in.weight": 0.1})
    refused("first_stage_model.*first", keep_rest=True, only_for="comfyui")


def test_a_norm_of_another_shape_and_one_that_is_alone_are_named(tmp_path: Path) -> None:
    base, fine, out = (tmp_path / f"{name}.safetensors" for name in ("base", "fine", "out"))
    before = flux(base)
    after = tuned(fine, before, {f"{FUSED}.weight": 0.1})
    after[BEFORE + NORM] = after[BEFORE + NORM][:8].copy()
    after[f"{BEFORE}double_blocks.0.img_attn.norm.query_norm.scale"] = noise((16,), 3)
    del after[f"{BEFORE}single_blocks.1.linear2.bias"]
    save_file(after, fine)
    found = extract(base, fine, out, rank=2, family="flux")
    assert set(found.rest.alone) == {
        f"denoiser.{NORM}", "denoiser.double_blocks.0.img_attn.norm.query_norm.scale",
        "denoiser.single_transformer_blocks.1.proj_out.bias",
    }  # fmt: skip
    assert set(found.left_out) == set(found.rest.alone) and json.dumps(list(found.left_out))


def test_other_tools_say_that_a_plain_lora_cannot_hold_it(tmp_path: Path) -> None:
    base, fine, out = (tmp_path / f"{name}.safetensors" for name in ("base", "fine", "out"))
    tuned(fine, flux(base), CHANGED)
    extract(base, fine, out, rank=2, family="flux", keep_rest=True, only_for="comfyui")
    with pytest.raises(AdapterError, match="norms, biases"):
        merge([Ingredient(out)], tmp_path / "merged.safetensors", family="flux")
