"""Whether a card is really free when its worker has ended, before the next job takes it.

A process that was killed may hold the card's memory for a while, and a driver that hangs holds it for ever: the next
job would run out of memory by no fault of its own. So a lane of a card opens again when its worker's processes are
gone from the card and its memory is down to what was taken before. What others took meanwhile is waited for only so
long; what the worker itself still holds, as long as it does.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from lorasmith.queue.cards import CardUse, card_use

log = logging.getLogger(__name__)
_SLACK: Final = 256 * 1024 * 1024  # bytes by which a card may be fuller than before: a desktop breathes
_CARD: Final = "cuda:"


@dataclass
class _Closing:
    """A lane whose worker has ended."""

    pids: frozenset[int]
    since: float
    asked: float
    said: bool = False


@dataclass
class Vacancy:
    """Remembers what cards held before their jobs, and asks them afterwards."""

    ask: Callable[[int], CardUse | None] = card_use
    clock: Callable[[], float] = time.monotonic
    patience: float = 60.0
    """Seconds for memory that is not known to be the worker's."""
    rest: float = 1.0
    """Least seconds between two questions about one card."""
    _before: dict[str, int] = field(default_factory=dict)
    _closing: dict[str, _Closing] = field(default_factory=dict)

    def taken(self, lane: str) -> None:
        """A job is about to take a lane: what its card holds now is what it will hold again."""
        if (card := _card_of(lane)) is not None and (use := self.ask(card)) is not None:
            self._before[lane] = use.used

    def left(self, lane: str, pids: Collection[int]) -> None:
        """The worker of a lane has ended; these were its processes."""
        if _card_of(lane) is not None:
            self._closing[lane] = _Closing(frozenset(pids), self.clock(), float("-inf"))

    def free(self, lane: str) -> bool:
        """Whether a job may take it. Where nobody can be asked, it may."""
        closing, card = self._closing.get(lane), _card_of(lane)
        if closing is None or card is None:
            return True
        now = self.clock()
        if now - closing.asked < self.rest:
            return False
        closing.asked = now
        use = self.ask(card)
        if use is None or self._is_free(lane, use, closing, now):
            self._closing.pop(lane)
            self._before.pop(lane, None)
            return True
        if not closing.said:
            closing.said = True
            log.warning("lane %s waits: %d MB of its card are still taken", lane, use.used // 1_000_000)
        return False

    def _is_free(self, lane: str, use: CardUse, closing: _Closing, now: float) -> bool:
        if any(pid in closing.pids or _session_of(pid) in closing.pids for pid in use.pids):
            return False
        if use.used <= self._before.get(lane, use.used) + _SLACK:
            return True
        if now - closing.since < self.patience:
            return False
        log.warning("lane %s opens: what its card holds more than before is not its last worker's", lane)
        return True


def _session_of(pid: int) -> int:
    """The leader of a process's session, which every worker is of what it starts; 0 where there is none to tell."""
    if sys.platform == "win32":
        return 0
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return 0


def _card_of(lane: str) -> int | None:
    number = lane.removeprefix(_CARD)
    return int(number) if lane.startswith(_CARD) and number.isdecimal() else None
