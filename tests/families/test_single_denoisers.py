"""A file that holds a transformer and nothing else: its shipped configs, and the folder its other parts come from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorasmith.bases import open_base, read_header, recognise
from lorasmith.bases import opening as opening_room
from lorasmith.bases.detection import registered_families
from lorasmith.bases.opening import CONFIGS
from lorasmith.bases.registry import BaseRegistry
from lorasmith.errors import BaseError
from tests.bases.corpus import Model, build, in_original_names
from tests.bases.shipped import described, files
from tests.bases.single_files import original_tensors, write_empty
from tests.families.steps import encoded, load, noise_of
from tests.families.tiny import RECORDS

MODELS = {f"{model.family} {model.variant}": model for model in described()}


@pytest.mark.parametrize("name", MODELS)
def test_the_shipped_configs_are_those_of_the_published_model(name: str) -> None:
    for path, text in files(MODELS[name]).items():
        assert (CONFIGS / path).read_text() == text, "run `python -m tests.bases.shipped`"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def registered(home: Path, folder: Path, family: str, **changes: Any) -> Path:
    """A folder base of this family with configs alone, as far as opening reads it."""
    header = read_header(folder)
    BaseRegistry(home).add(header, recognise(header), **changes)
    return folder


def full_folder(model: Model, folder: Path) -> Path:
    """A folder base of the published size: whole configs, headers of weights, no weights."""
    part = registered_families()[model.family].denoiser_part
    for path, text in files(model).items():
        target = folder / Path(path).relative_to(f"{model.family}/{model.variant}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    write_empty(folder / part / "diffusion_pytorch_model.safetensors", build(model))
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_a_published_file_in_its_original_names_finds_configs_and_companion(
    name: str, tmp_path: Path, home: Path
) -> None:
    model = MODELS[name]
    folder = registered(home, full_folder(model, tmp_path / "whole"), model.family)
    shapes = {f"model.diffusion_model.{key}": shape for key, shape in in_original_names(model, build(model)).items()}
    single = write_empty(tmp_path / "only.safetensors", shapes)
    base = open_base(str(single), home=home)
    assert (base.detection.family, base.detection.variant) == (model.family, model.variant)
    assert base.config_folder == folder.resolve() and base.denoiser_configs == CONFIGS / model.family / model.variant
    assert any("text encoders and VAE are those of whole" in said for said in base.detection.evidence)
    assert base.header.configs["model_index"]["_class_name"] == model.pipeline
    with pytest.raises(BaseError, match=r"the denoiser of .* alone") as refusal:
        open_base(str(single), home=tmp_path / "empty home")
    published = registered_families()[model.family].pretrained[0].repository
    assert f"lorasmith bases add {published}" in refusal.value.hint


def test_a_folder_with_other_text_encoders_is_named_and_not_taken(tmp_path: Path, home: Path) -> None:
    registered(home, full_folder(MODELS["flux2 klein_9b"], tmp_path / "nine"), "flux2")
    model = MODELS["flux2 klein_4b"]
    single = write_empty(tmp_path / "four.safetensors", in_original_names(model, build(model)))
    with pytest.raises(BaseError, match="nine has others"):
        open_base(str(single), home=home)


def test_the_schedule_is_the_files_own_not_the_companions(tmp_path: Path, home: Path) -> None:
    registered(home, full_folder(MODELS["flux dev_or_kontext"], tmp_path / "dev"), "flux")
    model = MODELS["flux schnell"]
    single = write_empty(tmp_path / "schnell.safetensors", in_original_names(model, build(model)))
    base = open_base(str(single), home=home)
    assert base.header.configs["scheduler"]["use_dynamic_shifting"] is False
    assert base.header.configs["transformer"]["guidance_embeds"] is False


# Others are told from original names by widths that a tiny model lacks, or diffusers' converters have them inside.
_ORIGINAL = ("sd3", "qwen_image", "wan", "krea2")


@pytest.mark.parametrize(
    ("family", "dtype"),
    [*((name, "F32") for name in (*_ORIGINAL, "flux", "lumina2")), ("sd3", "F8"), ("sd3", "F8 scaled")],
)
def test_a_tiny_file_alone_is_the_same_denoiser_as_its_folder(
    family: str, dtype: str, tiny: Callable[[str], Path], tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything but the denoiser from a registered folder whose own denoiser is another one."""
    record = RECORDS[family]
    folder, part = shutil.copytree(tiny(family), tmp_path / "folder"), registered_families()[family].denoiser_part
    weights = next((folder / part).glob("*.safetensors"))
    state = load_file(weights)
    single = tmp_path / "one.safetensors"
    rules = next(model.rules for model in MODELS.values() if model.family == family)
    named = original_tensors(rules, state) if family in _ORIGINAL else state
    if dtype != "F32":
        named = _in_fp8(named, scaled=dtype == "F8 scaled")
    save_file({f"model.diffusion_model.{key}" if family in _ORIGINAL else key: t for key, t in named.items()}, single)
    save_file({key: torch.zeros_like(tensor) for key, tensor in state.items()}, weights)
    registered(home, folder, family)
    base = open_base(str(tiny(family)))
    shipped = tmp_path / "configs" / family / _variant(single)
    shipped.mkdir(parents=True)
    shutil.copytree(folder / part, shipped / part, ignore=shutil.ignore_patterns("*.safetensors"))
    index = {"_class_name": record.pipeline, part: base.header.configs["model_index"][part]}
    (shipped / "model_index.json").write_text(json.dumps(index))
    monkeypatch.setattr(opening_room, "CONFIGS", tmp_path / "configs")
    own = open_base(str(single), home=home)
    assert own.denoiser_configs == shipped
    loader = registered_families()[family]
    alone = loader.load(own, parts=("denoiser", "text_encoders", "vae"), dtype=torch.float32, device="cpu")
    _, _, whole = load(tiny(family))
    mine, theirs = alone.denoiser.state_dict(), whole.denoiser.state_dict()
    assert mine.keys() == theirs.keys()
    for key, tensor in mine.items():
        torch.testing.assert_close(tensor, theirs[key], atol=0.1 if dtype != "F32" else 1e-6, rtol=0.07)
    noisy, time = noise_of(record, loader, whole, 5), torch.tensor([0.5])
    with torch.no_grad():
        one = loader.denoise(alone, noisy, time, encoded(loader, alone, ["zib, a red star"], 64, 2.5))
    assert one.isfinite().all() and bool(one.any())


def _variant(file: Path) -> str:
    return recognise(read_header(file)).variant


def _in_fp8(tensors: dict[str, torch.Tensor], *, scaled: bool) -> dict[str, torch.Tensor]:
    """Matrices in fp8, as some programs write them with a scale of each beside it."""
    made: dict[str, torch.Tensor] = {"scaled_fp8": torch.zeros(2).to(torch.float8_e4m3fn)} if scaled else {}
    for key, tensor in tensors.items():
        packs = tensor.ndim == 2 and key.endswith(".weight")
        scale = tensor.abs().max() / 448 if scaled and packs else torch.tensor(1.0)
        made[key] = (tensor / scale).to(torch.float8_e4m3fn) if packs else tensor
        if scaled and packs:
            made[key.replace(".weight", ".scale_weight")] = scale
    return made


def test_what_packs_otherwise_or_lacks_tensors_is_refused(tmp_path: Path) -> None:
    from lorasmith.families.one_denoiser import refuse_holes, tensors_of

    said = torch.tensor(list(b'{"format": "convrot_w4a4"}'), dtype=torch.uint8)
    weight = torch.ones(4, 4).to(torch.float8_e4m3fn)
    save_file({"a.weight": weight, "a.comfy_quant": said}, tmp_path / "packed.safetensors")
    with pytest.raises(BaseError, match=r"packs a\.weight as convrot_w4a4"):
        tensors_of(tmp_path / "packed.safetensors", torch.float32)
    save_file({"a.weight": weight, "a.scale_weight": torch.ones(3)}, tmp_path / "odd.safetensors")
    with pytest.raises(BaseError, match="in a way that is not known here"):
        tensors_of(tmp_path / "odd.safetensors", torch.float32)
    save_file({"a.weight": weight, "a.scale_weight": torch.arange(1.0, 5.0)}, tmp_path / "rows.safetensors")
    assert tensors_of(tmp_path / "rows.safetensors", torch.float32)["a.weight"][:, 0].tolist() == [1, 2, 3, 4]
    with torch.device("meta"):
        empty = torch.nn.Linear(2, 2)
    with pytest.raises(BaseError, match="lacks 2 tensors of Linear, weight first"):
        refuse_holes(tmp_path / "x.safetensors", empty, "Linear")
