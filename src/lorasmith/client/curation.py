"""``Studio.curate`` with an address: a dataset looked at and edited."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from pydantic import TypeAdapter

from lorasmith.client.asking import Reference, dataset_path, part, reference_of
from lorasmith.client.pairs import RemotePairs
from lorasmith.datasets.bucket_plan import BucketPlan
from lorasmith.datasets.captions.bulk import BulkPreview
from lorasmith.datasets.checks import Report
from lorasmith.datasets.duplicates import DuplicateGroup
from lorasmith.datasets.history import HistoryEntry, VersionDiff
from lorasmith.datasets.layouts import Loss
from lorasmith.datasets.manifest import DatasetVersion, Fate
from lorasmith.datasets.selections import Selection
from lorasmith.datasets.statistics import Statistics

if TYPE_CHECKING:
    from lorasmith.client.studio import RemoteStudio


@dataclass(frozen=True)
class RemoteCuration:
    """``Studio.curate`` over HTTP."""

    studio: RemoteStudio

    def history(self, name: str) -> list[HistoryEntry]:
        """All versions of a dataset with what made each."""
        told = self._get(list[dict[str, Any]], name, "history")
        return [TypeAdapter(HistoryEntry).validate_python(one["entry"]) for one in told]

    def diff(self, before: Reference, after: Reference) -> VersionDiff:
        """What differs between two versions."""
        return cast(VersionDiff, self._get(VersionDiff, after, "diff", against=reference_of(before)))

    def undo(self, name: str, steps: int = 1) -> DatasetVersion:
        """Go back."""
        return self._made(name, "undo", {"steps": steps})

    def redo(self, name: str, steps: int = 1) -> DatasetVersion:
        """Take back an undo."""
        return self._made(name, "redo", {"steps": steps})

    def restore(self, reference: str) -> DatasetVersion:
        """A new version with the content of an old one."""
        return self._made(reference, "restore", {})

    def branch(self, reference: str, name: str) -> DatasetVersion:
        """A new dataset that begins as this version."""
        return self._made(reference, "branch", {"name": name})

    def drop(self, reference: str) -> None:
        """Remove a version or a whole dataset."""
        self.studio.line.ask("DELETE", f"/datasets/{part(reference)}")

    def ledger(self, version: Reference, **conditions: Any) -> tuple[Fate, ...]:
        """The fate of every file that was offered."""
        return tuple(self.studio.line.whole(Fate, dataset_path(version, "ledger"), **conditions))

    def select(self, version: Reference, where: str, **lens: Any) -> list[str]:
        """Names of the pictures that a query means."""
        return list(self.studio.line.whole(str, dataset_path(version, "select"), where=where, **lens))

    def save_selection(self, dataset: str, name: str, where: str, *, replace: bool = False) -> Selection:
        """Save a query under a name."""
        path, body = f"/datasets/{part(dataset)}/selections/{part(name)}", {"query": where, "replace": replace}
        return Selection.model_validate_json(self.studio.line.ask("PUT", path, body).content)

    def preview_edit(
        self, version: Reference, operation: str, arguments: Mapping[str, Any], where: str = ""
    ) -> BulkPreview:
        """What a caption operation would do."""
        body = {"operation": operation, "arguments": dict(arguments), "where": where}
        return cast(BulkPreview, self.studio.line.post(BulkPreview, dataset_path(version, "edit/preview"), body))

    def edit(self, version: Reference, operation: str, arguments: Mapping[str, Any], where: str = "") -> DatasetVersion:
        """Carry out a caption operation as one new version."""
        return self._made(version, "edit", {"operation": operation, "arguments": dict(arguments), "where": where})

    def caption(self, version: Reference, item: str) -> tuple[str, str]:
        """What is written about a picture, and its ETag."""
        answer = self.studio.line.ask("GET", f"{dataset_path(version, 'captions')}/{quote(item)}")
        return str(answer.json()["caption"]), answer.headers["etag"]

    def set_caption(self, dataset: str, item: str, caption: str, etag: str = "*") -> str:
        """Write one caption; its new ETag.

        Raises:
            TextConflict: somebody else wrote it since ``etag`` was read.
        """
        path = f"/datasets/{part(dataset)}/captions/{quote(item)}"
        answer = self.studio.line.ask("PUT", path, {"caption": caption}, headers={"if-match": etag})
        return str(answer.headers["etag"])

    def set_captions(self, version: Reference, captions: Mapping[str, str]) -> DatasetVersion:
        """Write captions one after the other, whatever stands there; the present version."""
        name = reference_of(version).partition("@")[0]
        for item, caption in captions.items():
            self.set_caption(name, item, caption)
        return self.studio.dataset(name)

    def inspect(self, version: Reference, *, pictures: bool = True, **lens: Any) -> Report:
        """Carry out the checks."""
        told = self._get(dict[str, Any], version, "check", pictures=str(pictures).lower(), **lens)
        return TypeAdapter(Report).validate_python(told["report"])

    def statistics(self, version: Reference, **lens: Any) -> Statistics:
        """Figures."""
        return cast(Statistics, self._get(Statistics, version, "statistics", **lens))

    def duplicates(self, version: Reference) -> list[DuplicateGroup]:
        """Groups of pictures that are the same or nearly so."""
        return list(self.studio.line.whole(DuplicateGroup, dataset_path(version, "duplicates")))

    def buckets(self, version: Reference, **lens: Any) -> BucketPlan:
        """Which bucket each picture lands in."""
        return cast(BucketPlan, self._get(BucketPlan, version, "buckets", **lens))

    def see(self, version: Reference, trainer: str, *, where: str = "", **lens: Any) -> list[dict[str, Any]]:
        """What a trainer would really see of each picture and caption."""
        path = f"{dataset_path(version, 'see')}/{part(trainer)}"
        return list(self.studio.line.whole(dict, path, where=where, **lens))

    def preview_tool(
        self, version: Reference, tool: str, options: Mapping[str, Any], where: str = ""
    ) -> dict[str, Any]:
        """What an image tool would do."""
        path, body = dataset_path(version, f"tools/{part(tool)}/preview"), {"options": dict(options), "where": where}
        return cast("dict[str, Any]", self.studio.line.post(dict[str, Any], path, body))

    def use_tool(self, version: Reference, tool: str, options: Mapping[str, Any], where: str = "") -> dict[str, Any]:
        """Use an image tool as one new version."""
        path, body = dataset_path(version, f"tools/{part(tool)}"), {"options": dict(options), "where": where}
        return cast("dict[str, Any]", self.studio.line.post(dict[str, Any], path, body, patient=True))

    @property
    def pairs(self) -> RemotePairs:
        """The references of pictures."""
        return RemotePairs(self.studio)

    def leave_out(self, version: Reference, names: Collection[str]) -> DatasetVersion:
        """A version without these pictures."""
        return self._made(version, "leave-out", {"items": sorted(names)})

    def set_role(self, version: Reference, names: Collection[str], role: str) -> DatasetVersion:
        """Make pictures training, validation or regularisation pictures."""
        return self._made(version, "role", {"items": sorted(names), "role": role})

    def set_repeats(self, version: Reference, names: Collection[str], repeats: int) -> DatasetVersion:
        """How often an epoch shows these pictures."""
        return self._made(version, "repeats", {"items": sorted(names), "repeats": repeats})

    def split(self, version: Reference, **options: Any) -> DatasetVersion:
        """Hold pictures out for validation."""
        return self._made(version, "split", options)

    def balance(self, version: Reference, **options: Any) -> DatasetVersion:
        """Set repeats that show every concept equally often."""
        return self._made(version, "balance", options)

    def rename(self, version: Reference, **options: Any) -> DatasetVersion:
        """Name pictures by number."""
        return self._made(version, "rename", options)

    def losses(self, version: Reference, layout: str) -> list[Loss]:
        """What a layout could not hold."""
        return cast("list[Loss]", self._get(list[Loss], version, f"losses/{part(layout)}"))

    def _get(self, kind: Any, version: Reference, what: str, **query: Any) -> Any:
        return self.studio.line.get(kind, dataset_path(version, what), **query)

    def _made(self, version: Reference, what: str, body: Mapping[str, Any]) -> DatasetVersion:
        facts = self.studio.line.post(dict[str, Any], dataset_path(version, what), dict(body), patient=True)
        return self.studio.dataset(str(facts["reference"]))
