"""How versions, runs and places in the queue are said to a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lorasmith.datasets.manifest import DatasetVersion

if TYPE_CHECKING:
    from lorasmith.queue.verbs import Placement

Reference = str | DatasetVersion


def reference_of(version: Reference) -> str:
    """The name of a version, such as ``cats@3``."""
    return version.reference if isinstance(version, DatasetVersion) else version


def dataset_path(version: Reference, what: str) -> str:
    """The address of something about a version."""
    return f"/datasets/{part(reference_of(version))}/{what}"


def part(text: str) -> str:
    """One part of an address."""
    return quote(text, safe="@")


def run_body(version: Reference, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a run is asked for with."""
    return {"dataset": reference_of(version), "config": dict(config)}


def place_body(placement: Placement | None) -> dict[str, Any]:
    """Where in the queue a job shall stand."""
    if placement is None:
        return {}
    asked = {"priority": placement.priority, "front": placement.front, "held": placement.held}
    return asked | {"after": list(placement.after)}
