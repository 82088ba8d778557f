from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lorasmith.errors import DatasetError
from lorasmith.families.sd import plugin as sd
from lorasmith.training.plan import plan, sampler_of
from tests.training.home import make_dataset, quick_config


def test_the_plan_is_what_the_sampler_does(tmp_path: Path) -> None:
    version = make_dataset(tmp_path)
    config = quick_config(tmp_path, **{"gradient_accumulation_steps": 3})
    found = plan(config, version, sd)
    assert found.pictures + len(found.validation) + len(found.left_out) == len(version.items)
    assert found.exposures == 6 * 2 * 3 == sum(found.exposures_per_image.values())
    assert found.epochs == pytest.approx(36 / found.pictures)
    sampler = sampler_of(config, found.buckets)
    shown = [e.item for _ in range(18) for e in sampler.next_batch()]
    assert {name: shown.count(name) for name in found.exposures_per_image} == found.exposures_per_image
    assert found.least_exposures <= found.most_exposures
    assert not {p.item for p in found.validation} & set(found.exposures_per_image)


def test_it_can_be_printed_as_json(tmp_path: Path) -> None:
    found = plan(quick_config(tmp_path), make_dataset(tmp_path), sd).to_dict()
    again = json.loads(json.dumps(found))
    assert again["steps"] == 6
    assert again["disk_total"] == sum(again["disk"].values())


def test_nothing_left_to_train_on_is_an_error(tmp_path: Path) -> None:
    config = quick_config(tmp_path, **{"data.resolution": 512, "data.upscale": False})
    with pytest.raises(DatasetError, match=r"No picture of pets@1 can be trained on at 512 pixels"):
        plan(config, make_dataset(tmp_path), sd)


def test_planning_loads_no_torch() -> None:
    code = "import sys, lorasmith.training.plan, lorasmith.trainers.native; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_disk_covers_what_a_real_run_writes(tiny_base: Path, tmp_path: Path) -> None:
    from lorasmith.bases import open_base
    from lorasmith.training.plan import adapter_parameters

    config = quick_config(tiny_base)
    base = open_base(str(tiny_base))
    exact = adapter_parameters(config, sd, base.header)
    assert 0 < exact < adapter_parameters(config, sd, None)
    from lorasmith.training.lora import attach

    model = sd.load(base, parts=("denoiser",), dtype=None, device="cpu")
    assert exact == sum(p.numel() for p in attach(model, sd, config).parameters.values())


def test_dora_needs_the_disk_of_the_larger_file(tmp_path: Path) -> None:
    version = make_dataset(tmp_path)
    plain = plan(quick_config(tmp_path), version, sd).disk
    dora = plan(quick_config(tmp_path, **{"adapter.use_dora": True}), version, sd).disk
    assert dora.adapter > 3.5 * plain.adapter
    assert dora.checkpoints > plain.checkpoints
