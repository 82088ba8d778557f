"""Where pictures come from besides this machine: what an import writes into their provenance, and exports keep.

    from       the source that brought it (``gelbooru``, ``huggingface``, ``url`` ...)
    address    where the file lay; the archive's, for a picture that came in one
    page       the page about it, for people
    post       its number or name there
    author     who made or posted it, as the place says
    license    as the place says; an SPDX id where it gives one
    rating, score, md5, revision
    retrieved  when it arrived, ISO 8601, UTC
    via        where what came with an address of its own was brought from

``KEYS`` also holds what metadata of gallery-dl beside a picture tells (``site``, ``url``, ``origin``, ``artist``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lorasmith.datasets.manifest import Fate, Item

KEYS: Final = (
    "from", "address", "page", "post", "author", "artist", "license", "rating", "score", "retrieved", "revision",
    "md5", "site", "url", "origin", "via",
)  # fmt: skip
ADDRESSES: Final = ("address", "page", "url", "source_url", "page_url", "post_url")
"""Keys that say that a picture is from the web."""
_PLACE: Final = ("from", "address")
_LONGEST: Final = 2_000


@dataclass(frozen=True)
class Origin:
    """Where an import comes from, told by whoever brought it here."""

    source: str
    """Who brought it; a word."""
    location: str
    """What it was asked for, as the user wrote it, without secrets."""
    everywhere: Mapping[str, Any] = field(default_factory=dict)
    """Into the provenance of every item."""
    by_path: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By path in what is imported: of a picture, or of an archive for all that lies in it."""
    missed: tuple[Fate, ...] = ()
    """Files that were there and did not come, for the ledger."""
    said: tuple[str, ...] = ()
    """Sentences about what was asked for, for the version's history."""

    def of(self, path: str, own: Mapping[str, Any]) -> dict[str, Any]:
        """What is known of the picture at ``path`` besides ``own``, which files beside it say.

        Those speak of the picture, this of how it came here, so theirs counts; an address that theirs takes the place
        of becomes ``via``.
        """
        told = {**self.everywhere, **self._by_path(path)}
        kept = {key: value for key, value in told.items() if value not in (None, "") and key not in own}
        place = told.get("address")
        if "address" in own:
            for key in _PLACE:
                kept.pop(key, None)
            if place and place != own["address"]:
                kept["via"] = place
        return kept

    def _by_path(self, path: str) -> Mapping[str, Any]:
        if (exact := self.by_path.get(path)) is not None:
            return exact
        while "/" in path:
            path = path.rpartition("/")[0]
            if (archive := self.by_path.get(path)) is not None:
                return archive
        return {}

    def arguments(self) -> dict[str, Any]:
        """For the operation that the import is."""
        return {"from": self.source, "location": self.location}


def origin_of(item: Item) -> dict[str, Any]:
    """What the provenance says of where an item is from, for an export; empty when it says nothing of it."""
    return {key: item.provenance[key] for key in KEYS if _is_plain(item.provenance.get(key))}


def origin_text(item: Item) -> str:
    """``origin_of`` as JSON, for a column; empty when there is nothing."""
    told = origin_of(item)
    return json.dumps(told, ensure_ascii=False) if told else ""


def origin_in(row: Mapping[str, Any]) -> dict[str, Any]:
    """What an export wrote of it, from a row or a table that a stranger may have written; JSON or a mapping."""
    told = row.get("provenance")
    if isinstance(told, str) and told[:1] == "{":
        try:
            told = json.loads(told)
        except ValueError:
            return {}
    if not isinstance(told, Mapping):
        return {}
    return {key: told[key] for key in KEYS if _is_plain(told.get(key))}


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        storable = "\x00" not in value and not any("\ud800" <= sign <= "\udfff" for sign in value)
        return storable and 0 < len(value) <= _LONGEST
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
