"""The held-out loss: the same pictures, noise and timesteps at every measurement, so that only the adapter differs.

The base, measured once in the same way, is its pair: their difference has far less spread than either.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final

import torch

from lorasmith.families import Family, Model
from lorasmith.training.batches import Batches
from lorasmith.training.objective import AnyObjective
from lorasmith.training.sampler import Exposure

TIMES: Final = (0.125, 0.375, 0.625, 0.875)  # the middles of four equal intervals of time


class Validation:
    """Measures the loss of pictures that are never trained on.

    Args:
        names: the held-out pictures.
        seed: of their noise.
    """

    def __init__(self, names: Sequence[str], batches: Batches, *, seed: int) -> None:
        self._batches = batches
        self.names = tuple(names)
        self._rows = [
            [
                Exposure(0, name, 0, False, 0, time, (seed + 1_000_003 * (row * len(TIMES) + place) + 1) % 2**62)
                for place, time in enumerate(TIMES)
            ]
            for row, name in enumerate(names)
        ]

    @torch.no_grad()
    def loss(
        self, model: Model, family: Family, objective: AnyObjective, precision: AbstractContextManager[None]
    ) -> float:
        """Mean loss over held-out pictures and times, weighted and masked as in training."""
        losses = []
        with precision:
            for row in self._rows:
                batch = self._batches.load(row)
                noisy = objective.add_noise(batch.latents, batch.noise, batch.timestep)
                prediction = family.denoise(model, noisy, objective.time(batch.timestep), batch.conditioning)
                losses.append(objective.loss(prediction, batch.latents, batch.noise, batch.timestep, batch.mask))
        return float(torch.cat(losses).mean())
