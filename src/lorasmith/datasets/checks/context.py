"""What checks may ask for. Everything that costs something is made when the first check asks, and once."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Literal, Protocol

from lorasmith.datasets.buckets import Frames, Placed, place, table_of
from lorasmith.datasets.captions import is_excuse
from lorasmith.datasets.captions.reading import CaptionReader
from lorasmith.datasets.captions.style import Style
from lorasmith.datasets.checks.finding import Need
from lorasmith.datasets.checks.trainers import TrainerFacts, trainer_facts
from lorasmith.datasets.manifest import DatasetVersion, Fate, Item
from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from PIL import Image

Subject = Literal["character", "style", "concept", "object"]
Bucket = Callable[[int, int], tuple[int, int]]
"""Width and height of a picture to width and height of the bucket it is trained in."""

_LONG_WORD: Final = 8  # letters; longer words are usually two tokens
_PIECE: Final = re.compile(r"[⺀-鿿가-힯]|[^\W⺀-鿿가-힯]+|[^\w\s]")


class Store(Protocol):
    """What a check asks of a store."""

    home: Path

    def blob_path(self, sha256: str) -> Path:
        """Where the bytes with this SHA-256 lie."""

    def open_image(self, item: Item) -> Image.Image:
        """The picture of an item."""


class PictureSignals(Protocol):
    """What was measured on one picture, and what it amounts to; ``datasets.signals.Signals`` is one."""

    @property
    def sharpness(self) -> float:
        """Variance of the Laplacian at 512 pixels."""

    @property
    def jpeg_quality(self) -> int | None:
        """1 to 100; None when it is no JPEG."""

    @property
    def border_share(self) -> float:
        """Share of the area that plain bars take, 0 to 1."""

    @property
    def is_gray(self) -> bool: ...
    @property
    def is_blurred(self) -> bool: ...
    @property
    def is_soft(self) -> bool: ...
    @property
    def is_too_dark(self) -> bool: ...
    @property
    def is_too_bright(self) -> bool: ...
    @property
    def is_low_contrast(self) -> bool: ...
    @property
    def has_borders(self) -> bool: ...
    @property
    def is_low_quality_jpeg(self) -> bool: ...
    @property
    def is_blocky(self) -> bool: ...
    @property
    def is_upscaled(self) -> bool: ...


class Group(Protocol):
    """Pictures that are the same or nearly so; ``datasets.duplicates.DuplicateGroup`` is one."""

    @property
    def kind(self) -> str: ...
    @property
    def keeper(self) -> str: ...
    @property
    def members(self) -> Sequence[str]: ...
    @property
    def distance(self) -> int: ...


class CommonOverlay(Protocol):
    """Something that lies at one place on many pictures; ``datasets.overlay.Overlay`` is one."""

    @property
    def z(self) -> float: ...
    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom as shares of width and height."""

    @property
    def having(self) -> Sequence[int]:
        """Which of the pictures that were compared have it, by their place."""


class Tokenizer(Protocol):
    """Counts and cuts a caption; ``datasets.tokens.TokenCounter`` is one."""

    @property
    def exact(self) -> bool: ...
    def count(self, text: str) -> int:
        """How many tokens the text is, without marks of beginning and end."""

    def cut(self, text: str, limit: int | None = None) -> tuple[str, str]:
        """What is read and what is cut away."""


@dataclass(frozen=True)
class FamilyFacts:
    """What a family of base models asks of a dataset, as plain values."""

    name: str = ""
    """Its name, for the exact tokenizer; empty when no family is chosen."""
    max_tokens: int = 75
    """Tokens of a caption that its text encoder reads, without beginning and end marks."""
    bucket_multiple: int = 64
    resolution: int = 512
    """Side in pixels of the square whose area is trained."""
    frames: Frames | None = None
    """How it shows clips; None when it takes pictures alone."""


@dataclass(frozen=True)
class TrainingPlan:
    """The settings of a run that a dataset must fit."""

    batch_size: int = 1
    repeats: int = 1
    """Laid over the items' own repeats."""
    epochs: int | None = None
    steps: int | None = None
    """Optimizer steps in all; taken before ``epochs`` when both are given."""
    keep_tokens: int = 0
    """How many tags at the beginning are kept in place when the others are shuffled."""

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("repeats", 1), ("epochs", 0), ("steps", 0), ("keep_tokens", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name} is {value}, and has to be {least} or more.", "Give the run's own setting.")


@dataclass
class CheckContext:
    """A version, what it is meant for, and what is known of its pictures."""

    version: DatasetVersion
    store: Store
    trigger_word: str = ""
    goal: Subject | None = None
    family: FamilyFacts = field(default_factory=FamilyFacts)
    trainer: str = "lorasmith"
    plan: TrainingPlan | None = None
    bucket: Bucket | None = None
    """The bucket of a picture when it is not the one that ``datasets.buckets`` gives it."""
    counter: Tokenizer | None = None
    """The family's tokenizer, where it is at hand."""
    count_tokens: Callable[[str], int] | None = None
    """A count taken for exact, in place of the tokenizer's."""
    signals: Mapping[str, PictureSignals] | None = None
    """By item name; None when nothing was measured."""
    groups: Sequence[Group] | None = None
    """Duplicate groups over the version's items; None when they were not looked for."""
    overlay: CommonOverlay | None = None
    compared: Sequence[str] | None = None
    """Names of the items that were compared for a common mark, in order; None when it was not looked for."""
    own_references: Collection[str] = frozenset()
    """Names of items that were found to show, pixel for pixel, what one of their references shows."""
    known_tags: Collection[str] | None = None
    free_disk: int | None = None
    """Bytes free where caches go; None asks the disk of the store's home."""

    def __post_init__(self) -> None:
        self.trigger_word = self.trigger_word.strip()
        self.reader: TrainerFacts = trainer_facts(self.trainer)

    def missing(self, need: Need) -> str:
        """Why a check that needs this cannot run; empty when it can."""
        there, reason = {
            "signals": (self.signals is not None, "the pictures were not measured"),
            "duplicates": (self.groups is not None, "near duplicates were not looked for"),
            "overlay": (self.compared is not None, "the pictures were not compared for a common mark"),
            "tag list": (self.known_tags is not None, "no list of known tags is loaded"),
            "plan": (self.plan is not None, "no training settings are given"),
            "trigger word": (bool(self.trigger_word), "no trigger word is given"),
            "goal": (self.goal is not None, "no goal is given"),
        }[need]
        return "" if there else reason

    @property
    def items(self) -> tuple[Item, ...]:
        """All pictures of the version."""
        return self.version.items

    @cached_property
    def trained(self) -> list[Item]:
        """The pictures that the adapter shall learn: neither validation nor regularisation."""
        return [item for item in self.items if item.role == "train"]

    @cached_property
    def told_fates(self) -> list[Fate]:
        """The lines of the ledger that tell something: all but those of files that were taken as they came. Read once,
        and not the whole ledger, which a large dataset has two lines an item of."""
        return [fate for fate in self.version.ledger if fate.fate != "taken"]

    @cached_property
    def by_name(self) -> dict[str, Item]:
        """Items by name."""
        return {item.name: item for item in self.items}

    @cached_property
    def styles(self) -> dict[str, Style]:
        """How each caption is written, by item name; an error text in its place is no caption."""
        style = self.captions.style
        return {item.name: "empty" if is_excuse(item.caption) else style(item.caption) for item in self.items}

    @cached_property
    def tags(self) -> dict[str, tuple[str, ...]]:
        """The tags of every caption that holds some, as written, by item name; the trigger word is none of them."""
        trigger = self.trigger_word.casefold()
        shared: dict[str, str] = {}  # every tag once in memory
        return {
            item.name: tuple(
                shared.setdefault(tag, tag) for tag in self.captions.tags(item.caption) if tag.casefold() != trigger
            )
            for item in self.items
            if self.styles[item.name] in ("tags", "mixed")
        }

    @cached_property
    def captions(self) -> CaptionReader:
        """Takes captions apart."""
        return CaptionReader()

    @cached_property
    def tag_counts(self) -> Counter[str]:
        """How many pictures have each tag, as written."""
        return Counter(tag for tags in self.tags.values() for tag in dict.fromkeys(tags))

    @cached_property
    def placed(self) -> dict[str, Placed]:
        """Every picture in its bucket, by item name."""
        by_size: dict[tuple[int, int], Placed] = {}
        for item in self.items:
            if (item.width, item.height) not in by_size:
                by_size[item.width, item.height] = self._place(item)
        return {item.name: by_size[item.width, item.height] for item in self.items}

    def _place(self, item: Item) -> Placed:
        return place(item, [self.bucket(item.width, item.height)] if self.bucket else self._shapes)

    @cached_property
    def _shapes(self) -> tuple[tuple[int, int], ...]:
        return table_of(self.family.resolution, self.family.bucket_multiple)

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """The family's tokenizer; None without a family, or when another count was given."""
        if self.count_tokens is not None:
            return None
        if self.counter is not None or not self.family.name:
            return self.counter
        from lorasmith.datasets.tokens import counter_for

        return counter_for(self.family.name)

    @property
    def counts_exactly(self) -> bool:
        """Whether ``count`` is the text encoder's own."""
        return self.tokenizer.exact if self.tokenizer else self.count_tokens is not None

    def count(self, text: str) -> int:
        """Tokens of a text: the tokenizer's, or an estimate from words."""
        if self.count_tokens is not None:
            return self.count_tokens(text)
        return self.tokenizer.count(text) if self.tokenizer else estimate_tokens(text)

    @cached_property
    def tokens(self) -> dict[str, int]:
        """Tokens of every caption that is not blank, by item name; of its longest line where lines are variants."""
        whole = self.reader.lines == "whole"
        return {
            item.name: self.count(item.caption) if whole else max(self.count(x) for x in item.caption.splitlines())
            for item in self.items
            if item.caption.strip()
        }

    def measured(self) -> list[tuple[Item, PictureSignals]]:
        """Items with what was measured on them, in order; those that could not be measured are not among them."""
        signals = self.signals or {}
        return [(item, signals[item.name]) for item in self.items if item.name in signals]

    @cached_property
    def reference_sizes(self) -> dict[str, tuple[int, int]]:
        """Width and height of every reference that can be opened, from its header."""
        from PIL import Image

        sizes: dict[str, tuple[int, int]] = {}
        for sha256 in dict.fromkeys(reference for item in self.items for reference in item.references):
            try:
                with Image.open(self.store.blob_path(sha256)) as image:
                    sizes[sha256] = image.size
            except (OSError, SyntaxError, ValueError):  # a missing blob is what F1 speaks of
                continue
        return sizes

    def free_bytes(self) -> int:
        """Bytes free where caches go."""
        return shutil.disk_usage(self.store.home).free if self.free_disk is None else self.free_disk


def estimate_tokens(caption: str) -> int:
    """About how many CLIP tokens: words, punctuation marks and CJK signs count one each, long words two."""
    return sum(2 if len(piece) > _LONG_WORD else 1 for piece in _PIECE.findall(caption))


def stem(name: str) -> str:
    """A name without its suffix, folders kept."""
    return str(PurePosixPath(name).with_suffix("")) if PurePosixPath(name).name else name
