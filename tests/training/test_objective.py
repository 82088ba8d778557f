from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDIMScheduler

from lorasmith.families import TimeSampling
from lorasmith.training.objective import FlowObjective, Objective

LINEAR = torch.linspace(0.999, 0.001, 10)
TO_ZERO = torch.linspace(0.999, 0.0, 10)
SHAPE = (10, 4, 3, 2)
STEPS = torch.arange(10)


def tensors() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(SHAPE, generator=generator), torch.randn(SHAPE, generator=generator)


def test_noise_and_targets_are_those_of_diffusers() -> None:
    scheduler = DDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True)
    objective = Objective(scheduler.alphas_cumprod, "v_prediction")
    latents, noise = tensors()
    steps = torch.tensor([0, 1, 10, 100, 300, 500, 800, 900, 998, 999])
    torch.testing.assert_close(objective.add_noise(latents, noise, steps), scheduler.add_noise(latents, noise, steps))
    torch.testing.assert_close(objective.target(latents, noise, steps), scheduler.get_velocity(latents, noise, steps))


@pytest.mark.parametrize("alphas", [LINEAR, TO_ZERO])
def test_the_velocity_gives_back_latents_and_noise(alphas: torch.Tensor) -> None:
    objective = Objective(alphas, "v_prediction")
    latents, noise = tensors()
    noisy, v = objective.add_noise(latents, noise, STEPS), objective.target(latents, noise, STEPS)
    a, s = alphas.sqrt().view(-1, 1, 1, 1), (1 - alphas).sqrt().view(-1, 1, 1, 1)
    torch.testing.assert_close(a * noisy - s * v, latents)
    torch.testing.assert_close(s * noisy + a * v, noise)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("gamma", [None, 5.0])
def test_everything_is_finite_at_zero_terminal_snr(prediction: str, gamma: float | None) -> None:
    objective = Objective(TO_ZERO, prediction, gamma)
    latents, noise = tensors()
    loss = objective.loss(torch.zeros(SHAPE), latents, noise, STEPS)
    assert torch.isfinite(loss).all()
    assert torch.isfinite(objective.weight(STEPS)).all()


def test_min_snr_weights_by_hand() -> None:
    alphas = torch.tensor([0.9, 0.5, 0.8])  # SNR 9, 1, 4
    steps = torch.arange(3)
    expected_epsilon = torch.tensor([5 / 9, 1.0, 1.0])
    expected_v = torch.tensor([5 / 10, 1 / 2, 4 / 5])
    torch.testing.assert_close(Objective(alphas, "epsilon", 5.0).weight(steps), expected_epsilon)
    torch.testing.assert_close(Objective(alphas, "v_prediction", 5.0).weight(steps), expected_v)
    assert Objective(alphas, "epsilon").weight(steps).tolist() == [1, 1, 1]


def test_the_two_weightings_are_one_in_terms_of_the_picture() -> None:
    """An error e in the predicted latents costs min(SNR, gamma) e² in either parametrisation."""
    latents, noise = tensors()
    error = torch.full(SHAPE, 0.1)
    a, s = LINEAR.sqrt().view(-1, 1, 1, 1), (1 - LINEAR).sqrt().view(-1, 1, 1, 1)
    epsilon, velocity = Objective(LINEAR, "epsilon", 5.0), Objective(LINEAR, "v_prediction", 5.0)
    wrong_noise = noise - a / s * error  # predicts latents + error
    wrong_velocity = velocity.target(latents, noise, STEPS) - error / s
    expected = (LINEAR / (1 - LINEAR)).clamp(max=5) * 0.01
    for objective, said in ((epsilon, wrong_noise), (velocity, wrong_velocity)):
        torch.testing.assert_close(objective.loss(said, latents, noise, STEPS), expected, rtol=1e-3, atol=1e-5)


def test_time_and_timestep_are_inverse_and_uniform() -> None:
    objective = Objective(torch.linspace(0.99, 0.01, 1000), "epsilon")
    steps = torch.arange(1000)
    assert torch.equal(objective.timestep(objective.time(steps)), steps)
    times = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    assert torch.equal(torch.bincount(objective.timestep(times)), torch.full((1000,), 10))
    assert objective.timestep(torch.tensor([1.0])).item() == 999


def test_noise_depends_on_its_seed_alone_and_the_offset_shifts_channels() -> None:
    plain, shifted = Objective(LINEAR, "epsilon"), Objective(LINEAR, "epsilon", noise_offset=0.5)
    shape = torch.Size((4, 8, 8))
    assert torch.equal(plain.draw_noise(shape, 1), plain.draw_noise(shape, 1))
    assert not torch.equal(plain.draw_noise(shape, 1), plain.draw_noise(shape, 2))
    difference = shifted.draw_noise(shape, 1) - plain.draw_noise(shape, 1)
    torch.testing.assert_close(difference, difference[:, :1, :1].expand(shape))
    assert len(set(difference[:, 0, 0].tolist())) == 4


def test_flow_goes_straight_from_data_to_noise() -> None:
    flow = FlowObjective(TimeSampling(), lambda width, height, frames: 1.0)
    data, noise = torch.full((2, 1, 2, 2), 3.0), torch.full((2, 1, 2, 2), -1.0)
    level = torch.tensor([0.0, 0.25])
    assert flow.add_noise(data, noise, level)[:, 0, 0, 0].tolist() == [3.0, 2.0]
    assert flow.target(data, noise, level).unique().tolist() == [-4.0]
    assert flow.loss(noise - data, data, noise, level).tolist() == [0.0, 0.0]
    assert torch.equal(flow.time(level), level)


def test_noise_levels_keep_their_strata_in_every_density() -> None:
    shares = torch.linspace(0, 1, 1001, dtype=torch.float64)[:-1] + 0.0005
    normal = FlowObjective(TimeSampling("logit_normal"), lambda width, height, frames: 1.0).timestep(
        shares, (64, 64, 1)
    )
    logits = torch.logit(normal.double())
    assert (normal.diff() > 0).all()
    assert (logits.mean().abs(), (logits.std() - 1).abs()) < (torch.tensor(1e-3), torch.tensor(0.01))
    plain = FlowObjective(TimeSampling(), lambda width, height, frames: 1.0).timestep(shares, (64, 64, 1))
    torch.testing.assert_close(plain, shares.float())


def test_the_shift_moves_levels_towards_noise_and_depends_on_the_size() -> None:
    flow = FlowObjective(TimeSampling(), lambda width, height, frames: width / 32)
    half = torch.tensor([0.0, 0.5], dtype=torch.float64)
    assert flow.timestep(half, (32, 32, 1)).tolist() == [0.0, 0.5]
    assert flow.timestep(half, (96, 32, 1)).tolist() == [0.0, 0.75]


@pytest.mark.parametrize(
    ("weighting", "weights"),
    [("none", [1.0, 1.0]), ("sigma_sqrt", [4.0, 1.0]), ("cosmap", [4 / math.pi, 2 / math.pi])],
)
def test_the_weights_of_noise_levels(weighting: str, weights: list[float]) -> None:
    flow = FlowObjective(TimeSampling(), lambda width, height, frames: 1.0, weighting)
    assert flow.weight(torch.tensor([0.5, 1.0])).tolist() == pytest.approx(weights)


def test_a_clip_is_weighed_as_its_frames_are() -> None:
    """One mask for all frames, one noise level for a clip: the same as frame by frame."""
    draw = torch.Generator().manual_seed(3)
    clip, noise, said = (torch.randn((2, 4, 3, 5, 6), generator=draw) for _ in range(3))
    mask = torch.rand((2, 1, 1, 5, 6), generator=draw)
    flow = FlowObjective(TimeSampling(), lambda width, height, frames: 1.0)
    level = torch.tensor([0.2, 0.7])
    whole = flow.loss(said, clip, noise, level, mask)
    frames = [flow.loss(said[:, :, n], clip[:, :, n], noise[:, :, n], level, mask[:, :, 0]) for n in range(3)]
    torch.testing.assert_close(whole, torch.stack(frames).mean(dim=0))
    torch.testing.assert_close(
        flow.add_noise(clip, noise, level)[:, :, 1], flow.add_noise(clip[:, :, 1], noise[:, :, 1], level)
    )
