"""Datasets for requests: a store that asks the rules first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from lorasmith.datasets.garbage import Garbage
from lorasmith.datasets.history import HistoryEntry
from lorasmith.datasets.manifest import DatasetVersion, Fate, Item, Operation
from lorasmith.datasets.store import DatasetStore
from lorasmith.datasets.versions import VersionFiles
from lorasmith.web.owning.asking import admins_only
from lorasmith.web.rules import Rules


class OwnedStore(DatasetStore):
    """A store that asks first."""

    def __init__(self, home: Path, rules: Rules, versions: VersionFiles | None = None) -> None:
        super().__init__(home, versions=versions)
        self._rules = rules

    def get(self, reference: str) -> DatasetVersion:
        self._rules.require("dataset", self._bare(reference), "see")
        return super().get(reference)

    def names(self) -> list[str]:
        return [name for name in super().names() if self._rules.may("dataset", name, "see")]

    def versions(self, name: str) -> list[int]:
        return super().versions(name) if self._rules.may("dataset", self._bare(name), "see") else []

    def history(self, name: str) -> list[HistoryEntry]:
        self._rules.require("dataset", self._bare(name), "see")
        return super().history(name)

    def commit(
        self,
        parent: DatasetVersion,
        items: Sequence[Item],
        operation: Operation,
        *,
        onto: Literal["head", "parent"] = "head",
        ledger: Sequence[Fate] | None = None,
    ) -> DatasetVersion:
        self._rules.require("dataset", parent.dataset, "change")
        return super().commit(parent, items, operation, onto=onto, ledger=ledger)

    def commit_aside(self, parent: DatasetVersion, items: Sequence[Item], operation: Operation) -> DatasetVersion:
        self._rules.require("dataset", parent.dataset, "change")
        return super().commit_aside(parent, items, operation)

    def undo(self, name: str, steps: int = 1) -> DatasetVersion:
        self._rules.require("dataset", self._bare(name), "change")
        return super().undo(name, steps)

    def redo(self, name: str, steps: int = 1) -> DatasetVersion:
        self._rules.require("dataset", self._bare(name), "change")
        return super().redo(name, steps)

    def restore(self, reference: str) -> DatasetVersion:
        self._rules.require("dataset", self._bare(reference), "change")
        return super().restore(reference)

    def branch(self, reference: str, new_name: str) -> DatasetVersion:
        self._rules.require("dataset", self._bare(reference), "see")
        made = super().branch(reference, new_name)
        self._rules.made("dataset", made.dataset)
        return made

    def drop(self, reference: str) -> None:
        name = self._bare(reference)
        self._rules.require("dataset", name, "own")
        super().drop(reference)
        if "@" not in reference:
            self._rules.forget("dataset", name)

    def create(self, *arguments: Any, **options: Any) -> DatasetVersion:
        made = super().create(*arguments, **options)
        self._rules.made("dataset", made.dataset)
        return made

    def import_source(self, source: Any, **options: Any) -> DatasetVersion:
        wanted = options.get("into") or options.get("name")
        first = source if isinstance(source, str | Path) else next(iter(source), "")
        target = self._versions.existing(str(wanted) if wanted else self._name_for(Path(first), None))
        if target is not None:
            self._rules.require("dataset", target, "change")
        made = super().import_source(source, **options)
        self._rules.made("dataset", made.dataset)
        return made

    def garbage(self) -> Garbage:
        admins_only()
        return super().garbage()

    def _bare(self, reference: str) -> str:
        """The name as it is written on the disk."""
        name = reference.partition("@")[0]
        return self._versions.existing(name) or name
