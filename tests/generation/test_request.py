from __future__ import annotations

from typing import Any

import pytest

from lorasmith.errors import ConfigError
from lorasmith.generation.request import plan_pictures, resolve_request


def request(**values: Any) -> dict[str, Any]:
    return {"base": "sandbox", "prompts": ["a cat"]} | values


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (request(prompt="a cat"), "Did you mean 'prompts'"),
        ({"prompts": ["a"]}, "'base' is needed"),
        (request(prompts=[]), "prompts"),
        (request(width=130), "width"),
        (request(steps=0), "steps"),
        (request(scheduler="dpm"), "scheduler"),
        (request(adapters=[{"name": "a", "weight": 5}]), "weight"),
        (request(adapters=[{"name": "a"}, {"name": "a"}]), "twice"),
        (request(seeds=[1, 2]), "seeds"),
        (request(guidance_scale=float("nan")), "guidance_scale"),
        (request(precision="fp16", device="cpu"), "fp16"),
        (request(prompts=["a <lora:x"]), "never closed"),
        (request(prompts=["a <lora:x>"], adapters=[{"name": "x"}]), "Keep one"),
        (request(count=1000, prompts=["a"] * 11), "10000"),
    ],
)
def test_what_cannot_be_painted_is_refused_with_a_sentence(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_request(values)
    assert words in str(caught.value)


def test_every_prompt_meets_the_same_seeds() -> None:
    plan = plan_pictures(resolve_request(request(prompts=["a", "b <lora:x:0.5>"], seed=7, count=2)))
    assert [(p.prompt, p.seed) for p in plan] == [("a", 7), ("a", 8), ("b", 7), ("b", 8)]
    assert [p.adapters for p in plan] == [(), (), (("x", 0.5),), (("x", 0.5),)]


def test_seeds_can_be_given_per_prompt() -> None:
    plan = plan_pictures(resolve_request(request(prompts=["a", "b"], seeds=[3, 30], count=2)))
    assert [p.seed for p in plan] == [3, 4, 30, 31]


def test_a_grid_is_adapters_times_weights_times_pictures() -> None:
    grid = {"adapters": ["x", "y"], "weights": [0, 1]}
    plan = plan_pictures(resolve_request(request(count=2, grid=grid, adapters=[{"name": "z", "weight": 0.5}])))
    assert len(plan) == 8
    assert len({(p.row, p.column) for p in plan}) == 8
    assert plan[-1].adapters == (("z", 0.5), ("y", 1.0))
    assert plan[-1].row == "y at 1"


def test_a_problem_of_an_adapter_calls_it_by_its_name() -> None:
    with pytest.raises(ConfigError, match=r"the weight of adapter 'zib' should be less than or equal to 4 \(it is 99"):
        resolve_request({"base": "b", "prompts": ["x"], "adapters": [{"name": "zib", "weight": 99.0}]})
