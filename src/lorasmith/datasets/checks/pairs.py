"""R1-R6: references, the pictures an edit model is given beside those it shall make of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from lorasmith.datasets.checks.context import CheckContext
from lorasmith.datasets.checks.finding import Check, Found, found, leave_out
from lorasmith.datasets.first_notes import differs
from lorasmith.datasets.manifest import Item

_SMALL: Final = 0.5
"""Side of a reference over that of its picture."""


def _paired(context: CheckContext) -> list[Item]:
    return [item for item in context.items if item.references]


def _partnerless(context: CheckContext) -> Iterator[Found]:
    """Regularisation pictures of an edit model are pairs too."""
    if not _paired(context):
        return
    alone = [item.name for item in context.items if not item.references]
    yield from found(alone, "{n} {has|have} no reference, while others do.", repair=leave_out())


def _strays(context: CheckContext) -> Iterator[Found]:
    stray = [fate.path for fate in context.version.ledger if fate.rule == "orphan_reference"]
    yield from found(stray, "{files} {is a reference|are references} of no picture and {was|were} left out.")


def _mixed(context: CheckContext) -> Iterator[Found]:
    counts = Counter(len(item.references) for item in _paired(context))
    if len(counts) < 2:
        return
    usual = counts.most_common(1)[0][0]
    told = " and ".join(f"{number} with {count}" for count, number in sorted(counts.items()))
    odd = [item.name for item in _paired(context) if len(item.references) != usual]
    yield from found(odd, "{n} {has|have} another number of references than most ({word}).", word=told)


def _other_shape(context: CheckContext) -> Iterator[Found]:
    sizes = context.reference_sizes
    odd = [
        item.name
        for item in _paired(context)
        if any(differs(item, *sizes[reference]) for reference in item.references if reference in sizes)
    ]
    yield from found(odd, "{n} {has|have} another shape than {its reference|their references}.")


def _same(context: CheckContext) -> Iterator[Found]:
    same = [
        item.name
        for item in _paired(context)
        if item.name in context.own_references or {item.image, item.original} & set(item.references)
    ]
    yield from found(same, "{n} {is|are} the same as {its own reference|their own references}.", repair=leave_out())


def _small(context: CheckContext) -> Iterator[Found]:
    sizes = context.reference_sizes
    small = [
        item.name
        for item in _paired(context)
        if any(max(sizes[r]) < _SMALL * max(item.width, item.height) for r in item.references if r in sizes)
    ]
    yield from found(small, "{n} {has a reference|have references} of less than half {its|their} size.")


CHECKS: Final = (
    Check(
        "R1", "warning", "pictures without a reference",
        "A model that edits is given the reference; without one a step has nothing to edit.",
        "The pipelines of FLUX.1 Kontext and Qwen-Image-Edit take a picture.",
        "Add the missing pictures, or leave these out.", _partnerless,
    ),
    Check(
        "R2", "warning", "references without a picture",
        "Half of a pair teaches nothing.", "The ledger of the import.",
        "Name both files alike and import again.", _strays,
    ),
    Check(
        "R3", "warning", "unlike numbers of references",
        "What stands first, second and third has a meaning for the model, and a missing one moves the others.",
        "Qwen-Image-Edit-Plus numbers them in its prompt (Picture 1, Picture 2).",
        "Give every picture the same references in the same order, or make two datasets.", _mixed,
    ),
    Check(
        "R4", "info", "references of another shape",
        "An edit that shall keep what is not asked for needs both halves of a pair to lie on each other.",
        "References are brought to the area that the pipeline wants, each in its own shape.",
        "Crop both alike; for references of a style or a subject this is as it should be.", _other_shape,
    ),
    Check(
        "R5", "error", "pictures that are their own reference",
        "Such a pair teaches the model to change nothing.", "Changing nothing is the easiest edit there is.",
        "Replace one of the two.", _same,
    ),
    Check(
        "R6", "info", "small references",
        "A reference is enlarged to the area that the model is given.", "The pipelines' own sizes, about a megapixel.",
        "Use a larger file if there is one.", _small,
    ),
)  # fmt: skip
