"""The memory of a step, told without allocating it, against the storages of a real step."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from lorasmith.errors import OutOfMemory
from lorasmith.events import Notice
from lorasmith.families.sd import StableDiffusion
from lorasmith.families.sd import plugin as sd
from lorasmith.jobfolder import Control
from lorasmith.trainers.native import plugin as native
from lorasmith.training import memory
from lorasmith.training.footprint import _Live, footprint
from lorasmith.training.loop import Run
from tests.training.home import make_dataset, make_job, quick_config
from tests.training.runs import Said, make_run

CPU = torch.device("cpu")


@pytest.fixture
def run(tmp_path: Path, tiny_base: Path) -> Run:
    return make_run(tmp_path, tiny_base, train_batch_size=4)


def measured(run: Run) -> int:
    """The peak of a real step, counted storage by storage."""
    batch = run.batches.load(run.sampler.next_batch())
    live = _Live()
    with live, run.precision():
        time = run.objective.time(batch.timestep)
        prediction = run.family.denoise(run.model, batch.latents, time, batch.conditioning)
        torch.autograd.backward(prediction.square().mean())
    return live.peak


@pytest.mark.parametrize("changes", [{}, {"gradient_checkpointing": True}, {"mixed_precision": "bf16"}])
def test_a_pretended_step_takes_what_a_real_one_takes(tmp_path: Path, tiny_base: Path, changes: dict[str, Any]) -> None:
    run = make_run(tmp_path, tiny_base, train_batch_size=2, **{"data.buckets": False}, **changes)
    assert footprint(run, run.config).step == pytest.approx(measured(run), rel=0.02)
    weights = sum(p.numel() * p.element_size() for p in run.model.denoiser.parameters() if not p.requires_grad)
    assert footprint(run, run.config).weights == weights


def test_pretending_leaves_the_model_as_it_was(run: Run) -> None:
    before = dict(run.model.denoiser.named_parameters())
    footprint(run, memory.changed(run.config, {"gradient_checkpointing": True}))
    after = dict(run.model.denoiser.named_parameters())
    assert all(after[name] is parameter for name, parameter in before.items())
    assert not any(getattr(module, "gradient_checkpointing", False) for module in run.model.denoiser.modules())
    assert all(p.grad is None for p in after.values())


def test_every_rung_takes_less(run: Run) -> None:
    totals = [footprint(run, run.config).total]
    values: dict[str, Any] = {}
    for _, change in memory.lighter(run.config, sd):
        values |= change
        totals.append(footprint(run, memory.changed(run.config, values)).total)
    assert len(totals) > 3 and all(after < before for before, after in itertools.pairwise(totals))


def hint_at(run: Run, limit: float, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said when memory ends in training and ``limit`` bytes can be had."""
    monkeypatch.setattr(memory, "obtainable_bytes", lambda device: int(limit))
    with pytest.raises(OutOfMemory) as error, memory.explained(run.config, sd, CPU, "training") as watched:
        watched.run = run
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    return error.value.hint


def test_the_smallest_change_that_fits_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def needed(**values: Any) -> int:
        return footprint(run, memory.changed(run.config, values)).total

    one = needed(gradient_checkpointing=True)
    assert hint_at(run, one * 1.11, monkeypatch).startswith("Set gradient_checkpointing: true: a step then takes about")
    two = needed(gradient_checkpointing=True, train_batch_size=2)
    assert hint_at(run, two * 1.11, monkeypatch).startswith(
        "Set gradient_checkpointing: true and train_batch_size: 2 with gradient_accumulation_steps: 2: a step"
    )


def test_when_nothing_fits_it_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    hint = hint_at(run, 1000, monkeypatch)
    assert hint.startswith("Even with gradient_checkpointing: true and train_batch_size: 1 with")
    assert "mixed_precision: bf16" in hint and "choose a smaller base" in hint


GIB = 2**30


def refused_at(run: Run, limit: float, monkeypatch: pytest.MonkeyPatch, swap: int = 0) -> Said:
    """What is said before a run when ``limit`` bytes can be had, and ``swap`` besides."""
    monkeypatch.setattr(memory, "obtainable_bytes", lambda device: int(limit))
    monkeypatch.setattr(psutil, "swap_memory", lambda: SimpleNamespace(free=swap))
    said = Said()
    memory.refuse_what_cannot_fit(run, run.config, said)
    return said


def test_a_run_that_cannot_fit_is_refused_with_what_would(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = footprint(run, run.config).total
    less = footprint(run, memory.changed(run.config, {"gradient_checkpointing": True})).total
    limit = less * 1.11
    assert limit < 0.85 * whole
    with pytest.raises(OutOfMemory, match=r"A step of this run takes about .* GiB, and this machine has") as error:
        refused_at(run, limit, monkeypatch)
    assert error.value.hint.startswith("Set gradient_checkpointing: true: a step then takes about")
    assert refused_at(run, limit, monkeypatch, swap=whole).events == []
    with pytest.raises(OutOfMemory) as error:
        refused_at(run, 1000, monkeypatch)
    assert "choose a smaller base or a larger machine" in error.value.hint


def test_what_is_near_the_limit_is_said_and_tried(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = footprint(run, run.config).total
    (notice,) = refused_at(run, whole, monkeypatch).events
    assert isinstance(notice, Notice) and "may run out of memory" in notice.message
    assert "gradient_checkpointing: true" in notice.hint
    assert refused_at(run, whole * 1.2, monkeypatch).events == []


def test_computing_first_changes_no_number(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_rng_state()
    state = {name: tensor.clone() for name, tensor in run.lora.state().items()}
    refused_at(run, 64 * GIB, monkeypatch)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(tensor, state[name]) for name, tensor in run.lora.state().items())


def test_a_step_that_cannot_be_computed_is_tried(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = StableDiffusion.denoise

    def depends_on_numbers(self: StableDiffusion, model: Any, noisy: torch.Tensor, *rest: Any) -> torch.Tensor:
        return honest(self, model, noisy, *rest) * float(noisy.mean().item())

    monkeypatch.setattr(StableDiffusion, "denoise", depends_on_numbers)
    (notice,) = refused_at(run, 1000, monkeypatch).events
    assert isinstance(notice, Notice) and "cannot be computed" in notice.message


def test_a_job_that_cannot_fit_ends_before_its_first_step(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, said = make_dataset(tmp_path), Said()
    folder = make_job(tmp_path, quick_config(tiny_base, train_batch_size=4), version)
    monkeypatch.setattr(memory, "obtainable_bytes", lambda device: 1000)
    monkeypatch.setattr(psutil, "swap_memory", lambda: SimpleNamespace(free=0))
    with pytest.raises(OutOfMemory, match="A step of this run takes about"):
        native.train(folder, said, Control)
    assert said.values("loss") == {} and not (folder.path / "checkpoints").exists()
