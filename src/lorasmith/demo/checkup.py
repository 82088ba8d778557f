"""What looking at the dataset says: the checks and their score, copies side by side, and what other trainers see."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from lorasmith.demo.record import Checkup, EyeRow, FindingRow, GroupRow, PartRow, Shown

if TYPE_CHECKING:
    from PIL.Image import Image

    from lorasmith.datasets.checks import Finding, Report
    from lorasmith.datasets.lens import Lens
    from lorasmith.datasets.manifest import DatasetVersion, Item
    from lorasmith.sandbox.samples import Member
    from lorasmith.studio import Studio

OpenImage = Callable[["Item"], "Image"]
_PICTURED: Final = ("P", "D")  # findings of which pictures tell more than names
_PICTURES_SHOWN: Final = 8
_FILES_SHOWN: Final = 3
_SAME_PICTURE: Final = ("bytes", "pixels", "near", "turned")
_SIDE: Final = 64  # pixels at which colours are compared
SAME_COLOURS: Final = 5.0
"""Levels of 255. Enlarged and saved again, pictures of this world move by less than 1; with another ground, by 18 and
more (measured)."""


def check_up(studio: Studio, version: DatasetVersion, lens: Lens, open_image: OpenImage) -> tuple[Report, Checkup]:
    """Carry out the checks, those that look at the pixels too."""
    report = studio.curate.inspect(version, lens)
    health = studio.curate.health(version, report)
    items = {item.name: item for item in version.items}
    return report, Checkup(
        reference=version.reference,
        score=health.score,
        parts=tuple(PartRow(part.name, part.points, 100 * part.weight, part.sentence) for part in health.parts),
        findings=tuple(_finding_row(finding, items, open_image) for finding in report.findings),
        ran=len(report.ran),
        not_run=tuple(report.not_run.items()),
    )


def _finding_row(finding: Finding, items: dict[str, Item], open_image: OpenImage) -> FindingRow:
    inside = [name for name in finding.items if name in items] if finding.id.startswith(_PICTURED) else []
    shown = inside[:_PICTURES_SHOWN]
    files = [name for name in finding.items if name not in items][:_FILES_SHOWN]
    return FindingRow(
        severity=finding.severity,
        message=finding.message,
        fix=finding.fix,
        id=finding.id,
        why=finding.why,
        source=finding.source,
        repair=finding.repair.sentence if finding.repair is not None else "",
        pictures=tuple(Shown(name, open_image(items[name])) for name in shown),
        files=tuple(files),
        more=len(finding.items) - len(shown) - len(files) if shown or files else 0,
    )


def find_copies(studio: Studio, version: DatasetVersion, open_image: OpenImage) -> tuple[GroupRow, ...]:
    """Groups of duplicates, each with those of its pictures that have the colours of the best one, too.

    A perceptual hash sees light and dark. In a world of flat shapes two pictures with the same figure on another ground
    are alike to it; whoever looks at them tells them apart by their colours, and this looks in his place.
    """
    items = {item.name: item for item in version.items}
    rows: list[GroupRow] = []
    for group in studio.curate.duplicates(version):
        if group.kind not in _SAME_PICTURE:
            continue
        shown = [Shown(name, open_image(items[name])) for name in group.members]
        apart = {other.name: colours_apart(shown[0].picture, other.picture) for other in shown[1:]}
        copies = tuple(name for name, levels in apart.items() if levels <= SAME_COLOURS)
        rows.append(GroupRow(group.kind, group.distance, group.reason, tuple(shown), min(apart.values()), copies))
    return tuple(sorted(rows, key=lambda row: not row.left_out))


def colours_apart(one: Image, other: Image) -> float:
    """Mean difference in levels of 255, with the other picture turned and mirrored as it fits best."""
    ours, theirs = (np.asarray(image.convert("RGB").resize((_SIDE, _SIDE)), np.int16) for image in (one, other))
    turned = [np.rot90(side, quarter) for side in (theirs, theirs[:, ::-1]) for quarter in range(4)]
    return min(float(np.abs(ours - way).mean()) for way in turned)


def look_through_other_eyes(studio: Studio, version: DatasetVersion, lens: Lens) -> EyeRow | None:
    """The first file that some trainer would see lying on its side, were it given the files as they came."""
    from lorasmith.datasets.eyes import eyes
    from lorasmith.datasets.eyes.seeing import render

    seen = {
        eye.title: {one.item: one for one in studio.curate.see(version, name, lens, originals=True)}
        for name, eye in sorted(eyes().items())
    }
    told = [
        (title, one, note)
        for title, all_seen in seen.items()
        for one in all_seen.values()
        for note in one.differences
        if note.id == "orientation" and one.reading is not None and one.fit is not None
    ]
    if not told:
        return None
    _, first, note = told[0]
    trainers = tuple(title for title, one, _ in told if one.item == first.item)
    return EyeRow(
        name=first.item,
        meant=render(first, meant=True),
        seen=render(first),
        sentence=note.sentence,
        trainers=trainers,
        others=tuple(title for title in seen if title not in trainers),
    )


def surprises(
    members: Sequence[Member], came: DatasetVersion, findings: Iterable[Finding], trained: DatasetVersion
) -> list[FindingRow]:
    """What is not as the maker of the ZIP knows it must be; there should be nothing.

    Every file has its due fate on import; a check has named each picture that had better go, and it is gone.
    """
    became = {fate.path: fate for fate in came.ledger}
    named: dict[str, Collection[str]] = {finding.id: finding.items for finding in findings}
    left = {item.name for item in trained.items}
    rows: list[FindingRow] = []
    for member in members:
        fate = became.get(member.path)
        found = (fate.fate, fate.rule) if fate is not None else None
        if found != (member.fate, member.rule):
            message = f"{member.path} became {found}, and had to be {member.fate} ({member.rule})."
            rows.append(FindingRow("error", message, member.why))
        elif member.finding and fate is not None and fate.item not in named.get(member.finding, ()):
            rows.append(FindingRow("error", f"{member.path} had to be named by {member.finding}.", member.why))
        elif member.finding and fate is not None and fate.item in left:
            rows.append(FindingRow("error", f"{member.path} had to be left out.", member.why))
    expected = sum(member.fate != "left_out" and not member.finding for member in members)
    if len(left) != expected:
        rows.append(FindingRow("error", f"{len(left)} pictures are trained, and there had to be {expected}.", ""))
    return rows
