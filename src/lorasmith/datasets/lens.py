"""What a dataset is looked at for: pictures that are right for one family, goal or trainer are wrong for another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from lorasmith.datasets.buckets import Frames
    from lorasmith.datasets.tokens import TokenCounter

Goal = Literal["character", "style", "concept", "object"]
_LEAST_SIDE: Final = 64
_MOST_SIDE: Final = 16_384


@dataclass(frozen=True)
class Lens:
    """All that checks, buckets, trainers' eyes and queries need to know besides the dataset."""

    family: str
    """Name of the family of bases it is meant for."""
    bucket_multiple: int
    """The family's step of bucket sides, pixels."""
    resolution: int
    """Side in pixels of the square whose area is trained."""
    counter: TokenCounter
    """Counts a caption's tokens as the family's text encoder does."""
    trigger_word: str = ""
    goal: Goal | None = None
    trainer: str = "lorasmith"
    batch_size: int = 1
    repeats: int = 1
    epochs: int | None = None
    steps: int | None = None
    frames: Frames | None = None
    """How the family shows clips; None when it takes pictures alone."""
    known_tags: Path | None = None
    """A list of the tags a tag-trained base knows: CSV or text, the tag first."""

    def __post_init__(self) -> None:
        if self.goal is not None and self.goal not in get_args(Goal):
            raise ConfigError(f"There is no goal '{self.goal}'.", f"There are: {', '.join(get_args(Goal))}.")
        if not _LEAST_SIDE <= self.resolution <= _MOST_SIDE:
            hint = f"Give {_LEAST_SIDE} to {_MOST_SIDE}."
            raise ConfigError(f"Nothing is trained at a resolution of {self.resolution} pixels.", hint)
        if min(self.batch_size, self.repeats, self.epochs or 1, self.steps or 1) < 1:
            raise ConfigError("Batch size, repeats, epochs and steps begin at 1.", "Correct the one that is below.")

    @property
    def default_resolution(self) -> int:
        """The resolution, under the name that families give theirs."""
        return self.resolution

    @property
    def words(self) -> str:
        """In one sentence."""
        goal = f"a {self.goal}" if self.goal else "any goal"
        word = f" with the trigger word '{self.trigger_word}'" if self.trigger_word else ""
        return f"Looked at for {goal}{word} at {self.resolution} pixels; tokens are those of {self.counter.name}."
