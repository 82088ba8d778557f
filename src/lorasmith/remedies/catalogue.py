"""The catalogue of failures, read from ``catalogue.toml``: how each is recognised, and what helps."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

Action = Literal["", "resume", "retry", "clone", "without", "agree", "afresh", "pause"]
_ENDED: Final = ("failed", "lost", "paused")
_FILE: Final = Path(__file__).with_name("catalogue.toml")


@dataclass(frozen=True)
class Remedy:
    """Something that helps: a change of the config, an action, or a page to go to."""

    id: str
    title: str
    effect: str
    button: str
    patch: Mapping[str, Any] = field(default_factory=dict)
    amend: Mapping[str, Any] = field(default_factory=dict)
    """Values of a request that has no config, such as ``force`` of an export."""
    action: Action = ""
    address: str = ""
    kinds: tuple[str, ...] = ()
    """Of jobs that it is for; empty: all."""


@dataclass(frozen=True)
class Failure:
    """A class of failures."""

    id: str
    title: str
    why: str
    error: tuple[str, ...]
    says: tuple[re.Pattern[str], ...]
    kinds: tuple[str, ...]
    states: tuple[str, ...]
    remedies: tuple[Remedy, ...]

    def fits(self, kind: str, state: str, error: str, message: str, log: Sequence[str]) -> Evidence | None:
        """The line that proves it, and what it names; None where it is another failure."""
        if state not in self.states or (self.kinds and kind not in self.kinds):
            return None
        if "*" not in self.error and error not in self.error:
            return None
        if not self.says:
            return Evidence(_last_word(log) if state in _ENDED else message, {})
        for pattern in self.says:
            for line in (message, *reversed(log)):
                if found := pattern.search(line):
                    return Evidence(line if line is not message else _last_word(log), found.groupdict())
        return None


@dataclass(frozen=True)
class Evidence:
    """What proves a failure."""

    line: str
    named: Mapping[str, str]


def _last_word(log: Sequence[str]) -> str:
    """The last line of a log that says anything."""
    return next((line for line in reversed(log) if line.strip()), "")


@lru_cache(maxsize=1)
def catalogue() -> tuple[Failure, ...]:
    """The catalogue that ships with lorasmith, in the order in which it is tried."""
    raw = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return tuple(
        Failure(
            id=entry["id"],
            title=entry["title"],
            why=entry["why"],
            error=tuple(entry["error"]),
            says=tuple(re.compile(pattern) for pattern in entry.get("says", ())),
            kinds=tuple(entry.get("kinds", ())),
            states=tuple(entry.get("states", _ENDED)),
            remedies=tuple(Remedy(**{**one, "kinds": tuple(one.get("kinds", ()))}) for one in entry["remedy"]),
        )
        for entry in raw["failure"]
    )
