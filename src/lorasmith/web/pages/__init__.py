"""What people look at; one file per area, each with a ``router``."""

from __future__ import annotations

from fastapi import APIRouter

from lorasmith.web.pages import datasets, door, pictures, places, queue, runs, workspace


def routers() -> tuple[APIRouter, ...]:
    """All of them, in the order in which they are tried."""
    return (door.router, places.router, pictures.router, workspace.router, queue.router, runs.router, datasets.router)
