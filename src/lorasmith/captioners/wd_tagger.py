"""Booru tags from a tagger: an ONNX model with its list of tags, run by ONNX Runtime.

Made for the WD taggers; models in the layouts of PixAI, CL and Camie work alike (``tagging/layouts.py``).
``thresholds.json`` (``{"general": 0.35, "character": 0.85}``) in a model's folder sets its own defaults. What a model
saw is kept, so that other thresholds and rules are applied later without it (``studio.captions.retag``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import numpy as np
from pydantic import Field

from lorasmith.captioners import Answer, Captioner, Failure, Identity, Known, Need
from lorasmith.captioners.tagging.kept import FLOOR, pack, unpack
from lorasmith.captioners.tagging.layouts import Labels, Layout
from lorasmith.captioners.tagging.models import KNOWN_MODELS, KnownModel, Located, absent, locate, need_of
from lorasmith.captioners.tagging.rule import TagChooser, TagRule
from lorasmith.captioners.tagging.session import Model, open_model
from lorasmith.config import Section
from lorasmith.errors import ConfigError, EnvironmentProblem

if TYPE_CHECKING:
    from PIL.Image import Image

_OWN_THRESHOLDS: Final = "thresholds.json"


@dataclass(frozen=True)
class _Loaded:
    model: Model
    found: Located
    chooser: TagChooser
    usual: tuple[float, float]


class WdTagger(Captioner):
    """Tags by a WD tagger or one of its kin."""

    name = "wd_tagger"
    title = "WD tagger (booru tags)"
    doing = "Tagging"

    class Options(TagRule):
        """How pictures are tagged."""

        model: Annotated[str, Field(min_length=1)] = "sandbox"
        """``sandbox``, a folder with a tagger, or the name of a published one such as ``wd-vit-v3``."""
        batch_size: Annotated[int, Field(ge=1, le=256)] | None = None
        """Pictures at a time, 1 to 256; fewer need less memory. Left out: found while working."""

    def __init__(self) -> None:
        self._loaded: _Loaded | None = None

    def aliases(self) -> Mapping[str, Mapping[str, Any]]:
        """The published models, by all their names."""
        return {"sandbox": {"model": "sandbox"}} | {
            name: {"model": known.aliases[0]}
            for known in KNOWN_MODELS
            for name in (*known.aliases, known.repository, known.repository.partition("/")[2])
        }

    def need(self, options: Section, *, home: Path) -> Need:
        """The files to download, if the model is not on this machine.

        Raises:
            EnvironmentProblem: there is no such model.
        """
        return need_of(locate(_own(options).model, home))

    def load(self, options: Section, *, device: str, home: Path | None = None) -> None:
        """Open the model; ``device`` is ``auto``, ``cpu``, ``cuda``, ``directml`` or ``coreml``.

        Raises:
            EnvironmentProblem: onnxruntime, the model's files or the device are missing, or the files are damaged.
            ConfigError: the options are another captioner's, or name tags or categories that the model lacks.
        """
        own = _own(options)
        found = locate(own.model, home)
        if isinstance(found, Need):
            raise absent(own.model, found, home)
        model = open_model(found.layout, device)
        usual = usual_thresholds(found.layout, found.known)
        chooser = TagChooser(model.labels, own, general=usual[0], character=usual[1])
        self._loaded = _Loaded(model, found, chooser, usual)

    def identity(self) -> Identity:
        """The model by the hash of its files; no option changes what it sees."""
        loaded = self._ready()
        return Identity(loaded.found.name, loaded.model.sha256)

    def device(self) -> str:
        """The provider of ONNX Runtime, in words."""
        return self._ready().model.device

    def longest_side(self) -> int | None:
        """As the model's input."""
        return self._ready().model.sight.longest_side

    def batch_limit(self) -> int | None:
        """As the model's input, where it is fixed."""
        return self._ready().model.batch

    def legend(self) -> dict[str, Any]:
        """The model's tags and default thresholds."""
        loaded = self._ready()
        return {
            "kind": "tags",
            "floor": FLOOR,
            "names": [name for name, _ in loaded.model.labels],
            "categories": [category for _, category in loaded.model.labels],
            "general_threshold": loaded.usual[0],
            "character_threshold": loaded.usual[1],
        }

    def caption(
        self, images: Sequence[Image], *, attempt: int = 0, known: Sequence[Known] = ()
    ) -> list[Answer | Failure]:
        """Tags of each picture (RGB, any size) as a comma-separated caption.

        Raises:
            InputError: the model answers with something that is no probability.
            OutOfMemory: too many at a time.
        """
        loaded = self._ready()
        if not images:
            return []
        ratings = np.array([category == "rating" for _, category in loaded.model.labels])
        packed = [pack(row, ratings) for row in loaded.model.probabilities(images)]
        return list(self._answers(packed))

    def again(self, kept: bytes) -> Answer:
        """The caption from kept probabilities, by the present rule."""
        return self._answers([kept])[0]

    def _answers(self, packed: Sequence[bytes]) -> list[Answer]:
        chosen = self._ready().chooser.answers(unpack(packed))
        return [Answer(one.caption, one.tags, kept) for one, kept in zip(chosen, packed, strict=True)]

    def _ready(self) -> _Loaded:
        if self._loaded is None:
            raise RuntimeError("load() must be called first")
        return self._loaded


def usual_thresholds(layout: Layout, known: KnownModel | None) -> tuple[float, float]:
    """General and character threshold: the folder's own, else the published model's, else those of its layout.

    Raises:
        EnvironmentProblem: the folder's own are damaged.
    """
    usual = (layout.general_threshold, layout.character_threshold)
    if known is not None:
        usual = known.general_threshold, known.character_threshold
    path = layout.folder / _OWN_THRESHOLDS
    if not path.is_file():
        return usual
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        own = float(raw.get("general", usual[0])), float(raw.get("character", usual[1]))
    except (OSError, ValueError, AttributeError, TypeError) as cause:
        raise EnvironmentProblem(
            f"{path} is damaged: {cause}.", 'Write {"general": 0.35, "character": 0.85}.'
        ) from cause
    if not all(0 <= value <= 1 for value in own):
        raise EnvironmentProblem(f"{path} holds thresholds outside of 0 to 1.", "Correct it.")
    return own


def labels_of(legend: Mapping[str, Any]) -> Labels:
    """The tags that a legend lists."""
    return tuple(zip(legend["names"], legend["categories"], strict=True))


def _own(options: Section) -> WdTagger.Options:
    if not isinstance(options, WdTagger.Options):
        raise ConfigError("These are not the options of wd_tagger.", "Give the options that wd_tagger lists.")
    return options


plugin = WdTagger()
