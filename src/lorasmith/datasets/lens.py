"""What a dataset is looked at for: pictures that are right for one family, goal or trainer are wrong for another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from lorasmith.datasets.tokens import TokenCounter

Goal = Literal["character", "style", "concept", "object"]


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
    known_tags: Path | None = None
    """A list of the tags a tag-trained base knows: CSV or text, the tag first."""

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
