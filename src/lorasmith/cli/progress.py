"""How far something is that takes its time, and what Ctrl-C means for it.

On a terminal: a bar with the time left. Elsewhere: a line every few seconds. Both on stderr.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, Protocol

import click

from lorasmith.cli.session import Session, duration, visible
from lorasmith.events import Progress

_BETWEEN_LINES: Final = 5.0  # seconds
_BETWEEN_EVENTS: Final = 0.5  # seconds


class Meter(Protocol):
    """Hears how much is done, of how much, and of what last; and the seconds left, where the caller knows them."""

    def __call__(self, done: int, total: int, what: str = "", /, *, left: float | None = None) -> None: ...


@contextmanager
def meter(session: Session, doing: str) -> Iterator[Meter]:
    """A meter in the way this session wants it.

    Args:
        session: who is told.
        doing: what is being done, as one word.
    """
    if session.json_events:
        yield _Spaced(
            lambda done, total, _, left: session.event(Progress(done, total, unit="pictures", seconds_left=left)), 0.0
        )
    elif session.json:
        yield _silent
    elif session.live:
        with _bar(doing) as shown:
            yield shown
    else:
        yield _Spaced(lambda *told: click.echo(_line(doing, *told), err=True))


def _silent(done: int, total: int, what: str = "", /, *, left: float | None = None) -> None:
    del done, total, what, left


def _line(doing: str, done: int, total: int, what: str, left: float | None) -> str:
    """A line for a log."""
    rest = f", {duration(left)} left" if left is not None and done < total else ""
    return f"{doing}: {done}/{total}{rest}{', ' + visible(what) if what else ''}"


class _Spaced:
    """Passes on what it hears, but not too often, with the time that is left at the speed so far."""

    def __init__(
        self,
        say: Callable[[int, int, str, float | None], None],
        wait: float = _BETWEEN_LINES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``wait`` is how many seconds pass before the first word: nothing is said of what is quick."""
        self._say, self._clock, self._start = say, clock, clock()
        self._next = self._start + wait
        self._between = wait or _BETWEEN_EVENTS

    def __call__(self, done: int, total: int, what: str = "", /, *, left: float | None = None) -> None:
        now = self._clock()
        if now < self._next:
            return
        self._next = now + self._between
        if left is None and done:
            left = (now - self._start) / done * (total - done)
        self._say(done, total, what, left)


@contextmanager
def _bar(doing: str) -> Iterator[Meter]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("[bold]{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn())
    last = TextColumn("{task.fields[rest]}", markup=False)
    with Bars(*columns, TimeRemainingColumn(), last, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(doing, total=None, rest="")

        def shown(done: int, total: int, what: str = "", /, *, left: float | None = None) -> None:
            bars.update(task, completed=done, total=total, rest=visible(what)[-40:])

        yield shown


@contextmanager
def cancelled_by_ctrl_c(session: Session, sentence: str) -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, so that the work ends by itself; the second one ends it at once.

    Args:
        session: who is told.
        sentence: what is said after the first Ctrl-C.
    """
    asked = threading.Event()

    def pressed(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        session.exclaim(f"\n{sentence}")

    before = signal.signal(signal.SIGINT, pressed)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
