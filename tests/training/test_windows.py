"""How a run shows clips: numbers of frames that a family's VAE cannot take are refused before there is a job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lorasmith.bases.detection import registered_families
from lorasmith.datasets.buckets import Frames
from lorasmith.errors import ConfigError
from lorasmith.recipe import refuse_idle
from lorasmith.trainers.native import plugin as native
from lorasmith.training.windows import frames_of
from tests.training.home import quick_config


@pytest.mark.parametrize(("key", "said"), [("data.frames", "Use 5 or 9"), ("sample.frames", "Use 5 or 9")])
def test_frames_that_do_not_fit_are_refused_with_those_that_do(tmp_path: Path, key: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"{key} is 8") as caught:
        frames_of(quick_config(tmp_path, **{key: 8}), registered_families()["wan"])
    assert said in caught.value.hint


def test_the_family_says_what_nobody_else_does(tmp_path: Path) -> None:
    families = registered_families()
    assert frames_of(quick_config(tmp_path), families["wan"]) == Frames(4, 33, 16.0, "head")
    told: dict[str, Any] = {"data.frames": 9, "data.fps": 8.0, "data.cut": "chunks"}
    assert frames_of(quick_config(tmp_path, **told), families["wan_ti2v"]) == Frames(4, 9, 8.0, "chunks")
    assert frames_of(quick_config(tmp_path), families["sd"]) is None


@pytest.mark.parametrize("key", ["data.frames", "data.fps", "data.cut", "sample.frames"])
def test_a_family_of_pictures_refuses_options_of_clips(tmp_path: Path, key: str) -> None:
    value = {"data.fps": 8.0, "data.cut": "chunks"}.get(key, 9)
    own = {key.partition(".")[0]: {key.partition(".")[2]: value}}
    with pytest.raises(ConfigError, match="pictures, no clips"):
        refuse_idle(native, registered_families()["sd"], own, quick_config(tmp_path, **{key: value}))
