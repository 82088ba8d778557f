"""What a running job says, one JSON line each in ``events.jsonl``.

    Phase     the job is now doing this ("loading", "caching", "training", "sampling", "saving", "certifying" ...)
    Progress  so much of it is done
    Metric    a measured number at a step
    Sample    a picture was written
    Notice    something the user should know that is not an error
    Finished  the last line: how it ended

Events only ever grow in number: a reader skips kinds and fields it does not know.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal

Outcome = Literal["succeeded", "failed", "stopped", "paused"]


@dataclass(frozen=True)
class Event:
    """Base of all events. ``time`` is seconds since the epoch, for people; nothing decides by it."""

    kind: ClassVar[str] = ""
    time: float = field(default_factory=time.time, kw_only=True)

    def to_json(self) -> str:
        return json.dumps({"kind": self.kind, **asdict(self)}, ensure_ascii=False)


@dataclass(frozen=True)
class Phase(Event):
    """A named stretch of work has begun."""

    kind: ClassVar[str] = "phase"
    name: str


@dataclass(frozen=True)
class Progress(Event):
    """``done`` of ``total`` units of the current phase; ``seconds_left`` with its spread when it can be known."""

    kind: ClassVar[str] = "progress"
    done: int
    total: int
    unit: str = "steps"
    per_second: float | None = None
    seconds_left: float | None = None
    seconds_left_spread: float | None = None


@dataclass(frozen=True)
class Metric(Event):
    """Measured numbers after ``step`` optimizer steps (``loss``, ``grad_norm``, ``rss_bytes`` ...)."""

    kind: ClassVar[str] = "metric"
    step: int
    values: dict[str, float]


@dataclass(frozen=True)
class Sample(Event):
    """A picture was written; ``path`` is relative to the job folder. ``clip`` is what moves, when it is one's first
    frame."""

    kind: ClassVar[str] = "sample"
    step: int
    path: str
    prompt: str
    seed: int
    clip: str = ""


@dataclass(frozen=True)
class Notice(Event):
    """Something the user should know: a sentence, and what to do if anything."""

    kind: ClassVar[str] = "notice"
    message: str
    hint: str = ""


@dataclass(frozen=True)
class Finished(Event):
    """The job has ended. ``message`` and ``hint`` are the error's when it failed."""

    kind: ClassVar[str] = "finished"
    outcome: Outcome
    message: str = ""
    hint: str = ""


Emit = Callable[[Event], None]
_KINDS: dict[str, type[Event]] = {kind.kind: kind for kind in (Phase, Progress, Metric, Sample, Notice, Finished)}


def parse(line: str) -> Event | None:
    """Read one line of ``events.jsonl``; None for a torn or damaged line or a kind of a newer release."""
    try:
        raw: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    event = _KINDS.get(str(raw.pop("kind", ""))) if isinstance(raw, dict) else None
    if event is None:
        return None
    given = {f.name: raw[f.name] for f in fields(event) if f.name in raw}
    required = {f.name for f in fields(event) if f.default is MISSING and f.default_factory is MISSING}
    return event(**given) if required <= given.keys() else None
