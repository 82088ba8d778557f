"""--queue and where in it: the options that commands share which may be put off until their turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lorasmith.cli.session import Session
from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from lorasmith.queue.records import QueuedJob
    from lorasmith.queue.verbs import Placement

F = TypeVar("F", bound=Callable[..., Any])
_NAMES = ("priority", "front", "after", "hold")


def queue_options(command: F) -> F:
    """Adds --queue and its companions, which arrive as ``queue``, ``priority``, ``front``, ``after``, ``hold``."""
    for option in (
        click.option("--hold", is_flag=True, help="With --queue: let it wait until it is released."),
        click.option("--after", multiple=True, metavar="JOB", help="With --queue: only when this one has succeeded."),
        click.option("--front", is_flag=True, help="With --queue: before all others of its priority."),
        click.option("--priority", type=int, default=0, help="With --queue: -100 to 100; higher goes first."),
        click.option("--queue", is_flag=True, help="Write the job down for its turn and return."),
    ):
        command = option(command)
    return command


def placement_of(session: Session, given: dict[str, Any]) -> Placement | None:
    """Where the job goes; None when it shall run now. Takes its own out of what was given.

    Raises:
        ConfigError: a place without --queue.
        JobError: a job to wait for that does not exist.
    """
    values = {name: given.pop(name) for name in _NAMES}
    if not given.pop("queue"):
        named = [f"--{name}" for name, value in values.items() if value]
        if named:
            raise ConfigError(f"{named[0]} is about the queue, and --queue is not given.", "Add --queue.")
        return None
    from lorasmith.queue.verbs import Placement

    after = tuple(session.studio.queue.get(reference).id for reference in values["after"])
    return Placement(priority=values["priority"], front=values["front"], after=after, held=values["hold"])


def answer_queued(session: Session, row: QueuedJob, document: dict[str, Any] | None = None) -> None:
    """What is said when a job was accepted."""
    if row.state == "queued":
        session.note("`lorasmith queue run` starts what waits, where no server does.")
    session.answer({**(document or {}), "job": row.id, "state": row.state, "reason": row.reason}, row.id)
