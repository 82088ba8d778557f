from __future__ import annotations

import pytest
import torch

from lorasmith.config import OptimizerConfig
from lorasmith.errors import EnvironmentProblem
from lorasmith.training.lora import Lora
from lorasmith.training.optimizers import Lion, build_optimizer, learning_rate_factor

CPU = torch.device("cpu")


def lora() -> Lora:
    weight = torch.nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        weight.weight.copy_(torch.arange(6.0).view(2, 3) / 10)
    return Lora({"unet": weight}, {"unet.weight": weight.weight})


@pytest.mark.parametrize("name", ["adamw", "prodigy", "adafactor", "lion"])
def test_every_optimizer_lowers_a_simple_loss(name: str) -> None:
    it = lora()
    rate = {"prodigy": 1.0, "adamw": 0.05, "adafactor": 0.05, "lion": 0.01}[name]
    optimizer = build_optimizer(OptimizerConfig(name=name, learning_rate=rate, weight_decay=0), it, ("unet",), CPU)
    (weight,) = it.of_part("unet")

    def loss() -> torch.Tensor:
        return (weight - 1).square().sum()

    before = loss().item()
    for _ in range(400 if name == "prodigy" else 60):  # it begins at a millionth and doubles
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < before / 2


def test_lion_is_the_papers_algorithm() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
    optimizer = Lion([weight], lr=0.1, betas=(0.9, 0.99), weight_decay=0.01)
    theta, momentum = weight.detach().clone(), torch.zeros(3)
    for gradient in (torch.tensor([1.0, -1.0, 0.0]), torch.tensor([-0.05, -1.0, 2.0])):
        weight.grad = gradient.clone()
        optimizer.step()
        update = (0.9 * momentum + 0.1 * gradient).sign()
        theta = theta - 0.1 * (update + 0.01 * theta)
        momentum = 0.99 * momentum + 0.01 * gradient
        torch.testing.assert_close(weight.detach(), theta)


def test_the_text_encoder_has_its_own_step_size() -> None:
    parameters = {"unet.a": torch.nn.Parameter(torch.ones(1)), "text_encoder.b": torch.nn.Parameter(torch.ones(1))}
    both = Lora({"unet": torch.nn.Identity(), "text_encoder": torch.nn.Identity()}, parameters)
    half = build_optimizer(OptimizerConfig(learning_rate=1e-3), both, ("unet",), CPU)
    assert [g["lr"] for g in half.param_groups] == [1e-3, 5e-4]
    own = build_optimizer(OptimizerConfig(learning_rate=1e-3, text_encoder_learning_rate=1e-5), both, ("unet",), CPU)
    assert [g["lr"] for g in own.param_groups] == [1e-3, 1e-5]


def test_adafactor_moves_what_begins_at_zero_by_the_learning_rate() -> None:
    up = torch.nn.Parameter(torch.zeros(4, 3))
    it = Lora({"unet": torch.nn.Identity()}, {"unet.up": up})
    config = OptimizerConfig(name="adafactor", learning_rate=1e-3, weight_decay=0)
    optimizer = build_optimizer(config, it, ("unet",), CPU)
    up.grad = torch.ones_like(up)
    optimizer.step()
    torch.testing.assert_close(up.detach(), torch.full((4, 3), -1e-3))


def test_eight_bits_need_cuda() -> None:
    with pytest.raises(EnvironmentProblem, match="needs CUDA"):
        build_optimizer(OptimizerConfig(name="adamw_8bit"), lora(), ("unet",), CPU)


def test_learning_rate_by_hand() -> None:
    def curve(name: str, warm_up: int, steps: list[int]) -> list[float]:
        config = OptimizerConfig(lr_scheduler=name, lr_warmup_steps=warm_up)  # type: ignore[arg-type]
        return [round(learning_rate_factor(config, step, 100), 6) for step in steps]

    assert curve("constant", 4, [0, 1, 3, 4, 99]) == [0.25, 0.5, 1, 1, 1]
    assert curve("linear", 0, [0, 50, 99]) == [1, 0.5, 0.01]
    assert curve("cosine", 20, [19, 20, 60]) == [1, 1, 0.5]
    assert 0 < curve("cosine", 0, [99])[0] < 0.001
