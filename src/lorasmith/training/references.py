"""Reference pictures in training: which a row shows, how large they are, and the refusal of a dataset without them.

A reference goes the way of its own picture's pipeline, not of the bucket: it is brought to the area that the family
wants in its own shape. Where the picture is mirrored, so are they. Torch is not needed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.errors import DatasetError

if TYPE_CHECKING:
    from lorasmith.config import TrainConfig
    from lorasmith.families import Family
    from lorasmith.training.plan import Plan


@dataclass(frozen=True)
class Shown:
    """The references of one row: their hashes, in order, and whether they are mirrored; and its first frame."""

    references: tuple[str, ...] = ()
    flip: bool = False
    begins: str = ""
    """Where the text encoder looks at the first frame: key of the clip's latents in the cache."""


NOTHING: Final = Shown()


def takes(family: Family) -> bool:
    """Whether a family is given reference pictures."""
    return family.reference_pictures[1] > 0


def shown_of(item: Item, family: Family, flip: bool = False) -> Shown:
    """What a row of this picture shows."""
    return Shown(item.references, flip) if takes(family) and item.references else NOTHING


def read_by_prompt(shown: Shown, family: Family) -> Shown:
    """What the text encoder sees of it."""
    if family.prompts_see_beginning:
        return Shown(begins=shown.begins)
    return shown if family.prompts_see_references else NOTHING


def sizing(family: Family, config: TrainConfig) -> str:
    """Everything but the picture that decides how large a reference is, for keys of the cache."""
    return f"{family.name} {config.data.reference_resolution or 'as the pipeline'}"


def turned(image: Image.Image, flip: bool) -> Image.Image:
    """The reference as it came, mirrored where its picture is."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else image


def pixels_of_reference(image: Image.Image, family: Family, side: int | None) -> NDArray[np.float32]:
    """A reference as the family's VAE gets it: (1, 3, H, W), -1..1."""
    from lorasmith.families.references import resized

    fitted = resized(image, family.reference_size(image.width, image.height, side))
    # Rounded, and lying in memory, as diffusers has it: a VAE's group norms make much of the last digit.
    values = np.asarray(fitted, dtype=np.float32)[None] / np.float32(255)
    pixels: NDArray[np.float32] = np.float32(2) * values.transpose(0, 3, 1, 2) - np.float32(1)
    return pixels


def of_previews(plan: Plan, version: DatasetVersion, family: Family, count: int) -> list[Shown]:
    """References for so many previews: those of held-out pairs, else of trained ones, in turn."""
    items = {item.name: item for item in version.items}
    for placed in (plan.validation, [one for bucket in plan.buckets for one in bucket.placed]):
        paired = [shown_of(items[one.item], family) for one in placed if shown_of(items[one.item], family) != NOTHING]
        if paired:
            return [paired[number % len(paired)] for number in range(count)]
    return [NOTHING] * count


def refuse_unpaired(version: DatasetVersion, family: Family) -> None:
    """A family that edits pictures needs one to edit, and takes only so many.

    Raises:
        DatasetError: a picture has too few references, or too many.
    """
    least, most = family.reference_pictures
    if not most:
        return
    few = [item.name for item in version.items if len(item.references) < least]
    if few:
        more = f" and {len(few) - 1} more" if len(few) > 1 else ""
        raise DatasetError(
            f"{family.title} edits pictures, and '{few[0]}'{more} of {version.reference} "
            f"{'have' if more else 'has'} no reference picture.",
            f"Give them references with `lorasmith dataset references {version.dataset}`, or leave these pictures out.",
        )
    many = [item for item in version.items if len(item.references) > most]
    if many:
        takes_ = "one reference picture" if most == 1 else f"up to {most} reference pictures"
        raise DatasetError(
            f"{family.title} takes {takes_}, and '{many[0].name}' has {len(many[0].references)}.",
            f"Take some away with `lorasmith dataset references {version.dataset}`, leave these pictures out, "
            "or choose a base that takes more.",
        )


def unused(items: Sequence[Item], family: Family) -> list[str]:
    """Names of pictures whose references the family passes over."""
    return [] if takes(family) else [item.name for item in items if item.references]
