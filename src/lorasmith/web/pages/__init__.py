"""What people look at; one file per area, each with a ``router``."""

from __future__ import annotations

from fastapi import APIRouter

from lorasmith.web.pages import arranging, checks, datasets, door, duplicates, past, pictures, places, runs, tools, training_views, workspace


def routers() -> tuple[APIRouter, ...]:
    """All of them, in the order in which they are tried."""
    first = (door.router, places.router, pictures.router, workspace.router, runs.router)
    return (*first, checks.router, duplicates.router, training_views.router, past.router, arranging.router, tools.router, datasets.router)
