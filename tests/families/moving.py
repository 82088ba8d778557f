"""Clips for tests, as animated WebP, which needs no other program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lorasmith.datasets.clips.writing import animated_webp
from lorasmith.datasets.manifest import Clip, DatasetVersion, Item, Operation
from lorasmith.datasets.store import DatasetStore

CLIPS = ((64, 64, 5), (96, 64, 9), (64, 64, 14), (64, 96, 2))
"""Width, height and frames."""
_TALL = (64, 96, 6)


def moving_frames(number: int, width: int, height: int, count: int) -> list[Image.Image]:
    """Smooth noise that wanders to the right."""
    rough = np.random.default_rng(1000 + number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC))
    return [Image.fromarray(np.roll(picture, 3 * n, axis=1)) for n in range(count)]


def clip_item(store: DatasetStore, folder: Path, number: int, size: tuple[int, int, int], fps: float = 16.0) -> Item:
    """A clip in the store."""
    width, height, count = size
    frames = moving_frames(number, width, height, count)
    path = folder / f"moving {number}.webp"
    path.write_bytes(animated_webp(frames, fps))
    video, first = store.put_file(path), store.put_image(frames[0])
    clip = Clip(video=video, frames=count, fps=fps, width=width, height=height)
    return Item(
        name=path.name, image=first, original=video, width=width, height=height, clip=clip,
        caption=f"zib, a star that moves, number {number}",
    )  # fmt: skip


def with_clips(home: Path, version: DatasetVersion, least: int = 1) -> DatasetVersion:
    """The dataset with clips behind its pictures; where clips need ``least`` frames, one more that has them."""
    store = DatasetStore(home)
    sizes = (*CLIPS, _TALL) if least > 1 else CLIPS
    clips = [clip_item(store, home, number, size) for number, size in enumerate(sizes)]
    return store.commit(version, (*version.items, *clips), Operation(name="add"), onto="parent")
