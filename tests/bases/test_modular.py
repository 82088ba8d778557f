"""Folders of modular pipelines: their index names parts as any other, and places that mean nothing here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lorasmith.bases import read_header, recognise
from lorasmith.bases.reading import index_of
from lorasmith.bases.scanning import _inside
from lorasmith.errors import BaseError


def write(folder: Path, elsewhere: str) -> Path:
    """A folder whose index says that its parts come from elsewhere."""
    parts = {
        "transformer": ("diffusers", "CosmosTransformer3DModel"),
        "text_conditioner": ("diffusers", "AnimaTextConditioner"),
        "t5_tokenizer": ("transformers", "T5Tokenizer"),
        "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler"),
    }
    index: dict[str, object] = {"_class_name": "AnimaModularPipeline", "_blocks_class_name": "AnimaAutoBlocks"}
    for name, (library, kind) in parts.items():
        (folder / name).mkdir(parents=True)
        place = {"pretrained_model_name_or_path": elsewhere, "subfolder": name, "revision": None, "variant": None}
        index[name] = [library, kind, {**place, "type_hint": [library, kind]}]
    for name in ("transformer", "text_conditioner"):
        save_file({"weight": torch.zeros(2, 2)}, folder / name / "diffusion_pytorch_model.safetensors")
        (folder / name / "config.json").write_text("{}")
    (folder / "t5_tokenizer" / "tokenizer.json").write_text("{}")
    (folder / "scheduler" / "scheduler_config.json").write_text('{"shift": 3.0}')
    (folder / "modular_model_index.json").write_text(json.dumps(index))
    return folder


def test_its_parts_are_those_that_lie_in_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "base", "/somewhere/else")
    header = read_header(folder)
    assert set(header.shapes) == {"transformer/weight", "text_conditioner/weight"}
    assert header.configs["model_index"]["transformer"] == ["diffusers", "CosmosTransformer3DModel"]
    assert "somewhere" not in json.dumps(header.configs)
    assert header.configs["scheduler"] == {"shift": 3.0}
    found = recognise(header)
    assert (found.family, found.title, found.questions) == ("anima", "Anima", ())
    assert list(_inside(tmp_path)) == [folder]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "base", "owner/name")
    (folder / "t5_tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(BaseError, match="'t5_tokenizer' of base has no vocabulary"):
        read_header(folder)
    (folder / "t5_tokenizer" / "tokenizer.json").write_text("{}")
    (folder / "scheduler" / "scheduler_config.json").unlink()
    (folder / "scheduler").rmdir()
    with pytest.raises(BaseError, match="names 'scheduler', but that folder is missing"):
        read_header(folder)


def test_the_plain_index_goes_first(tmp_path: Path) -> None:
    folder = write(tmp_path / "base", "owner/name")
    (folder / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    assert index_of(folder) == "model_index.json"
    assert index_of(tmp_path) == ""
