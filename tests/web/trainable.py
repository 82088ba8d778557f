"""A small captioned dataset that the sandbox can be trained on, and a run of a few steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lorasmith.studio import Studio

FORM: dict[str, Any] = {
    "model": "native:sandbox",
    "dataset": "dots",
    "trigger_word": "zib",
    "output_name": "dots",
    "max_train_steps": "4",
    "train_batch_size": "1",
    "adapter.rank": "2",
    "sample.every_steps": "0",
    "checkpoint.every_steps": "1",
    "validation_every_steps": "0",
}
"""What the workspace's form sends for a run of four steps."""


def dots(studio: Studio, folder: Path, name: str = "dots", count: int = 4) -> None:
    """A dataset of coloured noise with captions that hold the trigger word."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    for number in range(count):
        pixels = rng.integers(0, 255, (128, 128, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("zib, dots")
    studio.import_dataset(folder, name=name)
