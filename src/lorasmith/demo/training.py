"""The tour's training: the worker is killed once in the middle, without warning, and goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil

from lorasmith.demo.record import Curves, PreviewRow
from lorasmith.errors import JobError
from lorasmith.events import Event, Metric, Phase, Progress, Sample

if TYPE_CHECKING:
    from lorasmith.jobs import Job
    from lorasmith.studio import Studio

Say = Callable[[str], None]


@dataclass
class Diary:
    """What the training job said. Steps that were done twice, before and after the kill, count once."""

    losses: dict[int, float] = field(default_factory=dict)
    validation: dict[int, float] = field(default_factory=dict)
    samples: dict[tuple[int, str], str] = field(default_factory=dict)  # (step, prompt) -> path in the job folder
    killed_at: int | None = None
    resumed_from: int | None = None

    def hear(self, event: Event) -> None:
        if isinstance(event, Metric):
            if "loss" in event.values:
                self.losses[event.step] = event.values["loss"]
            if "validation_loss" in event.values:
                self.validation[event.step] = event.values["validation_loss"]
        elif isinstance(event, Sample):
            self.samples[event.step, event.prompt] = event.path

    @property
    def step(self) -> int:
        """The last step heard of."""
        return max(self.losses, default=0)

    def curves(self) -> Curves:
        marks: tuple[tuple[int, str], ...] = ()
        if self.killed_at is not None:
            marks = ((self.killed_at, f"killed (SIGKILL), resumed from step {self.resumed_from}"),)
        return Curves(tuple(sorted(self.losses.items())), tuple(sorted(self.validation.items())), marks)

    def previews(self, job: Job) -> tuple[PreviewRow, ...]:
        """The preview pictures by step, in the order of their prompts."""
        from PIL import Image

        rows: dict[int, list[tuple[str, Image.Image]]] = {}
        for (step, prompt), path in sorted(self.samples.items(), key=lambda entry: entry[0][0]):
            with Image.open(job.folder.path / path) as image:
                rows.setdefault(step, []).append((prompt, image.convert("RGB")))
        return tuple(PreviewRow(step, tuple(pictures)) for step, pictures in rows.items())


def train_and_kill(studio: Studio, job: Job, *, total: int, kill_after: float, say: Say) -> Diary:
    """Follow a running job, kill its worker once after that share of ``total`` steps, resume it, follow it to its end.

    Raises:
        JobError: the worker ended otherwise than it should; nothing is resumed twice.
    """
    diary = Diary()
    killed = False
    try:
        for event in job.follow():
            diary.hear(event)
            _tell(event, say)
            if not killed and diary.step >= total * kill_after and newest_checkpoint(job) is not None:
                killed = kill_worker(job)
                diary.killed_at = diary.step
                say(f"killed the worker at step {diary.step}, without warning")
    except JobError:
        if not killed:
            raise
    if killed and job.result() is None:
        diary.resumed_from = newest_checkpoint(job)
        say(f"resuming from the checkpoint of step {diary.resumed_from}")
        for event in studio.resume(job).follow(latest=True):
            diary.hear(event)
            _tell(event, say)
    elif killed:  # it was quicker than the signal
        diary.killed_at = None
    return diary


def kill_worker(job: Job) -> bool:
    """End the job's worker as a power cut would; False when it has already ended."""
    try:
        owner = json.loads((job.folder.path / "owner.json").read_bytes())
        worker = psutil.Process(int(owner["pid"]))
        if abs(worker.create_time() - float(owner["started"])) > 1:
            return False  # the number belongs to a stranger now
        worker.kill()
    except (FileNotFoundError, psutil.NoSuchProcess):
        return False
    return True


def newest_checkpoint(job: Job) -> int | None:
    """Step of the newest whole checkpoint; None while there is none."""
    folder = job.folder.path / "checkpoints"
    steps = [int(path.name) for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []
    return max(steps, default=None)


def _tell(event: Event, say: Say) -> None:
    if isinstance(event, Phase) and event.name not in ("training", "validating", "sampling", "saving"):
        say(f"  {event.name}")
    elif isinstance(event, Progress) and event.unit == "steps" and event.done and event.done % 50 == 0:
        left = f", about {event.seconds_left:.0f} s left" if event.seconds_left else ""
        say(f"  step {event.done} of {event.total}{left}")
