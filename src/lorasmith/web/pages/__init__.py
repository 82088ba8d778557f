"""What people look at; one file per area, each with a ``router``."""

from __future__ import annotations

from fastapi import APIRouter

from lorasmith.web.pages import datasets, door, people, pictures, places, queue, runs, shown, workspace


def routers() -> tuple[APIRouter, ...]:
    """All of them, in the order in which they are tried."""
    return (
        door.router,
        shown.router,
        people.router,
        places.router,
        pictures.router,
        workspace.router,
        queue.router,
        runs.router,
        datasets.router,
    )
