from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from lorasmith.errors import ConfigError, JobError
from lorasmith.events import Event, Phase, Progress
from lorasmith.families import Base
from lorasmith.families.sd import plugin as family
from lorasmith.generation.picture import read_picture
from lorasmith.generation.request import resolve_request
from lorasmith.generation.run import paint
from lorasmith.jobfolder import Control

Build = Callable[..., tuple[dict[str, Any], dict[str, Any]]]


@pytest.fixture
def generate(base: Base, home: Path, tmp_path: Path) -> Callable[..., Any]:
    runs = iter(range(100))

    def call(events: list[Event] | None = None, control: Callable[[], Control] = Control, **values: Any) -> Any:
        out = tmp_path / f"job {next(runs)}"
        heard = events if events is not None else []
        request = resolve_request({"base": "tiny", "steps": 2, "threads": 1, "width": 64, "height": 64} | values)
        answer = paint(request, base, family, home=home, out=out, emit=heard.append, control=control)
        return answer, [np.asarray(Image.open(out / image["path"])).astype(int) for image in answer["images"]], out

    return call


def test_a_picture_does_not_depend_on_its_batch(generate: Callable[..., Any], home: Path, lora_tensors: Build) -> None:
    save_file(lora_tensors(1)[0], home / "adapters" / "zib.safetensors")
    prompts = ["a red star", "a blue circle <lora:zib:0.8>", "a cross"]
    for scheduler in ("base", "euler_a"):  # euler_a draws noise at every step
        settings = {"prompts": prompts, "count": 2, "seed": 5, "scheduler": scheduler}
        _, alone, _ = generate(batch_size=1, **settings)
        answer, together, _ = generate(batch_size=4, **settings)
        for a, b in zip(alone, together, strict=True):
            assert np.abs(a - b).max() <= 1
        assert np.abs(alone[0] - alone[1]).max() > 5  # another seed is another picture
    assert [image["adapters"] for image in answer["images"]] == [[], [], [["zib", 0.8]], [["zib", 0.8]], [], []]


def test_pictures_say_how_they_were_made(generate: Callable[..., Any], home: Path, lora_tensors: Build) -> None:
    save_file(lora_tensors(1)[0], home / "adapters" / "zib.safetensors")
    events: list[Event] = []
    answer, _, out = generate(
        events, prompts=["a red star"], negative_prompt="gray", seed=9, adapters=[{"name": "zib", "weight": 0.5}],
        scheduler="dpmpp_2m", guidance_rescale=0.5,
    )  # fmt: skip
    facts = read_picture(out / answer["images"][0]["path"])
    assert (facts.prompt, facts.seed, facts.scheduler, facts.base) == ("a red star", 9, "DPM++ 2M", "tiny")
    assert facts.adapters[0][:2] == ("zib", 0.5)
    assert len(facts.adapters[0][2]) == len(facts.base_hash) == 64
    assert [event.name for event in events if isinstance(event, Phase)] == ["generating"]
    assert [event for event in events if isinstance(event, Progress)][-1].done == 1
    assert answer["complete"]


def test_a_grid_is_painted_and_drawn(generate: Callable[..., Any], home: Path, lora_tensors: Build) -> None:
    save_file(lora_tensors(1)[0], home / "adapters" / "zib.safetensors")
    grid = {"adapters": ["zib"], "weights": [0, 1]}
    answer, pictures, out = generate(prompts=["a red star"], count=2, grid=grid, scheduler="ddim")
    assert answer["grid"]["rows"] == ["zib at 0", "zib at 1"]
    with Image.open(out / answer["grid"]["path"]) as sheet:
        assert sheet.width > 2 * 64
    _, bare, _ = generate(prompts=["a red star"], count=2, scheduler="ddim")
    assert np.abs(pictures[0] - bare[0]).max() <= 1  # weight 0 is the base
    assert np.abs(pictures[2] - bare[0]).max() > 5


def test_stop_is_honoured_within_a_step_and_keeps_what_is_done(generate: Callable[..., Any]) -> None:
    asked = iter(["run"] * 4 + ["stop"] * 9)  # once before a batch of one, then after each of its two steps
    answer, pictures, _ = generate(
        control=lambda: Control(wanted=next(asked)), prompts=["a", "b", "c"], batch_size=1  # type: ignore[arg-type]
    )  # fmt: skip
    assert len(pictures) == 1
    assert answer["complete"] is False


def test_numbers_that_are_not_finite_are_an_error_and_no_black_picture(
    generate: Callable[..., Any], home: Path, lora_tensors: Build
) -> None:
    tensors = {
        key: value * (1e30 if "lora_" in key and ".alpha" not in key else 1)
        for key, value in lora_tensors(1)[0].items()
    }
    save_file(tensors, home / "adapters" / "bad.safetensors")
    with pytest.raises(JobError, match="not finite"):
        generate(prompts=["a red star"], adapters=[{"name": "bad"}])


@pytest.mark.parametrize("scheduler", ["heun", "lms", "pndm"])
def test_a_scheduler_that_would_drop_zero_terminal_snr_is_refused(generate: Callable[..., Any], scheduler: str) -> None:
    with pytest.raises(ConfigError, match=r"rescale_betas_zero_snr.*ddim.*euler"):
        generate(prompts=["a"], scheduler=scheduler)


@pytest.mark.parametrize("scheduler", ["ddpm", "dpmpp_2m_karras", "dpmpp_2m_sde", "euler", "unipc"])
def test_every_other_scheduler_paints_from_the_bases_own_config(generate: Callable[..., Any], scheduler: str) -> None:
    _, pictures, _ = generate(prompts=["a"], scheduler=scheduler, steps=4)
    assert pictures[0].std() > 0
