"""Eyes: what a trainer would really see of a picture and its caption, one file per trainer.

A trainer that ignores EXIF trains sideways pictures, one that reads the first line only never sees the second, and
none of them says so. Each eye states the rules of one program as facts with their source, decodes a picture with
them, fits it into that program's bucket and reads a caption file as it would. ``seeing`` puts these together and says
the difference to what is meant. An eye is found by scanning this folder and the entry points ``lorasmith.eyes``
(see ``plugins.py``).

Facts were read in the programs' public source at the commits named in each file; nothing of them is copied.
"""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Final, Literal

from lorasmith.datasets.buckets import Frames
from lorasmith.datasets.eyes.fitting import Fit
from lorasmith.datasets.eyes.moving import USUAL_RATE, SeenFrames
from lorasmith.datasets.eyes.picture_file import PictureFile, Reading
from lorasmith.datasets.manifest import Clip
from lorasmith.errors import ConfigError

Severity = Literal["error", "warning", "info"]
_LEAST_SIDE: Final = 64
_MOST_SIDE: Final = 16_384
Outcome = Literal["read", "skipped", "stops"]
"""``skipped``: the picture is never trained, without an error; ``stops``: the run ends with an error."""


@dataclass(frozen=True)
class Fact:
    """One rule of a trainer."""

    rule: str
    """One sentence."""
    source: str
    """Where it was read: repository path and function."""


@dataclass(frozen=True)
class Note:
    """One difference between what is meant and what the trainer sees.

    ``id`` is stable: ``orientation``, ``profile``, ``alpha``, ``depth``, ``frames``, ``format``, ``mask_name``,
    ``mask``, ``mask_empty``, ``mask_damaged``, ``crop``, ``random_crop``, ``upscale``, ``aliasing``, ``short_batch``,
    ``caption_missing``, ``caption_empty``, ``caption_encoding``, ``caption_bom``, ``caption_lines``,
    ``caption_spacing``, ``caption_trigger``, ``caption_borrowed``, ``caption_cut``, ``clip``, ``clip_short``,
    ``clip_cut``, ``clip_speed``, ``clip_random``, ``clip_padded``, ``clip_misread``, ``clip_still``.
    """

    id: str
    severity: Severity
    sentence: str


@dataclass(frozen=True)
class EyeSettings:
    """What the rules depend on. Left at their defaults they are those of a plain configuration with buckets on."""

    resolution: int = 512
    """Side in pixels of the square whose area buckets keep."""
    family: str = ""
    """Name of the base's family; some trainers choose the step of bucket sides by it."""
    bucket_multiple: int = 64
    """The family's, for our own trainer."""
    step: int | None = None
    """Step of bucket sides in pixels, where the trainer's configuration sets it."""
    buckets: bool = True
    upscale: bool = True
    """Without: ``bucket_no_upscale`` where a trainer has it, ``data.upscale: false`` of ours."""
    masked: bool = True
    """Whether masks count: ``objective.masked_loss`` of ours."""
    trigger_word: str = ""
    """As set in the trainer's own configuration; ai-toolkit puts it into captions."""
    default_caption: str = ""
    """``class_tokens`` of sd-scripts, ``default_caption`` of ai-toolkit."""
    encoding: str = "utf-8"
    """What ``open()`` means on the machine of a trainer that does not say it: cp1252 on a Western Windows."""
    case_sensitive: bool = True
    """Whether the trainer's file system tells ``a.JPG`` from ``a.jpg``; Windows and macOS do not."""

    clips: Frames | None = None
    """How the family shows clips; None when it takes pictures alone, or no family is named."""
    frames: int | None = None
    """Frames of a window, where the trainer's configuration names one number for all; left out, those that an export
    writes for each clip."""
    lengths: tuple[int, ...] = ()
    """All lengths that an export of the dataset names; ``look`` fills them in."""

    def __post_init__(self) -> None:
        if self.frames is not None and self.frames < 1:
            raise ConfigError(f"A window of {self.frames} frames cannot be.", "Give 1 or more.")
        if not _LEAST_SIDE <= self.resolution <= _MOST_SIDE:
            hint = f"Give {_LEAST_SIDE} to {_MOST_SIDE}."
            raise ConfigError(f"A resolution of {self.resolution} pixels cannot be looked at.", hint)
        for step in (self.bucket_multiple, self.step or 1):
            if not 1 <= step <= self.resolution:
                hint = f"Give 1 to {self.resolution}."
                raise ConfigError(f"Buckets in steps of {step} pixels cannot be.", hint)
        try:
            codecs.lookup(self.encoding)
        except LookupError as cause:
            raise ConfigError(f"There is no encoding '{self.encoding}'.", "For example utf-8 or cp1252.") from cause


@dataclass(frozen=True)
class SeenCaption:
    """A caption as the trainer reads it, before its tokenizer."""

    texts: tuple[str, ...]
    """One, or several when each line is a caption of its own and one is drawn per exposure; none if not read."""
    notes: tuple[Note, ...] = ()
    outcome: Outcome = "read"


@dataclass(frozen=True)
class CaptionFile:
    """A caption file as it lies beside its picture. ``content`` None: there is none."""

    content: bytes | None
    picture: str
    """Name of the picture with its suffix."""
    neighbours: Mapping[str, bytes] = field(default_factory=dict)
    """Other caption files of the folder by name, for a trainer that borrows from a neighbour."""


class TrainerEye(ABC):
    """How one trainer sees. End the file with ``plugin = ThatClass()``."""

    name: ClassVar[str]
    title: ClassVar[str]
    commit: ClassVar[str]
    """Repository, commit and date at which the facts were read."""
    facts: ClassVar[tuple[Fact, ...]]
    default_step: ClassVar[int]
    """Step of bucket sides in pixels, for families that ``steps`` does not name."""
    steps: ClassVar[Mapping[str, int]] = MappingProxyType({})
    """Step of bucket sides by the name of our family, where the trainer's differs from its default."""
    reads_on: ClassVar[frozenset[str]] = frozenset()
    """Families for which text past the text encoder's window is read in further windows; for all others it is cut."""
    empty_export: ClassVar[bytes] = b""
    """What an export for it writes as an empty caption."""
    numbered_folders: ClassVar[bool] = False
    """Whether folders whose names do not begin with a number of repeats are skipped."""
    reads_masks: ClassVar[bool] = False
    """Whether it trains what an item's mask lets through, of the dataset as it is and not of an export."""
    drops_short_batches: ClassVar[bool] = False
    """Whether pictures that fill no batch of their bucket sit out the epoch."""

    @abstractmethod
    def refuses(self, name: str, settings: EyeSettings) -> Note | None:
        """Why a file of that name is no training picture for this trainer; None when it is one."""

    @abstractmethod
    def reading(self, file: PictureFile) -> Reading:
        """By which rules the pixels of this file are decoded."""

    @abstractmethod
    def fitter(self, settings: EyeSettings) -> Callable[[int, int], Fit | str]:
        """From the decoded width and height to the fit in a bucket, or to the sentence why it is left out.

        Ask pictures in the trainer's order (names sorted): one of the trainers lets early pictures decide for later.
        """

    @abstractmethod
    def see_caption(self, file: CaptionFile, settings: EyeSettings) -> SeenCaption:
        """The text or texts this trainer reads, by its rules of encoding, lines, empty and missing files."""

    moves: ClassVar[bool] = False
    """Whether it trains clips at all."""
    rates: ClassVar[Mapping[str, float]] = MappingProxyType({})
    """Frames a second by the name of our family, where the trainer has a rate of its own."""
    upright: ClassVar[frozenset[str]] = frozenset()
    """What it does right by in a video as it came: words of ``moving.misread``."""

    def see_clip(self, clip: Clip, settings: EyeSettings) -> SeenFrames:
        """Which frames of a video it trains, and how fast they run, for trainers that ``moves``."""
        sentence = f"{self.title} reads no videos: it is never trained."
        return SeenFrames((), (Note("clip", "error", sentence),), "skipped")

    def rate(self, settings: EyeSettings) -> float:
        """Frames a second of the model as this trainer has it."""
        meant = settings.clips.fps if settings.clips is not None else USUAL_RATE
        return self.rates.get(settings.family, meant)

    def see_picture(self, file: PictureFile, settings: EyeSettings) -> tuple[Outcome, tuple[Note, ...]]:
        """What decoding does that nobody meant, apart from the crop; most of it follows from ``reading``."""
        return "read", file.differences(self.reading(file))

    def step(self, settings: EyeSettings) -> int:
        """The step of bucket sides in pixels that counts."""
        return settings.step or self.steps.get(settings.family, self.default_step)


def eyes() -> dict[str, TrainerEye]:
    """All trainers whose eye is known, by name."""
    import lorasmith.datasets.eyes as room
    from lorasmith.plugins import discover

    return discover(room, TrainerEye)  # type: ignore[type-abstract]


def eye_name(trainer: str) -> str:
    """A trainer by the name of its eye, from any name that people use: ``kohya`` and ``ai-toolkit`` too."""
    name = trainer.strip().lower().replace("-", "_")
    return "sd_scripts" if name in ("kohya", "kohya_ss") else name


def eye_of(trainer: str) -> TrainerEye:
    """The eye of that trainer, by any name that ``eye_name`` knows.

    Raises:
        ConfigError: there is none of that name; the hint has the nearest.
    """
    from lorasmith.plugins import choose

    return choose(eyes(), eye_name(trainer), "trainer's eye")
