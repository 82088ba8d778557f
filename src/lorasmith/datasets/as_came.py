"""How references came: the bytes, and what was done to their pixels, so that a swap makes whole items of them.

An item says it of its picture in ``original`` and ``provenance``. Of a reference it stands in its provenance under
``REFERENCE_ORIGINALS``, by the hash of the reference, and only where the bytes as they came are others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from lorasmith.datasets.images import Prepared
from lorasmith.datasets.manifest import REFERENCE_ORIGINALS, Item

_FACTS: Final = ("format", "transforms", "pixels")
"""What the provenance of an item says of its picture's bytes, besides where they come from."""


@dataclass(frozen=True)
class AsCame:
    """A picture before it was prepared."""

    original: str
    """SHA-256 of its blob."""
    facts: Mapping[str, Any]
    """Of ``_FACTS``, those that are known."""

    def stored(self) -> dict[str, Any]:
        """As JSON."""
        return {"original": self.original, **self.facts}


def of_prepared(original: str, prepared: Prepared) -> AsCame:
    """Of a file that was just read."""
    facts = {"format": prepared.format, "transforms": list(prepared.transforms), "pixels": prepared.pixels}
    return AsCame(original, facts)


def of_picture(item: Item) -> AsCame:
    """Of an item's own picture."""
    return AsCame(item.original, {key: item.provenance[key] for key in _FACTS if key in item.provenance})


def of_references(item: Item) -> dict[str, AsCame]:
    """Of those references of an item whose bytes came as others."""
    told = item.provenance.get(REFERENCE_ORIGINALS, {})
    return {
        sha256: AsCame(str(entry["original"]), {key: entry[key] for key in _FACTS if key in entry})
        for sha256, entry in told.items()
    }


def telling(provenance: Mapping[str, Any], references: tuple[str, ...], known: Mapping[str, AsCame]) -> dict[str, Any]:
    """A provenance that says of just these references how they came, as far as it is known and not said by them."""
    kept = {key: value for key, value in provenance.items() if key != REFERENCE_ORIGINALS}
    told = {one: known[one].stored() for one in references if one in known and known[one].original != one}
    return {**kept, REFERENCE_ORIGINALS: told} if told else kept


def moved_along(item: Item, old: Sequence[str], references: tuple[str, ...]) -> Item:
    """An item with its references in the place of ``old`` ones that were worked on: their bytes stay as they came."""
    known = of_references(item)
    came = {new: known.get(before, AsCame(before, {})) for before, new in zip(old, references, strict=bool(references))}
    return replace(item, references=references, provenance=telling(item.provenance, references, came))


def with_facts(provenance: Mapping[str, Any], came: AsCame) -> dict[str, Any]:
    """A provenance that says of its picture what ``came`` says, and nothing else of the bytes."""
    return {**{key: value for key, value in provenance.items() if key not in _FACTS}, "transforms": [], **came.facts}
