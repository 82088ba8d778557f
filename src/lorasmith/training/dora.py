"""Turning a trained DoRA layer into the plain LoRA that comes closest to it.

DoRA (Liu et al. 2024, arXiv:2402.09353) rescales base and update together, W' = m · (W + ΔV) / ‖W + ΔV‖ per output.
diffusers drops the magnitudes on loading, and programs differ in how they read them, so a DoRA file would not be
the adapter that was trained. The change W' − W itself loads everywhere once it is written as a LoRA of more rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from lorasmith.adapters.module import LoraModule, low_rank_update
from lorasmith.training.plan import DORA_RANK_FACTOR

_OVERSAMPLING: Final = 8


@dataclass(frozen=True)
class Kept:
    """How much of a DoRA update survives: squared norms before and after."""

    whole: float
    kept: float

    @property
    def share(self) -> float:
        """Share of the update's energy that the plain LoRA holds, 0 to 1."""
        return self.kept / self.whole if self.whole > 0 else 1.0


def dora_update(weight: Tensor, module: LoraModule) -> Tensor:
    """W' − W in fp32, in the shape of the layer's weight.

    Raises:
        ValueError: the module has no magnitudes.
    """
    if module.dora_scale is None:
        raise ValueError(f"{module.module} has no DoRA magnitudes")
    base = weight.detach().float().cpu()
    moved = base + low_rank_update(module.down, module.up, module.alpha / module.rank)
    axes = [1] * (moved.ndim - 1)
    norm = moved.flatten(1).norm(dim=1).reshape(-1, *axes)
    change: Tensor = module.dora_scale.float().reshape(-1, *axes) / norm * moved - base
    return change


def as_plain_lora(weight: Tensor, module: LoraModule) -> tuple[LoraModule, Kept]:
    """The best plain LoRA of ``DORA_RANK_FACTOR`` times the rank for a DoRA layer, and what it keeps.

    The randomised singular value decomposition (Halko et al. 2011, arXiv:0909.4061) draws from a fixed seed, so that
    the same layer gives the same bytes.
    """
    update = dora_update(weight, module)
    matrix = update.flatten(1)
    rank = min(DORA_RANK_FACTOR * module.rank, *matrix.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        q = min(rank + _OVERSAMPLING, *matrix.shape)
        u, s, v = torch.svd_lowrank(matrix, q=q, niter=4)
    u, s, v = u[:, :rank], s[:rank], v[:, :rank]
    root = s.sqrt()
    up, down = u * root, (v * root).T.contiguous()
    if update.ndim == 4:
        up, down = up.reshape(*up.shape, 1, 1), down.reshape(rank, *update.shape[1:])
    plain = LoraModule(module.part, module.module, down=down, up=up.contiguous(), alpha=float(rank))
    return plain, Kept(whole=float(matrix.square().sum()), kept=float(s.square().sum()))
