"""All checks by id, in the order in which people read them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from lorasmith.datasets.checks import captions, clips, duplicates, files, pairs, pixels, sets, tags, text
from lorasmith.datasets.checks.finding import Check
from lorasmith.errors import ConfigError

_LETTERS: Final = "FPDCSRV"


def _by_id(checks: Iterable[Check]) -> Mapping[str, Check]:
    def place(check: Check) -> tuple[int, int]:
        return _LETTERS.index(check.id[0]), int(check.id[1:])

    ordered: dict[str, Check] = {}
    for check in sorted(checks, key=place):
        if check.id in ordered:
            raise ValueError(f"two checks are called {check.id}")
        ordered[check.id] = check
    return MappingProxyType(ordered)


CHECKS: Final = _by_id(
    check for room in (files, pixels, duplicates, captions, text, tags, sets, pairs, clips) for check in room.CHECKS
)
"""Every check, by its stable id."""


def parse_ids(ids: Iterable[str]) -> frozenset[str]:
    """Ids as a user writes them: any case, ``C`` for all of a letter, ``C1-C7`` for a range, commas between.

    Raises:
        ConfigError: no such check.
    """
    wanted: set[str] = set()
    for part in (part.strip().upper() for written in ids for part in written.split(",")):
        span = re.fullmatch(r"([A-Z])([0-9]+)-(?:\1)?([0-9]+)", part)
        if not part:
            continue
        if span:
            numbers = range(int(span[2]), int(span[3]) + 1)
            several = {id_ for id_ in CHECKS if id_[0] == span[1] and int(id_[1:]) in numbers}
        else:
            several = {id_ for id_ in CHECKS if part in (id_, id_[0])}
        if not several:
            raise ConfigError(f"There is no check '{part}'.", f"Checks are {', '.join(_ranges())}.")
        wanted |= several
    return frozenset(wanted)


def _ranges() -> list[str]:
    return [f"{letter}1-{letter}{max(int(id_[1:]) for id_ in CHECKS if id_.startswith(letter))}" for letter in _LETTERS]
