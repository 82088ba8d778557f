"""D1-D7: the same picture more than once, from the bytes to the burst."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from lorasmith.datasets.checks.context import CheckContext, Group
from lorasmith.datasets.checks.finding import Check, Found, Repair, found
from lorasmith.datasets.manifest import shown_by

_SAME_PICTURE: Final = ("bytes", "pixels", "near")


def _without_keepers(groups: Sequence[Group]) -> Repair:
    return Repair(
        "leave_out",
        {"keep": sorted({group.keeper for group in groups})},
        "Keep the best of each group and leave the others out of the next version.",
    )


def _in_one_role(context: CheckContext, group: Group) -> bool:
    roles = {context.by_name[name].role for name in group.members if name in context.by_name}
    return len(roles) <= 1


def _grouped(context: CheckContext, kind: str, message: str) -> Iterator[Found]:
    groups = [g for g in context.groups or () if g.kind == kind and _in_one_role(context, g)]
    yield from found((name for g in groups for name in g.members), message, repair=_without_keepers(groups))


def same_bytes(context: CheckContext) -> list[list[str]]:
    """Names of the items that show one and the same stored picture, or the same frames of the same video."""
    by_image: dict[str, list[str]] = {}
    for item in context.items:
        by_image.setdefault(shown_by(item), []).append(item.name)
    return [names for names in by_image.values() if len(names) > 1]


def _bytes(context: CheckContext) -> Iterator[Found]:
    groups = same_bytes(context)
    keep = sorted(max(names, key=lambda name: (bool(context.by_name[name].caption.strip()), -names.index(name)))
                  for names in groups)  # fmt: skip
    yield from found(
        (name for names in groups for name in names),
        "{n} {is|are} there more than once.",
        severity="error",
        fix="Keep one of each.",
        repair=Repair("leave_out", {"keep": keep}, "Keep one of each and leave the others out of the next version."),
    )
    yield from found(
        _left_out(context, by_pixels=False), "{files} {was|were} left out as {a duplicate|duplicates}.", severity="info"
    )


def _left_out(context: CheckContext, *, by_pixels: bool) -> list[str]:
    return [
        fate.path
        for fate in context.told_fates
        if fate.rule == "duplicate" and fate.fate == "left_out" and (" same pixels " in fate.detail) == by_pixels
    ]


def _pixels(context: CheckContext) -> Iterator[Found]:
    yield from _grouped(context, "pixels", "{n} show the same pixels in different files.")
    yield from found(
        _left_out(context, by_pixels=True),
        "{files} with the pixels of another {was|were} left out.",
        severity="info",
        fix="Nothing to do.",
    )


def _near(context: CheckContext) -> Iterator[Found]:
    yield from _grouped(context, "near", "{n} are nearly the same as another: resized, compressed or slightly edited.")


def _similar(context: CheckContext) -> Iterator[Found]:
    groups = [g for g in context.groups or () if g.kind == "similar" and _in_one_role(context, g)]
    yield from found((name for g in groups for name in g.members), "{n} much like another, as in a burst.")


def _turned(context: CheckContext) -> Iterator[Found]:
    yield from _grouped(context, "turned", "{n} are mirrored or turned copies of another.")


def _across(context: CheckContext) -> Iterator[Found]:
    names = [n for names in same_bytes(context) for n in names if len({context.by_name[m].role for m in names}) > 1]
    for group in context.groups or ():
        if group.kind in _SAME_PICTURE and not _in_one_role(context, group):
            names.extend(group.members)
    loose = [name for name in dict.fromkeys(names) if context.by_name[name].role != "train"]
    yield from found(
        loose,
        "{n} for validation or regularisation {is|are} also among the others.",
        repair=Repair("leave_out", {}, "Leave them out where they are not trained."),
    )


def _captions(context: CheckContext) -> Iterator[Found]:
    groups = [*same_bytes(context), *(list(g.members) for g in context.groups or () if g.kind in _SAME_PICTURE)]
    differing = [
        name
        for names in groups
        if len({" ".join(context.by_name[n].caption.split()) for n in names if n in context.by_name}) > 1
        for name in names
    ]
    yield from found(differing, "{n} show the same picture under different captions.")


_PAPER: Final = (
    "Somepalli et al. 2023, 'Understanding and Mitigating Copying in Diffusion Models': copies are memorised."
)

CHECKS: Final = (
    Check(
        "D1", "error", "Same bytes more than once",
        "A copy counts twice in every epoch, so its pose and background are learned twice as hard.",
        _PAPER, "Nothing to do.", _bytes,
    ),
    Check(
        "D2", "warning", "Same pixels in another file",
        "The files differ, the picture does not; it counts twice.",
        _PAPER, "Keep one of each.", _pixels,
    ),
    Check(
        "D3", "warning", "Near duplicate",
        "Copies that were resized or saved again count twice, and the worse one lowers quality.",
        "64-bit perceptual hash within 4 bits and the same colours; measured: unrelated pictures differ in 16 bits or "
        "more, and of drawings with one shape in other colours 2 in 520 pass. " + _PAPER,
        "Keep the best of each.", _near, ("duplicates",),
    ),
    Check(
        "D4", "info", "Similar pictures, as in a burst",
        "Ten frames of one moment are one example with the weight of ten.",
        "64-bit perceptual hash within 8 bits and colours alike; a gray copy of a coloured picture counts here.",
        "Keep the most different ones, or lower their repeats.", _similar, ("duplicates",),
    ),
    Check(
        "D5", "warning", "Mirrored or turned copy",
        "It counts twice, and mirrored it also teaches the wrong side for partings, scars and text.",
        "Perceptual hash over all eight orientations.",
        "Keep the original.", _turned, ("duplicates",),
    ),
    Check(
        "D6", "warning", "Duplicate across roles",
        "A validation picture that is trained proves nothing; a regularisation picture that is trained pulls the "
        "subject and its class together.",
        "The premise of a held-out set; Ruiz et al. 2022, 'DreamBooth', for regularisation pictures of the class.",
        "Keep each picture in one role.", _across,
    ),
    Check(
        "D7", "warning", "Same picture, different captions",
        "The same pixels with different words teach that the words do not matter, unless they are meant as variants.",
        "Cross-attention ties words to pixels; contradicting pairs average out.",
        "Write one caption, or several lines in one caption as variants.", _captions,
    ),
)  # fmt: skip
