"""Edits that somebody makes picture by picture, by name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.errors import DatasetError

if TYPE_CHECKING:
    from PIL.Image import Image

    from lorasmith.datasets.store import DatasetStore


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


def masked_by_hand(parent: DatasetVersion, store: DatasetStore, name: str, mask: Image | None) -> list[Item]:
    """All items, one of them with another mask or without one. A mask that is white all over is none.

    Raises:
        DatasetError: a name of no picture, or a mask that does not fit.
    """
    _refuse_unknown(parent, [name])
    item = next(item for item in parent.items if item.name == name)
    blob = None
    if mask is not None:
        low, high = mask.convert("L").getextrema()
        if mask.size != (item.width, item.height):
            sizes = f"{mask.width} x {mask.height} pixels while {name} has {item.width} x {item.height}"
            raise DatasetError(f"The mask has {sizes}.", "Open the picture anew and paint on it as it is now.")
        if high == 0:
            raise DatasetError(f"The mask of {name} is black all over.", "Leave white what shall be trained.")
        blob = None if low == 255 else store.put_image(mask.convert("L"), "L")
    if blob == item.mask:
        return list(parent.items)
    tools = [*item.provenance.get("tools", ()), "mask:painted" if blob else "mask:none"]
    edited = replace(item, mask=blob, provenance={**item.provenance, "tools": tools})
    return [edited if one is item else one for one in parent.items]


def _refuse_unknown(version: DatasetVersion, names: Iterable[str]) -> None:
    unknown = sorted(set(names) - {item.name for item in version.items})
    if unknown:
        raise DatasetError(f"{version.reference} has no picture '{unknown[0]}'.", "`lorasmith captions` lists them.")
