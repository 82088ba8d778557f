"""Who acts, as the studios, stores and queues of requests ask it."""

from __future__ import annotations

from lorasmith.errors import ConfigError
from lorasmith.web.people import YOU, acting


def person() -> str:
    """Who acts, as it is written beside what they make; empty for the owner of this machine."""
    actor = acting.get()
    return "" if actor is None or actor == YOU or actor.only is not None else actor.name


def sees_all() -> bool:
    actor = acting.get()
    return actor is None or (actor.role == "admin" and actor.only is None)


def admins_only() -> None:
    if not sees_all():
        raise ConfigError("Only an admin may do that.", "Ask one of them.")
