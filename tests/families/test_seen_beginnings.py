"""Prompts that are read with the first frame, latents whose beginning stands, clips too short to go on: what all rooms
do for such families, shown on one that is told to be such a family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lorasmith.bases import family_of, open_base
from lorasmith.bases.detection import registered_families
from lorasmith.datasets.manifest import Operation
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import ConfigError, DatasetError
from lorasmith.families import Conditioning, Family, Model
from lorasmith.families.latents import as_pictures
from lorasmith.generation.fitting import refuse_misfits
from lorasmith.generation.request import GenerateRequest
from lorasmith.jobfolder import Control
from lorasmith.training.assembly import assemble
from lorasmith.training.cache import Cache, encoders_of
from lorasmith.training.footprint import footprint
from lorasmith.training.plan import plan
from lorasmith.training.precompute import pixels_in, precompute
from lorasmith.training.setting import Setting
from tests.families.moving import with_clips
from tests.families.steps import PLAIN, Heard, load, run_of
from tests.training.home import make_dataset, quick_config
from tests.training.runs import Said

Tiny = Callable[[str], Path]
NAME = "wan_i2v"
STATES = "encoder_hidden_states"


def _seen(
    self: Family, model: Model, prompts: Sequence[str], references: Sequence[Sequence[Image.Image]], side: Any = None
) -> Conditioning:
    """The prompt, and how light the left half of the picture is."""
    told = self.encode_prompts(model, prompts).tensors
    light = [float(np.asarray(one.convert("L"))[:, : one.width // 2].mean()) / 255 for (one,) in references]
    return Conditioning({**told, STATES: told[STATES] + torch.tensor(light).view(-1, 1, 1)})


@pytest.fixture
def seeing(monkeypatch: pytest.MonkeyPatch) -> Family:
    """The family, whose prompts see the first frame now, and whose clips have five frames or more."""
    family = registered_families()[NAME]
    monkeypatch.setattr(type(family), "prompts_see_beginning", True)
    monkeypatch.setattr(type(family), "least_frames", 5)
    monkeypatch.setattr(type(family), "encode_instructions", _seen)
    return family


def test_a_prompt_is_cached_for_every_first_frame_it_is_read_with(
    tiny: Tiny, tmp_path: Path, seeing: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(seeing), "keeps_beginning", lambda *_: True)
    run = run_of(tmp_path, tiny(NAME), **{"data.flip": True})
    batches, store, version = run.batches, DatasetStore(tmp_path), DatasetStore(tmp_path).get("pets@2")
    items = {item.name: item for item in version.items}
    _, _, model = load(tiny(NAME), torch.bfloat16)  # as prompts are cached
    found: list[Tensor] = []
    for name in batches.names():
        placed = batches.placed(name)
        for flip in (False, True):
            (picture,) = as_pictures(pixels_in(store, items[placed.item], placed, flip)[:, :, 0])
            for prompt in ("", batches.prompt(name, 0)):
                told = batches.conditioning([prompt], [batches.framing(name)], shown=[batches.shown(name, flip)])
                with torch.no_grad():
                    expected = seeing.encode_instructions(model, [prompt], [[picture]]).tensors[STATES]
                torch.testing.assert_close(told.tensors[STATES], expected)
            found.append(told.tensors[STATES].flatten()[:8])
    assert len(batches.names()) == 6, "of a long clip there are three windows"
    assert len({tuple(row.tolist()) for row in found}) == len(found), "each has a beginning of its own, mirrored too"
    batch = batches.load(run.sampler.next_batch())
    assert batch.mask is not None and batch.latents.shape[2] > 1
    assert not batch.mask[:, :, 0].any() and bool(batch.mask[:, :, 1:].all()), "what is given is not learned"
    assert footprint(run, run.config).step > 0


def test_a_preview_is_told_of_the_picture_it_begins_with_and_a_rehearsal_reads_few(
    tiny: Tiny, tmp_path: Path, seeing: Family
) -> None:
    base = open_base(str(tiny(NAME)))
    config = quick_config(base.path, **{**PLAIN, "data.frames": 9, "sample.prompts": ["zib, a star", "zib, again"]})
    version = with_clips(tmp_path, make_dataset(tmp_path), seeing.least_frames)
    store, cpu = DatasetStore(tmp_path), torch.device("cpu")
    setting = Setting(config, plan(config, version, seeing, base), version, store, seeing, base, cpu)
    names = [placed.item for bucket in setting.plan.buckets for placed in bucket.placed]
    for only, folder in ((None, "all"), ({names[-1]}, "few")):
        cache = Cache(tmp_path / folder, *encoders_of(base))
        assert precompute(cache, setting, emit=Said(), control=Control, only=only)
        (tmp_path / f"{folder} out").mkdir()
        run = assemble(setting, cache, tmp_path / f"{folder} out")
        asked = Heard.on(run.model.denoiser)
        run.preview.draw(0, Said(), run.precision())
        steps = config.sample.steps
        assert len(asked.calls) == 2 * steps
        for number, prompt in enumerate(config.sample.prompts):
            begun = run.batches.names()[number] if only is None else names[-1]
            told = run.batches.conditioning([prompt], shown=[run.batches.shown(begun)]).tensors[STATES]
            torch.testing.assert_close(asked.calls[number * steps][STATES][-1:], told)
        cached = [name for name in run.batches.names() if run.batches.is_cached(name)]
        assert cached == (run.batches.names() if only is None else [names[-1]])
        assert footprint(run, config).step > 0


def test_what_does_not_go_on_is_left_out_with_the_reason(tiny: Tiny, tmp_path: Path, seeing: Family) -> None:
    base = open_base(str(tiny(NAME)))
    version = with_clips(tmp_path, make_dataset(tmp_path), seeing.least_frames)
    config = quick_config(base.path, **{**PLAIN, "data.frames": 9})
    made = plan(config, version, family_of(base), base)
    why = {one.item: one.reason for one in made.left_out}
    assert set(why) == {item.name for item in version.items if item.clip is None or item.clip.frames == 2}
    assert "it is a picture" in why["猫 0.png"] and "5 are the fewest" in why["moving 3.webp"]
    assert min(bucket.frames for bucket in made.buckets) == 5
    stills = [replace(item, clip=None) for item in version.items]
    still = DatasetStore(tmp_path).commit(version, stills, Operation(name="test"))
    with pytest.raises(DatasetError, match=r"nothing of pets@3 that is trained has 5 frames at 16 a second"):
        plan(config, still, seeing, base)
    with pytest.raises(ConfigError, match=r"data\.frames is 1, and Wan I2V learns how clips of at least 5"):
        plan(quick_config(base.path, **{**PLAIN, "data.frames": 1}), version, seeing, base)
    request = GenerateRequest(base=str(base.path), prompts=("zib",), steps=1, width=64, height=64, first_frame="a.png")
    with pytest.raises(ConfigError, match="1 frame goes nowhere"):
        refuse_misfits(request, base, seeing)
