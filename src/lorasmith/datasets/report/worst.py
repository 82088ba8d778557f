"""The pictures of a finding in the order in which one would look at them: the worst first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from lorasmith.datasets.signals import SignalStore

if TYPE_CHECKING:
    from lorasmith.datasets.bucket_plan import BucketPlan, Landing
    from lorasmith.datasets.checks import Finding
    from lorasmith.datasets.manifest import DatasetVersion, Item
    from lorasmith.datasets.signals import Signals
    from lorasmith.datasets.store import DatasetStore
    from lorasmith.errors import DatasetError

_MIDDLE_GRAY: Final = 127.5


_BY_SHAPE: Final[Mapping[str, Callable[[Item, Landing | None], float]]] = {
    "P1": lambda item, landing: landing.scale if landing else 0.0,
    "P2": lambda item, landing: -min(item.width, item.height),
    "P3": lambda item, landing: landing.crop_loss if landing else 0.0,
    "C8": lambda item, landing: len(item.caption),
}
_BY_LOOK: Final[Mapping[str, Callable[[Signals], float]]] = {
    "P8": lambda signals: -signals.sharpness,
    "P9": lambda signals: abs(signals.brightness - _MIDDLE_GRAY),
    "P10": lambda signals: -signals.contrast,
    "P11": lambda signals: signals.border_share,
    "P13": lambda signals: signals.blockiness,
    "P14": lambda signals: signals.upscale_evidence,
}


def worst_first(
    findings: Sequence[Finding], version: DatasetVersion, store: DatasetStore, plan: BucketPlan
) -> tuple[Finding, ...]:
    """The findings, those of a degree with their pictures by degree; all others as they are."""
    items = {item.name: item for item in version.items}
    landings = {landing.item: landing for landing in plan.landings()}
    wanted = {name for one in findings if one.id in _BY_LOOK for name in one.items if name in items}
    signals = _signals([items[name] for name in wanted], store)

    def badness(finding: Finding, name: str) -> float:
        if name not in items:
            return 0.0
        if finding.id in _BY_LOOK:
            return _BY_LOOK[finding.id](signals[name]) if name in signals else float("-inf")
        return _BY_SHAPE[finding.id](items[name], landings.get(name))

    def ordered(finding: Finding) -> Finding:
        if finding.id not in _BY_LOOK and finding.id not in _BY_SHAPE:
            return finding
        return replace(finding, items=tuple(sorted(finding.items, key=lambda name: -badness(finding, name))))

    return tuple(map(ordered, findings))


def _signals(items: Sequence[Item], store: DatasetStore) -> Mapping[str, Signals]:
    """What the checks measured, read from the home."""

    def pass_over(sha256: str, cause: DatasetError) -> None:
        """A picture that is missing has no figures; the check F1 names it."""

    return SignalStore(store.home).of_items(items, store.blob_path, unreadable=pass_over) if items else {}
