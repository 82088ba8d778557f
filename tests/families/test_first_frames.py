"""Families that paint from a prompt and from a picture too: what is given, what is learned, and what is painted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lorasmith.adapters.file import write_adapter
from lorasmith.bases.detection import registered_families
from lorasmith.errors import ConfigError
from lorasmith.families import Conditioning, Family, Framing, Model, lacking
from lorasmith.families.beginnings import begun, learned
from lorasmith.families.latents import buffered_statistics
from lorasmith.generation.picture import read_picture
from lorasmith.generation.request import GenerateRequest
from lorasmith.generation.run import paint
from lorasmith.jobfolder import Control
from lorasmith.recipe import prepare
from lorasmith.training.footprint import footprint
from lorasmith.training.loop import train
from lorasmith.training.references import NOTHING
from lorasmith.training.sampler import Exposure, begins
from tests.families.moving import with_clips
from tests.families.steps import Heard, assert_alike, beginning, encoded, ends_alike_when_cut, load, run_of
from tests.families.teacher import recover
from tests.families.tiny import LTX23, RECORDS, Record, build_ltx, build_ltx2, make
from tests.training.home import make_dataset
from tests.training.runs import Said

Tiny = Callable[[str], Path]
_NONE = {"first_frame_conditioning": 0.0}
PROMPT = "zib, a large red star"
NAMES = [name for name, family in registered_families().items() if family.may_begin_with_picture]
both_ways = pytest.mark.parametrize("name", NAMES)
LATER: dict[str, Record] = {
    "ltx 0.9.5": replace(
        RECORDS["ltx"], build=partial(build_ltx, pipeline="LTXConditionPipeline", timestep_conditioning=True)
    ),
    "ltx 2.3": replace(RECORDS["ltx2"], build=partial(build_ltx2, **LTX23)),
}


def test_which_families_take_both() -> None:
    assert set(NAMES) == {"ltx", "ltx2", "wan_ti2v"}


def _drawn(pipe: Any, family: Family, model: Model, clip: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """First frame and noise as the pipeline draws them from seed 3: some take a sample of what the VAE says."""
    generator = torch.Generator().manual_seed(3)
    kind, posterior = type(pipe).__name__, model.vae.encode(clip[:, :, :1]).latent_dist

    def sampled() -> Tensor:
        plain = posterior.sample(generator)
        mean, deviation = buffered_statistics(model.vae, plain)
        return (plain - mean) / deviation

    if kind == "LTXImageToVideoPipeline":
        return sampled(), torch.randn(shape, generator=generator)
    noise = torch.randn(shape, generator=generator)
    if kind != "LTXConditionPipeline":
        return family.encode_images(model, clip[:, :, :1]), noise
    first, packed = sampled(), torch.randn(1, noise[0, 0].numel(), shape[1], generator=generator)
    left = packed.transpose(1, 2).reshape(shape)[:, :, :1]  # noise that is left on the first frame
    return first, torch.cat([left, noise[:, :, 1:]], dim=2)


@pytest.mark.parametrize("name", [*NAMES, *LATER])
def test_a_step_is_what_the_pipeline_that_begins_with_a_picture_asks(tiny: Tiny, tmp_path: Path, name: str) -> None:
    """Both of two steps, and the clip that comes out of them."""
    record = LATER.get(name) or RECORDS[name]
    base, family, model = load(make(record, tmp_path) if name in LATER else tiny(name))
    pipe = family.begun_pipeline(family.pipeline(base, dtype=torch.float32, device="cpu"))
    assert type(pipe) is not type(family.pipeline(base, dtype=torch.float32, device="cpu")) or name == "ltx 0.9.5"
    theirs, ours = Heard.on(pipe.transformer), Heard.on(model.denoiser)
    picture, clip = beginning(record)
    told = dict(record.call) | family.clip_arguments(base, record.length, 12.0, picture)
    if name == "ltx 0.9.5":
        told["decode_timestep"] = 0.0
    painted = pipe(
        prompt=[PROMPT], width=record.side, height=record.side, num_inference_steps=2, output_type="pt",
        generator=torch.Generator().manual_seed(3), **told,
    )[0]  # fmt: skip
    assert len(theirs.calls) == 2 * record.passes
    shape = (1, *family.latent_shape(model, record.side, record.side, record.length))
    framing = Framing.whole(record.side, record.side, record.length, 12.0)
    words = encoded(family, model, [PROMPT], record.side, 1.0, record.length)
    with torch.no_grad():
        first, noisy = _drawn(pipe, family, model, clip, shape)
        given = family.frame(model, words, [framing], 1.0).joined_with(begun(first, torch.ones(1)))
        for step, call in enumerate(theirs.calls[record.passes - 1 :: record.passes]):
            level = call["timestep"].max().view(1) / 1000
            if step:
                noisy = _whole(call["hidden_states"], shape)
                if name == "ltx 0.9.5":  # the noise that is left on it is drawn anew
                    noise = (noisy[:, :, :1] - first) / (0.15 * level**2)
                    noisy = torch.cat([(1 - level) * first + level * noise, noisy[:, :, 1:]], dim=2)
            velocity = family.denoise(model, noisy, level, given)
            asked, mine = ({n: v for n, v in c.items() if n not in record.aside} for c in (call, ours.calls[step]))
            assert (mine["timestep"] == 0).any() and (mine["timestep"] > 0).any()
            assert_alike(mine, asked, f"{name}, step {step}")
        # what is painted keeps the noise that was left on the first frame last
        kept = _whole(call["hidden_states"], shape)[:, :, :1] if name == "ltx 0.9.5" else first
        clean = torch.cat([kept, (noisy - level * velocity)[:, :, 1:]], dim=2)
        pixels = family.decode_latents(model, clean).movedim(1, 2)
    torch.testing.assert_close((pixels / 2 + 0.5).clamp(0, 1), painted.float(), atol=2e-3, rtol=1e-3)


def _whole(sequence: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Latents of a pipeline, which may be packed into tokens."""
    return sequence.transpose(1, 2).reshape(shape) if sequence.ndim == 3 else sequence


@both_ways
def test_the_first_position_of_a_clip_is_its_first_frame_alone(tiny: Tiny, name: str) -> None:
    """So that training may take it from the latents of the clip, and no picture is encoded for it."""
    _, family, model = load(tiny(name))
    _, clip = beginning(RECORDS[name])
    with torch.no_grad():
        whole, alone = family.encode_images(model, clip), family.encode_images(model, clip[:, :, :1])
    torch.testing.assert_close(whole[:, :, :1], alone, atol=1e-4, rtol=1e-4)


@both_ways
def test_rows_with_and_without_a_first_frame_are_the_same_alone(tiny: Tiny, name: str) -> None:
    base, family, model = load(tiny(name))
    del base
    length = RECORDS[name].length
    generator = torch.Generator().manual_seed(5)
    shape = (2, *family.latent_shape(model, 64, 64, length))
    noisy, clean = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
    time, told = torch.tensor([0.3, 0.8]), encoded(family, model, [PROMPT, PROMPT], 64, 1.0, length)
    mixed = told.joined_with(begun(clean[:, :, :1], torch.tensor([1.0, 0.0])))
    with torch.no_grad():
        rows = family.denoise(model, noisy, time, mixed)
        one = Conditioning({n: t[:1] for n, t in mixed.tensors.items()})
        other = Conditioning({n: t[1:] for n, t in told.tensors.items()})
        torch.testing.assert_close(rows[:1], family.denoise(model, noisy[:1], time[:1], one), atol=2e-4, rtol=1e-3)
        plain = family.denoise(model, noisy[1:], time[1:], other)
        torch.testing.assert_close(rows[1:], plain, atol=2e-4, rtol=1e-3)
        torch.testing.assert_close(rows, family.denoise(model, noisy.clone(), time, mixed))
        another = told.joined_with(begun(clean[:, :, :1] + 1, torch.ones(2)))
        assert not torch.allclose(rows[0, :, 1:], family.denoise(model, noisy, time, another)[0, :, 1:], atol=1e-4)


@both_ways
def test_teacher_recovery_with_the_first_frame_given(tiny: Tiny, name: str) -> None:
    found = recover(tiny(name), steps=30, inputs=48, batch=4, held_out=12, begins=True)
    assert found.excess_loss < 0.75, found
    assert found.cosine > 0.5, found


def test_what_is_given_is_not_learned_and_resuming_is_exact(tiny: Tiny, tmp_path: Path) -> None:
    name = "wan_ti2v"
    short = {
        "data.resolution": RECORDS[name].resolution, "data.first_frame_conditioning": 0.7, "max_train_steps": 4,
        "train_batch_size": 2,
    }  # fmt: skip
    whole = run_of(tmp_path, tiny(name), "whole", **short)
    shown = [list(whole.sampler.next_batch()) for _ in range(12)]
    batches = {tuple(e.index for e in exposures): (exposures, whole.batches.load(exposures)) for exposures in shown}
    kinds = set()
    for exposures, batch in batches.values():
        asked = [begins(e, 0.7) and batch.latents.shape[2] > 1 for e in exposures]
        kinds |= set(asked)
        if not any(asked):
            assert batch.mask is None and "first_frame" not in batch.conditioning.tensors
            continue
        assert batch.mask is not None
        assert (batch.mask[:, 0, 0].flatten() == 0).tolist() == asked and bool((batch.mask[:, :, 1:] == 1).all())
        assert torch.equal(batch.conditioning.tensors["first_frame"], batch.latents[:, :, :1])
        noise = torch.zeros_like(batch.latents)
        loss = partial(whole.objective.loss, latents=batch.latents, noise=noise, timestep=batch.timestep)
        wrong = -batch.latents.clone()
        wrong[:, :, :1] += 10.0
        errors = loss(wrong, mask=batch.mask)
        assert [bool(error == 0) for error in errors] == asked
    assert kinds == {True, False}
    whole.sampler.seek(run_of(tmp_path, tiny(name), "fresh", **short).sampler.cursor())
    train(whole, Said(), Control)
    ends_alike_when_cut(whole, tmp_path, tiny(name), **short)


def test_a_run_that_does_not_ask_for_it_is_what_it_was(tiny: Tiny, tmp_path: Path) -> None:
    run = run_of(tmp_path, tiny("wan_ti2v"), **{"data.resolution": 128})
    for _ in range(6):
        batch = run.batches.load(run.sampler.next_batch())
        assert batch.mask is None and "first_frame" not in batch.conditioning.tensors
    asked = {"data.resolution": 128, "data.first_frame_conditioning": 1.0}
    with_it = run_of(tmp_path, tiny("ltx"), "two", **asked)
    without = with_it.config.model_copy(update={"data": with_it.config.data.model_copy(update=_NONE)})
    assert footprint(with_it, with_it.config).step > footprint(with_it, without).step, "a time for every token"


def test_the_share_of_exposures_that_begin_with_their_first_frame() -> None:
    def exposure(number: int) -> Exposure:
        return Exposure(number, "a", 0, False, 0, 0.5, noise_seed=int(np.random.default_rng(number).integers(2**62)))

    for share in (0.0, 0.1, 0.5, 1.0):
        count = sum(begins(exposure(number), share) for number in range(2000))
        assert count == 2000 * share if share in (0.0, 1.0) else abs(count / 2000 - share) < 0.04


def test_a_mask_of_the_dataset_still_counts() -> None:
    mask = torch.tensor([[0.0, 1.0]]).view(1, 1, 1, 1, 2)
    both = mask * learned(torch.tensor([True]), torch.zeros(1, 4, 3, 1, 2))
    assert both.flatten().tolist() == [0, 0, 0, 1, 0, 1]


@both_ways
def test_previews_and_pictures_begin_as_they_are_told(tiny: Tiny, name: str, tmp_path: Path) -> None:
    told = {
        "data.resolution": RECORDS[name].resolution, "data.first_frame_conditioning": 0.5, "max_train_steps": 2,
        "sample.prompts": ["zib, a star"], "sample.every_steps": 0, "sample.steps": 2, "optimizer.learning_rate": 1e-2,
    }  # fmt: skip
    run = run_of(tmp_path, tiny(name), **told)
    assert run.preview.goes_on and train(run, Said(), Control) == "succeeded"
    beginning_with = run.preview._begin(0)
    with torch.no_grad():
        drawn = run.preview._denoise("zib, a star", 1, beginning_with, NOTHING)
    assert torch.equal(drawn[:, :, :1], beginning_with.conditions["first_frame"])
    assert not torch.allclose(drawn[:, :, 1:], drawn[:, :, :1], atol=1e-2)
    plain = run_of(tmp_path, tiny(name), "plain", **told, **{"sample.first_frame": False})
    assert not plain.preview.goes_on

    path = tmp_path / "adapters" / "adapter.safetensors"
    path.parent.mkdir()
    write_adapter(path, run.lora.export()[0], family=run.family, dtype="fp32", metadata={})
    side = RECORDS[name].side
    first = beginning(RECORDS[name])[0]
    first.resize((2 * side, side)).save(tmp_path / "first.png")
    request = GenerateRequest(
        base=str(tiny(name)), prompts=("zib, a star <lora:adapter:1>", "zib, a star"), steps=2, width=side, height=side,
        frames=1 + run.family.frame_step, guidance_scale=3.0, seed=1, precision="fp32", device="cpu", threads=1,
        first_frame=str(tmp_path / "first.png"),
    )  # fmt: skip
    clips = []
    for number, asked in enumerate((request, request.model_copy(update={"first_frame": ""}))):
        out = tmp_path / str(number)
        made = paint(asked, run.model.base, run.family, home=tmp_path, out=out, emit=Said(), control=Control)
        for image in made["images"]:
            told = read_picture(out / image["clip"]).first_frame
            assert (told is not None and told[0] == "first.png") if asked.first_frame else told is None
        clips += [(out / image["clip"]).read_bytes() for image in made["images"]]
    assert len(set(clips)) == 4, "adapter or none, first frame or none"
    with pytest.raises(ConfigError, match="of one frame is its first frame"):
        one = request.model_copy(update={"frames": 1})
        paint(one, run.model.base, run.family, home=tmp_path, out=tmp_path, emit=Said(), control=Control)


@pytest.mark.parametrize(("name", "why"), [("wan", "begin with noise"), ("wan_i2v", "begins with its first frame")])
def test_families_of_one_kind_refuse_the_choice(name: str, why: str) -> None:
    lacks = lacking(registered_families()[name])
    assert why in lacks["data.first_frame_conditioning"] and why in lacks["sample.first_frame"]
    assert "data.first_frame_conditioning" not in lacking(registered_families()["ltx"])


def test_first_frames_of_a_dataset_in_which_nothing_moves(tiny: Tiny, tmp_path: Path) -> None:
    version, base = make_dataset(tmp_path), {"base": str(tiny("ltx"))}
    for asked in ({"data.first_frame_conditioning": 0.5}, {"sample.first_frame": True}):
        assert any(
            "nothing in the dataset moves" in n.message for n in prepare(version, base | asked, home=tmp_path).notices
        )
        moving = prepare(with_clips(tmp_path, version), base | asked, home=tmp_path)
        assert not any("moves" in n.message for n in moving.notices)
    assert not any("moves" in n.message for n in prepare(version, base, home=tmp_path).notices)
