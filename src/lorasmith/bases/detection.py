"""Tells the family of base weights from their header: every registered family is asked, exactly one may agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorasmith.bases.header import Header
from lorasmith.bases.quantised import hidden
from lorasmith.bases.recognition import UNKNOWN, Recognition, recognise
from lorasmith.errors import BaseError

TRAINABLE = "--trainable"

if TYPE_CHECKING:
    from lorasmith.families import Base, Detection, Family


def registered_families() -> dict[str, Family]:
    """All families, by name."""
    from lorasmith import families, plugins

    # The contract is abstract; mypy wants a concrete class where discover only compares with isinstance.
    return plugins.discover(families, families.Family)  # type: ignore[type-abstract]


def detect(header: Header) -> Detection:
    """The family of these weights, with the evidence.

    Raises:
        BaseError: no family knows them (the message says what they look like), or more than one claims them.
    """
    known = registered_families()
    recognised = recognise(header)
    _refuse_packed(header, recognised)
    found = [answer for answer in (family.detect(header) for family in known.values()) if answer is not None]
    if len(found) == 1:
        return found[0]
    name = header.path.name
    if found:
        claims = " and ".join(f"{answer.title} ({'; '.join(answer.evidence)})" for answer in found)
        raise BaseError(f"{name} is claimed by two families: {claims}.", "Remove the plugin that is wrong.")
    trained = ", ".join(family.title for family in known.values())
    evidence = f": {recognised.evidence[-1]}" if recognised.title == UNKNOWN else ""
    raise BaseError(
        f"{name} is {recognised.title}{evidence}; what can be trained today is {trained}.", _next_step(recognised)
    )


def _refuse_packed(header: Header, recognised: Recognition) -> None:
    """Weights that were packed for drawing pictures are refused before a loader takes their bytes for numbers."""
    packed = recognised.quantisation
    strange = hidden(header)
    # Plain fp8 is a number format like any other; single files are unpacked while they load, folders are not.
    read = packed == "fp8" or (header.layout == "single_file" and not strange)
    if packed and not read and recognised.is_base:
        raise BaseError(
            f"{header.path.name} is {recognised.title}, packed for inference ({strange or packed}) in a way that is "
            "not read here, and cannot be trained on.",
            "Download its .safetensors form in bf16, fp16, fp8 or int8, or as GGUF.",
        )


def _next_step(recognised: Recognition) -> str:
    if recognised.is_base:
        return f"It is recognised, but not trainable here yet; `lorasmith bases catalogue {TRAINABLE}` lists what is."
    return "Choose such a base."


def family_of(base: Base) -> Family:
    """The plugin that knows how to load and train this base."""
    return family_named(base.detection.family)


def family_named(name: str) -> Family:
    """The family of that name; a ``ConfigError`` with the nearest one when there is none."""
    from lorasmith import plugins

    return plugins.choose(registered_families(), name, "family")
