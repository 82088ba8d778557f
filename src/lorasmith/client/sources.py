"""``Studio.sources`` with an address: pictures from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from lorasmith.datasets.manifest import DatasetVersion

if TYPE_CHECKING:
    from lorasmith.client.studio import RemoteStudio


@dataclass(frozen=True)
class RemoteSources:
    """``Studio.sources`` over HTTP."""

    studio: RemoteStudio

    def names(self) -> dict[str, str]:
        """All sources by name, each with its title."""
        return {one["name"]: one["title"] for one in self.studio.line.get(list[dict[str, Any]], "/sources")}

    def look(self, location: str, source: str | None = None, **options: Any) -> dict[str, Any]:
        """What would be brought."""
        body = {"location": location, "source": source, "options": options}
        return cast("dict[str, Any]", self.studio.line.post(dict[str, Any], "/sources/look", body, patient=True))

    def fetch(
        self,
        location: str,
        source: str | None = None,
        *,
        name: str | None = None,
        into: str | None = None,
        **options: Any,
    ) -> DatasetVersion:
        """Bring pictures and import them."""
        body = {"location": location, "source": source, "options": options, "name": name, "into": into}
        facts = self.studio.line.post(dict[str, Any], "/sources/fetch", body, patient=True)
        return self.studio.dataset(str(facts["reference"]))
