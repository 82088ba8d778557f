"""A base that was distilled to few steps is a bad one to train on: a run on it says so before it starts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lorasmith.bases.detection import registered_families
from lorasmith.bases.header import Header
from lorasmith.bases.recognition import ANSWER, recognise
from lorasmith.recipe import prepare
from tests.bases.corpus import build, in_original_names
from tests.bases.shipped import described
from tests.training.home import make_dataset

Tiny = Callable[[str], Path]


_STEPS = json.dumps({"allowed_inference_steps": [1.0, 0.99, 0.98, 0.97, 0.96, 0.9, 0.7, 0.4]})


def said_of(base: Path, home: Path) -> str:
    recipe = prepare(make_dataset(home), {"base": str(base)}, home=home)
    return next((f"{n.message} {n.hint}" for n in recipe.notices if "distilled" in n.message), "")


@pytest.mark.parametrize(
    ("name", "folder", "index", "because"),
    [
        ("flux schnell", "mine", {}, "it has no guidance built in, as schnell"),
        ("flux", "mine", {}, ""),
        ("krea2", "mine", {"is_distilled": True}, "model_index.json says is_distilled: true"),
        ("krea2", "turbo", {"is_distilled": False}, ""),
    ],
)
def test_a_run_on_a_distilled_base_says_so(
    tiny: Tiny, tmp_path: Path, name: str, folder: str, index: dict[str, Any], because: str
) -> None:
    base = shutil.copytree(tiny(name), tmp_path / folder)
    path = base / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | index))
    said = said_of(base, tmp_path)
    assert (because in said) if because else not said
    if because:
        assert "Train on" in said and "lora bake" in said


@pytest.fixture(scope="module")
def shapes_of() -> Callable[[str], dict[str, tuple[int, ...]]]:
    """Original names and shapes of a published model, by family and variant."""
    models = {f"{model.family} {model.variant}": model for model in described()}
    return cache(lambda name: in_original_names(models[name], build(models[name])))


@pytest.mark.parametrize(
    ("model", "stem", "metadata", "because"),
    [
        ("z_image base_or_turbo", "Z-Image-Turbo_bf16", {}, "its file name holds 'turbo'"),
        ("z_image base_or_turbo", "z_image_bf16", {}, ""),
        ("z_image base_or_turbo", "z_image", {"modelspec.architecture": "z-image-turbo"}, "its metadata says 'turbo'"),
        ("z_image base_or_turbo", "z_image", {f"{ANSWER}step_distilled": "distilled"}, "its owner says so"),
        ("z_image base_or_turbo", "z_image_turbo", {f"{ANSWER}step_distilled": "base"}, ""),
        ("sd3 3.5_large", "sd3.5_large_turbo", {}, "its file name holds 'turbo'"),
        ("flux2 klein_4b", "flux-2-klein-base-4b", {}, ""),
        ("ltx 13b", "ltxv-13b-0.9.8-distilled", {}, "its file name holds 'distilled'"),
        ("ltx 2b", "mine", {"config": _STEPS}, "its configuration allows 8 steps only"),
        ("ltx 2b", "mine", {"config": _STEPS, f"{ANSWER}step_distilled": "base"}, ""),
        ("ltx 2b", "mine", {"config": '{"allowed_inference_steps": null}'}, ""),
        ("ltx 2b", "mine", {"config": "[" * 100_000}, ""),
        ("ltx 2b", "mine", {"config": '["allowed_inference_steps"]'}, ""),
    ],
)
def test_what_tells_a_distilled_file(
    shapes_of: Callable[[str], dict[str, tuple[int, ...]]],
    model: str,
    stem: str,
    metadata: dict[str, str],
    because: str,
) -> None:
    shapes = shapes_of(model)
    header = Header(Path(f"{stem}.safetensors"), "single_file", shapes, dict.fromkeys(shapes, "BF16"), metadata)
    assert recognise(header).distilled == because


def test_what_is_distilled_is_named_so_and_never_the_only_base() -> None:
    named = {base.name for family in registered_families().values() for base in family.pretrained if base.distilled}
    assert {"FLUX.1 schnell", "FLUX.2 klein 4B", "Z-Image Turbo", "Krea 2 Turbo", "LTX-Video 13B distilled"} <= named
    assert all(any(not base.distilled for base in family.pretrained) for family in registered_families().values())
