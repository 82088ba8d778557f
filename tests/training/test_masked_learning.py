from __future__ import annotations

from pathlib import Path

import torch

from lorasmith.bases import open_base
from lorasmith.config import resolve
from lorasmith.datasets.store import DatasetStore
from lorasmith.families.sd import plugin as sd
from lorasmith.jobfolder import Control
from lorasmith.training.assembly import assemble
from lorasmith.training.loop import train
from lorasmith.training.plan import plan
from lorasmith.training.precompute import precompute
from lorasmith.training.setting import Setting
from tests.training.runs import Said, make_cache
from tests.training.striped import errors, make_striped

RUN = {
    "base": "sandbox",
    "dataset": "striped@1",
    "max_train_steps": 30,
    "train_batch_size": 4,
    "seed": 3,
    "device": "cpu",
    "threads": 1,
    "validation_every_steps": 0,
    "adapter.rank": 8,
    "adapter.targets": "all_linear",
    "data.resolution": 128,
    "data.caption_dropout": 0.0,
    "optimizer.learning_rate": 2e-3,
    "objective.min_snr_gamma": 5.0,
    "checkpoint.every_steps": 0,
}


def test_a_masked_run_learns_the_subject_and_not_what_stands_beside_it(tmp_path: Path) -> None:
    version = make_striped(tmp_path, trained=8, held_out=3)
    base = open_base("sandbox", home=tmp_path)
    gains = {}
    for name, masked in (("masked", True), ("whole", False)):
        config = resolve(RUN, {"masked_loss": masked})
        cpu = torch.device("cpu")
        setting = Setting(config, plan(config, version, sd, base), version, DatasetStore(tmp_path), sd, base, cpu)
        cache = make_cache(tmp_path, setting)
        assert precompute(cache, setting, emit=Said(), control=Control)
        (tmp_path / name).mkdir()
        run = assemble(setting, cache, tmp_path / name)
        before = errors(run)
        assert train(run, Said(), Control) == "succeeded"
        after = errors(run)
        gains[name] = (before[0] - after[0], before[1] - after[1])
    subject, beside = gains["masked"]
    whole_subject, whole_beside = gains["whole"]
    assert subject > 0.6 * whole_subject > 0
    assert beside < 0.3 * whole_beside
