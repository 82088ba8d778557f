"""The files that a generated clip becomes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lorasmith.datasets.clips.program import Failed
from lorasmith.events import Event, Notice
from lorasmith.generation import clips
from lorasmith.generation.picture import PictureFacts

FACTS = PictureFacts(
    prompt="a cat", seed=1, steps=2, guidance_scale=3.0, scheduler="Euler", width=32, height=32, base="tiny"
)


def test_a_clip_without_its_mp4_says_why_and_keeps_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, frames: Sequence[Image.Image], fps: float) -> bool:
        raise Failed("Unknown encoder 'libx264'.")

    monkeypatch.setattr(clips, "write_mp4", refused)
    frames: list[Any] = [Image.new("RGB", (32, 32), (shade, 0, 0)) for shade in (0, 120, 240)]
    said: list[Event] = []
    made = clips.write_clip(tmp_path, "00000.png", frames, 8.0, FACTS, said.append)
    assert made == {"clip": "00000.webp"}
    with Image.open(tmp_path / "00000.webp") as moving:
        assert getattr(moving, "n_frames", 1) == 3
    (notice,) = said
    assert isinstance(notice, Notice) and "No MP4 of 00000.webp" in notice.message and "libx264" in notice.message
