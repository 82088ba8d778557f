"""A rehearsal: the whole path of a run with two steps, and what its measured times say about the real one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lorasmith.config import TrainConfig, resolve
from lorasmith.events import Event, Finished, Metric, Phase, Progress

STEPS = 2
_SAMPLING = "sampling"
_TRAINING = "training"


@dataclass(frozen=True)
class Rehearsal:
    """Measured times, and the time of the whole run estimated from them. Seconds."""

    seconds_per_step: float
    seconds_in_all: float
    phases: dict[str, float]
    """How long each phase of the rehearsal took."""


def shortened(config: TrainConfig) -> TrainConfig:
    """The same run with two steps: nothing else that could fail is left out."""
    return resolve(
        config.model_dump(),
        {
            "max_train_steps": STEPS,
            "output_name": "rehearsal",
            "optimizer": {"lr_warmup_steps": 0},
            "sample": {"every_steps": 0},
            "checkpoint": {"every_steps": 0},
        },
    )


def measure(events: Sequence[Event], config: TrainConfig) -> Rehearsal:
    """The times in a rehearsal's events, and the estimate for ``config``.

    Loading, caching and certifying cost once what they cost here; a step costs what the last one cost, since the
    first one also sets things up; previews cost per set what the sets here cost.
    """
    phases, visits = _phases(events)
    steps = _seconds_per_step(events) or phases.get(_TRAINING, 0.0) / STEPS
    once = sum(seconds for name, seconds in phases.items() if name not in (_TRAINING, _SAMPLING))
    previews = 0.0
    if visits.get(_SAMPLING):
        sets = 2 + (config.max_train_steps // config.sample.every_steps if config.sample.every_steps else 0)
        previews = phases[_SAMPLING] / visits[_SAMPLING] * sets
    return Rehearsal(steps, once + steps * config.max_train_steps + previews, phases)


def _phases(events: Sequence[Event]) -> tuple[dict[str, float], dict[str, int]]:
    """Seconds in each phase, and how often it was entered."""
    seconds: dict[str, float] = {}
    visits: dict[str, int] = {}
    marks = [event for event in events if isinstance(event, Phase | Finished)]
    for phase, following in zip(marks, marks[1:], strict=False):
        if isinstance(phase, Phase):
            seconds[phase.name] = seconds.get(phase.name, 0.0) + max(0.0, following.time - phase.time)
            visits[phase.name] = visits.get(phase.name, 0) + 1
    return seconds, visits


def _seconds_per_step(events: Sequence[Event]) -> float:
    """From the last two measured steps; else from the speed the worker stated; 0 when it stated none."""
    measured = {event.step: event.time for event in events if isinstance(event, Metric) and "loss" in event.values}
    if STEPS in measured and STEPS - 1 in measured and measured[STEPS] > measured[STEPS - 1]:
        return measured[STEPS] - measured[STEPS - 1]
    speeds = [e.per_second for e in events if isinstance(e, Progress) and e.unit == "steps" and e.per_second]
    return 1 / speeds[-1] if speeds else 0.0
