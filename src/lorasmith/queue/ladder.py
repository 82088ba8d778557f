"""How a worker is brought to its end: asked by its control file, after a long grace signalled, then killed.

A worker that is writing a checkpoint is never hurried: while it is saving and its files grow, the grace begins anew,
up to ten times. All of it is measured on a clock that nobody sets.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from lorasmith.heartbeat import read_pulse

Rung = Literal["asked", "signalled", "killed"]
_PATIENT_PHASES: Final = frozenset({"saving", "exporting", "certifying"})
_LONGEST: Final = 10  # graces
_NEXT: Final[dict[Rung, Rung]] = {"asked": "signalled", "signalled": "killed", "killed": "killed"}


@dataclass
class Ladder:
    """The way down of one worker. ``grace``: seconds on each rung."""

    folder: Path
    grace: float
    clock: Callable[[], float] = time.monotonic
    rung: Rung = "asked"
    _begun: float = field(init=False)
    _since: float = field(init=False)
    _size: int = field(init=False)

    def __post_init__(self) -> None:
        self._begun = self._since = self.clock()
        self._size = self._written()

    def step(self) -> Rung | None:
        """The next rung, if the time for it has come."""
        now = self.clock()
        size = self._written()
        if size != self._size:
            self._size = size
            if self.rung == "asked" and self._saving() and now - self._begun < _LONGEST * self.grace:
                self._since = now
        if now - self._since < self.grace:
            return None
        self._since = now
        self.rung = _NEXT[self.rung]
        return self.rung

    def _saving(self) -> bool:
        pulse = read_pulse(self.folder / "heartbeat")
        return pulse is not None and pulse.phase in _PATIENT_PHASES

    def _written(self) -> int:
        """Bytes of checkpoints and exports, whole and partial."""
        total = 0
        for place, folders, names in os.walk(self.folder):  # which passes over what vanishes while we look
            if Path(place) == self.folder:
                folders[:] = [name for name in folders if name == "checkpoints"]
            for name in names if Path(place) != self.folder else filter(_is_written, names):
                with contextlib.suppress(FileNotFoundError):
                    total += (Path(place) / name).stat().st_size
        return total


def _is_written(name: str) -> bool:
    """Whether a file of the job's folder itself is one that is being exported."""
    return name.endswith((".safetensors", ".tmp"))
