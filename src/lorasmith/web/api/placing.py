"""Where in the queue a new job goes, as the API takes it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lorasmith.queue.verbs import Placement
from lorasmith.web.api.asking import Asked, Clean

JobId = Annotated[str, Field(max_length=200), Clean]


class Place(Asked):
    """Where in the queue; left out, at the back."""

    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    """Higher goes first."""
    front: bool = False
    after: Annotated[list[JobId], Field(max_length=100)] = []
    """Ids of jobs that have to succeed first."""
    held: bool = False
    """Whether it waits for somebody to release it."""

    def placement(self) -> Placement:
        """As ``Studio.enqueue`` takes it."""
        return Placement(priority=self.priority, front=self.front, after=tuple(self.after), held=self.held)
