"""``Studio.captions`` with an address: captioners, and their tags under other rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from lorasmith.client.asking import Reference, dataset_path, part
from lorasmith.datasets.manifest import DatasetVersion

if TYPE_CHECKING:
    from lorasmith.client.studio import RemoteStudio


@dataclass(frozen=True)
class RemoteCaptioning:
    """``Studio.captions`` over HTTP."""

    studio: RemoteStudio

    def names(self) -> dict[str, str]:
        """All captioners by name, each with its title."""
        return {one["name"]: one["title"] for one in self.studio.line.get(list[dict[str, Any]], "/captioners")}

    def need(self, captioner: str = "wd_tagger", **options: Any) -> dict[str, Any]:
        """What a captioner would take before it starts."""
        path = f"/captioners/{part(captioner)}/need"
        return cast("dict[str, Any]", self.studio.line.post(dict[str, Any], path, {"options": options}))

    def preview_tags(self, version: Reference, rule: Mapping[str, Any] | None = None, **how: Any) -> dict[str, str]:
        """Captions by name of picture under another rule."""
        path, body = dataset_path(version, "tags/preview"), {"rule": dict(rule or {}), **how}
        return cast("dict[str, str]", self.studio.line.post(dict[str, str], path, body))

    def retag(self, version: Reference, rule: Mapping[str, Any] | None = None, **how: Any) -> DatasetVersion:
        """A new version with the captions of ``preview_tags``."""
        facts = self.studio.line.post(dict[str, Any], dataset_path(version, "tags"), {"rule": dict(rule or {}), **how})
        return self.studio.dataset(str(facts["reference"]))
