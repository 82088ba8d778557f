"""The noun ``DatasetVersion``: an immutable list of items, and the fate of every file that was offered.

A version is named by the hash of what it holds. Editing makes a new one that knows its parent.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SkipValidation, field_serializer
from pydantic.dataclasses import dataclass

FORMAT = 2
REFERENCE_ORIGINALS = "reference_originals"
"""The key of ``Item.provenance`` that says how references came whose pixels had to change; see ``as_came``."""

FateWord = Literal["taken", "converted", "left_out"]
Role = Literal["train", "validation", "regularisation"]


class Record(BaseModel):
    """Base of what is stored: strict and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class Clip:
    """A moving picture: which frames of which video. Frames are counted at an even ``fps``, from 0."""

    video: str
    """SHA-256 of the blob with the video as it came."""
    frames: Annotated[int, Field(ge=1)]
    """How many frames it has, from ``start`` on."""
    fps: Annotated[float, Field(gt=0, le=1000)]
    """Frames a second. A video whose frames last unlike long is read at its mean, frames repeated or passed over."""
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]
    start: Annotated[int, Field(ge=0)] = 0
    """The first frame of the video that belongs to the clip."""

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class Item:
    """One picture or clip of a dataset. ``image``, ``original``, ``mask`` and ``references`` are SHA-256 of blobs.

    A slotted dataclass and no pydantic model, because a hundred thousand of them are held at once; make an edited
    one with ``dataclasses.replace``.
    """

    name: str
    """Unique within the version, NFC, with its suffix; from the file's path in the source."""
    image: str
    """The pixels that are trained: upright, sRGB, 8 bits, no alpha. Of a clip, its first frame."""
    original: str
    """The bytes as they came; equal to ``image`` when nothing had to be done."""
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]
    caption: str = ""
    """As in a caption file: tags, prose or several lines, one variant each; never normalised on its own."""
    mask: str | None = None
    """A gray picture of the same size: white is trained, black is not."""
    references: tuple[str, ...] = ()
    """SHA-256 of the blobs of the pictures it was made from, in order, prepared as ``image`` is: of a pair, what an
    edit model is given; the picture itself is what it shall make of them."""
    role: Role = "train"
    repeats: Annotated[int, Field(ge=1, le=10_000)] = 1
    """How often the picture is shown in one epoch, as a folder named ``10_cat`` asks for."""
    concept: str = ""
    """The folder or group it belongs to, e.g. ``cat`` of ``10_cat``; empty when there is one concept only."""
    clip: Clip | None = None
    """Set when it moves; families of pictures train its first frame."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """``source`` (path inside the archive or folder), ``transforms`` (what was done to the pixels, e.g.
    ``orientation:6``), ``format`` of the original, ``caption`` (who wrote it: a file's path or a captioner)."""


@dataclasses.dataclass(frozen=True, slots=True, weakref_slot=True)
class Piece:
    """A run of consecutive items as it is stored; versions that share a piece share its items in memory too."""

    sha256: str
    """Of its bytes on disk; tells all there is to tell."""
    items: tuple[Item, ...] = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class Fate:
    """What became of one file of the source: nothing is left unsaid. A dataclass as ``Item`` is."""

    path: str
    fate: FateWord
    rule: str
    """Stable id, e.g. ``image``, ``caption``, ``damaged``, ``duplicate``, ``not_an_image``, ``unsafe_path``."""
    detail: str
    """One sentence for people."""
    item: str | None = None
    """Name of the item it became or belongs to."""
    source: str = ""
    """Which source it came with; paths are unique within one."""


class Operation(Record):
    """What made this version out of its parent."""

    name: str
    arguments: dict[str, Any] = {}


class DatasetVersion(Record):
    """An immutable state of a dataset.

    ``fingerprint`` is the SHA-256 over what training sees of every item in order: name, pixels, mask, caption, role,
    repeats, and references where there are any. Two versions with the same fingerprint train the same. ``root`` is over
    everything: two versions with the same root hold the same items, whatever made them.
    """

    format: int = FORMAT
    dataset: str
    number: Annotated[int, Field(ge=1)]
    parent: int | None
    operation: Operation
    created: str
    """ISO 8601, UTC."""
    items: tuple[Item, ...]
    ledger: SkipValidation[Sequence[Fate]] = ()
    """The fate of every file of the import that began this line of versions, and of those added since; of a stored
    version it is read when it is first looked into."""
    root: str = ""
    """Merkle root of the stored items (``pieces.merkle_root``); empty for a version that was never stored."""
    _pieces: tuple[Piece, ...] = PrivateAttr(default=())

    @property
    def reference(self) -> str:
        """``name@number``."""
        return f"{self.dataset}@{self.number}"

    @field_serializer("ledger")
    def _whole_ledger(self, ledger: Sequence[Fate]) -> list[Fate]:
        return list(ledger)

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """How the items are stored, in order; none for a version that was never stored. What two versions share need
        not be compared."""
        return self._pieces

    def stored_as(self, pieces: Sequence[Piece]) -> DatasetVersion:
        """This version, told by the store how its items lie on disk."""
        self._pieces = tuple(pieces)
        return self

    @property
    def fingerprint(self) -> str:
        content = [_trained(item) for item in self.items]
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()


def _trained(item: Item) -> tuple[Any, ...]:
    """What training sees of an item; versions without references and clips keep the fingerprints they had."""
    seen: tuple[Any, ...] = (item.name, item.image, item.mask, item.caption, item.role, item.repeats)
    seen = (*seen, item.references) if item.references else seen
    return (*seen, dataclasses.astuple(item.clip)) if item.clip is not None else seen


def shown_by(item: Item) -> str:
    """What is shown of an item: the same text for the same picture, and for the same frames of the same video."""
    clip = item.clip
    return item.image if clip is None else f"{clip.video}:{clip.start}:{clip.frames}:{clip.fps:g}"


def blobs_of(item: Item) -> set[str]:
    """Every blob that an item names."""
    more = (item.mask, item.clip.video if item.clip is not None else None)
    came = (entry["original"] for entry in item.provenance.get(REFERENCE_ORIGINALS, {}).values())
    return {item.image, item.original, *item.references, *came, *(sha for sha in more if sha is not None)}
