"""How well a dataset stands, as a number that is never without what it is made of.

Each part is a share between 0 and 1:

    share = mean over its pictures of (1 - cost of the gravest finding in this part)
            x product over findings about the whole set of (1 - cost)

with a cost of 1 for an error, 0.4 for a warning and 0.05 for information. The score is 100 x the sum of
weight x share, over weights that add up to 1. A file that the import left out counts as a picture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from lorasmith.datasets.checks.finding import Finding, Severity
from lorasmith.datasets.manifest import DatasetVersion

COSTS: Final[Mapping[Severity, float]] = MappingProxyType({"error": 1.0, "warning": 0.4, "info": 0.05})
_PARTS: Final = (("F", "files", 0.15), ("P", "pixels", 0.25), ("D", "duplicates", 0.15), ("C", "captions", 0.30),
                 ("SRV", "set", 0.15))  # fmt: skip


@dataclass(frozen=True)
class HealthPart:
    """One part of the score."""

    name: str
    weight: float
    share: float
    """0 to 1; 1 when nothing was found."""
    sentence: str

    @property
    def points(self) -> float:
        """What it gives to the score, of ``100 * weight``."""
        return 100 * self.weight * self.share


@dataclass(frozen=True)
class Health:
    """The score and its parts."""

    parts: tuple[HealthPart, ...]

    @property
    def score(self) -> int:
        """0 to 100; 100 only when nothing at all was found."""
        total = sum(part.points for part in self.parts)
        return round(total) if total > 99.999 else min(99, int(total + 0.5))

    def __str__(self) -> str:
        made_of = ", ".join(f"{part.name} {part.points:.0f}/{100 * part.weight:.0f}" for part in self.parts)
        return f"{self.score} of 100: {made_of}"


def health(findings: Collection[Finding], version: DatasetVersion, not_run: Mapping[str, str] | None = None) -> Health:
    """The score of a version by what was found; see the head of this file for the formula.

    Args:
        findings: of ``check`` or ``inspect``.
        version: what they are about.
        not_run: ids of checks that were not carried out; each part says how many, since they count as passed.
    """
    return Health(tuple(_part(*part, findings, version, not_run or {}) for part in _PARTS))


def _part(
    letters: str,
    name: str,
    weight: float,
    findings: Collection[Finding],
    version: DatasetVersion,
    not_run: Mapping[str, str],
) -> HealthPart:
    ours = [finding for finding in findings if finding.id[0] in letters]
    costs: dict[str, float] = defaultdict(float, {item.name: 0.0 for item in version.items})
    whole = 1.0
    for finding in ours:
        for item in finding.items:
            costs[item] = max(costs[item], COSTS[finding.severity])
        if not finding.items:
            whole *= 1 - COSTS[finding.severity]
    share = whole * (1 - sum(costs.values()) / len(costs)) if costs else whole
    touched = sum(cost > 0 for cost in costs.values())
    passed_over = sum(id_[0] in letters for id_ in not_run)
    said = (
        f"{len(ours)} finding{'s' if len(ours) != 1 else ''} about {touched} of {len(costs)} pictures"
        if ours
        else "nothing found"
    )
    ending = f"; {passed_over} check{'s' if passed_over != 1 else ''} not carried out" if passed_over else ""
    return HealthPart(name, weight, share, f"{name.capitalize()}: {said}{ending}.")
