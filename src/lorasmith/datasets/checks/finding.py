"""What a check says: a finding, its severity, and the one operation that repairs it where there is one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from lorasmith.datasets.checks.context import CheckContext

Severity = Literal["error", "warning", "info"]
SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "info")
"""Gravest first. They speak of the version as it stands: an error would harm or stop training, a warning probably
lowers the result, info is worth knowing."""
Need = Literal["signals", "duplicates", "overlay", "tag list", "plan", "trigger word", "goal"]
"""What a check cannot do without; it is listed as not run, with the reason, where that is missing."""


@dataclass(frozen=True)
class Repair:
    """One operation that makes a new version in which the finding is gone; undoing it gives the old version back.

    ``operation`` is the name of a caption operation, or one of those in ``repairs.py``, such as ``leave_out``;
    ``repairs.preview_repair`` carries it out.
    """

    operation: str
    arguments: Mapping[str, Any]
    sentence: str


@dataclass(frozen=True)
class Finding:
    """One kind of thing that was found, with everything it is true of."""

    id: str
    severity: Severity
    message: str
    items: tuple[str, ...]
    """Names of items, or paths in the source for files that were left out; empty when it is about the whole set."""
    fix: str
    why: str = ""
    source: str = ""
    """What the reason rests on: a trainer's own reading of files, an issue, a measurement, a paper."""
    repair: Repair | None = None


@dataclass(frozen=True)
class Found:
    """What a check function reports; the record of the check adds the rest."""

    items: tuple[str, ...]
    message: str
    severity: Severity | None = None
    """None means the severity of the check's record."""
    fix: str = ""
    """Empty means the fix of the check's record."""
    repair: Repair | None = None


@dataclass(frozen=True)
class Check:
    """The record of one check: everything about it that does not depend on a dataset."""

    id: str
    severity: Severity
    title: str
    """What it looks for, as a short noun phrase."""
    why: str
    source: str
    fix: str
    run: Callable[[CheckContext], Iterator[Found]] = field(repr=False)
    needs: tuple[Need, ...] = ()

    def findings(self, context: CheckContext) -> Iterator[Finding]:
        """Run it and complete what it reports."""
        for found in self.run(context):
            yield Finding(
                id=self.id,
                severity=found.severity or self.severity,
                message=found.message,
                items=found.items,
                fix=found.fix or self.fix,
                why=self.why,
                source=self.source,
                repair=found.repair,
            )


def found(
    names: Iterable[str],
    message: str,
    *,
    severity: Severity | None = None,
    fix: str = "",
    repair: Repair | None = None,
    word: str = "",
) -> Iterator[Found]:
    """A report if it is true of anything.

    In the message ``{n}`` is how many pictures, ``{files}`` how many files, ``{clips}`` how many clips, and
    ``{one|several}`` the word that agrees with that number; ``{word}`` is filled in last, so that nothing in it is
    taken for one of these.
    """
    items = tuple(dict.fromkeys(names))
    if items:
        yield Found(items, agree(message, len(items)).replace("{word}", word), severity, fix, repair)


def agree(message: str, count: int) -> str:
    """A message with its number filled in; see ``found``."""
    said = message.replace("{n}", pictures(count)).replace("{files}", "1 file" if count == 1 else f"{count} files")
    said = said.replace("{clips}", "1 clip" if count == 1 else f"{count} clips")
    return re.sub(r"{([^{}|]*)\|([^{}|]*)}", r"\1" if count == 1 else r"\2", said)


def pictures(count: int) -> str:
    """A number of pictures in words."""
    return "1 picture" if count == 1 else f"{count} pictures"


def leave_out(sentence: str = "Leave them out of the next version.") -> Repair:
    """The repair that takes the finding's items out."""
    return Repair("leave_out", {}, sentence)
