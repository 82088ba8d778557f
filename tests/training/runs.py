"""Runs assembled in this process, for tests that look inside."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lorasmith.bases import open_base
from lorasmith.datasets.store import DatasetStore
from lorasmith.events import Event, Metric
from lorasmith.families.sd import plugin as sd
from lorasmith.jobfolder import Control
from lorasmith.training.assembly import assemble
from lorasmith.training.cache import Cache, encoders_of
from lorasmith.training.loop import Run
from lorasmith.training.plan import plan
from lorasmith.training.precompute import precompute
from lorasmith.training.setting import Setting
from tests.training.home import make_dataset, quick_config


@dataclass
class Said:
    """Listens to a run."""

    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def values(self, name: str) -> dict[int, float]:
        """A metric by step."""
        return {e.step: e.values[name] for e in self.events if isinstance(e, Metric) and name in e.values}


def make_setting(home: Path, tiny_base: Path, **changes: Any) -> Setting:
    config = quick_config(tiny_base, **changes)
    version = make_dataset(home)
    base = open_base(str(tiny_base))
    cpu = torch.device("cpu")
    return Setting(config, plan(config, version, sd, base), version, DatasetStore(home), sd, base, cpu)


def make_cache(home: Path, setting: Setting) -> Cache:
    return Cache(home / "cache", *encoders_of(setting.base))


def make_run(home: Path, tiny_base: Path, out: str = "out", **changes: Any) -> Run:
    """Cached and assembled, at step 0."""
    setting = make_setting(home, tiny_base, **changes)
    cache = make_cache(home, setting)
    assert precompute(cache, setting, emit=Said(), control=Control)
    (home / out).mkdir(exist_ok=True)
    return assemble(setting, cache, home / out)
