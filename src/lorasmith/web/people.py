"""Who asks: value types and the context in which a request is answered."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Literal

Role = Literal["admin", "member", "viewer"]
Kind = Literal["dataset", "adapter", "job"]
Visibility = Literal["private", "team", "public"]


@dataclass(frozen=True)
class Actor:
    """Somebody who may ask something."""

    name: str
    role: Role
    only: tuple[Kind, str] | None = None
    """The one thing that a guest with a link may see; None for everybody else."""


NOBODY: Final = Actor("nobody", "viewer", ("job", ""))
"""Whoever is not signed in: sees nothing of anybody."""
YOU: Final = Actor("you", "admin")
"""The owner of this machine."""

acting: Final[ContextVar[Actor | None]] = ContextVar("acting", default=None)
"""Who asks at this moment. None outside requests: the queue and the command line are the owner's own."""

changing: Final[ContextVar[bool]] = ContextVar("changing", default=False)
"""Whether the request is one that changes something."""
