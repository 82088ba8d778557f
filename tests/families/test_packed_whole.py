"""Whole checkpoints that are packed, and UNets alone: the numbers of their parts are those that they stand for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, dequantize, quantize
from safetensors.torch import load_file, save_file
from torch import Tensor

from lorasmith.bases import open_base, parts, read_header, recognise
from lorasmith.bases import opening as opening_room
from lorasmith.bases.detection import registered_families
from lorasmith.bases.parts import PartKind
from lorasmith.errors import BaseError
from lorasmith.shelf import Shelf
from tests.families.one_file import build_wide_sdxl, write_sdxl_file

_KINDS = (
    PartKind("clip_l", "text_encoder", "CLIP-L", ("text_model.encoder.layers.1.mlp.fc1.weight",),
             ("text_model.embeddings.token_embedding.weight", 1, 768)),
    PartKind("clip_g", "text_encoder", "OpenCLIP-bigG", ("transformer.resblocks.1.mlp.c_fc.weight",),
             ("token_embedding.weight", 1, 1280)),
    PartKind("vae_4", "vae", "a VAE", ("decoder.mid.block_1.norm1.weight", "post_quant_conv.weight"),
             ("decoder.conv_in.weight", 1, 4), alike=True),
)  # fmt: skip
_UNET = "model.diffusion_model."


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small SDXL with the widths by which it is told: ``whole`` as a folder, ``one.safetensors`` with its configs."""
    root = tmp_path_factory.mktemp("sdxl")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        build_wide_sdxl(root / "words").save_pretrained(str(root / "whole"))
    write_sdxl_file(root / "whole", root / "one.safetensors")
    return root


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PARTS", _KINDS)


def packed(form: str, plain: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Matrices in that form with what stands beside them, and what all of it means."""
    made: dict[str, Tensor] = {}
    meant = dict(plain)
    for key, tensor in plain.items():
        if tensor.ndim != 2 or not key.endswith(".weight"):
            made[key] = tensor
            continue
        rows = tensor.abs().amax(dim=1, keepdim=True) / (448 if form == "fp8" else 127)
        scale = rows.clamp(min=1e-8) if form == "int8" else rows.max().clamp(min=1e-8)
        whole = tensor / scale
        made[key] = whole.to(torch.float8_e4m3fn) if form == "fp8" else whole.round().to(torch.int8)
        made[key.replace(".weight", ".weight_scale")] = scale
        meant[key] = made[key].float() * scale
    return made, meant


def weights_of(base: str, home: Path | None = None) -> dict[str, Tensor]:
    """Every tensor of every part of a base, loaded as for a run."""
    opened = open_base(base, home=home)
    family = registered_families()[opened.detection.family]
    model = family.load(opened, parts=("denoiser", "text_encoders", "vae"), dtype=torch.float32, device="cpu")
    modules: dict[str, Any] = {"unet": model.denoiser, "vae": model.vae, **model.text_encoders}
    return {f"{name}.{key}": t for name, module in modules.items() for key, t in module.state_dict().items()}


@pytest.mark.parametrize("form", ["fp8", "int8"])
def test_a_packed_checkpoint_is_all_that_it_stands_for(form: str, sdxl: Path, tmp_path: Path, told: None) -> None:
    made, meant = packed(form, load_file(sdxl / "one.safetensors"))
    for name, tensors in (("packed", made), ("meant", meant)):
        save_file({key: t.contiguous() for key, t in tensors.items()}, tmp_path / f"{name}.safetensors")
        shutil.copytree(sdxl / "one", tmp_path / name)
    found = recognise(read_header(tmp_path / "packed.safetensors"))
    assert (found.kind, found.family) == ("base", "sdxl") and found.quantisation.startswith(form)
    mine = weights_of(str(tmp_path / "packed.safetensors"))
    theirs = weights_of(str(tmp_path / "meant.safetensors"))  # which diffusers takes apart by itself
    assert mine.keys() == theirs.keys()
    for key, tensor in mine.items():
        torch.testing.assert_close(tensor, theirs[key], atol=0, rtol=0, msg=key)


def test_a_checkpoint_whose_encoder_is_none_that_is_known_is_refused(sdxl: Path, tmp_path: Path) -> None:
    """Told by the published sizes, which the small one has not: nothing is loaded that was not recognised."""
    made, _ = packed("fp8", load_file(sdxl / "one.safetensors"))
    save_file({key: t.contiguous() for key, t in made.items()}, tmp_path / "packed.safetensors")
    shutil.copytree(sdxl / "one", tmp_path / "packed")
    with pytest.raises(BaseError, match="holds no text_encoder"):
        weights_of(str(tmp_path / "packed.safetensors"))


def _gguf(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    meant = dict(tensors)
    writer = GGUFWriter(path, "sdxl")
    kind = GGMLQuantizationType.Q8_0
    for key, tensor in tensors.items():
        packs = tensor.ndim == 2 and tensor.shape[1] % 32 == 0
        data = quantize(tensor.numpy(), kind) if packs else tensor.numpy()
        writer.add_tensor(key, data, raw_dtype=kind if packs else None)
        if packs:
            meant[key] = torch.from_numpy(np.array(dequantize(data, kind)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return meant


@pytest.mark.parametrize("form", ["plain", "fp8", "gguf"])
def test_a_unet_alone_takes_the_rest_of_a_folder_that_fits(
    form: str, sdxl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unet = {k.removeprefix(_UNET): t for k, t in load_file(sdxl / "one.safetensors").items() if k.startswith(_UNET)}
    configs = shutil.copytree(sdxl / "one", tmp_path / "configs" / "sdxl")
    monkeypatch.setattr(opening_room, "CONFIGS", tmp_path / "configs")
    file, meant = tmp_path / f"unet.{'gguf' if form == 'gguf' else 'safetensors'}", unet
    if form == "gguf":
        meant = _gguf(file, unet)
    else:
        made, meant = packed("fp8", unet) if form == "fp8" else (unet, unet)
        save_file({key: t.contiguous() for key, t in made.items()}, file)
    home = tmp_path / "home"
    with pytest.raises(BaseError, match="the denoiser of SDXL alone") as refusal:
        open_base(str(file), home=home)
    assert "lorasmith bases assemble" in refusal.value.hint
    Shelf(home).add(str(sdxl / "whole"))
    mine, theirs = weights_of(str(file), home), weights_of(str(sdxl / "whole"))
    assert mine.keys() == theirs.keys() and json.loads((configs / "model_index.json").read_text())["unet"]
    places = {key: t for key, t in theirs.items() if key.startswith("unet.") and t.ndim == 2}
    close = {"atol": 0.0, "rtol": 0.0} if form == "plain" else {"atol": 0.02, "rtol": 0.07}
    for key, tensor in theirs.items():
        exact = close if key in places else {"atol": 0.0, "rtol": 0.0}
        torch.testing.assert_close(mine[key], tensor, **exact, msg=key)
    assert sorted(float(t.sum()) for t in meant.values()) == pytest.approx(
        sorted(float(t.sum()) for key, t in mine.items() if key.startswith("unet.")), rel=1e-3, abs=1e-3
    )
