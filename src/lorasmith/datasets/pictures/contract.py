"""What an image tool is: one section of options that turns a picture into no, one or several pictures.

Originals are never touched: a tool gets decoded pixels and gives new ones, and the result is a new version whose
items still name the bytes they came from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from PIL import Image

from lorasmith.config import Section
from lorasmith.datasets.manifest import Item

Box = tuple[float, float, float, float]
"""Left, top, right, bottom as shares of width and height, 0 to 1."""


@dataclass(frozen=True)
class Window:
    """Which part of a picture is left of it."""

    box: Box
    """Below 0 and above 1 where there is canvas around it."""
    fill: tuple[int, int, int] = (255, 255, 255)
    """The colour of that canvas."""


class ToolError(Exception):
    """One picture cannot be worked on: a sentence that goes on where its name ends ("has no ...")."""


@dataclass(frozen=True)
class Frame:
    """A picture on its way through a tool. ``mask`` has the size of ``image``: white is trained, black is not."""

    item: Item
    image: Image.Image  # RGB
    mask: Image.Image | None = None  # L
    file: Path | None = None
    """The stored file with the pixels of ``image``."""
    original: Path | None = None
    """The stored file as it came."""
    content: bytes | None = None
    """The bytes of the new file, where the tool chose them itself; else the pixels are stored as PNG."""
    suffix: str = ""
    """The suffix of the name that goes with ``content``, e.g. ``.jpg``."""
    part: int = 0
    """Which piece of a picture that was split, from 1; 0 for a whole one."""
    notes: tuple[str, ...] = field(default=())
    """Stable words for the item's transforms, e.g. ``resize:512x768``."""
    window: Window | None = None
    """The part of the picture that it shows; None for all of it, however large. Its references are cut alike."""


class PictureTool(Section, ABC):
    """A tool. Its fields are its options, described once, in the docstring under each."""

    name: ClassVar[str]
    masks_only: ClassVar[bool] = False
    """Whether the pixels stay as they are, so that only the mask is stored anew."""

    on_references: ClassVar[Literal["leave", "along", "cut", "refuse"]] = "refuse"
    """What becomes of the references of a picture: they stay as they are, because nothing in it moves; they go the
    same way; they are cut to the ``window`` that was chosen for the picture; or it is refused, because they would not
    fit it any more. Masks alone move nothing."""

    @abstractmethod
    def describe(self) -> str:
        """What it does, in words, beginning with a verb."""

    @abstractmethod
    def work(self, frame: Frame) -> Sequence[Frame]:
        """The pictures that take the place of this one, in order; the frame itself when there is nothing to do.

        Raises:
            ToolError: this picture cannot be worked on.
        """

    def same_on_every_frame(self) -> bool:
        """Whether it does to every frame of a clip just what it does to the first; tools that look at what is in a
        picture do not, and refuse clips."""
        return False

    def size_after(self, width: int, height: int) -> tuple[int, int] | None:
        """The size that a picture of ``width`` x ``height`` will have, when its pixels need not be seen to tell."""
        return None


def masked(frame: Frame, mask: Image.Image, note: str) -> tuple[Frame, ...]:
    """The frame with that mask; the same frame when it has it already, an error when nothing would be trained."""
    values = np.asarray(mask)
    if not values.any():
        raise ToolError("would have a mask that is black all over, so that nothing of it is trained")
    if frame.mask is not None and frame.mask.size == mask.size and np.array_equal(values, np.asarray(frame.mask)):
        return (frame,)
    if frame.mask is None and (values == 255).all():
        return (frame,)  # what no mask says too
    return (replace(frame, mask=mask, notes=(*frame.notes, note)),)
