"""A captioner looks at pictures and says what is on them; one file each.

Write ``captioners/<name>.py`` with a class that derives from ``Captioner`` and a module-level
``plugin = ThatClass()``. ``Options`` is a strict config section: command line and forms come from it for free.
Importing a captioner loads no model library.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lorasmith.config import Section

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Tag:
    """One tag with its probability, 0 to 1."""

    name: str
    category: str  # "general", "character", "rating"
    probability: float


@dataclass(frozen=True)
class Answer:
    """What a captioner says of one picture: the caption, and for taggers the tags it is made of."""

    caption: str
    tags: tuple[Tag, ...] = ()


class Captioner(ABC):
    """The contract. ``load`` once, then ``caption`` in batches."""

    name: ClassVar[str]
    title: ClassVar[str]

    class Options(Section):
        """Nothing to choose."""

    @abstractmethod
    def load(self, options: Section, *, device: str) -> None:
        """Get ready; may take long.

        Raises:
            EnvironmentProblem: an extra or the model's files are missing.
        """

    @abstractmethod
    def caption(self, images: Sequence[Image]) -> list[Answer]:
        """One answer per picture (RGB), in order."""
