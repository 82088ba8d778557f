"""Puts a run together: model, adapter, optimizer, sampler, as the config says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from lorasmith.config import TrainConfig
from lorasmith.errors import EnvironmentProblem
from lorasmith.training.batches import Batches
from lorasmith.training.cache import Cache
from lorasmith.training.checkpoint import Checkpoints
from lorasmith.training.loop import Run
from lorasmith.training.lora import Average, attach
from lorasmith.training.objective import objective_of
from lorasmith.training.optimizers import build_optimizer
from lorasmith.training.plan import sampler_of
from lorasmith.training.precompute import preview_prompts
from lorasmith.training.preview import Preview
from lorasmith.training.references import of_previews
from lorasmith.training.setting import Setting
from lorasmith.training.validation import Validation

# The frozen weights' format: half of them saves memory, while adapter and optimizer stay fp32.
_WEIGHTS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

_MOSTLY = 0.5  # of the exposures


def device_of(config: TrainConfig) -> torch.device:
    """The device a config means.

    Raises:
        EnvironmentProblem: this machine, or this build of torch, lacks it.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    name = next(n for n, here in present.items() if here) if config.device == "auto" else config.device
    if not present[name]:
        raise EnvironmentProblem(f"This machine has no {name} device that torch can use.", "Set device to auto or cpu.")
    if config.mixed_precision == "fp16" and name != "cuda":
        raise EnvironmentProblem(f"mixed_precision fp16 needs CUDA, and this run is on {name}.", "Use bf16 or fp32.")
    return torch.device(name)


def settle_torch(config: TrainConfig) -> None:
    """Make this process train the same bytes every time: threads, deterministic kernels, seed.

    Kernels without a deterministic form warn instead of failing; on the CPU there is none that we use.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling uninitialised memory costs time, and nothing here reads such memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.manual_seed(config.seed % 2**63)


def assemble(setting: Setting, cache: Cache, out: Path) -> Run:
    """A run at its beginning, everything loaded; it writes into the folder ``out``.

    Raises:
        BaseError: the base cannot be trained this way.
        EnvironmentProblem: the optimizer needs something this machine lacks.
    """
    config, plan, family, device = setting.config, setting.plan, setting.family, setting.device
    parts = ("denoiser", "text_encoders") if config.adapter.text_encoder else ("denoiser",)
    model = family.load(setting.base, parts=parts, dtype=_WEIGHTS[config.mixed_precision], device=device)
    objective = objective_of(model, config.objective, device, family)
    lora = attach(model, family, config)
    if config.gradient_checkpointing:
        learning: list[Any] = list(family.denoisers(model).values())
        for denoiser in learning:
            denoiser.enable_gradient_checkpointing()
        for encoder in model.text_encoders.values():
            encoder.gradient_checkpointing_enable({"use_reentrant": False})
    lora.train()
    optimizer = build_optimizer(config.optimizer, lora, tuple(family.denoisers(model)), device)
    batches = Batches(
        plan, setting.version, config, cache=cache, family=family, model=model, objective=objective, device=device
    )
    prompts = preview_prompts(config)
    preview = Preview(
        folder=out / "samples",
        prompts=prompts,
        shown=of_previews(plan, setting.version, family, len(prompts)),
        config=config.sample,
        side=plan.resolution,
        frames=config.sample.frames or plan.frames,
        family=family,
        model=model,
        batches=batches,
        device=device,
        goes_on=family.may_begin_with_picture and _goes_on(config),
    )
    names = [placed.key for placed in plan.validation]
    return Run(
        config=config,
        family=family,
        model=model,
        device=device,
        objective=objective,
        lora=lora,
        optimizer=optimizer,
        rates=tuple(float(group["lr"]) for group in optimizer.param_groups),
        scaler=torch.amp.GradScaler(device.type, enabled=config.mixed_precision == "fp16"),
        average=Average(lora, config.ema_decay) if config.ema_decay else None,
        sampler=sampler_of(config, plan.buckets),
        batches=batches,
        validation=Validation(names, batches, seed=config.seed) if names else None,
        preview=preview,
        checkpoints=Checkpoints(out / "checkpoints", config.checkpoint.keep),
        frames=plan.frames,
    )


def _goes_on(config: TrainConfig) -> bool:
    """Whether previews go on from a first frame: as the config says, else as most of what is trained does."""
    said = config.sample.first_frame
    return said if said is not None else config.data.first_frame_conditioning >= _MOSTLY
