"""What a job can be, and which way leads from where to where.

queued      waits for its turn
held        waits for somebody to release it
blocked     waits for something else; the reason says for what
starting    a lane is taken and a worker is being started
running     a worker is at it; the phase says at what
pausing     asked to save and free the device        paused      has done so, and can be resumed
cancelling  asked to save and end                    cancelled   has done so
succeeded   has a result, and it was collected
failed      has ended with an error; its class says what may help
lost        its worker died without a result; what becomes of it is decided at once
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

from lorasmith.errors import JobError

State = Literal[
    "queued",
    "held",
    "blocked",
    "starting",
    "running",
    "pausing",
    "paused",
    "cancelling",
    "succeeded",
    "failed",
    "cancelled",
    "lost",
]
Failure = Literal["infrastructure", "out_of_memory", "out_of_disk", "request", "training", "crash"]
"""Classes of failure.

    infrastructure  the worker was killed, the machine restarted, a server did not answer: another attempt may do
    out_of_memory   the device or the machine is too small for it: something has to be changed
    out_of_disk     the job pauses and goes on when there is room
    request         what was asked cannot be done: config, dataset, base, adapter, an extra that is missing
    training        the numbers went wrong (NaN), or a checkpoint cannot be used
    crash           nobody foresaw it
"""

STATES: Final[tuple[State, ...]] = get_args(State)
WAITING: Final = frozenset[State]({"queued", "held", "blocked"})
ACTIVE: Final = frozenset[State]({"starting", "running", "pausing", "cancelling"})
"""States that hold a lane."""
ENDED: Final = frozenset[State]({"succeeded", "failed", "cancelled", "lost"})

_WORKED: Final = frozenset[State]({"paused", "succeeded", "failed", "cancelled", "lost"})
_AGAIN: Final = frozenset[State]({"queued", "held", "blocked", "starting"})  # starting: by hand, past the queue
WAYS: Final[Mapping[State, frozenset[State]]] = {
    "queued": frozenset({"held", "blocked", "starting", "paused", "cancelled", "failed"}),
    "held": frozenset({"queued", "blocked", "starting", "paused", "cancelled", "failed"}),
    "blocked": frozenset({"queued", "held", "starting", "paused", "cancelled", "failed"}),
    "starting": frozenset[State]({"queued", "held", "running", "pausing", "cancelling"}) | _WORKED,
    "running": frozenset[State]({"pausing", "cancelling"}) | _WORKED,
    "pausing": frozenset[State]({"running", "cancelling"}) | _WORKED,
    "cancelling": _WORKED,
    "paused": _AGAIN | {"cancelled"},
    "failed": _AGAIN,
    "cancelled": _AGAIN,
    "lost": _AGAIN | {"running", "paused", "succeeded", "failed", "cancelled"},
    "succeeded": frozenset(),
}


def refuse_impossible(job: str, before: State, after: State) -> None:
    """Refuse a way that does not exist.

    Raises:
        JobError: there is none from ``before`` to ``after``.
    """
    if after not in WAYS[before]:
        ways = ", ".join(sorted(WAYS[before])) or "nothing"
        raise JobError(f"Job {job} is {before} and cannot become {after}.", f"From {before} it can become {ways}.")


_CLASSES: Final[Mapping[str, Failure]] = {
    "OutOfMemory": "out_of_memory",
    "MemoryError": "out_of_memory",
    "OutOfDisk": "out_of_disk",
    "NonFiniteLoss": "training",
    "CheckpointError": "training",
    "FetchError": "infrastructure",
    "NoAnswer": "infrastructure",
    "ConnectionError": "infrastructure",
    "ConnectionResetError": "infrastructure",
    "TimeoutError": "infrastructure",
    "AddressRefused": "request",
    "ConfigError": "request",
    "ConsentNeeded": "request",
    "InputError": "request",
    "UploadRefused": "request",
    "DatasetError": "request",
    "ConflictError": "request",
    "BaseError": "request",
    "AdapterError": "request",
    "EnvironmentProblem": "request",
    "JobError": "request",
    "UnknownJob": "request",
}


def failure_of(error: str) -> Failure:
    """The class of a failure, from the name of the error in ``result.json``; unknown ones are crashes."""
    return _CLASSES.get(error, "crash")
