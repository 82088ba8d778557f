"""What a run is about, gathered once: the caching pass, the trainer and the rehearsal all begin from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lorasmith.config import TrainConfig
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.families import Base, Family
from lorasmith.training.plan import Plan

if TYPE_CHECKING:
    import torch
    from PIL import Image


class Pictures(Protocol):
    """What training needs of a dataset store."""

    def open_image(self, item: Item) -> Image.Image:
        """The picture, RGB."""
        ...

    def open_reference(self, sha256: str) -> Image.Image:
        """A reference picture, RGB."""
        ...

    def open_frames(self, item: Item, numbers: Sequence[int]) -> Iterator[Image.Image]:
        """These frames of an item that is a clip, in order, RGB."""
        ...

    def open_mask(self, item: Item) -> Image.Image:
        """The mask of an item that has one, L, as large as the picture."""
        ...


@dataclass(frozen=True)
class Setting:
    """The choices of one run; nothing of it is loaded yet."""

    config: TrainConfig
    plan: Plan
    version: DatasetVersion
    pictures: Pictures
    family: Family
    base: Base
    device: torch.device
