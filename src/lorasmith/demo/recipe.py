"""What the tour teaches, and how: every number of it stands here."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from lorasmith.sandbox import world

if TYPE_CHECKING:
    from PIL.Image import Image

    from lorasmith.datasets.lens import Goal
    from lorasmith.sandbox.samples import Member

PICTURES: Final = 40  # per set
QUICK_PICTURES: Final = 6
FIRST_SEED: Final = 1000
GENERATE: Final[Mapping[str, Any]] = MappingProxyType({"steps": 20, "guidance_scale": 4.0, "batch_size": 10})
QUICK_GENERATE: Final[Mapping[str, Any]] = MappingProxyType({"steps": 4})

TRAIN: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "base": "sandbox",
        "max_train_steps": 300,
        "train_batch_size": 10,
        "mixed_precision": "fp32",
        "validation_every_steps": 50,
        "seed": 7,
        "adapter": {"rank": 16, "targets": "all_linear_conv"},
        "data": {"resolution": world.SIZE, "validation_fraction": 0.1, "caption_dropout": 0.05},
        "optimizer": {"learning_rate": 2e-3, "lr_warmup_steps": 15, "lr_scheduler": "cosine"},
        "objective": {"min_snr_gamma": 5.0},
        "sample": {"every_steps": 100, "steps": 12, "guidance_scale": 4.0, "seed": 11},
        "checkpoint": {"every_steps": 50, "keep": 2},
    }
)
QUICK_TRAIN: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "max_train_steps": 12,
        "train_batch_size": 2,
        "validation_every_steps": 6,
        "optimizer.lr_warmup_steps": 2,
        "sample.every_steps": 6,
        "sample.steps": 3,
        "checkpoint.every_steps": 3,
    }
)
KILL_AFTER: Final = 0.55  # share of the steps after which the worker is killed


@dataclass(frozen=True)
class Recipe:
    """One subject. ``prompts`` are without the trigger word; ``remove_tags`` are those that describe the subject."""

    name: str
    subject: str
    goal: Goal
    trigger_word: str
    write_zip: Callable[[Path], list[Member]]
    shows: Callable[[Image], bool]
    remove_tags: tuple[str, ...]
    prompts: tuple[str, ...]
    previews: tuple[str, ...]
    train: Mapping[str, Any] = field(default_factory=dict)
    """Values laid over ``TRAIN``."""
    generate: Mapping[str, Any] = field(default_factory=dict)
    """Values laid over ``GENERATE``."""


def recipe_for(*, style: bool) -> Recipe:
    """The mascot, or the style."""
    from lorasmith.sandbox import detectors, samples

    if style:
        return Recipe(
            name="duskline",
            subject="style",
            goal="style",
            trigger_word=world.STYLE,
            write_zip=samples.write_style_zip,
            shows=detectors.shows_style,
            remove_tags=tuple(f"{background} background" for background in world.BACKGROUNDS),
            prompts=tuple(_style_prompts()),
            previews=("[trigger], one shape, star, yellow, large, center", "one shape, star, yellow, large, center"),
            # For velocity, min-SNR takes all weight from pure noise, where this base, with its zero terminal SNR,
            # decides the ground's colour; a style lives on it.
            train={
                "objective.min_snr_gamma": None,
                "optimizer.learning_rate": 3e-3,
                "sample.guidance_scale": 1.5,
            },
            # The stronger the guidance, the more grounds and outlines break up: 36 of 40 pictures show the style at
            # 1.5, 18 at 4 (measured).
            generate={"guidance_scale": 1.5},
        )
    return Recipe(
        name="zib",
        subject="mascot",
        goal="character",
        trigger_word=world.MASCOT,
        write_zip=samples.write_mascot_zip,
        shows=detectors.shows_mascot,
        remove_tags=(*world.SHAPES, *world.COLORS, world.CHARACTER, "two shapes", "side by side", "stacked"),
        prompts=tuple(_mascot_prompts()),
        previews=(
            "[trigger], one shape, large, center, gray background",
            "one shape, star, red, large, center, gray background",
        ),
    )


def _mascot_prompts() -> list[str]:
    """Every place on every background, in an order in which any few of them are mixed."""
    scenes = list(product(world.POSITIONS, world.BACKGROUNDS))
    random.Random(1).shuffle(scenes)
    return [f"one shape, large, {position}, {background} background" for position, background in scenes]


def _style_prompts() -> list[str]:
    scenes = list(product(world.SHAPES, world.COLORS, world.POSITIONS))
    random.Random(1).shuffle(scenes)
    return [f"one shape, {shape}, {color}, large, {position}" for shape, color, position in scenes[:PICTURES]]
