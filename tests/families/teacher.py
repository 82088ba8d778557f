"""Teacher recovery: can a LoRA of this family be found again from what it does?

A random LoRA is planted in a tiny model and makes the targets; a student that starts from nothing sees inputs and
targets only. On inputs of its own kind that it never saw, its error must fall to little of the base's, and its change
of the prediction must point where the teacher's does. The cosine of the weights' updates is told beside it: directions
that no input excites cannot be found, so it stays lower.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lorasmith.families.beginnings import begun
from lorasmith.training.lora import Lora, attach
from lorasmith.training.objective import objective_of
from tests.families.steps import encoded, load
from tests.training.home import quick_config

PROMPTS = ["", "zib, a large red star", "a small blue circle, left", "a green ring on a grey background, by a star"]


@dataclass(frozen=True)
class Recovery:
    """On held-out inputs."""

    excess_loss: float
    """Squared distance to the teacher over that of the base: 1 at the beginning, 0 when it is found."""
    cosine: float
    """Between student's and teacher's change of the prediction."""
    weights_cosine: float
    """Between their updates of the weights."""


def recover(
    weights: Path,
    *,
    steps: int,
    inputs: int = 64,
    rate: float = 1e-2,
    side: int = 64,
    batch: int = 8,
    held_out: int = 32,
    seed: int = 0,
    begins: bool = False,
) -> Recovery:
    """Plant, teach, measure. Everything is drawn from ``seed``; with ``begins``, clips whose first frame is given."""
    _, family, model = load(weights)
    config = quick_config(
        weights, **{"adapter.targets": family.defaults["adapter"]["targets"], "adapter.dropout": 0.0,
                    "adapter.rank": 4, "objective.min_snr_gamma": None, "objective.noise_offset": 0.0},
    )  # fmt: skip
    objective = objective_of(model, config.objective, torch.device("cpu"), family)
    generator = torch.Generator().manual_seed(seed)
    shape = (inputs + held_out, *family.latent_shape(model, side, side, 1 + family.frame_step))
    clean, noise = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
    timestep = objective.timestep(
        torch.rand(len(clean), generator=generator, dtype=torch.float64), (side, side, 1 + family.frame_step)
    )
    noisy, time = objective.add_noise(clean, noise, timestep), objective.time(timestep)
    told = [PROMPTS[n % len(PROMPTS)] for n in range(len(clean))]
    conditioning = encoded(family, model, told, side, family.training_guidance, 1 + family.frame_step)

    if begins:
        conditioning = conditioning.joined_with(begun(clean[:, :, :1], torch.ones(len(clean))))

    def predict(rows: Tensor) -> Tensor:
        chosen = type(conditioning)({n: t[rows] for n, t in conditioning.tensors.items()})
        prediction = family.denoise(model, noisy[rows], time[rows], chosen)
        return prediction[:, :, 1:] if begins else prediction

    def all_of(rows: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([predict(part) for part in rows.split(batch)])

    everything = torch.arange(len(clean))
    untouched = all_of(everything)
    lora = attach(model, family, config)
    lora.train(False)
    start = lora.state()
    with torch.no_grad():
        for name, parameter in sorted(lora.parameters.items()):
            if ".lora_B." in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
            else:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter[0].numel() ** 0.5)
    wanted, planted = all_of(everything), _updates(lora)
    lora.load(start)
    scale = (wanted - untouched).square().mean()
    optimizer = torch.optim.Adam(lora.parameters.values(), lr=rate)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, 2 * (1 - step / steps))
        rows = torch.randperm(inputs, generator=generator)[:batch]
        loss = (predict(rows) - wanted[rows]).square().mean() / scale
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    unseen = everything[inputs:]
    change, taught = all_of(unseen) - untouched[unseen], wanted[unseen] - untouched[unseen]
    excess = float((change - taught).square().sum() / taught.square().sum())
    return Recovery(excess, _cosine(change, taught), _cosine(_updates(lora), planted))


def _updates(lora: Lora) -> Tensor:
    return torch.cat([module.delta().flatten() for module in lora.export()[0]])


def _cosine(one: Tensor, other: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0))
