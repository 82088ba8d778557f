"""What a job has said so far, gathered for people: figures by step, pictures, notices, where it stands.

It is read from the job's folder alone, while the job runs and long after.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lorasmith.errors import JobError
from lorasmith.events import Event, Finished, Metric, Notice, Phase, Progress, Sample
from lorasmith.jobfolder import JobFolder


@dataclass(frozen=True)
class PhaseSpan:
    """A stretch of work: its name, when it began, and when the next one did (None: it is the present one)."""

    name: str
    began: float
    ended: float | None


@dataclass
class Chronicle:
    """Everything up to a byte of ``events.jsonl``."""

    steps: list[int] = field(default_factory=list)
    figures: dict[str, list[float | None]] = field(default_factory=dict)
    """By name, as long as ``steps``; None where a step has none."""
    samples: list[Sample] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    phases: list[PhaseSpan] = field(default_factory=list)
    progress: Progress | None = None
    """Of the present phase."""
    finished: Finished | None = None
    offset: int = 0
    """The byte behind what was read."""

    @property
    def phase(self) -> str:
        """What it does now, or did last; empty before it has begun."""
        return self.phases[-1].name if self.phases else ""

    def seconds_by_phase(self) -> dict[str, float]:
        """How long each kind of work has taken, in the order in which they came up; the present one is counted to its
        last sign."""
        taken: dict[str, float] = {}
        last_sign = self.progress.time if self.progress else 0.0
        for span in self.phases:
            end = span.ended if span.ended is not None else max(span.began, last_sign)
            taken[span.name] = taken.get(span.name, 0.0) + end - span.began
        return taken

    def samples_by_prompt(self) -> dict[str, dict[int, Sample]]:
        """Previews by prompt and step; a step that was painted twice shows the newer one."""
        table: dict[str, dict[int, Sample]] = {}
        for sample in self.samples:
            table.setdefault(sample.prompt, {})[sample.step] = sample
        return table

    def hear(self, event: Event) -> None:
        """Take in one event."""
        if isinstance(event, Metric):
            self._figure(event.step, event.values)
        elif isinstance(event, Sample):
            self.samples.append(event)
        elif isinstance(event, Notice):
            self.notices.append(event)
        elif isinstance(event, Progress):
            self.progress = event
            if event.unit == "steps" and event.per_second is not None and self.steps and self.steps[-1] == event.done:
                self._figure(event.done, {"steps_per_second": event.per_second})
        elif isinstance(event, Finished):
            self.finished = event
            self._close(event.time)
        elif isinstance(event, Phase):
            self.finished = None
            if self.phase != event.name or self.phases[-1].ended is not None:
                self._close(event.time)
                self.phases.append(PhaseSpan(event.name, event.time, None))
                self.progress = None

    def _close(self, moment: float) -> None:
        if self.phases and self.phases[-1].ended is None:
            last = self.phases[-1]
            self.phases[-1] = PhaseSpan(last.name, last.began, moment)

    def _figure(self, step: int, values: dict[str, float]) -> None:
        """What came after a step that is said again, as after a resume from a checkpoint, no longer counts."""
        while self.steps and self.steps[-1] > step:
            self.steps.pop()
            for column in self.figures.values():
                column.pop()
        if not self.steps or self.steps[-1] != step:
            self.steps.append(step)
            for column in self.figures.values():
                column.append(None)
        for name, value in values.items():
            column = self.figures.setdefault(name, [None] * len(self.steps))
            column[-1] = value


def chronicle_of(folder: JobFolder) -> Chronicle:
    """Everything a job has said."""
    told = Chronicle()
    for offset, event in folder.read_events():
        told.hear(event)
        told.offset = offset
    return told


def events_after(folder: JobFolder, offset: int) -> Iterator[tuple[int, Event]]:
    """What it said after a byte that ``Chronicle.offset`` or an earlier call named.

    Raises:
        JobError: the byte is none of this job's.
    """
    try:
        yield from folder.read_events(offset)
    except (OSError, ValueError) as cause:
        raise JobError("These events cannot be gone on from.", "Load the page again.") from cause


def config_difference(before: Any, after: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Dotted keys in which two payloads differ, with both values; None where one has none."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return [] if before == after else [(prefix.rstrip("."), before, after)]
    found: list[tuple[str, Any, Any]] = []
    for key in sorted({*before, *after}):
        found += config_difference(before.get(key), after.get(key), f"{prefix}{key}.")
    return found
