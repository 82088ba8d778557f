"""What buckets will do to a dataset, picture by picture, before anything is trained.

The same functions decide here and in training: ``buckets.arrange`` and ``buckets.divide`` say where a picture goes,
``buckets.crop_box`` what remains of it, ``dealing.Dealer`` which bucket a batch comes from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from lorasmith.datasets.buckets import Bucket, Frames, LeftOut, arrange, crop_box, divide, side_multiple
from lorasmith.datasets.dealing import Dealer
from lorasmith.datasets.manifest import DatasetVersion, Item, Role
from lorasmith.errors import ConfigError

Box = tuple[float, float, float, float]


class FamilyFacts(Protocol):
    """What a family says about sizes; every ``Family`` does."""

    @property
    def bucket_multiple(self) -> int: ...

    @property
    def default_resolution(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Landing:
    """One picture in its bucket."""

    item: str
    box: Box
    """What is trained of it: left, top, right, bottom in its own pixels."""
    scale: float
    """Above 1 it is enlarged."""
    crop_loss: float
    """Share of its area that is cut away, 0 to below 1."""
    role: Role
    repeats: int
    """How often an epoch shows it: its own repeats times those of the run."""
    seconds: tuple[float, float] | None = None
    """Of a window of a clip where it begins and ends in the clip; None for pictures and stills."""


@dataclass(frozen=True)
class BucketLoad:
    """One bucket and how it fills batches."""

    width: int
    height: int
    landings: tuple[Landing, ...]
    """A clip of several windows has one for each."""
    exposures: int
    """Pictures it shows in one epoch, repeats counted."""
    batches: int
    """Whole batches it fills in one epoch."""
    left_over: int
    """Pictures that fill no batch of their own. Our trainer puts them into a batch with the next pass, so that none is
    short or dropped; other trainers make a short batch of them, fill it up with doubles or drop them."""
    least_shown: int
    """How often the run shows the picture of one repeat that comes last ..."""
    most_shown: int
    """... and the one that comes first; they differ by one at most."""
    frames: int = 1
    """How many frames it shows at once; 1 of pictures."""

    @property
    def title(self) -> str:
        """``512x512``, and ``512x512x33`` for clips."""
        size = f"{self.width}x{self.height}"
        return f"{size}x{self.frames}" if self.frames > 1 else size


@dataclass(frozen=True)
class BucketPlan:
    """Where every picture of a version goes, and what an epoch of it is. Sizes in pixels."""

    version: str
    resolution: int
    bucket_multiple: int
    batch_size: int
    accumulation: int
    buckets: tuple[BucketLoad, ...]
    validation: tuple[Landing, ...]
    """Pictures that are held out; each stands in its bucket too."""
    left_out: tuple[LeftOut, ...]
    exposures_per_epoch: int
    steps: int
    """Optimizer steps of the run that was asked for."""
    epochs: float
    """Passes over all pictures and repeats that these steps are, exactly."""

    @property
    def side_step(self) -> int:
        """Pixels by which sides of buckets differ: the family's multiple, or less where the resolution is small."""
        return side_multiple(self.resolution, self.bucket_multiple)

    @property
    def steps_per_epoch(self) -> float:
        """Optimizer steps of one pass over all pictures and repeats; exact, and seldom whole."""
        return self.exposures_per_epoch / (self.batch_size * self.accumulation)

    @property
    def pictures(self) -> int:
        """Pictures that are trained on."""
        return sum(len(bucket.landings) for bucket in self.buckets)

    @property
    def regularisation(self) -> int:
        """How many of them are of the role regularisation."""
        return sum(landing.role == "regularisation" for landing in self.landings())

    def landings(self) -> Iterator[Landing]:
        """Every picture that is trained on, bucket by bucket."""
        for bucket in self.buckets:
            yield from bucket.landings

    def enlarged(self, above: float = 1.0) -> list[Landing]:
        """Pictures that are enlarged by more than ``above``, the most enlarged first."""
        return sorted((one for one in self.landings() if one.scale > above), key=lambda one: (-one.scale, one.item))

    def cropped(self, above: float = 0.0) -> list[Landing]:
        """Pictures that lose more than this share of their area, the greatest loss first."""
        return sorted(
            (one for one in self.landings() if one.crop_loss > above), key=lambda one: (-one.crop_loss, one.item)
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values, the derived figures too."""
        return asdict(self) | {
            "pictures": self.pictures,
            "regularisation": self.regularisation,
            "side_step": self.side_step,
            "steps_per_epoch": self.steps_per_epoch,
        }


def plan_buckets(
    version: DatasetVersion,
    *,
    family: FamilyFacts,
    resolution: int | None = None,
    batch_size: int = 1,
    accumulation: int = 1,
    repeats: int = 1,
    buckets: bool = True,
    upscale: bool = True,
    validation_fraction: float = 0.0,
    seed: int = 0,
    epochs: float | None = None,
    steps: int | None = None,
    frames: Frames | None = None,
) -> BucketPlan:
    """Where every picture lands. The arguments are those of ``TrainConfig`` and ``TrainConfig.data``.

    Args:
        version: whose pictures; ``family`` and ``resolution`` say in which buckets, the family's resolution by default.
        batch_size: pictures per batch.
        accumulation: batches per optimizer step.
        repeats: of the run; a picture's own repeats multiply it.
        buckets: without, the square is the only bucket.
        upscale: without, pictures smaller than their bucket are left out.
        validation_fraction: held out besides the pictures of the role validation, drawn by ``seed`` as training does.
        epochs: how long the run is, in passes; or
        steps: in optimizer steps; neither: one pass, rounded up to whole steps.
        frames: how clips are shown; None: as pictures of their first frame.

    Raises:
        ConfigError: a number that cannot be, or both lengths at once.
    """
    if min(batch_size, accumulation, repeats) < 1 or (resolution is not None and resolution < 8):
        raise ConfigError("Batch size, accumulation and repeats begin at 1, and the resolution at 8.", "Correct them.")
    if epochs is not None and steps is not None:
        raise ConfigError("The length is given twice, in epochs and in steps.", "Keep one.")
    if (epochs is not None and not epochs > 0) or (steps is not None and steps < 1):
        raise ConfigError("A run has at least one step.", "Give a length above 0.")
    side = resolution or family.default_resolution
    trained, held_out = divide(version.items, validation_fraction, str(seed))
    options = {
        "frames": frames,
        "resolution": side,
        "bucket_multiple": family.bucket_multiple,
        "buckets": buckets,
        "upscale": upscale,
    }
    arrangement, aside = arrange(trained, **options), arrange(held_out, **options)  # type: ignore[arg-type]
    items = {item.name: item for item in version.items}
    loads = [sum(placed.repeats for placed in bucket.placed) * repeats for bucket in arrangement.buckets]
    exposures = sum(loads)
    per_step = batch_size * accumulation
    length = steps if steps is not None else math.ceil(exposures * (1.0 if epochs is None else epochs) / per_step)
    dealer = Dealer(loads, batch_size)
    dealer.skip(length * accumulation if loads else 0)
    return BucketPlan(
        version=version.reference,
        resolution=side,
        bucket_multiple=family.bucket_multiple,
        batch_size=batch_size,
        accumulation=accumulation,
        buckets=tuple(
            _load(bucket, number, load, dealer, batch_size, items, repeats)
            for number, (bucket, load) in enumerate(zip(arrangement.buckets, loads, strict=True))
        ),
        validation=tuple(one for bucket in aside.buckets for one in _landings(bucket, items, 1)),
        left_out=arrangement.left_out + aside.left_out,
        exposures_per_epoch=exposures,
        steps=length,
        epochs=dealer.epoch if loads else 0.0,
    )


def _load(
    bucket: Bucket, number: int, load: int, dealer: Dealer, batch_size: int, items: dict[str, Item], repeats: int
) -> BucketLoad:
    batches, left_over = divmod(load, batch_size)
    turns, under_way = dealer.passes(number)
    return BucketLoad(
        width=bucket.width,
        height=bucket.height,
        landings=tuple(_landings(bucket, items, repeats)),
        exposures=load,
        batches=batches,
        left_over=left_over,
        least_shown=turns,
        most_shown=turns + (under_way > 0),
        frames=bucket.frames,
    )


def _landings(bucket: Bucket, items: dict[str, Item], repeats: int) -> Iterator[Landing]:
    for placed in bucket.placed:
        item = items[placed.item]
        box = crop_box(item.width, item.height, placed)
        moves = placed.frames > 1
        window = (placed.start / placed.fps, (placed.start + placed.frames) / placed.fps) if moves else None
        yield Landing(item.name, box, placed.scale, placed.crop_loss, item.role, item.repeats * repeats, window)
