"""Noise, targets and weights of the objectives, in the papers' symbols.

    z_t = sqrt(a) x + sqrt(1 - a) n            a = alphas_cumprod[t], x = latents, n = noise
    epsilon target       n                                          (Ho et al. 2020, arXiv:2006.11239)
    v target             sqrt(a) n - sqrt(1 - a) x                  (Salimans and Ho 2022, arXiv:2202.00512)
    SNR                  a / (1 - a)
    min-SNR weight       min(SNR, gamma) / SNR for epsilon, min(SNR, gamma) / (SNR + 1) for v
                                                                    (Hang et al. 2023, arXiv:2303.09556)

Flow matching (Lipman et al. 2022, arXiv:2210.02747; Esser et al. 2024, arXiv:2403.03206) has no steps, only s in 0..1:

    z_s = (1 - s) x + s n                      target n - x
    density of s         uniform, or logit-normal: s = sigmoid(m + d q), q standard normal (peers' "sigmoid": m 0, d 1)
    shift by k           s' = k s / (1 + (k - 1) s), more noise for more pixels; k = 1 does nothing

A mask m in 0..1 makes the mean squared error e of a picture a weighted mean over its positions p,

    loss = sum_p w_p e_p / sum_p w_p           w = u + (1 - u) m, u = unmasked_weight

so that a small mask does not make a small loss: without the division, which is sd-scripts' way (``apply_masked_loss``),
a mask over a tenth of a picture trains it with a tenth of the learning rate. OneTrainer divides by the same mean on
request (``normalize_masked_area_loss``), ai-toolkit by that of the batch, where a neighbour's mask changes the weight.
With m = 1 everywhere it is the plain mean.

Of a clip all of this holds with one axis more, (B, C, f, h, w): one s for all its frames, one mask, one mean.
All of it stays finite where a schedule ends in pure noise (SNR 0, Lin et al. 2023, arXiv:2305.08891).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lorasmith.config import ObjectiveConfig
from lorasmith.errors import BaseError
from lorasmith.families import Family, Model, TimeSampling

_EDGE = 1e-6  # of a density: its quantiles there are infinite


@dataclass(frozen=True)
class Objective:
    """How noise is added and what is predicted.

    Attributes:
        alphas_cumprod: (T,) fp32, from nearly 1 down to nearly or exactly 0.
        prediction: ``epsilon`` or ``v_prediction``.
        min_snr_gamma: None weighs every timestep 1.
        noise_offset: see ``draw_noise``.
    """

    alphas_cumprod: Tensor
    prediction: str
    min_snr_gamma: float | None = None
    noise_offset: float = 0.0

    def timestep(self, time: Tensor, size: tuple[int, int, int] = (0, 0, 1)) -> Tensor:
        """Time (B,) in 0..1 to discrete steps (B,), each as likely as every other. ``size`` changes nothing."""
        count = len(self.alphas_cumprod)
        return (time * count).long().clamp(0, count - 1)

    def time(self, timestep: Tensor) -> Tensor:
        """The middle of a discrete step in 0..1, so that turning it back cannot round to its neighbour."""
        return (timestep.float() + 0.5) / len(self.alphas_cumprod)

    def _alpha(self, timestep: Tensor) -> Tensor:
        return self.alphas_cumprod[timestep]

    def add_noise(self, latents: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
        """z_t (B, C, h, w)."""
        alpha = _like(self._alpha(timestep), latents)
        return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise

    def target(self, latents: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
        """What the denoiser should say, (B, C, h, w)."""
        if self.prediction == "epsilon":
            return noise
        alpha = _like(self._alpha(timestep), latents)
        return alpha.sqrt() * noise - (1 - alpha).sqrt() * latents

    def weight(self, timestep: Tensor) -> Tensor:
        """Weight of the squared error (B,)."""
        alpha = self.alphas_cumprod[timestep]
        if self.min_snr_gamma is None:
            return torch.ones_like(alpha)
        snr = alpha / (1 - alpha)
        if self.prediction == "epsilon":
            return self.min_snr_gamma / snr.clamp(min=self.min_snr_gamma)  # = min(SNR, gamma) / SNR, finite at SNR 0
        return snr.clamp(max=self.min_snr_gamma) / (snr + 1)

    def loss(
        self, prediction: Tensor, latents: Tensor, noise: Tensor, timestep: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Weighted mean squared error of each picture, (B,).

        Args:
            prediction: what the denoiser said, (B, C, h, w).
            latents: the data, (B, C, h, w).
            noise: what was added, (B, C, h, w).
            timestep: discrete steps, (B,).
            mask: the weight of each position, (B, 1, h, w), not all 0 in any picture; None weighs all the same.
        """
        return _mean_error(prediction, self.target(latents, noise, timestep), mask) * self.weight(timestep)

    def draw_noise(self, shape: torch.Size, seed: int) -> Tensor:
        """Noise of one picture (C, h, w) from its own seed, on the CPU: the same on every device.

        With ``noise_offset`` every channel is shifted by a normal constant of that size.
        """
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(shape, generator=generator)
        if self.noise_offset:
            constant = torch.randn((shape[0], *(1 for _ in shape[1:])), generator=generator)
            noise = noise + self.noise_offset * constant
        return noise


@dataclass(frozen=True)
class FlowObjective:
    """Flow matching with the same face as ``Objective``; a timestep is s itself, so time and timestep are one.

    Attributes:
        sampling: the density of s before the shift.
        shift: k by width and height in pixels and frames.
        weighting: ``none``; ``sigma_sqrt`` (1 / s^2) or ``cosmap`` (2 / (pi (1 - 2 s + 2 s^2))), Esser et al., B.2.
    """

    sampling: TimeSampling
    shift: Callable[[int, int, int], float]
    weighting: str = "none"

    def timestep(self, time: Tensor, size: tuple[int, int, int] = (0, 0, 1)) -> Tensor:
        """Time (B,) in 0..1 to the s (B,) below which that share of the density lies, fp32: strata stay strata."""
        share = time.double()
        if self.sampling.density == "logit_normal":
            normal = math.sqrt(2) * torch.erfinv(2 * share.clamp(_EDGE, 1 - _EDGE) - 1)
            share = torch.sigmoid(self.sampling.mean + self.sampling.deviation * normal)
        moved: Tensor = shifted(share, self.shift(*size))
        return moved.float()

    def time(self, timestep: Tensor) -> Tensor:
        """The timestep itself."""
        return timestep

    def add_noise(self, latents: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
        """z_s (B, C, h, w)."""
        s = _like(timestep, latents)
        return (1 - s) * latents + s * noise

    def target(self, latents: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
        """From data to noise, (B, C, h, w), the same at all s."""
        return noise - latents

    def weight(self, timestep: Tensor) -> Tensor:
        """Weight of the squared error (B,)."""
        if self.weighting == "sigma_sqrt":
            return timestep.clamp(min=1e-2).reciprocal().square()
        if self.weighting == "cosmap":
            return 2 / (math.pi * (1 - 2 * timestep + 2 * timestep.square()))
        return torch.ones_like(timestep)

    def loss(
        self, prediction: Tensor, latents: Tensor, noise: Tensor, timestep: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """As ``Objective.loss``."""
        return _mean_error(prediction, self.target(latents, noise, timestep), mask) * self.weight(timestep)

    def draw_noise(self, shape: torch.Size, seed: int) -> Tensor:
        """Noise of one picture (C, h, w) from its own seed, on the CPU."""
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


AnyObjective = Objective | FlowObjective


def shifted(s: Any, k: float) -> Any:
    """Noise levels moved towards noise for k above 1; 0 and 1 stay where they are."""
    return s if k == 1 else k * s / (1 + (k - 1) * s)


def _mean_error(prediction: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """Mean squared error of each picture (B,), see above for the mask (B, 1, h, w)."""
    squared = (prediction - target).square()
    if mask is None:
        return squared.flatten(1).mean(dim=1)
    each = squared.mean(dim=1, keepdim=True)
    weights = mask.expand_as(each)  # of a clip, the same for all its frames
    return (each * weights).flatten(1).sum(dim=1) / weights.flatten(1).sum(dim=1)


def _like(values: Tensor, latents: Tensor) -> Tensor:
    """One number a row (B,), with an axis of 1 for every other of the latents."""
    return values.view(-1, *(1 for _ in latents.shape[1:]))


def objective_of(model: Model, config: ObjectiveConfig, device: torch.device, family: Family) -> AnyObjective:
    """The objective a loaded base was trained with.

    Raises:
        BaseError: it is none that this trainer knows.
    """
    if model.objective == "flow":
        sampling, fixed = family.time_sampling, config.timestep_shift
        if config.timestep_density is not None:
            sampling = TimeSampling(config.timestep_density)
        shift = family.shift_for(model) if fixed is None else lambda width, height, frames: fixed
        return FlowObjective(sampling, shift, config.loss_weighting)
    if model.objective not in ("epsilon", "v_prediction"):
        raise BaseError(
            f"{model.base.name} learns by '{model.objective}', which this trainer does not know.",
            "Choose another base: `lorasmith families` lists what can be trained.",
        )
    alphas = torch.as_tensor(model.scheduler.alphas_cumprod, dtype=torch.float32).to(device)
    return Objective(alphas, model.objective, config.min_snr_gamma, config.noise_offset)
