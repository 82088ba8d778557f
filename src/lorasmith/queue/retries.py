"""What is tried again by itself, and what never.

infrastructure  three times in a row without progress, each after a longer rest; a new checkpoint begins the count anew
crash           once; the same crash at the same step twice stops
out_of_disk     the job pauses, and goes on when there is room
the rest        never: something has to be changed first
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lorasmith.queue.states import Failure
from lorasmith.queue.ticket import Attempt


@dataclass(frozen=True)
class Retries:
    """The rules. Seconds."""

    infrastructure: int = 3
    crash: int = 1
    rest: float = 5.0
    """After the first failure; doubled with each further one."""
    longest_rest: float = 300.0

    def decide(self, attempts: Sequence[Attempt]) -> Decision:
        """What becomes of a job whose attempts were these; the last one has failed or was lost."""
        last = attempts[-1]
        failure: Failure = last.failure or "infrastructure"
        if failure not in ("infrastructure", "crash"):
            return Decision(False, 0.0, "")
        if failure == "crash" and len(attempts) > 1 and _same(attempts[-2], last):
            return Decision(False, 0.0, f"It crashed twice at step {last.step} in the same way ({last.error}).")
        row = _in_a_row(attempts, failure)
        allowed = self.infrastructure if failure == "infrastructure" else self.crash
        if row > allowed:
            return Decision(False, 0.0, f"It was tried {row} times in a row and came no further.")
        return Decision(True, min(self.rest * 2 ** (row - 1), self.longest_rest), f"Retry {row} of {allowed}.")


@dataclass(frozen=True)
class Decision:
    """Whether to try again, after how many seconds, and a sentence about it."""

    again: bool
    rest: float
    sentence: str


def _same(one: Attempt, other: Attempt) -> bool:
    return (one.failure, one.error, one.step) == (other.failure, other.error, other.step)


def _in_a_row(attempts: Sequence[Attempt], failure: Failure) -> int:
    """How many attempts at the end failed like this without a newer checkpoint."""
    count, checkpoint = 0, attempts[-1].checkpoint
    for attempt in reversed(attempts):
        if attempt.failure != failure or attempt.checkpoint < checkpoint:
            break
        count += 1
    return max(1, count)
