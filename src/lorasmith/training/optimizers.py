"""Who moves the weights, and the learning rate as a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from typing import Any

import torch
from torch.optim import Optimizer

from lorasmith.config import OptimizerConfig
from lorasmith.errors import EnvironmentProblem
from lorasmith.training.lora import Lora


class Lion(Optimizer):
    """Sign of an interpolated momentum (Chen et al. 2023, arXiv:2302.06675, algorithm 2), decoupled decay."""

    def __init__(self, params: Iterable[Any], lr: float, betas: tuple[float, float], weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"]
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(torch.lerp(parameter.grad, momentum, beta1).sign_(), alpha=group["lr"])
                momentum.lerp_(parameter.grad, 1 - beta2)
        return loss


def build_optimizer(config: OptimizerConfig, lora: Lora, denoisers: Collection[str], device: torch.device) -> Optimizer:
    """The chosen optimizer over the adapter's tensors, the text encoder's in a group with its own step size.

    Raises:
        EnvironmentProblem: the optimizer's package or device is missing.
    """
    groups = [
        {
            "params": lora.of_part(part),
            "lr": config.learning_rate if part in denoisers else config.resolved_text_encoder_learning_rate,
        }
        for part in lora.parts
    ]
    rate, betas, decay = config.learning_rate, (config.beta1, config.beta2), config.weight_decay
    if config.name == "adamw":
        fused = device.type in ("cpu", "cuda")
        return torch.optim.AdamW(groups, lr=rate, betas=betas, eps=config.eps, weight_decay=decay, fused=fused)
    if config.name == "adafactor":
        return _adafactor(groups, rate, decay)
    if config.name == "lion":
        return Lion(groups, rate, betas, decay)
    if config.name == "prodigy":
        return _prodigy(groups, config)
    return _adamw_8bit(groups, config, device)


def _adafactor(groups: list[dict[str, Any]], rate: float, decay: float) -> Optimizer:
    """Adafactor (Shazeer and Stern 2018, arXiv:1804.04235) that steps by the learning rate as it is given.

    torch's own multiplies it by the size of the weights, at least 0.001: ``up`` begins at zero and would stay there.
    """
    from transformers.optimization import Adafactor

    switches = {"scale_parameter": False, "relative_step": False, "warmup_init": False}
    optimizer: Optimizer = Adafactor(groups, lr=rate, weight_decay=decay, **switches)
    return optimizer


def _prodigy(groups: list[dict[str, Any]], config: OptimizerConfig) -> Optimizer:
    try:
        from prodigyopt import Prodigy
    except ImportError as cause:
        raise EnvironmentProblem(
            "optimizer.name prodigy needs the package prodigyopt.", "Install lorasmith[train]."
        ) from cause
    optimizer: Optimizer = Prodigy(
        groups,
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        weight_decay=config.weight_decay,
        decouple=True,
        use_bias_correction=True,
        safeguard_warmup=True,
    )
    return optimizer


def _adamw_8bit(groups: list[dict[str, Any]], config: OptimizerConfig, device: torch.device) -> Optimizer:
    if device.type != "cuda":
        raise EnvironmentProblem(
            f"optimizer.name adamw_8bit needs CUDA, and this run is on {device.type}.", "Set optimizer.name to adamw."
        )
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as cause:
        raise EnvironmentProblem(
            "optimizer.name adamw_8bit needs the package bitsandbytes.",
            "Run `pip install bitsandbytes`, or set optimizer.name to adamw.",
        ) from cause
    betas = (config.beta1, config.beta2)
    optimizer: Optimizer = AdamW8bit(
        groups, lr=config.learning_rate, betas=betas, eps=config.eps, weight_decay=config.weight_decay
    )
    return optimizer


def learning_rate_factor(config: OptimizerConfig, step: int, total: int) -> float:
    """What the learning rate of optimizer step ``step`` (from 0) of ``total`` is multiplied by, above 0 to 1."""
    warm_up = config.lr_warmup_steps
    if step < warm_up:
        return (step + 1) / warm_up
    done = (step - warm_up) / max(1, total - warm_up)
    if config.lr_scheduler == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if config.lr_scheduler == "linear":
        return 1 - done
    return 1.0
