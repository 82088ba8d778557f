"""Tools that need a base take a packed one: its numbers are those that it stands for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, dequantize, quantize
from safetensors.torch import load_file, save_file
from torch import Tensor

from lorasmith.adapters.tools.baking import bake
from lorasmith.adapters.tools.extracting import extract
from lorasmith.adapters.tools.merging import Ingredient
from lorasmith.adapters.weights import open_weights
from lorasmith.bases import quantised
from lorasmith.errors import AdapterError, EnvironmentProblem
from tests.adapters.files import save_lora
from tests.adapters.test_tools import _base_file


def packed(form: str, plain: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The file, and the numbers it stands for."""
    meant = dict(plain)
    if form == "gguf":
        writer = GGUFWriter(path.with_suffix(".gguf"), "flux")
        for key, tensor in {**plain, "one.packed.weight": torch.arange(256.0).reshape(4, 64) / 100}.items():
            # the rows of this small model are too short for blocks of 32 numbers
            kind = GGMLQuantizationType.Q8_0 if tensor.shape[-1] == 64 else GGMLQuantizationType.BF16
            data = quantize(tensor.numpy(), kind) if tensor.ndim == 2 else tensor.numpy()
            writer.add_tensor(key, data, raw_dtype=kind if tensor.ndim == 2 else None)
            if tensor.ndim == 2:
                meant[key] = torch.from_numpy(np.array(dequantize(data, kind)))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return meant
    made: dict[str, Tensor] = {}
    for key, tensor in plain.items():
        if tensor.ndim != 2:
            made[key] = tensor
            continue
        most = 448 if form == "fp8" else 127
        scale = tensor.abs().amax(dim=1, keepdim=form == "int8") / most
        rows = scale.reshape(-1, 1)
        made[key] = (tensor / rows).to(torch.float8_e4m3fn) if form == "fp8" else (tensor / rows).round().to(torch.int8)
        made[key.replace(".weight", ".weight_scale")] = scale
        meant[key] = made[key].float() * rows
    save_file({key: tensor.contiguous() for key, tensor in made.items()}, path)
    return meant


@pytest.fixture
def flux(tmp_path: Path) -> Path:
    path = tmp_path / "flux.safetensors"
    save_lora(path, "flux")
    return path


@pytest.mark.parametrize("form", ["fp8", "int8", "gguf"])
def test_bake_and_extract_are_those_of_the_unpacked_base(form: str, tmp_path: Path, flux: Path) -> None:
    _base_file(tmp_path / "plain.safetensors", fused=True)
    base = tmp_path / f"packed.{'gguf' if form == 'gguf' else 'safetensors'}"
    meant = packed(form, load_file(tmp_path / "plain.safetensors"), base)
    save_file({key: tensor.contiguous() for key, tensor in meant.items()}, tmp_path / "meant.safetensors")
    bake(base, [Ingredient(flux, 0.5)], tmp_path / "baked.safetensors", family="flux")
    bake(tmp_path / "meant.safetensors", [Ingredient(flux, 0.5)], tmp_path / "same.safetensors", family="flux")
    mine, theirs = load_file(tmp_path / "baked.safetensors"), load_file(tmp_path / "same.safetensors")
    assert mine.keys() == theirs.keys() and not any(
        "scale" in key.rpartition(".")[2] for key in mine if "norm" not in key
    )
    for key, tensor in mine.items():
        plain = theirs[key].to(tensor.dtype)
        assert torch.equal(tensor, plain), key
    assert {tensor.dtype for tensor in mine.values()} == {torch.bfloat16, torch.float32}
    again = extract(base, tmp_path / "baked.safetensors", tmp_path / "again.safetensors", rank=8, family="flux")
    assert again.layers > 3 and again.kept > 0.98
    weights, whole = open_weights(base, family="flux"), open_weights(tmp_path / "meant.safetensors", family="flux")
    assert set(weights) == set(whole)
    for name in whole:
        one, other = weights(*name), whole(*name)
        assert one is not None and other is not None
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_what_cannot_be_unpacked_is_refused_in_one_sentence(
    tmp_path: Path, flux: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _base_file(tmp_path / "plain.safetensors", fused=True)
    plain = load_file(tmp_path / "plain.safetensors")
    key = "double_blocks.0.img_mlp.0.weight"
    save_file({**plain, key: plain[key].to(torch.int8)}, tmp_path / "odd.safetensors")
    with pytest.raises(AdapterError, match=r"packed.*int8 without a scale") as refusal:
        bake(tmp_path / "odd.safetensors", [Ingredient(flux, 0.5)], tmp_path / "out.safetensors", family="flux")
    assert "fp8, int8 or GGUF" in refusal.value.hint and not (tmp_path / "out.safetensors").exists()
    packed("gguf", plain, tmp_path / "packed.gguf")
    monkeypatch.setattr(quantised, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match="needs the package gguf"):
        bake(tmp_path / "packed.gguf", [Ingredient(flux, 0.5)], tmp_path / "out.safetensors", family="flux")
