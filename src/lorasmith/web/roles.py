"""What a route asks beyond the gate: some things only an admin may do."""

from __future__ import annotations

from fastapi import Request
from starlette.exceptions import HTTPException


def require_admin(request: Request) -> None:
    """Go on only for an admin: secrets, sessions, places of this machine's disk.

    Raises:
        HTTPException: 403 for everybody else.
    """
    actor = getattr(request.state, "actor", None)
    if actor is None or actor.role != "admin":
        raise HTTPException(403, "Only an admin may do this.")
