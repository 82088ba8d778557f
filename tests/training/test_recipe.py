"""What a run asks of its trainer before there is a job."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lorasmith import plugins
from lorasmith.config import known_keys, layer, resolve
from lorasmith.errors import ConfigError
from lorasmith.families import Family
from lorasmith.families.sd import plugin as sd
from lorasmith.recipe import prepare, refuse_idle
from lorasmith.trainers import Trainer
from lorasmith.trainers.native import plugin as native
from tests.training.home import make_dataset

NEEDED = {"base": "sandbox", "dataset": "a"}


class Plain(Trainer):
    """Knows neither masks nor averages, and no family but one."""

    name = "plain"
    title = "a plain trainer"

    def supports(self, family: Family) -> bool:
        return family.name == "sd"

    def honours(self) -> frozenset[str]:
        return frozenset(known_keys()) - {"ema_decay", "objective.unmasked_weight", "objective.masked_loss", "seed"}

    def train(self, *arguments: object) -> dict[str, Any]:
        raise AssertionError("nothing is trained here")


def refuse(trainer: Trainer, own: Mapping[str, Any], family: Family = sd) -> None:
    tree = layer(own)
    refuse_idle(trainer, family, tree, resolve(NEEDED, tree))


def test_an_option_that_a_trainer_does_not_use_is_refused() -> None:
    for own in ({"ema_decay": 0.9}, {"objective": {"unmasked_weight": 0.2}}, {"masked_loss": False}):
        with pytest.raises(ConfigError, match=f"'plain' does not use .*{next(iter(layer(own)))}"):
            refuse(Plain(), own)
        refuse(native, own)
    with pytest.raises(ConfigError, match="does not use ema_decay, nor 1 more options that are set"):
        refuse(Plain(), {"ema_decay": 0.9, "objective.unmasked_weight": 0.2})
    refuse(Plain(), {"optimizer.learning_rate": 1e-3, "adapter": {"rank": 4}})


def test_a_tree_of_all_options_is_no_wish() -> None:
    everything = resolve(NEEDED).model_dump(mode="json")
    refuse(Plain(), everything)
    with pytest.raises(ConfigError, match="does not use seed"):
        refuse(Plain(), everything | {"seed": 3})


def test_a_family_that_a_trainer_cannot_train_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plain, "supports", lambda self, family: False)
    with pytest.raises(ConfigError, match="'plain' cannot train Stable Diffusion"):
        refuse(Plain(), {})


def test_a_run_is_prepared_for_its_trainer(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = make_dataset(tmp_path)
    values = {"base": str(tiny_base), "ema_decay": 0.5}
    assert prepare(version, values, home=tmp_path).config.ema_decay == 0.5
    with pytest.raises(ConfigError, match="no trainer called 'natve'"):
        prepare(version, values, home=tmp_path, trainer="natve")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [_Point()] if group == "lorasmith.trainers" else [])
    with pytest.raises(ConfigError, match="'plain' does not use ema_decay"):
        prepare(version, values, home=tmp_path, trainer="plain")


class _Point:
    name = value = "plain"

    def load(self) -> Trainer:
        return Plain()
