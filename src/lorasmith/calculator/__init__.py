"""The calculator: how often a run shows each picture, in passes, in optimizer steps and in time, one from another.

Ours counts the buckets that training deals from; how others count the same run says ``formulas``. Pure numbers: nothing
is trained, opened or loaded.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, ValidationError

from lorasmith.calculator.formulas import Formula, doubled, kohya, origin
from lorasmith.config import Section
from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from lorasmith.datasets.bucket_plan import BucketPlan
    from lorasmith.datasets.lens import Lens
    from lorasmith.datasets.manifest import DatasetVersion, Item

Asked = Literal["epochs", "steps", "exposures"]
LENGTHS: Final[tuple[Asked, ...]] = ("epochs", "steps", "exposures")
RENTAL: Final = (2.0, 4.0)
"""Seconds a step takes on a rented card, as the notebooks had it."""
HOME: Final = (3.0, 6.0)
"""The same at home."""
_SELDOM, _OFTEN = 20, 400
_MOST_BATCHES: Final = 1_000_000


class Question(Section):
    """What a run shall be. Of epochs, steps and exposures one is given; the others follow."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"pictures": 20, "repeats": 10, "epochs": 5}]})
    dataset: Annotated[str, Field(max_length=300)] = ""
    """Whose pictures, counted in their buckets; left out, the numbers below count."""
    pictures: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """How many pictures there are, where no dataset is named."""
    regularisation: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Pictures of the class beside them, where no dataset is named."""
    repeats: Annotated[int, Field(ge=1, le=10_000)] = 1
    """How often an epoch shows each picture, 1 to 10000; a picture's own repeats multiply it."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 1
    """Pictures per batch."""
    accumulation: Annotated[int, Field(ge=1, le=4096)] = 1
    """Batches per optimizer step (gradient accumulation)."""
    epochs: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    """Passes over all pictures and repeats."""
    steps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Optimizer steps of the whole run."""
    exposures: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    """How often the whole run shows each picture."""
    base: Annotated[str, Field(max_length=1000)] = ""
    """What is trained, for its resolution and for the time past runs of it took."""
    family: Annotated[str, Field(max_length=100)] = ""
    """The family of the base, where none is named."""
    resolution: Annotated[int, Field(ge=64, le=16_384)] | None = None
    """Side in pixels of the square whose area buckets keep; otherwise the base's."""
    validation_fraction: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Share of the pictures that is held out."""
    seconds_per_step: Annotated[float, Field(gt=0, le=86_400)] | None = None
    """How long a step takes, where nothing was measured on this machine."""

    @property
    def asked(self) -> Asked:
        """Which length is given; one pass where none is."""
        return next((name for name in LENGTHS if getattr(self, name) is not None), "epochs")


@dataclass(frozen=True)
class Load:
    """One bucket in one epoch, as we count it."""

    width: int
    height: int
    pictures: int
    exposures: int
    """Pictures an epoch shows from it, repeats counted."""
    frames: int = 1
    """How many frames of a clip it shows at once; 1 of pictures."""

    @property
    def title(self) -> str:
        """``832 × 480``, and ``832 × 480 × 33`` for clips."""
        return f"{self.width} × {self.height}" + (f" × {self.frames}" if self.frames > 1 else "")


@dataclass(frozen=True)
class Time:
    """How long the steps take."""

    seconds_per_step: float
    seconds: float
    source: Literal["measured", "given"]
    job: str = ""
    """The run it was measured in."""
    same: bool = True
    """Whether that run had the same batch, accumulation and rank too."""


@dataclass(frozen=True)
class Caution:
    """Something to think about before the start."""

    sentence: str
    reason: str


@dataclass(frozen=True)
class Calculation:
    """One run in all its units."""

    dataset: str
    """With its version; empty where plain numbers were given."""
    resolution: int
    """0 where plain numbers were given."""
    asked: Asked
    pictures: int
    regularisation: int
    left_out: int
    """Pictures too small for their bucket, or held out for validation."""
    repeats: float
    """Of a picture, the mean of all that are learned; whole where all are alike."""
    batch_size: int
    accumulation: int
    per_epoch: int
    """Pictures one epoch shows, repeats and regularisation counted."""
    steps_per_epoch: float
    epochs: float
    steps: int
    exposures: int
    """Pictures the whole run shows."""
    exposures_per_image: float
    """The mean of those that are learned."""
    least: int
    """How often the whole run shows the picture it shows least ..."""
    most: int
    """... and most."""
    buckets: tuple[Load, ...]
    origin: Formula
    kohya: Formula
    times: tuple[Time, ...]
    """Measured first; empty where nothing was measured or given."""
    cautions: tuple[Caution, ...]

    @property
    def rental(self) -> tuple[float, float]:
        """Seconds on a rented card by the notebooks' rule of thumb, least and most."""
        return self.origin.steps * RENTAL[0], self.origin.steps * RENTAL[1]

    @property
    def at_home(self) -> tuple[float, float]:
        """The same at home."""
        return self.origin.steps * HOME[0], self.origin.steps * HOME[1]


def question(values: Mapping[str, Any]) -> Question:
    """The question that plain values ask.

    Raises:
        ConfigError: an unknown name, or a value that cannot be.
    """
    try:
        made = Question.model_validate(dict(values))
    except ValidationError as cause:
        first = cause.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            known = ", ".join(Question.model_fields)
            raise ConfigError(f"The calculator knows no '{name}'.", f"It takes {known}.") from cause
        reason = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
        raise ConfigError(f"{name.replace('_', ' ')} {reason}.", "Correct this number.") from cause
    lengths = [name.replace("_", " ") for name in LENGTHS if getattr(made, name) is not None]
    if len(lengths) > 1:
        raise ConfigError(f"The length is given as {' and as '.join(lengths)}.", "Keep one; the others follow.")
    return made


def calculate(
    asked: Question, *, version: DatasetVersion | None = None, lens: Lens | None = None, paces: Sequence[Time] = ()
) -> Calculation:
    """One run in all its units.

    Args:
        asked: what it shall be.
        version: the dataset that ``asked`` names, with the family and resolution it is looked at for in ``lens``.
        paces: how long steps take; their whole time is worked out here.

    Raises:
        ConfigError: numbers that make no run.
        DatasetError: no picture is left to train on.
    """
    counted = _of_version(asked, version, lens) if version is not None and lens is not None else _of_numbers(asked)
    window = asked.batch_size * asked.accumulation
    epochs = _epochs(asked, counted)
    steps = asked.steps if asked.steps is not None else max(1, math.ceil(epochs * counted.per_epoch / window))
    if steps * asked.accumulation > _MOST_BATCHES:
        raise ConfigError(
            f"That would be {steps * asked.accumulation:,} batches; nobody trains a LoRA for more than a million.",
            "Give fewer epochs, repeats or exposures.",
        )
    shown = steps * window
    passes = Fraction(shown, counted.per_epoch)
    least, most = counted.spread(steps)
    loads = counted.loads
    return Calculation(
        dataset=version.reference if version is not None else "",
        resolution=counted.resolution,
        asked=asked.asked,
        pictures=len(counted.train),
        regularisation=len(counted.regularisation),
        left_out=counted.left_out,
        repeats=float(counted.mean_repeats),
        batch_size=asked.batch_size,
        accumulation=asked.accumulation,
        per_epoch=counted.per_epoch,
        steps_per_epoch=counted.per_epoch / window,
        epochs=float(passes),
        steps=steps,
        exposures=shown,
        exposures_per_image=float(passes * counted.mean_repeats),
        least=least,
        most=most,
        buckets=loads,
        origin=origin(sum(counted.train), epochs, asked.batch_size),
        kohya=kohya(counted.theirs, asked.batch_size, asked.accumulation, epochs, asked.steps),
        times=tuple(Time(one.seconds_per_step, one.seconds_per_step * steps, one.source, one.job, one.same)
                    for one in paces),
        cautions=tuple(_cautions(asked, counted, steps, passes, least)),
    )  # fmt: skip


@dataclass(frozen=True)
class _Counted:
    """Pictures as they are shown."""

    train: tuple[int, ...]
    """Repeats of every picture that is learned, those of the run multiplied in."""
    regularisation: tuple[int, ...]
    per_epoch: int
    loads: tuple[Load, ...]
    theirs: tuple[int, ...]
    """Pictures an epoch of sd-scripts shows from each of its own buckets."""
    left_out: int
    resolution: int
    plan: Any = None
    """Of the dataset, by number of steps."""
    window: int = 1
    misfits: tuple[Caution, ...] = ()
    """What the dataset lacks for its family, or has for nothing."""

    @property
    def mean_repeats(self) -> Fraction:
        return Fraction(sum(self.train), len(self.train))

    def spread(self, steps: int) -> tuple[int, int]:
        """How often the whole run shows the picture it shows least, and most."""
        if self.plan is None:
            passes = Fraction(steps * self.window, self.per_epoch)
            return math.floor(passes) * min(self.train), math.ceil(passes) * max(self.train)
        planned: BucketPlan = self.plan(steps)
        shown = [
            (bucket.least_shown * landing.repeats, bucket.most_shown * landing.repeats)
            for bucket in planned.buckets
            for landing in bucket.landings
            if landing.role == "train"
        ]
        return min(low for low, _ in shown), max(high for _, high in shown)


def _of_numbers(asked: Question) -> _Counted:
    from lorasmith.datasets.buckets import held_out_of

    if asked.pictures is None:
        raise ConfigError("There is nothing to count.", "Choose a dataset, or say how many pictures there are.")
    held_out = held_out_of(asked.pictures, asked.validation_fraction)
    train = (asked.repeats,) * (asked.pictures - held_out)
    regularisation = (asked.repeats,) * asked.regularisation
    theirs = sum(train) + (sum(train) if regularisation else 0)
    whole = sum(train) + sum(regularisation)
    window = asked.batch_size * asked.accumulation
    return _Counted(train, regularisation, whole, (), (theirs,), held_out, 0, window=window)


def _of_version(asked: Question, version: DatasetVersion, lens: Lens) -> _Counted:
    from lorasmith.datasets.bucket_plan import plan_buckets
    from lorasmith.errors import DatasetError

    def plan(steps: int) -> BucketPlan:
        return plan_buckets(
            version, family=lens, resolution=lens.resolution, batch_size=asked.batch_size,
            accumulation=asked.accumulation, repeats=asked.repeats, validation_fraction=asked.validation_fraction,
            steps=steps, frames=lens.frames,
        )  # fmt: skip

    planned = plan(1)
    landings = list(planned.landings())
    train = tuple(one.repeats for one in landings if one.role == "train")
    if not train:
        raise DatasetError(
            f"No picture of {version.reference} would be trained on at {lens.resolution} pixels.",
            "Lower the resolution, hold out fewer pictures, or add some.",
        )
    regularisation = tuple(one.repeats for one in landings if one.role == "regularisation")
    loads = tuple(Load(one.width, one.height, len(one.landings), one.exposures, one.frames) for one in planned.buckets)
    shown = {one.item: one.repeats for one in landings}
    items = [item for item in version.items if item.name in shown]
    theirs = _their_buckets(items, shown, lens)
    aside = len(planned.left_out) + len(planned.validation)
    return _Counted(
        train, regularisation, planned.exposures_per_epoch, loads, theirs, aside, lens.resolution, plan,
        asked.batch_size * asked.accumulation, tuple(_misfits(items, lens)),
    )  # fmt: skip


def _misfits(items: Sequence[Item], lens: Lens) -> Iterator[Caution]:
    """What pictures lack that the family is given beside them, and what it takes nothing of."""
    from lorasmith.bases.detection import registered_families

    family = registered_families().get(lens.family)
    if family is None:
        return
    least, most = family.reference_pictures
    alone = sum(item.role != "regularisation" and len(item.references) < least for item in items)
    if alone:
        yield Caution(
            f"{alone:,} of {len(items):,} pictures have fewer references than {family.title} needs.",
            "It learns to make a picture from the one that stands beside it; a run without them is refused.",
        )
    if not most and any(item.references for item in items):
        yield Caution(
            f"{family.title} takes no references.",
            "Those of this dataset are left aside; the pictures alone are counted and trained.",
        )
    moving = sum(item.clip is not None for item in items)
    if moving and lens.frames is None:
        yield Caution(
            f"{moving:,} of {len(items):,} are clips, and {family.title} learns pictures.",
            "Of each it is shown the first frame, which is what is counted here.",
        )


def _their_buckets(items: Sequence[Item], shown: Mapping[str, int], lens: Lens) -> tuple[int, ...]:
    """Pictures an epoch of sd-scripts shows from each of the buckets it would make."""
    from lorasmith.datasets.eyes import EyeSettings, eyes
    from lorasmith.datasets.eyes.fitting import Fit

    settings = EyeSettings(resolution=lens.resolution, family=lens.family, bucket_multiple=lens.bucket_multiple)
    fit = eyes()["sd_scripts"].fitter(settings)
    ordered = sorted(items, key=lambda item: item.name)
    learned = [item for item in ordered if item.role == "train"]
    beside = [item for item in ordered if item.role == "regularisation"]
    repeats = {item.name: shown[item.name] for item in learned}
    again = doubled(list(repeats.values()), [shown[item.name] for item in beside])
    repeats |= {item.name: times for item, times in zip(beside, again, strict=True)}
    found: Counter[tuple[int, int]] = Counter()
    for item in (*learned, *beside):
        fitted = fit(item.width, item.height)
        if isinstance(fitted, Fit) and repeats[item.name]:
            found[fitted.target] += repeats[item.name]
    return tuple(found.values())


def _epochs(asked: Question, counted: _Counted) -> Fraction:
    """Passes, exactly, whatever the length was given in."""
    if asked.steps is not None:
        return Fraction(asked.steps * asked.batch_size * asked.accumulation, counted.per_epoch)
    if asked.exposures is not None:
        return Fraction(str(asked.exposures)) / counted.mean_repeats
    return Fraction(str(asked.epochs)) if asked.epochs is not None else Fraction(1)


def _cautions(asked: Question, counted: _Counted, steps: int, passes: Fraction, least: int) -> list[Caution]:
    found: list[Caution] = []
    each = passes * counted.mean_repeats
    if each < _SELDOM:
        often = "once" if each == 1 else f"{float(each):.3g} times"
        found.append(Caution(
            f"Each picture is shown {often}: it may underfit.",
            f"The recipes here take 800 to 1500 steps for 10 to 30 pictures, so they show each about {_SELDOM} times "
            "at the least.",
        ))  # fmt: skip
    if each > _OFTEN:
        found.append(Caution(
            f"Each picture is shown {float(each):,.0f} times: it may learn them by heart.",
            "What is seen that often is painted again as it was; hold some pictures out and watch the validation loss.",
        ))  # fmt: skip
    found += _of_the_unseen(asked, counted, steps, passes, least)
    found += counted.misfits
    if asked.batch_size > len(counted.train) + len(counted.regularisation):
        found.append(Caution(
            f"A batch of {asked.batch_size} holds pictures more than once.",
            f"There are {len(counted.train) + len(counted.regularisation)}; a smaller batch learns the same in less "
            "time.",
        ))  # fmt: skip
    elif asked.batch_size * asked.accumulation > counted.per_epoch:
        found.append(Caution(
            f"One step takes {asked.batch_size * asked.accumulation:,} pictures, more than an epoch has "
            f"({counted.per_epoch:,}).",
            "Accumulation averages different pictures; beyond one pass it averages the same ones again.",
        ))  # fmt: skip
    thin = [load for load in counted.loads if load.exposures < asked.batch_size]
    if thin and asked.batch_size > 1:
        found.append(Caution(
            f"{len(thin)} of {len(counted.loads)} bucket{'s' if len(counted.loads) > 1 else ''} "
            f"fill{'s' if len(thin) == 1 else ''} no batch of {asked.batch_size} in an epoch.",
            "A batch comes from one bucket: here it waits for the next pass, elsewhere it is short or filled with "
            "doubles. Crop these pictures to a common shape, or lower the batch size.",
        ))  # fmt: skip
    if counted.regularisation:
        share = sum(counted.regularisation) / counted.per_epoch
        found.append(Caution(
            f"{share:.0%} of the time goes to regularisation pictures.",
            "They are shown as they are here; sd-scripts repeats them until they are half of all.",
        ))  # fmt: skip
    if counted.left_out:
        found.append(Caution(
            f"{counted.left_out:,} picture{' is' if counted.left_out == 1 else 's are'} not trained on.",
            "Held out for validation, too small for the bucket, or too short for the base.",
        ))  # fmt: skip
    return found


def _of_the_unseen(asked: Question, counted: _Counted, steps: int, passes: Fraction, least: int) -> list[Caution]:
    """Pictures that a run ends before; with repeats, of which one pass shows several, it is a matter of the draw."""
    if least > 0:
        return []
    learned = len(counted.train) + len(counted.regularisation)
    shown = steps * asked.batch_size * asked.accumulation
    few = f"{steps:,} step{'s' if steps > 1 else ''} of {asked.batch_size * asked.accumulation:,}"
    if shown < learned:
        return [
            Caution("Some pictures are never shown.", f"{few} make {shown:,} exposures, and there are {learned:,}.")
        ]
    if passes < 1:
        reason = (
            f"{few} are {float(passes):.3g} of a pass over all pictures and their repeats, in an order that is drawn."
        )
    else:
        reason = "A batch comes from one bucket, and a bucket that fills few batches waits for its turn."
    return [Caution("Some pictures may never be shown.", reason)]
