"""Bases that say what they are and hold nothing: enough for whatever happens before a worker loads one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def bare_base(home: Path, pipeline: str, denoiser: str, name: str) -> str:
    """A folder in diffusers layout among the bases of a home, and the name it goes by."""
    folder = home / "bases" / name
    (folder / "transformer").mkdir(parents=True)
    (folder / "model_index.json").write_text(
        json.dumps({"_class_name": pipeline, "transformer": ["diffusers", denoiser]}), encoding="utf-8"
    )
    config = {"_class_name": denoiser, "in_channels": 36}
    (folder / "transformer" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    nothing = {"nothing.weight": np.zeros((8, 8), np.float32)}
    save_file(nothing, folder / "transformer" / "diffusion_pytorch_model.safetensors")
    return name


def editing_base(home: Path) -> str:
    """One that edits up to four pictures."""
    return bare_base(home, "QwenImageEditPlusPipeline", "QwenImageTransformer2DModel", "edits")
