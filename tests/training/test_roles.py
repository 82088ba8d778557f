"""Roles and repeats of pictures inside a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lorasmith.bases import open_base
from lorasmith.datasets.manifest import DatasetVersion
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import DatasetError
from lorasmith.families.sd import plugin as sd
from lorasmith.jobfolder import Control
from lorasmith.recipe import prepare
from lorasmith.training.assembly import assemble
from lorasmith.training.loop import Run, restore, train
from lorasmith.training.plan import plan
from lorasmith.training.precompute import precompute
from lorasmith.training.setting import Setting
from tests.training.home import make_dataset, quick_config
from tests.training.runs import Said, make_cache

PLAIN: dict[str, Any] = {
    "adapter.dropout": 0.0,
    "sample.prompts": [],
    "ema_decay": None,
    "data.validation_fraction": 0.0,
    "data.prior_loss_weight": 0.25,
}


def with_roles(home: Path) -> DatasetVersion:
    """The second and third picture hold the class, the last is held out, the first is shown three times as often."""
    version = make_dataset(home)
    items = list(version.items)
    items[0] = replace(items[0], repeats=3)
    items[1], items[2] = replace(items[1], role="regularisation"), replace(items[2], role="regularisation")
    items[-1] = replace(items[-1], role="validation")
    return version.model_copy(update={"items": tuple(items)})


def run_of(home: Path, tiny_base: Path, version: DatasetVersion, out: str = "out", **changes: Any) -> Run:
    config = quick_config(tiny_base, **(PLAIN | changes))
    base = open_base(str(tiny_base))
    planned = plan(config, version, sd, base)
    setting = Setting(config, planned, version, DatasetStore(home), sd, base, torch.device("cpu"))
    cache = make_cache(home, setting)
    assert precompute(cache, setting, emit=Said(), control=Control)
    (home / out).mkdir(exist_ok=True)
    return assemble(setting, cache, home / out)


def test_the_loss_of_regularisation_pictures_has_their_weight(tiny_base: Path, tmp_path: Path) -> None:
    run = run_of(tmp_path, tiny_base, with_roles(tmp_path))
    weights: dict[str, float] = {}
    for _ in range(12):
        exposures = run.sampler.next_batch()
        batch = run.batches.load(exposures)
        found = batch.weigh(torch.ones(len(exposures)))
        weights |= {e.item: float(weight) for e, weight in zip(exposures, found, strict=True)}
    assert weights == {"猫 0.png": 1.0, "猫 1.png": 0.25, "猫 2.png": 0.25, "猫 3.png": 1.0, "猫 4.png": 1.0}


def test_pictures_of_one_role_weigh_the_same_with_and_without_a_weight(tiny_base: Path, tmp_path: Path) -> None:
    version = make_dataset(tmp_path)
    states = []
    for name, weight in (("a", None), ("b", 0.5)):
        run = run_of(tmp_path, tiny_base, version, name, **{"data.prior_loss_weight": weight})
        assert train(run, Said(), Control) == "succeeded"
        states.append(run.lora.state())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_held_out_pictures_are_measured_and_never_trained(tiny_base: Path, tmp_path: Path) -> None:
    run, said = run_of(tmp_path, tiny_base, with_roles(tmp_path)), Said()
    assert train(run, said, Control) == "succeeded"
    assert run.validation is not None
    assert run.validation.names == ("猫 5.png",)
    assert "猫 5.png" not in run.sampler.exposures()
    assert list(said.values("validation_loss")) == [0, 3, 6]


def test_a_missing_weight_is_named_before_a_job_is_made(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"data\.prior_loss_weight"):
        prepare(with_roles(tmp_path), {"base": str(tiny_base)}, home=tmp_path)


@pytest.mark.parametrize("stop", [2, 4])
def test_a_resume_with_repeats_and_roles_is_bit_exact(tiny_base: Path, tmp_path: Path, stop: int) -> None:
    version = with_roles(tmp_path)
    whole = run_of(tmp_path, tiny_base, version)
    assert train(whole, Said(), Control) == "succeeded"
    halted = run_of(tmp_path, tiny_base, version, "halted")
    wish = lambda: Control(wanted="pause") if halted.step == stop else Control()  # noqa: E731
    assert train(halted, Said(), wish) == "paused"
    resumed = run_of(tmp_path, tiny_base, version, "halted")
    saved = resumed.checkpoints.newest(Said())
    assert saved is not None
    restore(resumed, saved)
    assert train(resumed, Said(), Control) == "succeeded"
    expected = whole.lora.state()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.lora.state().items())
    shown = whole.sampler.exposures()
    assert resumed.sampler.exposures() == shown
    assert shown["猫 0.png"] > max(count for name, count in shown.items() if name != "猫 0.png")
