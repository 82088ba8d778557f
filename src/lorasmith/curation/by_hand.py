"""Edits that somebody makes picture by picture, by name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.errors import DatasetError


def written_by_hand(parent: DatasetVersion, captions: Mapping[str, str]) -> list[Item]:
    """All items, with these captions where they are named.

    Raises:
        DatasetError: a name is of no picture.
    """
    _refuse_unknown(parent, captions)
    return [
        replace(item, caption=captions[item.name], provenance={**item.provenance, "caption": "by hand"})
        if captions.get(item.name, item.caption) != item.caption
        else item
        for item in parent.items
    ]


def without(parent: DatasetVersion, names: Collection[str]) -> list[Item]:
    """The items that are not named.

    Raises:
        DatasetError: a name is of no picture.
    """
    _refuse_unknown(parent, names)
    unwanted = frozenset(names)
    return [item for item in parent.items if item.name not in unwanted]


def _refuse_unknown(version: DatasetVersion, names: Iterable[str]) -> None:
    unknown = sorted(set(names) - {item.name for item in version.items})
    if unknown:
        raise DatasetError(f"{version.reference} has no picture '{unknown[0]}'.", "`lorasmith captions` lists them.")
