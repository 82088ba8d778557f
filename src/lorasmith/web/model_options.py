"""What the form of a training shows for the model that is chosen: the options that mean something to it, with its own
defaults, and what it is given besides pictures. The workspace, the wizard and the recipes' form ask here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from lorasmith.errors import LorasmithError
from lorasmith.fields import OneField
from lorasmith.studio import Studio
from lorasmith.workbench import ModelChoice, Takes


@dataclass(frozen=True)
class ModelOptions:
    """The options of one model."""

    choice: ModelChoice
    fields: Mapping[str, OneField]
    """By dotted key, in the order of the config: what its trainer uses and it does not lack."""
    lacks: frozenset[str]
    """Keys that mean nothing to it."""
    own: frozenset[str]
    """Keys that it has and some other families have not."""
    defaults: Mapping[str, Any]
    """Dotted values that a run on it begins with."""
    takes: Takes

    @property
    def particular(self) -> list[OneField]:
        """The options that are its own."""
        return [field for key, field in self.fields.items() if key in self.own]


def model_options(studio: Studio, choice: ModelChoice, kept: Collection[str] = ()) -> ModelOptions:
    """The options of a model.

    Args:
        studio: asked as whoever is acting.
        choice: the model.
        kept: keys that are shown although it lacks them: somebody has set them, and a refusal leads there.
    """
    lacks, own = studio.workbench.particular(choice)
    fields = {f.key: f for f in studio.workbench.fields(choice.trainer) if f.key not in lacks or f.key in kept}
    takes = studio.workbench.takes(studio.workbench.family(choice))
    return ModelOptions(choice, fields, lacks, own, _defaults(studio, choice), takes)


def _defaults(studio: Studio, choice: ModelChoice) -> dict[str, Any]:
    """What the model begins with; the trainer's own where its weights are not here."""
    if choice.here:
        try:
            return studio.workbench.defaults(choice.base)
        except LorasmithError:  # said as a reason
            pass
    return {field.key: field.default for field in studio.workbench.fields(choice.trainer)}


def preview_of(studio: Studio, dataset: str, takes: Takes) -> dict[str, Any]:
    """A few of the pictures, how many have no caption, and how many too few references for such a base."""
    if not dataset:
        return {"items": (), "count": 0, "bare": 0, "fault": "", "alone": 0}
    try:
        items = studio.dataset(dataset).items
    except LorasmithError as error:
        return {"items": (), "count": 0, "bare": 0, "fault": str(error), "alone": 0}
    bare = sum(not item.caption.strip() for item in items)
    alone = sum(len(item.references) < takes.least_references for item in items)
    return {"items": items[:6], "count": len(items), "bare": bare, "fault": "", "alone": alone}
