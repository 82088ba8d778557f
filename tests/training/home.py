"""A home with a small dataset and a job in it, made by hand, for tests of the trainer and the worker."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lorasmith.config import TrainConfig, resolve
from lorasmith.datasets.manifest import DatasetVersion, Item, Operation
from lorasmith.datasets.store import DatasetStore
from lorasmith.files import write_json
from lorasmith.jobfolder import JobFolder, JobRecord

SIZES = ((64, 64), (64, 64), (96, 64), (64, 64), (96, 64), (64, 96))
CAPTIONS = ("zib, a large red star", "zib, a small blue circle, left", "", "zib, a green ring on a grey background")


def make_dataset(home: Path, name: str = "pets", sizes: tuple[tuple[int, int], ...] = SIZES) -> DatasetVersion:
    """Pictures of smooth noise, drawn from their number, with captions of several kinds."""
    store = DatasetStore(home)
    items = []
    for number, (width, height) in enumerate(sizes):
        rough = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        digest = store.put_image(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC))
        caption = CAPTIONS[number % len(CAPTIONS)]
        names = {"name": f"猫 {number}.png", "image": digest, "original": digest}
        items.append(Item(**names, width=width, height=height, caption=caption))
    if name in store.names():  # asked for again in the same home
        version = store.get(f"{name}@1")
        assert version.items == tuple(items)
        return version
    return store.create(name, items, Operation(name="import"))


def quick_config(base: Path, **changes: Any) -> TrainConfig:
    """Six steps on 64 pixels with everything switched on that a run can have; dotted keys change it."""
    defaults: Mapping[str, Any] = {
        "base": str(base),
        "dataset": "pets@1",
        "max_train_steps": 6,
        "train_batch_size": 2,
        "ema_decay": 0.9,
        "validation_every_steps": 3,
        "seed": 7,
        "device": "cpu",
        "threads": 1,
        "adapter.rank": 2,
        "adapter.targets": "all_linear_conv",
        "adapter.dropout": 0.1,
        "data.resolution": 64,
        "data.flip": True,
        "data.shuffle_captions": True,
        "data.caption_dropout": 0.2,
        "data.validation_fraction": 0.2,
        "optimizer.learning_rate": 1e-3,
        "objective.min_snr_gamma": 5.0,
        "objective.noise_offset": 0.05,
        "sample.prompts": ["zib, a star"],
        "sample.every_steps": 3,
        "sample.steps": 2,
        "checkpoint.every_steps": 2,
    }
    return resolve(defaults, changes)


def make_job(home: Path, config: TrainConfig, version: DatasetVersion, name: str = "job 1", **extra: Any) -> JobFolder:
    """A queued job; two of the same config differ in nothing but their folder."""
    folder = JobFolder(home / "jobs" / name)
    folder.path.mkdir(parents=True)
    payload = {"config": config.model_dump(mode="json"), "fingerprint": version.fingerprint, **extra}
    record = JobRecord(id="job", kind="train", created="2026-01-02T03:04:05+00:00", payload=payload)
    write_json(folder.path / "job.json", record.model_dump(mode="json"))
    return folder
