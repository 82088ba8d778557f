"""OFT and BOFT as plain LoRAs, beside what peft itself makes of the same parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lorasmith.adapters.opened import open_adapter
from lorasmith.adapters.tools.converting import convert
from lorasmith.errors import AdapterError

NAME = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
ROWS, COLUMNS = 48, 64


def weight() -> np.ndarray:
    return np.random.default_rng(5).standard_normal((ROWS, COLUMNS)).astype(np.float32)


def by_peft(config: Any) -> tuple[dict[str, torch.Tensor], np.ndarray]:
    """The tensors peft keeps for one layer, random, and the weight after its own merge."""
    from peft import inject_adapter_in_model
    from peft.utils import get_peft_model_state_dict

    torch.manual_seed(0)
    model = torch.nn.Sequential()
    model.add_module("layer", torch.nn.Linear(COLUMNS, ROWS, bias=False))
    model.layer.weight.data = torch.from_numpy(weight())
    inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        if "oft_" in name or "boft_" in name:
            parameter.data = 0.1 * torch.randn_like(parameter) + (1 if "boft_s" in name else 0)
    kept = {k.removeprefix("layer."): v.clone() for k, v in get_peft_model_state_dict(model).items()}
    model.layer.merge()
    return kept, model.layer.get_base_layer().weight.detach().numpy()


def change(path: Path) -> np.ndarray:
    adapter = open_adapter(path, family="sdxl")
    (layer,) = adapter.layers.values()
    return adapter.layer_factors(layer).product()


def written(folder: Path, pieces: dict[str, torch.Tensor], settings: dict[str, Any] | None) -> Path:
    path = folder / "turned.safetensors"
    save_file({f"unet.{NAME}.{name}": tensor.contiguous() for name, tensor in pieces.items()}, path)
    if settings is not None:
        (folder / "adapter_config.json").write_text(json.dumps(settings))
    return path


@pytest.mark.parametrize(
    "settings",
    [
        {"use_cayley_neumann": True, "num_cayley_neumann_terms": 5},
        {"use_cayley_neumann": True, "num_cayley_neumann_terms": 3},
        {"use_cayley_neumann": False},
        {"use_cayley_neumann": False, "block_share": True},
    ],
)
def test_oft_of_peft_does_as_a_lora_what_its_merge_does(tmp_path: Path, settings: dict[str, Any]) -> None:
    from peft import OFTConfig

    pieces, after = by_peft(OFTConfig(r=0, oft_block_size=16, target_modules=["layer"], **settings))
    path, out = written(tmp_path, pieces, settings), tmp_path / "out.safetensors"
    made = convert(path, out, family="sdxl", dialect="kohya", rank=ROWS, base=lambda part, layer: weight())
    assert np.abs(change(out) - (after - weight())).max() < 1e-5
    assert made.exact and made.largest_error < 1e-5
    thin = tmp_path / "thin.safetensors"
    made = convert(path, thin, family="sdxl", dialect="kohya", rank=8, base=lambda part, layer: weight())
    told = np.linalg.norm(change(thin) - change(out)) / np.linalg.norm(change(out))
    assert not made.exact and made.largest_error == pytest.approx(told, rel=1e-3)


def test_oft_of_peft_without_its_settings_is_refused(tmp_path: Path) -> None:
    """Its two ways of turning go opposite ways; a guess would undo what was learned."""
    from peft import OFTConfig

    pieces, _ = by_peft(OFTConfig(r=0, oft_block_size=16, target_modules=["layer"]))
    path = written(tmp_path, pieces, None)
    with pytest.raises(AdapterError, match=r"adapter_config.json says how it turns"):
        convert(path, tmp_path / "out.safetensors", family="sdxl", base=lambda part, layer: weight())
    (tmp_path / "adapter_config.json").write_text("[")
    with pytest.raises(AdapterError, match=r"adapter_config.json says how it turns"):
        convert(path, tmp_path / "out.safetensors", family="sdxl", base=lambda part, layer: weight())


def test_boft_of_peft_does_as_a_lora_what_its_merge_does(tmp_path: Path) -> None:
    from peft import BOFTConfig

    config = BOFTConfig(boft_block_size=8, boft_n_butterfly_factor=1, target_modules=["layer"])
    pieces, after = by_peft(config)
    assert {name.partition(".")[0] for name in pieces} == {"boft_R", "boft_s"}
    out = tmp_path / "out.safetensors"
    path = written(tmp_path, pieces, None)
    convert(path, out, family="sdxl", dialect="kohya", rank=ROWS, base=lambda part, layer: weight())
    assert np.abs(change(out) - (after - weight())).max() < 1e-5


def test_a_butterfly_of_two_levels_is_what_pefts_matrices_say(tmp_path: Path) -> None:
    """peft has several levels on a card only; its permutations and rotations are asked for, the rest is written out."""
    from peft import BOFTConfig, inject_adapter_in_model

    model = torch.nn.Sequential()
    model.add_module("layer", torch.nn.Linear(COLUMNS, ROWS, bias=False))
    inject_adapter_in_model(BOFTConfig(boft_block_size=8, boft_n_butterfly_factor=2, target_modules=["layer"]), model)
    layer = model.layer
    raw = 0.2 * torch.randn(2, COLUMNS // 8, 8, 8, generator=torch.Generator().manual_seed(1))
    turns = layer.cayley_batch(raw.view(-1, 8, 8)).view_as(raw)
    whole = torch.eye(COLUMNS)
    for level, blocks in enumerate(turns):
        shuffle = layer.perm2mat(layer.block_butterfly_perm(COLUMNS, COLUMNS // 8 // 2**level, 4, 1))
        whole = shuffle @ torch.block_diag(*blocks) @ shuffle.T @ whole
    after = (whole @ torch.from_numpy(weight()).T).T.numpy()
    path, out = written(tmp_path, {"boft_R": raw}, None), tmp_path / "out.safetensors"
    convert(path, out, family="sdxl", dialect="kohya", rank=ROWS, base=lambda part, layer: weight())
    assert np.abs(change(out) - (after - weight())).max() < 1e-5


def test_a_butterfly_of_lycoris_turns_rows_and_scales_them(tmp_path: Path) -> None:
    side, levels = 8, 2
    raw = 0.2 * torch.randn(levels, ROWS // side, side, side, generator=torch.Generator().manual_seed(2))
    scale = torch.linspace(0.5, 1.5, ROWS)[:, None]
    skew = raw - raw.mT
    turns = (torch.eye(side) + skew) @ torch.linalg.inv(torch.eye(side) - skew)
    after = torch.from_numpy(weight())
    for level in range(levels):
        half = 2**level * side // 2
        group = after.reshape(-1, 2, half, COLUMNS).transpose(1, 2).reshape(-1, side, COLUMNS)
        after = torch.einsum("bij,bjc->bic", turns[level], group).reshape(-1, half, 2, COLUMNS)
        after = after.transpose(1, 2).reshape(ROWS, COLUMNS)
    wanted = (after * scale).numpy() - weight()
    path, out = written(tmp_path, {"oft_blocks": raw, "rescale": scale}, None), tmp_path / "out.safetensors"
    convert(path, out, family="sdxl", dialect="kohya", rank=ROWS, base=lambda part, layer: weight())
    assert np.abs(change(out) - wanted).max() < 1e-5


def test_blocks_that_do_not_fit_the_base_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, {"oft_blocks": torch.zeros(2, 5, 8, 8)}, None)
    with pytest.raises(AdapterError, match="turns 40 rows, the base has 48"):
        convert(path, tmp_path / "out.safetensors", family="sdxl", base=lambda part, layer: weight())
    assert not (tmp_path / "out.safetensors").exists()
