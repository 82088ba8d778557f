"""The verbs of the studio as JSON; one file per noun, each with a ``router``."""

from __future__ import annotations

from fastapi import APIRouter

from lorasmith.web.api import events


def routers() -> tuple[APIRouter, ...]:
    """All of them."""
    return (events.router,)
