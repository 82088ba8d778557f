"""What a caption job made becomes a version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lorasmith.datasets.manifest import DatasetVersion, Item, Operation
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import DatasetError


def commit_captions(
    store: DatasetStore,
    parent: DatasetVersion,
    output: Mapping[str, Any],
    plan: Mapping[str, Any],
    arguments: dict[str, Any],
) -> DatasetVersion:
    """A version with the captions of a job; pictures it failed on keep theirs and are listed in the operation.

    Args:
        store: where the version goes.
        parent: what was captioned.
        output: of the job, see ``captioners.run``.
        plan: ``existing`` (``keep`` or ``replace`` captions that are there) and ``onto``, see ``DatasetStore.commit``.
        arguments: of the operation: ``captioner``, ``options`` and ``job``.

    Raises:
        DatasetError: it captioned nothing.
    """
    captions: Mapping[str, Any] = output["captions"]
    failures: dict[str, str] = dict(output.get("failures", {}))
    if not captions:
        first = next(iter(failures.values()), "it gave no answer")
        raise DatasetError(
            f"The captioner failed on all {len(parent.items)} pictures of {parent.reference}: {first}",
            f"See the job {arguments['job']}.",
        )
    existing = str(plan["existing"])
    kept = {item.name for item in parent.items if existing == "keep" and item.caption.strip()}
    items = [
        _with_caption(item, str(captions[item.name]["caption"]), arguments["captioner"])
        if item.name in captions and item.name not in kept
        else item
        for item in parent.items
    ]
    operation = Operation(name="caption", arguments=arguments | {"existing": existing, "failures": failures})
    return store.commit(parent, items, operation, onto="parent" if plan.get("onto") == "parent" else "head")


def _with_caption(item: Item, caption: str, by: str) -> Item:
    """The item with that caption and who wrote it; the same item when nothing changes."""
    if caption == item.caption:
        return item
    return replace(item, caption=caption, provenance={**item.provenance, "caption": by})
