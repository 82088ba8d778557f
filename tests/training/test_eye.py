from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lorasmith.datasets.buckets import place, table_of
from lorasmith.datasets.eyes.drawing import render
from lorasmith.datasets.eyes.seeing import look
from lorasmith.datasets.store import DatasetStore
from lorasmith.training.precompute import pixels_of
from tests.training.home import make_dataset


def test_our_own_eye_is_what_our_trainer_does(tmp_path: Path) -> None:
    store = DatasetStore(tmp_path)
    version = make_dataset(tmp_path, sizes=((200, 300), (300, 200), (128, 128), (90, 400)))
    for one, item in zip(look(version, store, "lorasmith", resolution=128), version.items, strict=True):
        trained = pixels_of(store.open_image(item), place(item, table_of(128, 64)), flip=False)
        pixels = ((trained[0].permute(1, 2, 0) + 1) * 127.5).round().to(torch.uint8).numpy()
        assert (np.asarray(render(one)) == pixels).all()
