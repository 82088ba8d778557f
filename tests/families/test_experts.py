"""Wan 2.2's pair: two denoisers, each for its side of a noise level; one job trains both and makes two adapters."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorasmith.adapters.certificate import certify
from lorasmith.adapters.file import write_adapter
from lorasmith.bases import open_base
from lorasmith.errors import AdapterError
from lorasmith.families import Conditioning
from lorasmith.generation.adapters import load_adapters
from lorasmith.generation.request import GenerateRequest
from lorasmith.generation.run import paint
from lorasmith.jobfolder import Control
from lorasmith.studio import Studio
from lorasmith.trainers.native import plugin as native
from lorasmith.training.loop import train
from tests.families.moving import with_clips
from tests.families.steps import Heard, assert_alike, encoded, ends_alike_when_cut, load, noise_of, run_of
from tests.families.tiny import RECORDS, Record, build_wan, make
from tests.training.home import make_dataset, make_job, quick_config
from tests.training.runs import Said

PROMPT = "zib, a large red star"
BOUNDARY = 0.5


def build_pair(folder: Path) -> Any:
    pipe, second = build_wan(folder), build_wan(folder)
    pipe.register_modules(transformer_2=second.transformer)
    pipe.register_to_config(boundary_ratio=BOUNDARY)
    return pipe


PAIR = replace(RECORDS["wan"], build=build_pair)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield make(PAIR, tmp_path_factory.mktemp("pair"))


def test_each_expert_is_asked_on_its_side_as_the_pipeline_asks_it(pair: Path) -> None:
    base, family, model = load(pair)
    pipe = family.pipeline(base, dtype=torch.float32, device="cpu")
    high, low = Heard.on(pipe.transformer), Heard.on(pipe.transformer_2)
    pipe(
        prompt=[PROMPT], output_type="latent", width=64, height=64, num_frames=9, guidance_scale=1.0,
        num_inference_steps=6, generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    assert high.calls and low.calls and len(high.calls) + len(low.calls) == 6
    ours = {"transformer": Heard.on(model.denoiser), "transformer_2": Heard.on(model.experts["transformer_2"])}
    conditioning = encoded(family, model, [PROMPT], 64, 1.0, 9)
    for part, theirs in (("transformer", high), ("transformer_2", low)):
        for call in theirs.calls:
            with torch.no_grad():
                family.denoise(model, call["hidden_states"], call["timestep"] / 1000, conditioning)
            assert_alike(ours[part].calls.pop(), call, part)
    assert not ours["transformer"].calls and not ours["transformer_2"].calls, "and the other was not asked"


def test_rows_of_one_batch_go_to_their_experts(pair: Path) -> None:
    _, family, model = load(pair)
    noisy = noise_of(PAIR, family, model, 5)
    time = torch.tensor([0.9, 0.2, 0.5, 0.49])
    conditioning = encoded(family, model, [PROMPT, "zib", "a ring", "a star"], 64, 1.0, 9)
    with torch.no_grad():
        together = family.denoise(model, noisy.expand(4, *noisy.shape[1:]), time, conditioning)
        for row in range(4):
            told = Conditioning({n: t[row : row + 1] for n, t in conditioning.tensors.items()})
            alone = family.denoise(model, noisy, time[row : row + 1], told)
            torch.testing.assert_close(together[row : row + 1], alone, atol=1e-4, rtol=1e-3)


def test_an_expert_learns_from_its_side_alone(pair: Path, tmp_path: Path) -> None:
    run = run_of(tmp_path, pair, "out", max_train_steps=1, **{"optimizer.learning_rate": 1e-2})
    assert set(run.lora.parts) == {"transformer", "transformer_2"}
    batch = run.batches.load(run.sampler.next_batch())
    for times, learns in (((0.8, 0.6), "transformer"), ((0.3, 0.1), "transformer_2")):
        prediction = run.family.denoise(run.model, batch.latents, torch.tensor(times), batch.conditioning)
        torch.autograd.backward(prediction.square().mean())
        moved = {name.partition(".")[0] for name, p in run.lora.parameters.items() if p.grad is not None}
        assert moved == {learns}
        run.optimizer.zero_grad(set_to_none=True)


def test_stopping_and_resuming_is_bit_exact(pair: Path, tmp_path: Path) -> None:
    short = {"max_train_steps": 4, "train_batch_size": 1}
    whole = run_of(tmp_path, pair, "whole", **short)
    train(whole, Said(), Control)
    ends_alike_when_cut(whole, tmp_path, pair, **short)


def test_one_job_two_adapters_each_with_its_certificate_and_both_paint(pair: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    version = with_clips(home, make_dataset(home))
    studio = Studio(home)
    config = quick_config(pair, **{
        "dataset": version.reference, "max_train_steps": 6, "data.frames": 9, "objective.min_snr_gamma": None,
        "objective.noise_offset": 0.0, "adapter.targets": "attention", "sample.prompts": [], "output_name": "moves",
        "optimizer.learning_rate": 1e-2, "adapter.dropout": 0.0, "ema_decay": None,
    })  # fmt: skip
    values = config.model_dump(mode="json", exclude_defaults=True)
    values["objective"] = {}
    job = studio.train(version, values)
    first = studio.collect(job)
    assert first.name == "moves_high_noise.safetensors" and studio.collect(job) == first
    assert studio.library.names() == ("moves_high_noise", "moves_low_noise")
    output = job.output()
    assert [made["expert"] for made in (output, *output["more"])] == ["high_noise", "low_noise"]
    assert all(made["certificate"]["passed"] for made in (output, *output["more"]))
    base = open_base(str(pair))
    folder = home / "adapters"
    for word in ("high_noise", "low_noise"):
        assert certify(folder / f"moves_{word}.safetensors", base).passed

    def painted(adapter: str, out: str) -> bytes:
        request = GenerateRequest(
            base=str(pair), prompts=(f"zib, a star {adapter}",), steps=4, width=64, height=64, frames=5, seed=1,
            guidance_scale=1.0, precision="fp32", device="cpu", threads=1,
        )  # fmt: skip
        (tmp_path / out).mkdir()
        family = load(pair)[1]
        made = paint(request, base, family, home=home, out=tmp_path / out, emit=Said(), control=Control)
        return (tmp_path / out / made["images"][0]["clip"]).read_bytes()

    names = ("", "<lora:moves:1>", "<lora:moves_high_noise:1>", "<lora:moves_low_noise:1>")
    clips = [painted(name, f"out{number}") for number, name in enumerate(names)]
    assert len(set(clips)) == 4, "both together, and each of them, change what is painted"
    shutil.copy(folder / "moves_low_noise.safetensors", folder / "renamed.safetensors")
    assert painted("<lora:renamed:1>", "renamed") != clips[0], "the file itself says for which expert it is"


def test_a_rehearsal_of_windows_of_clips_goes_through_every_stage(pair: Path, tmp_path: Path) -> None:
    """Several windows of one clip, some of which two steps show: they are cached by their items."""
    version = with_clips(tmp_path, make_dataset(tmp_path))
    config = quick_config(pair, **{
        "dataset": version.reference, "data.frames": 5, "data.cut": "chunks", "adapter.targets": "attention",
        "objective.min_snr_gamma": None, "objective.noise_offset": 0.0, "sample.frames": 5, "sample.steps": 1,
    })  # fmt: skip
    job = make_job(tmp_path, config, version, rehearse=True)
    answer = native.train(job, Said(), Control)
    assert answer["rehearsal"] and answer["seconds_per_step"] > 0 and answer["cached_pictures"] > 0


def test_a_file_that_does_not_say_its_expert_is_refused(pair: Path, tmp_path: Path) -> None:
    run = run_of(tmp_path, pair, "out", max_train_steps=1)
    modules = [m for m in run.lora.export()[0] if m.part == "transformer"]
    (tmp_path / "adapters").mkdir()
    path = tmp_path / "adapters" / "mute.safetensors"
    write_adapter(path, modules, family=run.family, dtype="fp32", metadata={})
    base, family, _ = load(pair)
    pipe = family.pipeline(base, dtype=torch.float32, device="cpu")
    with pytest.raises(AdapterError, match="which of the experts"):
        load_adapters(pipe, family, ["mute"], tmp_path)
    save_file(load_file(path), path.with_name("told_low_noise.safetensors"))
    (found,) = load_adapters(pipe, family, ["told_low_noise"], tmp_path).values()
    assert found.modules == len(modules)


def test_the_shift_of_the_pair_is_its_makers(pair: Path) -> None:
    _, family, model = load(pair)
    assert family.shift_for(model)(832, 480, 81) == 12.0
    single: Record = RECORDS["wan"]
    assert single.family == family.name and family.shift_for(replace(model, experts={}))(832, 480, 81) == 3.0
