"""Packed safetensors: int8, nvfp4 and mxfp8 become the numbers they stand for; what lies is refused by its header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lorasmith.bases import read_header
from lorasmith.bases.quantised import hidden, quantisation
from lorasmith.bases.tensors import WeightsFile, hadamard
from lorasmith.errors import BaseError
from lorasmith.families import unpacking
from lorasmith.families.unpacking import unpacked

_GOLDEN = Path(__file__).parents[1] / "families" / "golden" / "comfy_kitchen.safetensors"
_FORMS = ("int8", "int8_rows", "int8_turned", "nvfp4", "mxfp8")


def stated(**said: Any) -> Tensor:
    return torch.tensor(list(json.dumps(said).encode()), dtype=torch.uint8)


@pytest.mark.parametrize("name", _FORMS)
def test_every_form_becomes_the_numbers_that_comfy_kitchen_makes_of_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packed and unpacked by comfy-kitchen 0.2.31, its functions for any machine."""
    monkeypatch.setattr(unpacking, "_AT_ONCE", 300)
    found = unpacked(_GOLDEN, torch.float32)
    meant = found[f"meant.{name}"]
    exact = {"atol": 2e-6, "rtol": 1e-5} if name == "int8_turned" else {"atol": 0, "rtol": 1e-6}
    torch.testing.assert_close(found[f"{name}.weight"], meant, **exact)
    header = read_header(_GOLDEN)
    assert header.shapes[f"{name}.weight"] == tuple(meant.shape)
    assert header.dtypes[f"{name}.weight"] == name.partition("_")[0].upper()
    assert not any("scale" in key or "quant" in key for key in header.shapes)
    assert not hidden(header)


def test_one_matrix_is_read_by_rows_as_it_is_whole() -> None:
    file = WeightsFile.open(_GOLDEN)
    for key in (f"{name}.weight" for name in _FORMS):
        whole = file.rows(key)
        for first, last in ((0, 1), (1, 3), (2, 4)):
            assert np.allclose(file.rows(key, first, last), whole[first:last], atol=1e-5), key


def test_turning_is_its_own_inverse() -> None:
    for size in (4, 16, 256):
        assert np.allclose(hadamard(size) @ hadamard(size), np.eye(size), atol=1e-6)


def test_all_layers_may_stand_in_the_metadata(tmp_path: Path) -> None:
    whole = {
        key: tensor for key, tensor in load_file(_GOLDEN).items() if key.startswith("nvfp4.") and "comfy" not in key
    }
    said = {"format_version": "1.0", "layers": {"nvfp4": {"format": "nvfp4"}, "gone": {"format": "nvfp4"}}}
    save_file(whole, tmp_path / "a.safetensors", metadata={"_quantization_metadata": json.dumps(said)})
    save_file(whole, tmp_path / "b.safetensors")  # older files say nothing: the scale of the scales tells it
    for name in "ab":
        header = read_header(tmp_path / f"{name}.safetensors")
        assert quantisation(header) == "nvfp4" and header.shapes == {"nvfp4.weight": (160, 32)}
        assert torch.equal(
            unpacked(tmp_path / f"{name}.safetensors", torch.float32)["nvfp4.weight"],
            unpacked(_GOLDEN, torch.float32)["nvfp4.weight"],
        )


_EIGHT = torch.ones(4, 8).to(torch.float8_e4m3fn)
_INT = torch.ones(4, 8, dtype=torch.int8)
_BYTES = torch.ones(16, 8, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"a.weight": _EIGHT, "a.scale_weight": torch.ones(3)}, r"scales a\.weight in a way .* known here \(3,\)"),
        ({"a.weight": _EIGHT, "a.weight_scale": torch.ones(4, 2)}, "in a way that is not known here"),
        ({"a.weight": _EIGHT, "a.weight_scale": torch.ones(1, dtype=torch.int32)}, "holds I32 where F32"),
        ({"a.weight": _INT, "a.weight_scale": torch.ones(8)}, "in a way that is not known here"),
        ({"a.weight": _INT, "a.comfy_quant": stated(format="int8_tensorwise")}, r"a\.weight_scale, which is missing"),
        ({"a.weight": _INT.float(), "a.weight_scale": torch.ones(1), "a.comfy_quant": stated(format="int8_tensorwise")},
         "holds F32 where I8 is meant"),
        ({"a.weight": _INT, "a.weight_scale": torch.ones(4),
          "a.comfy_quant": stated(format="int8_tensorwise", convrot=True)}, "turns groups of 256 columns"),
        ({"a.weight": _INT, "a.weight_scale": torch.ones(4),
          "a.comfy_quant": stated(format="int8_tensorwise", convrot=True, convrot_groupsize=8)}, "turns groups of 8"),
        ({"a.weight": _INT, "a.weight_scale": torch.ones(4),
          "a.comfy_quant": stated(format="int8_tensorwise", convrot=True, convrot_groupsize="4")}, "turns groups of 4"),
        ({"a.weight": _BYTES, "a.comfy_quant": stated(format="nvfp4")}, "weight_scale, which is missing"),
        ({"a.weight": _BYTES, "a.weight_scale": _EIGHT, "a.comfy_quant": stated(format="nvfp4")},
         "weight_scale_2, which is missing"),
        ({"a.weight": _BYTES, "a.weight_scale": _EIGHT, "a.weight_scale_2": torch.ones(())}, "needs 512 numbers in"),
        ({"a.weight": _BYTES, "a.weight_scale": torch.ones(128, 4).to(torch.float8_e4m3fn),
          "a.weight_scale_2": torch.ones(2)}, "needs 1 number in"),
        ({"a.weight": _BYTES[:, :3], "a.weight_scale": _EIGHT, "a.weight_scale_2": torch.ones(())},
         "rows of 6 numbers, which nvfp4 cannot pack"),
        ({"a.weight": _BYTES[0], "a.weight_scale": _EIGHT, "a.weight_scale_2": torch.ones(())}, "has 1 axes"),
        ({"a.weight": _EIGHT, "a.comfy_quant": stated(format="mxfp8")}, "rows of 8 numbers, which mxfp8"),
        ({"a.weight": _EIGHT, "a.comfy_quant": torch.ones(2000, dtype=torch.uint8)}, "far larger than any is"),
        ({"a.weight": _EIGHT, "a.comfy_quant": torch.tensor(list(b"[1]"), dtype=torch.uint8)}, "is not readable"),
        ({"a.weight": _EIGHT, "a.comfy_quant": torch.tensor(list(b"[" * 900), dtype=torch.uint8)}, "is not readable"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_the_header(tensors: dict[str, Tensor], said: str, tmp_path: Path) -> None:
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, tmp_path / "a.safetensors")
    for read in (read_header, WeightsFile.open):
        with pytest.raises(BaseError, match=said) as refusal:
            read(tmp_path / "a.safetensors")
        assert refusal.value.hint


@pytest.mark.parametrize("metadata", ["nonsense", "[]", '{"layers": 3}', '{"layers": {"a": 3}}', "[" * 9000])
def test_metadata_that_lie_are_refused(metadata: str, tmp_path: Path) -> None:
    save_file({"a.weight": _EIGHT}, tmp_path / "a.safetensors", metadata={"_quantization_metadata": metadata})
    with pytest.raises(BaseError, match="is not readable"):
        read_header(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("tensors", "form"),
    [
        ({"a.weight": _INT, "a.comfy_quant": stated(format="convrot_w4a4")}, "convrot_w4a4"),
        ({"a.weight": _INT, "a.comfy_quant": stated()}, "something unnamed"),
        ({"a.weight": _INT}, "int8 without a scale"),
        ({"a.weight": _BYTES, "a.pre_quant_scale": torch.ones(16), "a.comfy_quant": stated(format="nvfp4")},
         "nvfp4 for AWQ"),
    ],
)  # fmt: skip
def test_a_form_that_is_not_known_is_told_and_not_read(tensors: dict[str, Tensor], form: str, tmp_path: Path) -> None:
    save_file(tensors, tmp_path / "a.safetensors")
    header = read_header(tmp_path / "a.safetensors")
    assert quantisation(header) == hidden(header) == form
    with pytest.raises(BaseError, match=f"packs a.weight as {form}"):
        unpacked(tmp_path / "a.safetensors", torch.float32)


def test_cut_short_in_the_middle_of_a_scale(tmp_path: Path) -> None:
    content = _GOLDEN.read_bytes()
    for missing in (1, 100, 4000):
        (tmp_path / "a.safetensors").write_bytes(content[:-missing])
        with pytest.raises(BaseError, match="cut short"):
            read_header(tmp_path / "a.safetensors")
