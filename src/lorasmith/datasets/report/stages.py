"""How far a report is: which stage of how many, how much of it, and how long the stage still takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

STAGES: Final = ("pictures measured", "checks", "thumbnails", "trainers' eyes", "page written")

Progress = Callable[[int, int, str], None]
"""(done, all, stage). An exception that it raises ends the report; no half file stays."""


@dataclass(frozen=True)
class Pace:
    """How far a report is."""

    stage: str
    """One of ``STAGES``."""
    number: int
    """Which it is, from 1."""
    done: int
    total: int
    seconds_left: float | None
    """Of this stage, at its speed so far; None until there is one."""


Watch = Callable[[Pace], None]


class Stages:
    """Tells how far a report is; called by whoever does the work of a stage."""

    def __init__(self, progress: Progress | None = None, watch: Watch | None = None) -> None:
        self._progress, self._watch = progress, watch
        self._stage = ""
        self._start, self._from = 0.0, 0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Say that ``done`` of ``total`` are done; the first call of a stage is made before any work, with what was
        known before."""
        if stage != self._stage:
            self._stage, self._start, self._from = stage, time.monotonic(), done
        if self._progress is not None:
            self._progress(done, total, stage)
        if self._watch is not None:
            fresh, elapsed = done - self._from, time.monotonic() - self._start
            left = elapsed / fresh * (total - done) if fresh > 0 else None
            self._watch(Pace(stage, STAGES.index(stage) + 1, done, total, left))
