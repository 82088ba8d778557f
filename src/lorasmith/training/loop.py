"""The loop, inline and linear: validate, preview, save, step, say.

Everything random is a function of the seed and the step (see ``sampler``), so a run that was killed anywhere and
resumed from its newest checkpoint ends in the same bytes as one that never was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from lorasmith.config import TrainConfig
from lorasmith.errors import NonFiniteLoss
from lorasmith.events import Emit, Metric, Phase
from lorasmith.families import Family, Model
from lorasmith.jobfolder import Control
from lorasmith.training import memory
from lorasmith.training.batches import Batches
from lorasmith.training.checkpoint import Checkpoints, Snapshot, generator_states, restore_generators
from lorasmith.training.lora import Average, Lora
from lorasmith.training.objective import AnyObjective
from lorasmith.training.optimizers import learning_rate_factor
from lorasmith.training.pace import Pace
from lorasmith.training.preview import Preview
from lorasmith.training.sampler import Exposure, Sampler
from lorasmith.training.validation import Validation

Ending = Literal["succeeded", "paused", "stopped"]
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_SMOOTHING = 0.95
_REMEDY = "Lower optimizer.learning_rate, use mixed_precision bf16 or fp32, or look at these pictures."


@dataclass
class Run:
    """A run between two steps. What changes with the steps is what a checkpoint holds."""

    config: TrainConfig
    family: Family
    model: Model
    device: torch.device
    objective: AnyObjective
    lora: Lora
    optimizer: Optimizer
    rates: tuple[float, ...]
    """Learning rate of each of the optimizer's groups, before the scheduler."""
    scaler: torch.amp.GradScaler
    average: Average | None
    sampler: Sampler
    batches: Batches
    validation: Validation | None
    preview: Preview
    checkpoints: Checkpoints
    frames: int = 1
    """Of the longest clip that is trained on."""
    step: int = 0
    """Optimizer steps done."""
    settled: int = -1
    """The step whose validation, preview and checkpoint are already done, after resuming; -1 is none."""
    smoothed_loss: float | None = None
    base_validation_loss: float | None = None
    """The held-out loss before the first step, when the adapter still does nothing."""
    validation_loss: float | None = None

    def precision(self) -> torch.autocast:
        """The number format of forward passes."""
        dtype = _DTYPES[self.config.mixed_precision]
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype != torch.float32)


def train(run: Run, emit: Emit, control: Callable[[], Control]) -> Ending:
    """Train from where ``run`` stands to ``max_train_steps``, or until a pause or stop is asked for.

    Raises:
        NonFiniteLoss: at once, before the weights are touched or saved; the newest checkpoint stays as it is.
        OutOfMemory, OSError: as they come; the newest checkpoint stays as it is.
    """
    config, total = run.config, run.config.max_train_steps
    pace, heard = Pace(), Control()
    emit(Phase("training"))
    while True:
        wish, last, fresh = control(), run.step == total, run.step != run.settled
        if run.validation is not None and fresh and (last or _due(run.step, config.validation_every_steps)):
            _validate(run, emit)
        asked = wish.sample_now > heard.sample_now
        if run.preview.prompts and (asked or (fresh and (last or _due(run.step, config.sample.every_steps)))):
            _preview(run, emit)
        asked, halt = wish.save_now > heard.save_now, wish.wanted != "run"
        scheduled = fresh and run.step > 0 and _due(run.step, config.checkpoint.every_steps)
        if asked or halt or last or scheduled:
            emit(Phase("saving"))
            run.checkpoints.save(snapshot(run))
            emit(Phase("training"))
        if last or (wish.wanted == "finish" and run.step > 0):
            return "succeeded"
        if halt:
            return "paused" if wish.wanted == "pause" else "stopped"
        heard = wish

        pace.begin()
        factor = learning_rate_factor(config.optimizer, run.step, total)
        for group, rate in zip(run.optimizer.param_groups, run.rates, strict=True):
            group["lr"] = rate * factor
        torch.manual_seed((config.seed * 1_000_003 + run.step) % 2**63)  # dropout inside the adapter
        losses: list[Tensor] = []
        shown: list[Exposure] = []
        for _ in range(config.gradient_accumulation_steps):
            exposures = run.sampler.next_batch()
            with run.precision():  # around the loading too: a text encoder that learns runs there
                batch = run.batches.load(exposures)
                noisy = run.objective.add_noise(batch.latents, batch.noise, batch.timestep)
                time = run.objective.time(batch.timestep)
                prediction = run.family.denoise(run.model, noisy, time, batch.conditioning)
            each = batch.weigh(
                run.objective.loss(prediction, batch.latents, batch.noise, batch.timestep, batch.mask)
            )  # (B,)
            share: Tensor = run.scaler.scale(each.mean() / config.gradient_accumulation_steps)
            torch.autograd.backward(share)
            losses.append(each.detach())
            shown += exposures
        run.scaler.unscale_(run.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(run.lora.parameters.values(), config.optimizer.max_grad_norm or math.inf)
        *each_loss, grad_norm = torch.cat([*losses, norm.view(1)]).tolist()  # the one sync point of a step
        _refuse_non_finite(run, each_loss, grad_norm, shown)
        run.scaler.step(run.optimizer)
        run.scaler.update()
        run.optimizer.zero_grad(set_to_none=True)
        if run.average is not None:
            run.average.update()
        run.step += 1
        pace.end()

        _say(run, sum(each_loss) / len(each_loss), grad_norm, emit)
        emit(pace.progress(run.step, total))


def snapshot(run: Run) -> Snapshot:
    """The whole state between two steps."""
    numbers = {
        "cursor": run.sampler.cursor(),
        "scaler": run.scaler.state_dict(),
        "average_updates": run.average.updates if run.average else 0,
        "smoothed_loss": run.smoothed_loss,
        "validation_loss": run.validation_loss,
        "base_validation_loss": run.base_validation_loss,
    }
    average = run.average.values if run.average else {}
    copies = {name: tensor.cpu().clone() for name, tensor in average.items()}
    return Snapshot(run.step, run.lora.state(), run.optimizer.state_dict(), numbers, copies, generator_states())


def restore(run: Run, saved: Snapshot) -> None:
    """Put a run back to where a snapshot was taken."""
    run.step = run.settled = saved.step
    run.lora.load(saved.adapter)
    run.optimizer.load_state_dict(saved.optimizer)
    run.sampler.seek(saved.numbers["cursor"])
    run.scaler.load_state_dict(saved.numbers["scaler"])
    run.smoothed_loss = saved.numbers["smoothed_loss"]
    run.validation_loss = saved.numbers["validation_loss"]
    run.base_validation_loss = saved.numbers["base_validation_loss"]
    if run.average is not None:
        run.average.load(saved.average, int(saved.numbers["average_updates"]))
    restore_generators(saved.generators)


def _say(run: Run, loss: float, grad_norm: float, emit: Emit) -> None:
    """The figures of a step. An infinite gradient norm, which fp16's scaler deals with, is left out.

    The learning rates are those that counted: Prodigy multiplies the schedule's by the step size ``d`` it has found.
    """
    before = loss if run.smoothed_loss is None else run.smoothed_loss
    run.smoothed_loss = _SMOOTHING * before + (1 - _SMOOTHING) * loss
    values = {
        "loss": loss,
        "smoothed_loss": run.smoothed_loss,
        **_learning_rates(run),
        "grad_norm": grad_norm,
        "rss_bytes": float(memory.rss_bytes()),
        "device_bytes": float(memory.device_bytes(run.device)),
    }
    emit(Metric(run.step, {name: value for name, value in values.items() if math.isfinite(value)}))


def _learning_rates(run: Run) -> dict[str, float]:
    """The rate of each part of the model that learns; the denoiser's has no prefix."""
    own = {run.family.denoiser_part: "learning_rate"}
    rates = [float(group["lr"]) * float(group.get("d", 1.0)) for group in run.optimizer.param_groups]
    return {own.get(part, f"{part}_learning_rate"): rate for part, rate in zip(run.lora.parts, rates, strict=True)}


def _due(step: int, interval: int) -> bool:
    return step == 0 or (interval > 0 and step % interval == 0)


def _validate(run: Run, emit: Emit) -> None:
    """Measure the held-out loss of what would be exported now; at step 0 that is the base's."""
    assert run.validation is not None
    emit(Phase("validating"))
    with _as_exported(run):
        run.validation_loss = run.validation.loss(run.model, run.family, run.objective, run.precision())
    if run.step == 0:
        run.base_validation_loss = run.validation_loss
    if not math.isfinite(run.validation_loss):
        raise NonFiniteLoss(
            f"The validation loss is NaN or infinite after step {run.step}, with {', '.join(run.validation.names)}.",
            f"{_kept(run)}. {_REMEDY}",
        )
    values = {"validation_loss": run.validation_loss}
    if run.base_validation_loss is not None:
        values["base_validation_loss"] = run.base_validation_loss
        values["validation_gain"] = run.base_validation_loss - run.validation_loss
    emit(Metric(run.step, values))
    emit(Phase("training"))


def _preview(run: Run, emit: Emit) -> None:
    """Draw the previews with what would be exported now."""
    with _as_exported(run):
        run.preview.draw(run.step, emit, run.precision())
    emit(Phase("training"))


@contextmanager
def _as_exported(run: Run) -> Iterator[None]:
    """Inside, dropout is off and the model carries the average where there is one."""
    run.lora.train(False)
    try:
        if run.average is None:
            yield
        else:
            with run.average.in_place():
                yield
    finally:
        run.lora.train(True)


def _refuse_non_finite(run: Run, losses: Sequence[float], grad_norm: float, shown: Sequence[Exposure]) -> None:
    """Stop at the first NaN or infinity. With fp16 an infinite gradient is the scaler's business, a loss is not."""
    guilty = sorted({e.item for e, loss in zip(shown, losses, strict=True) if not math.isfinite(loss)})
    what = "loss"
    if not guilty and not math.isfinite(grad_norm) and not run.scaler.is_enabled():
        guilty, what = sorted({e.item for e in shown}), "gradient"
    if not guilty:
        return
    raise NonFiniteLoss(
        f"The {what} became NaN or infinite at step {run.step + 1}, with {', '.join(guilty)}.",
        f"{_kept(run)}. {_REMEDY}",
    )


def _kept(run: Run) -> str:
    steps = run.checkpoints.steps()
    return f"The checkpoint of step {steps[-1]} is good" if steps else "There is no checkpoint yet"
