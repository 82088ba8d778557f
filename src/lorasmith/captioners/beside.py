"""What several captioners say of the same pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lorasmith.datasets.manifest import DatasetVersion
from lorasmith.datasets.store import DatasetStore

Reference = str | DatasetVersion


@dataclass(frozen=True)
class SideBySide:
    """What several captioners say of the same pictures; nothing is written."""

    version: DatasetVersion
    reference: Reference
    """As it was asked for: a name with a number is gone on from, as by every edit."""
    captions: Mapping[str, Mapping[str, str]]
    """By captioner, by name of picture; a picture that a captioner failed on is missing."""
    failures: Mapping[str, Mapping[str, str]]
    by: Mapping[str, Mapping[str, Any]]
    """Who spoke, as it goes into the provenance."""


def beside(reference: Reference, store: DatasetStore, outputs: Mapping[str, Mapping[str, Any]]) -> SideBySide:
    """From the outputs of their jobs, by captioner."""
    version = store.get(reference) if isinstance(reference, str) else reference
    return SideBySide(
        version,
        reference,
        {
            name: {item: str(entry["caption"]) for item, entry in output["captions"].items()}
            for name, output in outputs.items()
        },
        {name: dict(output.get("failures", {})) for name, output in outputs.items()},
        {name: dict(output.get("by", {})) for name, output in outputs.items()},
    )
