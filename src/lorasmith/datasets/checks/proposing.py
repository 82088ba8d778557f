"""What the repair of a finding would do, before it does it: scope, counts and examples."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from lorasmith.datasets.captions.bulk import Example
from lorasmith.datasets.checks.finding import Finding
from lorasmith.datasets.checks.repairs import Counts, preview_repair
from lorasmith.datasets.history import VersionDiff, diff
from lorasmith.datasets.manifest import DatasetVersion, Item, Operation
from lorasmith.errors import ConfigError, DatasetError

_EXAMPLES: Final = 8


@dataclass(frozen=True)
class RepairPreview:
    """The repair of a finding as it would be carried out; ``operation`` on ``items`` is what is then committed."""

    finding: str
    """Its id."""
    sentence: str
    """What the repair does, in words."""
    scope: str
    """In words: ``all 1,204 pictures`` or ``37 of 1,204 pictures``."""
    total: int
    in_scope: int
    changed: int
    """Pictures that go, or that are not as before."""
    examples: tuple[Example, ...]
    """Captions before and after, some from all over the scope; of repairs that leave captions alone, none."""
    difference: VersionDiff
    """Everything that would change."""
    items: tuple[Item, ...]
    """All items of the version to come."""
    operation: Operation

    @property
    def unchanged(self) -> int:
        """How many pictures in the scope stay as they are."""
        return self.in_scope - self.changed


def propose_repair(
    version: DatasetVersion, finding: Finding, items: Collection[str] | None = None, *, counter: Counts | None = None
) -> RepairPreview:
    """What the one operation that mends a finding makes of a version.

    Args:
        version: what the finding was about.
        finding: with a repair.
        items: those of the finding's items that shall be repaired; None for all of them.
        counter: the family's tokenizer, for repairs that cut captions.

    Raises:
        ConfigError: ``items`` names a picture that the finding is not about.
        DatasetError: the finding has no repair, or a picture is not in the version.
    """
    if finding.repair is None:
        raise DatasetError(f"{finding.id} cannot be mended by one operation.", finding.fix)
    chosen = frozenset(finding.items if items is None else items)
    strange = sorted(chosen - set(finding.items))
    if strange:
        hint = f"It names {len(finding.items):,}; give some of those, or none for all."
        raise ConfigError(f"{finding.id} does not say anything of '{strange[0]}'.", hint)
    edited = preview_repair(version, finding.repair, chosen, counter=counter)
    difference = diff(version, version.model_copy(update={"items": edited, "root": ""}).stored_as(()))
    remaining = {item.name: item for item in edited}
    changed = sum(item.name in chosen and remaining.get(item.name) != item for item in version.items)
    total = len(version.items)
    return RepairPreview(
        finding=finding.id,
        sentence=finding.repair.sentence,
        scope=f"all {total:,} pictures" if len(chosen) == total else f"{len(chosen):,} of {total:,} pictures",
        total=total,
        in_scope=len(chosen),
        changed=changed,
        examples=_examples(difference),
        difference=difference,
        items=edited,
        operation=Operation(
            name=finding.repair.operation,
            arguments={**finding.repair.arguments, "items": sorted(chosen), "finding": finding.id},
        ),
    )


def _examples(difference: VersionDiff) -> tuple[Example, ...]:
    changes = difference.captions
    step = max(1, -(-len(changes) // _EXAMPLES))
    return tuple(Example(one.name, one.before, one.after) for one in changes[::step])
