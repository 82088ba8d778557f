"""A running job on the screen, and what Ctrl-C means while one is watched.

On a terminal: a bar per phase with loss and time left. Elsewhere: a line now and then. Both on stderr.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

import click

from lorasmith.cli.session import Session, duration
from lorasmith.events import Event, Metric, Notice, Phase, Progress, Sample

if TYPE_CHECKING:
    from rich.console import Console

    from lorasmith.jobs import Job

_SHOWN = {"loss": "loss", "validation_loss": "validation loss"}


class Detached(KeyboardInterrupt):
    """A second Ctrl-C: the watcher leaves, the worker goes on saving."""


class Reporter(Protocol):
    """Says events as they come."""

    def __call__(self, event: Event, /) -> None: ...


def watch(session: Session, job: Job, *, latest: bool = False) -> None:
    """Show a job until it ends. The first Ctrl-C asks it to save and stop, the second leaves it alone with that.

    Raises:
        JobError: its worker died.
        Detached: after the second Ctrl-C.
    """
    with _asked_to_stop(session, job), reporter(session) as report:
        for event in job.follow(latest=latest):
            report(event)


@contextmanager
def reporter(session: Session) -> Iterator[Reporter]:
    """What says the events of a job in the way this session wants them."""
    if session.json_events:
        yield session.event
    elif session.json:
        yield _silent
    elif session.live:
        with LiveReporter() as live:
            yield live
    else:
        yield PlainReporter()


def _silent(event: Event) -> None:
    del event


@contextmanager
def _asked_to_stop(session: Session, job: Job) -> Iterator[None]:
    presses = 0

    def pressed(number: int, frame: FrameType | None) -> None:
        nonlocal presses
        presses += 1
        if presses > 1:
            session.exclaim(f"\nLeft {job.id} to save and stop by itself. `lorasmith resume {job.id}` goes on.")
            raise Detached
        session.exclaim(f"\nSaving and stopping {job.id}; Ctrl-C again leaves it alone with that.")
        job.stop()

    before = signal.signal(signal.SIGINT, pressed)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class PlainReporter:
    """Lines: each phase once, every tenth of its progress, notices, previews."""

    def __init__(self) -> None:
        self._phase = ""
        self._tenths: dict[str, int] = {}  # by phase: training is left and entered again for every preview
        self._numbers: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, Phase):
            if event.name not in self._tenths:
                click.echo(f"{event.name} ...", err=True)
            self._phase = event.name
            self._tenths.setdefault(event.name, 0)
        elif isinstance(event, Metric):
            self._numbers.update(event.values)
        elif isinstance(event, Progress) and event.total:
            tenth = event.done * 10 // event.total
            if tenth > self._tenths.get(self._phase, 0):
                self._tenths[self._phase] = tenth
                rest = [f"{event.done}/{event.total} {event.unit}", *described(self._numbers), *remaining(event)]
                click.echo("  " + ", ".join(rest), err=True)
        else:
            for line in sentences(event):
                click.echo(line, err=True)


class LiveReporter(AbstractContextManager["LiveReporter"]):
    """A bar per phase, redrawn in place, with notices above. Phases without a measure are shown while they last."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("[bold]{task.description:<12}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[rest]}"),
            console=console or Console(stderr=True, highlight=False),
        )
        self._tasks: dict[str, Any] = {}
        self._phase = ""
        self._numbers: dict[str, float] = {}
        self._left: list[str] = []

    def __enter__(self) -> LiveReporter:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave_phase()
        self._bars.stop()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Phase):
            self._enter_phase(event.name)
        elif isinstance(event, Progress) and self._phase:
            self._left = remaining(event)
            self._bars.update(self._tasks[self._phase], completed=event.done, total=event.total, rest=self._rest())
        elif isinstance(event, Metric):
            self._numbers.update(event.values)
        else:
            for line in sentences(event):
                self._bars.console.print(line, markup=False)

    def _rest(self) -> str:
        return ", ".join([*described(self._numbers), *self._left])

    def _enter_phase(self, name: str) -> None:
        if name == self._phase:
            return
        self._leave_phase()
        self._phase = name
        if name in self._tasks:
            self._bars.update(self._tasks[name], visible=True)
        else:
            self._tasks[name] = self._bars.add_task(name, total=None, rest="")

    def _leave_phase(self) -> None:
        if self._phase:
            task = self._tasks[self._phase]
            measured = self._bars.tasks[self._bars.task_ids.index(task)].total is not None
            self._bars.update(task, visible=measured)


def described(numbers: dict[str, float]) -> list[str]:
    """The measured numbers worth a place on a line."""
    return [f"{word} {numbers[name]:.4f}" for name, word in _SHOWN.items() if name in numbers]


def remaining(event: Progress) -> list[str]:
    """Time left, with its spread."""
    if event.seconds_left is None:
        return []
    spread = f" ± {duration(event.seconds_left_spread)}" if event.seconds_left_spread else ""
    return [f"{duration(event.seconds_left)}{spread} left"]


def sentences(event: Event) -> list[str]:
    """The events that are sentences."""
    if isinstance(event, Notice):
        return [f"Note: {event.message} {event.hint}".rstrip()]
    if isinstance(event, Sample):
        return [f"  preview at step {event.step}: {event.path}"]
    return []
