"""What a file says about itself: right for others' eyes, and nothing that is nobody's business."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import save_file

from lorasmith.adapters.file import write_adapter
from lorasmith.adapters.metadata import TrainingFacts, describe, tag_frequency
from lorasmith.adapters.tools.describing import Description
from lorasmith.adapters.tools.describing import describe as described
from lorasmith.config import TrainConfig, resolve
from lorasmith.datasets.manifest import DatasetVersion, Item, Operation
from lorasmith.errors import AdapterError
from lorasmith.families import Base, Family
from tests.adapters.conftest import MakeModules

FACTS = TrainingFacts(
    steps=500,
    objective="v_prediction",
    rank=32,
    alpha=22.5,
    started=1_700_000_000.5,
    buckets={"512 x 768": 2},
    scores={"loss": 0.1},
)


@pytest.fixture
def version() -> DatasetVersion:
    captions = ("zib, red star, a long sentence of more than five words", "zib, blue star", "zib")
    items = tuple(
        Item(name=f"{n}.png", image=str(n) * 64, original=str(n) * 64, width=8, height=8, caption=caption)
        for n, caption in enumerate(captions)
    )
    return DatasetVersion(
        dataset="mascot", number=3, parent=2, operation=Operation(name="x"), created="2026-01-01T00:00:00Z", items=items
    )


def config(**changes: Any) -> TrainConfig:
    tree = {
        "base": "/home/somebody/models/base.safetensors",
        "dataset": "mascot",
        "output_name": "My Mascot",
        "trigger_word": "zib",
        "network_dim": 8,
        "data.resolution": 512,
        "sample.prompts": ["zib at sea"],
    }
    return resolve(tree, changes)


def test_others_find_what_they_look_for(base: Base, version: DatasetVersion) -> None:
    found = describe(config(), version, base, trained=FACTS)
    assert found["ss_network_dim"] == "32" and found["ss_network_alpha"] == "22.5"  # the file's, not the config's
    assert found["ss_base_model_version"] == "sd_v1" and found["ss_v2"] == "False"
    assert found["ss_steps"] == "500" and found["ss_num_train_images"] == "3"
    assert json.loads(found["ss_bucket_info"])["buckets"]["0"] == {"resolution": [512, 768], "count": 2}
    assert json.loads(found["ss_tag_frequency"]) == {"1_mascot": {"zib": 3, "blue star": 1, "red star": 1}}
    assert found["modelspec.sai_model_spec"] == "1.0.1"
    assert found["modelspec.architecture"] == "stable-diffusion-v1/lora"
    assert found["modelspec.trigger_phrase"] == found["lorasmith.trigger_word"] == "zib"
    assert found["modelspec.date"] == "2023-11-14T22:13:20+00:00"
    assert found["modelspec.prediction_type"] == "v"
    assert found["lorasmith.dataset"] == "mascot@3"
    assert found["lorasmith.dataset_fingerprint"] == version.fingerprint
    assert "lora_adapter_metadata" not in found  # diffusers refuses it beside alphas
    assert all(isinstance(value, str) and value for value in found.values())


def test_the_recipe_trains_again(base: Base, version: DatasetVersion) -> None:
    tree = json.loads(describe(config(), version, base, trained=FACTS)["lorasmith.config"])
    again = TrainConfig.model_validate(tree)
    assert again.base == base.name
    assert again.model_copy(update={"base": config().base, "sample": config().sample}) == config()


def test_nothing_private_leaks(base: Base, version: DatasetVersion) -> None:
    everything = json.dumps(describe(config(), version, base, trained=FACTS), ensure_ascii=False)
    for secret in ("somebody", "/home", str(Path.home()), str(base.path), "a long sentence", "at sea"):
        assert secret not in everything
    shy = describe(config(**{"export.include_tags": False}), version, base, trained=FACTS)
    assert "ss_tag_frequency" not in shy and "blue star" not in json.dumps(shy)


def test_captions_are_written_when_asked_for(base: Base, version: DatasetVersion) -> None:
    found = describe(config(**{"export.include_captions": True}), version, base, trained=FACTS)
    assert json.loads(found["lorasmith.captions"])["1.png"] == "zib, blue star"
    assert json.loads(found["lorasmith.config"])["sample"]["prompts"] == ["zib at sea"]


def test_tags_are_counted_once_a_picture(version: DatasetVersion) -> None:
    item = replace(version.items[0], caption="a, a , ,b")
    assert tag_frequency((item, item)) == {"a": 2, "b": 2}
    dialect = replace(item, caption="poster \\(object, old\\), ^_^\nA cat sits on the mat, asleep.")
    assert tag_frequency((dialect,)) == {"^_^": 1, "poster \\(object, old\\)": 1}


def test_repeats_concepts_and_roles_are_counted_as_they_were_trained(base: Base, version: DatasetVersion) -> None:
    first, second, third = version.items
    items = (
        replace(first, repeats=5, concept="cat", caption="zib, a"),
        replace(second, repeats=5, concept="cat", caption="zib, b"),
        replace(third, role="validation", caption="zib, held out"),
        replace(third, name="4.png", role="regularisation", repeats=2, caption="cat"),
        replace(third, name="5.png", caption="zib, c"),
    )
    mixed = version.model_copy(update={"items": items})
    found = describe(config(**{"data.repeats": 3}), mixed, base, trained=FACTS)
    assert json.loads(found["ss_dataset_dirs"]) == {
        "15_cat": {"n_repeats": 15, "img_count": 2},
        "3_mascot": {"n_repeats": 3, "img_count": 1},
    }
    assert json.loads(found["ss_reg_dataset_dirs"]) == {"reg/6_mascot": {"n_repeats": 6, "img_count": 1}}
    assert (found["ss_num_train_images"], found["ss_num_reg_images"]) == ("33", "6")
    assert found["ss_num_epochs"] == str(round(500 * config().train_batch_size / 39))
    assert json.loads(found["ss_tag_frequency"])["15_cat"] == {"zib": 2, "a": 1, "b": 1}
    assert "held out" not in json.dumps(found)
    fewer = describe(config(), mixed, base, trained=replace(FACTS, items=frozenset({"5.png"})))
    assert json.loads(fewer["ss_dataset_dirs"]) == {"1_mascot": {"n_repeats": 1, "img_count": 1}}


def test_a_single_file_base_is_told_by_both_hashes_of_the_web_interfaces(
    base: Base, version: DatasetVersion, tmp_path: Path
) -> None:
    content = bytes(range(256)) * 5_000
    (tmp_path / "a base.safetensors").write_bytes(content)
    single = replace(base, path=tmp_path / "a base.safetensors", layout="single_file")
    found = describe(config(), version, single, trained=FACTS)
    assert found["ss_new_sd_model_hash"] == hashlib.sha256(content).hexdigest()
    assert found["ss_sd_model_hash"] == hashlib.sha256(content[2**20 : 2**20 + 2**16]).hexdigest()[:8]
    assert not {"ss_new_sd_model_hash", "ss_sd_model_hash"} & set(describe(config(), version, base, trained=FACTS))


def test_inspect_sees_it_all(
    base: Base, family: Family, make_modules: MakeModules, version: DatasetVersion, written: Path
) -> None:
    modules = make_modules("attention_ff")
    write_adapter(
        written, modules, family=family, dtype="bf16", metadata=describe(config(), version, base, trained=FACTS)
    )
    report = described(written)
    kind = report.kind
    assert (kind.dialect, report.dtype, report.trigger_word, report.base) == ("kohya", "bf16", "zib", "base")
    assert kind.ranks == {4: len(modules)} and report.alphas == {3.0: len(modules)}
    assert kind.parts == {"denoiser": len(modules) - 12, "text_encoder": 12}
    assert kind.family == "sd" and report.looks_like.startswith("sd")
    assert any("stable-diffusion-v1/lora" in reason for reason in kind.evidence)
    assert report.size == written.stat().st_size and not kind.dora
    made = TypeAdapter(Description)
    assert made.validate_json(made.dump_json(report)) == report


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_alphas_of_every_format_are_read(tmp_path: Path, dtype: torch.dtype) -> None:

    stem = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
    tensors = {
        f"{stem}.lora_down.weight": torch.zeros(4, 768, dtype=torch.float16),
        f"{stem}.lora_up.weight": torch.zeros(320, 4, dtype=torch.float16),
        f"{stem}.alpha": torch.tensor(12.0, dtype=dtype),
    }
    save_file(tensors, tmp_path / "a.safetensors")
    assert described(tmp_path / "a.safetensors").alphas == {12.0: 1}


def test_inspect_needs_no_torch(make_modules: MakeModules, family: Family, written: Path) -> None:
    write_adapter(written, make_modules(), family=family, dtype="fp16", metadata={})
    code = (
        "import sys; from pathlib import Path; from lorasmith.adapters.tools.describing import describe;"
        "describe(Path(sys.argv[1])); assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(written)], check=True)


def test_inspect_refuses_what_is_no_adapter(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="There is no "):
        described(tmp_path / "a.safetensors")


def test_a_base_is_no_adapter(tmp_path: Path) -> None:
    save_file({"conv_in.weight": torch.zeros(2, 2)}, tmp_path / "unet.safetensors")
    with pytest.raises(AdapterError, match=r"unet\.safetensors is no LoRA: "):
        described(tmp_path / "unet.safetensors")
