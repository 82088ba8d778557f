"""What a merge is foreseen to be is what it then is."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from lorasmith.adapters.tools.comparing import interfere
from lorasmith.adapters.tools.foreseeing import foresee, products
from lorasmith.adapters.tools.merging import Ingredient, merge
from lorasmith.errors import AdapterError
from tests.adapters.files import deltas_of, save_lora


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("foresee")
    for name, seed in (("cat", 1), ("dog", 2)):
        save_lora(folder / f"{name}.safetensors", "sdxl", seed=seed)
    return folder / "cat.safetensors", folder / "dog.safetensors"


def norm_of(path: Path) -> float:
    return math.sqrt(sum(float((delta**2).sum()) for delta in deltas_of(path, "sdxl").values()))


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, -0.3), (1.2, 0.0)])
def test_the_norm_is_that_of_the_file_that_is_made(
    files: tuple[Path, Path], tmp_path: Path, weights: tuple[float, float]
) -> None:
    found = foresee(products(files), weights)
    parts = [Ingredient(path, weight) for path, weight in zip(files, weights, strict=True)]
    merge(parts, tmp_path / "sum.safetensors", dtype="fp32")
    assert found.norm == pytest.approx(norm_of(tmp_path / "sum.safetensors"), rel=1e-5)
    alone = [abs(weight) * norm_of(path) for path, weight in zip(files, weights, strict=True)]
    assert [share.norm for share in found.shares] == pytest.approx(alone, rel=1e-5)
    assert found.unrelated == pytest.approx(math.hypot(*alone), rel=1e-5)
    assert math.sqrt(sum(block.norm**2 for block in found.blocks)) == pytest.approx(found.norm, rel=1e-5)


def test_what_works_against_another_is_named(files: tuple[Path, Path]) -> None:
    cat = files[0]
    twice = products([cat, cat])
    same = foresee(twice, (1, 1))
    assert same.norm == pytest.approx(2 * same.shares[0].norm) and same.shares[0].effect == pytest.approx(2)
    assert "push the same way" in same.verdict and same.pairs[0].cosine == pytest.approx(1)
    assert same.weights == (pytest.approx(0.71), pytest.approx(0.71))  # 1/√2, as two unrelated ones would be
    assert "cancel" in foresee(twice, (1, -1)).verdict
    most = foresee(twice, (1, -0.8))
    assert most.shares[0].effect == pytest.approx(0.2) and "Less than half of cat" in most.verdict
    assert "opposite of cat" in foresee(twice, (0.5, -0.8)).verdict
    assert "zero" in foresee(twice, (0, 0)).verdict


def test_its_suggestion_is_that_of_the_comparison(files: tuple[Path, Path]) -> None:
    found, compared = foresee(products(files), (1, 1)), interfere(*files)
    assert found.weights == compared.weights and found.pairs[0].cosine == pytest.approx(compared.cosine, abs=1e-9)


def test_blocks_have_weights_of_their_own(files: tuple[Path, Path], tmp_path: Path) -> None:
    measured = products(files)
    block = next(iter(foresee(measured, (1, 1)).blocks)).block
    found = foresee(measured, (1, 1), [{f"{block}*": 0.0}, {}])
    merge([Ingredient(files[0], 1, {f"{block}*": 0.0}), Ingredient(files[1])], tmp_path / "m.safetensors", dtype="fp32")
    assert found.norm == pytest.approx(norm_of(tmp_path / "m.safetensors"), rel=1e-5)
    assert found.shares[0].layers < found.shares[1].layers


def test_how_much_a_lower_rank_keeps(files: tuple[Path, Path], tmp_path: Path) -> None:
    parts = [Ingredient(path) for path in files]
    made = merge(parts, tmp_path / "low.safetensors", rank=3, dtype="fp32")
    whole = merge(parts, tmp_path / "sum.safetensors", dtype="fp32")
    low, full = deltas_of(tmp_path / "low.safetensors", "sdxl"), deltas_of(tmp_path / "sum.safetensors", "sdxl")
    assert made.kept == pytest.approx(
        norm_of(tmp_path / "low.safetensors") / norm_of(tmp_path / "sum.safetensors"), rel=1e-4
    )
    assert (whole.kept, whole.strength) == (1.0, 1.0) and made.strength == pytest.approx(made.kept, rel=1e-4)
    thin = merge(parts, tmp_path / "ties.safetensors", method="ties", rank=8, density=0.4, dtype="fp32")
    ties = deltas_of(tmp_path / "ties.safetensors", "sdxl")
    dot = sum(float((ties[name] * full[name]).sum()) for name in full)
    assert thin.kept == pytest.approx(
        dot / norm_of(tmp_path / "ties.safetensors") / norm_of(tmp_path / "sum.safetensors"), rel=1e-3
    )
    assert set(low) == set(full)


def test_what_cannot_be_added_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    save_lora(tmp_path / "bird.safetensors", "flux")
    with pytest.raises(AdapterError, match="LoRA of"):
        products([files[0], tmp_path / "bird.safetensors"])
    assert np.isfinite(foresee(products([files[0]]), (1,)).norm)
