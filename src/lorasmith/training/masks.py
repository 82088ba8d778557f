"""Masks in training: which count, what they look like at latent size, and the refusal of one that lets nothing through.

A mask goes the way of its picture (same crop, same mirror), and is averaged over the pixels of each latent position.
Torch is not needed, so that a run can be refused before there is a job.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lorasmith.config import TrainConfig
from lorasmith.datasets.buckets import Placed, arrange, crop_box
from lorasmith.datasets.manifest import Item
from lorasmith.datasets.masked_area import averaged, lets_nothing_through
from lorasmith.errors import DatasetError

if TYPE_CHECKING:
    from lorasmith.families import Family
    from lorasmith.training.setting import Pictures


def counting(items: Iterable[Item], config: TrainConfig) -> list[Item]:
    """The items whose masks count in a run."""
    return [item for item in items if item.mask is not None] if config.objective.masked_loss else []


def latent_mask(pictures: Pictures, item: Item, placed: Placed, family: Family) -> NDArray[np.float32]:
    """What the mask lets through at each latent position of its picture, (h, w), 0 to 1, not mirrored.

    Raises:
        DatasetError: the mask lets nothing through of what is trained, is missing, damaged, or of another size.
    """
    cells = averaged(
        pictures.open_mask(item),
        crop_box(item.width, item.height, placed),
        family.latent_scale(placed.width),
        family.latent_scale(placed.height),
    )
    if lets_nothing_through(cells):
        what = "next to nothing" if cells.any() else "nothing"
        where = f" ({placed.crop_loss:.0%} of the picture is cut away)" if placed.crop_loss else ""
        raise DatasetError(
            f"The mask of '{item.name}' lets {what} through of the part that is trained{where}.",
            "Mask it anew, take its mask away (remove_mask) or itself out, or set objective.masked_loss to false.",
        )
    return cells


def open_shares(pictures: Pictures, items: Sequence[Item], config: TrainConfig, family: Family) -> dict[str, float]:
    """Which share of each masked picture is trained, above 0 to 1, found by looking at every mask that counts.

    Raises:
        DatasetError: as ``latent_mask``, of the first mask that cannot be used; it says how many more there are.
    """
    masked = {item.name: item for item in counting(items, config)}
    arrangement = arrange(
        list(masked.values()),
        resolution=config.data.resolution or family.default_resolution,
        bucket_multiple=family.bucket_multiple,
        buckets=config.data.buckets,
        upscale=config.data.upscale,
    )
    shares: dict[str, float] = {}
    refused: list[DatasetError] = []
    for placed in (placed for bucket in arrangement.buckets for placed in bucket.placed):
        try:
            shares[placed.item] = float(latent_mask(pictures, masked[placed.item], placed, family).mean())
        except DatasetError as error:
            refused.append(error)
    if refused:
        others = len(refused) - 1
        more = f" {others} more cannot be used either." if others else ""
        raise DatasetError(f"{refused[0].message}{more}", refused[0].hint)
    return shares
