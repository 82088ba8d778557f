"""What is to be made, in plain words, as the values of a run: kinds of models, and how much effort.

``values_of`` gives ``TrainConfig`` values like anybody's, so that a form can go on from them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

KindName = Literal["person", "style", "object"]
Effort = Literal["beginner", "standard", "expert"]
RESOLUTIONS: Final = (512, 768, 1024)
FEWEST, MOST = 15, 20
"""Pictures that are right for most models."""


@dataclass(frozen=True)
class Kind:
    """What a model learns."""

    name: KindName
    title: str
    hint: str
    noun: str
    """What stands beside the trigger word where a caption says nothing else."""
    prompts: tuple[str, ...]
    """Previews while it trains."""
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Difficulty:
    """How much effort is made. ``showings``: how often an epoch shows each picture."""

    name: Effort
    title: str
    hint: str
    minutes: tuple[int, int]
    """What it usually takes on a rented card; a machine of one's own is measured."""
    showings: int
    epochs: int
    """The number a form begins with."""
    values: Mapping[str, Any]


KINDS: Final = (
    Kind(
        "person", "Person/Character", "The same face and body in many poses, lights and places.", "person",
        ("[trigger], portrait, looking at the camera", "[trigger], full body, walking in a city"),
        MappingProxyType({"adapter.targets": "attention", "data.caption_dropout": 0.05}),
    ),
    Kind(
        "style", "Style", "One hand, many subjects.", "style",
        ("a mountain lake, [trigger]", "a portrait of an old man, [trigger]"),
        MappingProxyType({"adapter.targets": "attention_ff", "data.caption_dropout": 0.1}),
    ),
    Kind(
        "object", "Object", "One thing from all sides, in different places.", "object",
        ("a photo of [trigger] on a table", "a photo of [trigger] in a garden"),
        MappingProxyType({"adapter.targets": "attention", "data.caption_dropout": 0.05}),
    ),
)  # fmt: skip
DIFFICULTIES: Final = (
    Difficulty(
        "beginner", "Beginner", "The fastest, good for a test.", (30, 40), 20, 1,
        MappingProxyType({"adapter.rank": 8}),
    ),
    Difficulty(
        "standard", "Standard", "A balance of quality and speed.", (40, 60), 25, 3,
        MappingProxyType({"adapter.rank": 16}),
    ),
    Difficulty(
        "expert", "Expert", "The best result, and slower.", (60, 120), 30, 5,
        MappingProxyType({"adapter.rank": 32, "data.validation_fraction": 0.1}),
    ),
)  # fmt: skip


def kind_of(name: str) -> Kind:
    """The kind of that name; a person where there is none."""
    return next((kind for kind in KINDS if kind.name == name), KINDS[0])


def difficulty_of(name: str) -> Difficulty:
    """The difficulty of that name; standard where there is none."""
    return next((one for one in DIFFICULTIES if one.name == name), DIFFICULTIES[1])


def steps_of(pictures: int, difficulty: Difficulty, epochs: int, batch: int = 1) -> int:
    """Optimizer steps that show each picture as often as that takes."""
    return max(1, math.ceil(max(1, pictures) * difficulty.showings * epochs / batch))


def values_of(
    kind: Kind, difficulty: Difficulty, *, epochs: int, pictures: int, resolution: int | None, trigger_word: str
) -> dict[str, Any]:
    """Dotted ``TrainConfig`` values, without base and names.

    Args:
        kind: what it learns.
        difficulty: how much effort is made.
        epochs: times that ``showings`` goes round.
        pictures: how many there are.
        resolution: pixels; None for what the base was made for.
        trigger_word: empty leaves the previews out that name it.
    """
    steps = steps_of(pictures, difficulty, epochs)
    values: dict[str, Any] = {**kind.values, **difficulty.values, "max_train_steps": steps}
    if trigger_word:
        values |= {"trigger_word": trigger_word, "sample.prompts": list(kind.prompts)}
    if resolution is not None:
        values["data.resolution"] = resolution
    every = max(1, steps // 8)
    return values | {"sample.every_steps": every, "checkpoint.every_steps": every}
