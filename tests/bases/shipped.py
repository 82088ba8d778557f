"""Makes the shipped configs of transformers: ``python -m tests.bases.shipped``.

Each is what diffusers' class says of itself when it is built from the published config in ``corpus``; where variants of
one family differ in their noise schedule, that stands beside it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorasmith.bases.detection import detect, registered_families
from lorasmith.bases.header import Header
from lorasmith.bases.opening import CONFIGS
from lorasmith.errors import BaseError
from tests.bases.corpus import MODELS, Model, build, in_original_names

_EULER = "FlowMatchEulerDiscreteScheduler"
# FLUX.1's model cards: dev's schedule moves with the size of the picture, schnell's is fixed.
_DYNAMIC = {"base_image_seq_len": 256, "base_shift": 0.5, "max_image_seq_len": 4096, "max_shift": 1.15}
SCHEDULES: dict[tuple[str, str], dict[str, Any]] = {
    ("flux", "dev_or_kontext"): {**_DYNAMIC, "shift": 3.0, "use_dynamic_shifting": True},
    ("flux", "schnell"): {**_DYNAMIC, "shift": 1.0, "use_dynamic_shifting": False},
}


def described() -> Iterator[Model]:
    """One model of the corpus for every variant that can be trained here, under the family that a file of it is of; but
    for UNets, whose configs are whole."""
    seen: set[tuple[str, str]] = set()
    for model in MODELS:
        if not model.rules or model.rules == "unet":
            continue
        shapes = in_original_names(model, build(model))
        header = Header(Path("one.safetensors"), "single_file", shapes, dict.fromkeys(shapes, "BF16"))
        try:
            found = detect(header)
        except BaseError:
            continue
        key = (found.family, found.variant)
        if key not in seen and model.pipeline in registered_families()[found.family].pipelines:
            seen.add(key)
            yield replace(model, family=found.family, variant=found.variant)


def files(model: Model) -> dict[str, str]:
    """Path below the folder of configs to text."""
    import diffusers
    import torch

    with torch.device("meta"):
        made = getattr(diffusers, model.model_class)(**model.config)
    config = {key: value for key, value in made.config.items() if not key.startswith("_")}
    part = registered_families()[model.family].denoiser_part
    index: dict[str, Any] = {"_class_name": model.pipeline, part: ["diffusers", model.model_class]}
    here = f"{model.family}/{model.variant}"
    found = {f"{here}/{part}/config.json": {"_class_name": model.model_class, **config}}
    schedule = SCHEDULES.get((model.family, model.variant))
    if schedule is not None:
        index["scheduler"] = ["diffusers", _EULER]
        found[f"{here}/scheduler/scheduler_config.json"] = {
            "_class_name": _EULER, "num_train_timesteps": 1000, **schedule
        }  # fmt: skip
    found[f"{here}/model_index.json"] = index
    return {path: json.dumps(value, indent=2) + "\n" for path, value in found.items()}


def write(folder: Path) -> None:
    for model in described():
        shutil.rmtree(folder / model.family / model.variant, ignore_errors=True)
        for path, text in files(model).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(CONFIGS)
