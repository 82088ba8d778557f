"""How each trainer reads a dataset, as far as a check depends on it. Facts of their loaders, not of their manuals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from lorasmith.errors import ConfigError

TrainerName = Literal["lorasmith", "kohya", "musubi", "ai-toolkit", "onetrainer", "simpletuner", "diffusion-pipe"]
Lines = Literal["variants", "first", "whole"]

_ALL: Final = frozenset({"JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF"})


@dataclass(frozen=True)
class TrainerFacts:
    """What a trainer does with the files it is given."""

    formats: frozenset[str]
    """Formats it lists as pictures; it never sees files of another."""
    lines: Lines
    """A caption of several lines is read as variants, by its first line only, or as one text."""
    dies_of_empty_captions: bool = False
    numbered_folders: bool = False
    """Folders that do not begin with a number of repeats are skipped."""
    borrows_captions: bool = False
    """A picture without a caption takes one whose name is its own less the last four parts between underscores."""


TRAINERS: Final[Mapping[str, TrainerFacts]] = MappingProxyType(
    {
        "lorasmith": TrainerFacts(_ALL, "variants"),
        "kohya": TrainerFacts(frozenset({"JPEG", "PNG", "WEBP", "BMP"}), "first", True, True, True),
        "musubi": TrainerFacts(frozenset({"JPEG", "PNG", "WEBP", "BMP"}), "whole"),
        "ai-toolkit": TrainerFacts(frozenset({"JPEG", "PNG", "WEBP"}), "whole"),
        "onetrainer": TrainerFacts(_ALL - {"GIF"}, "variants"),
        "simpletuner": TrainerFacts(frozenset({"JPEG", "PNG", "WEBP", "BMP", "TIFF"}), "variants"),
        "diffusion-pipe": TrainerFacts(_ALL, "whole"),
    }
)


def trainer_facts(name: str) -> TrainerFacts:
    """The facts of a trainer.

    Raises:
        ConfigError: no such trainer.
    """
    try:
        return TRAINERS[name]
    except KeyError:
        raise ConfigError(f"There is no trainer '{name}' to check for.", f"Use one of {', '.join(TRAINERS)}.") from None
