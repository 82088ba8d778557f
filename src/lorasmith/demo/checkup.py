"""What looking at the dataset says: the checks and their score, copies side by side, and what other trainers see."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Final

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
    """Groups of one picture: the best first, and its copies, which go."""
    items = {item.name: item for item in version.items}
    return tuple(
        GroupRow(
            kind=group.kind,
            bits=group.distance,
            reason=group.reason,
            members=tuple(Shown(name, open_image(items[name])) for name in group.members),
            left_out=group.others,
        )
        for group in studio.curate.duplicates(version)
        if group.kind in _SAME_PICTURE
    )


def look_through_other_eyes(studio: Studio, version: DatasetVersion, lens: Lens) -> EyeRow | None:
    """The first file that some trainer would see lying on its side, were it given the files as they came."""
    from lorasmith.datasets.eyes import eyes
    from lorasmith.datasets.eyes.drawing import render

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
