"""What can be asked of a job from a page: which verbs its state has, and how each is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, get_args

from lorasmith.errors import ConfigError
from lorasmith.jobfolder import JobKind
from lorasmith.queue.records import QueuedJob
from lorasmith.queue.states import ACTIVE, WAITING, State
from lorasmith.studio import Studio

_ALL_KINDS: Final = frozenset(get_args(JobKind))
_TRAIN: Final[frozenset[str]] = frozenset({"train"})
_RUNNING: Final[frozenset[State]] = frozenset({"starting", "running"})


@dataclass(frozen=True)
class Verb:
    """One verb; ``act`` takes the studio and the job's id, and gives the job the page should show next."""

    name: str
    word: str
    """On the button."""
    states: frozenset[State]
    act: Callable[[Studio, str], QueuedJob]
    kinds: frozenset[str] = _ALL_KINDS
    ask: str = ""
    """A question before it is done, where it cannot be taken back."""

    def fits(self, row: QueuedJob) -> bool:
        """Whether a job in this state can be asked so."""
        return row.state in self.states and row.kind in self.kinds


VERBS: Final = (
    Verb("continue", "Continue", frozenset({"paused", "failed", "cancelled", "lost"}), lambda s, j: s.queue.resume(j)),
    Verb("retry", "Retry", frozenset({"failed", "cancelled", "lost"}), lambda s, j: s.queue.retry(j)),
    Verb("release", "Release", frozenset({"held"}), lambda s, j: s.queue.release(j)),
    Verb("hold", "Hold", frozenset({"queued", "blocked"}), lambda s, j: s.queue.hold(j)),
    Verb("front", "To the front", WAITING, lambda s, j: s.queue.front(j)),
    Verb("back", "To the back", WAITING, lambda s, j: s.queue.back(j)),
    Verb("pause", "Pause", _RUNNING, lambda s, j: s.queue.pause(j)),
    Verb("save", "Save now", frozenset({"running"}), lambda s, j: s.queue.save_now(j), _TRAIN),
    Verb("sample", "Sample now", frozenset({"running"}), lambda s, j: s.queue.sample_now(j), _TRAIN),
    Verb("finish", "Stop and keep", frozenset({"running"}), lambda s, j: s.queue.finish(j), _TRAIN),
    Verb("cancel", "Cancel", WAITING | (ACTIVE - {"cancelling"}) | {"paused"}, lambda s, j: s.queue.cancel(j)),
    Verb("clone", "Clone", frozenset(get_args(State)), lambda s, j: s.enqueue.clone(j)),
)


def verbs_of(row: QueuedJob, *names: str) -> tuple[Verb, ...]:
    """The verbs that fit a job as it stands, or those of them that are named."""
    return tuple(verb for verb in VERBS if verb.fits(row) and (not names or verb.name in names))


def ask(studio: Studio, job: str, verb: str) -> QueuedJob:
    """Do it; the job to show then.

    Raises:
        ConfigError: there is no such verb.
        JobError: the job stands differently.
    """
    found = next((one for one in VERBS if one.name == verb), None)
    if found is None:
        raise ConfigError("A job cannot be asked that.", "Load the page again and use its buttons.")
    return found.act(studio, job)
