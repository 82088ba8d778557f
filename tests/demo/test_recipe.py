from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from lorasmith.cli.app import cli
from lorasmith.config import resolve
from lorasmith.demo import recipe as numbers
from lorasmith.demo.tour import _commands
from lorasmith.generation.request import resolve_request
from lorasmith.sandbox import world


@pytest.mark.parametrize("style", [False, True])
@pytest.mark.parametrize("quick", [False, True])
def test_the_numbers_make_a_valid_run(quick: bool, style: bool) -> None:
    recipe = numbers.recipe_for(style=style)
    own = {"dataset": "zib", "output_name": "zib", "trigger_word": "zib", "sample": {"prompts": ["[trigger], large"]}}
    config = resolve(numbers.TRAIN, recipe.train, own, numbers.QUICK_TRAIN if quick else {})
    kill_at = config.max_train_steps * numbers.KILL_AFTER
    assert 0 < config.checkpoint.every_steps < kill_at  # there is something to resume from
    assert config.optimizer.lr_warmup_steps < config.max_train_steps


@pytest.mark.parametrize("style", [False, True])
@pytest.mark.parametrize("quick", [False, True])
def test_the_numbers_make_a_valid_request(quick: bool, style: bool) -> None:
    own: dict[str, Any] = {**numbers.recipe_for(style=style).generate, **(numbers.QUICK_GENERATE if quick else {})}
    settings: dict[str, Any] = {**numbers.GENERATE, **own}
    assert resolve_request({"base": "sandbox", "prompts": ["a"], **settings}).steps > 0


@pytest.mark.parametrize("style", [False, True])
def test_prompts_are_mixed_and_never_name_the_subject(style: bool) -> None:
    recipe = numbers.recipe_for(style=style)
    assert len(set(recipe.prompts)) == len(recipe.prompts) >= 30
    assert not [prompt for prompt in recipe.prompts if recipe.trigger_word in prompt]
    assert len({prompt.split(", ")[-1] for prompt in recipe.prompts[:10]}) > 2
    known = {tag for seed in range(400) for tag in world.sample_scene(np.random.default_rng(seed)).tags()}
    assert {tag for prompt in recipe.prompts for tag in prompt.split(", ")} <= known
    assert not (set(recipe.remove_tags) & {tag for prompt in recipe.prompts for tag in prompt.split(", ")})
    assert recipe.previews[0].startswith("[trigger]")


@pytest.mark.parametrize("style", [False, True])
def test_the_detector_finds_the_subject_in_true_pictures_only(style: bool) -> None:
    recipe = numbers.recipe_for(style=style)
    scene, draw = (world.styled_scene, world.draw_styled) if style else (world.mascot_scene, world.draw_mascot)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        assert recipe.shows(draw(scene(rng), rng))
        assert not recipe.shows(world.draw(world.sample_scene(rng), rng))


@pytest.mark.parametrize("style", [False, True])
def test_the_commands_that_the_page_shows_can_be_given(style: bool) -> None:
    lines = _commands(numbers.recipe_for(style=style), Path("zib.safetensors"), quick=True)
    read: list[str] = []
    for line in lines:
        command: click.Command = cli
        context, words = click.Context(cli), shlex.split(line, comments=True)[1:]
        while words and isinstance(command, click.Group):
            name, inner, words = command.resolve_command(context, words)
            assert inner is not None
            assert name is not None
            command, context = inner, click.Context(inner, info_name=name, parent=context)
            if not isinstance(command, click.Group):
                command.parse_args(context, words)  # refuses what it does not know and misses what it needs
                read.append(name)
    assert read == ["demo", "import", "caption", "check", "report", "train", "generate"]
