"""What people look at; one file per area, each with a ``router``."""

from __future__ import annotations

from fastapi import APIRouter

from lorasmith.web.pages import (
    arranging,
    bases,
    checks,
    creating,
    datasets,
    door,
    duplicates,
    generate,
    help,
    models,
    past,
    picture_editing,
    pictures,
    places,
    queue,
    runs,
    settings,
    tools,
    training_views,
    workspace,
)


def routers() -> tuple[APIRouter, ...]:
    """All of them, in the order in which they are tried."""
    first = (door.router, places.router, pictures.router, workspace.router, creating.router, queue.router, runs.router)
    areas = (models.router, generate.router, bases.router, settings.router, help.router)
    looking = (checks.router, duplicates.router, training_views.router, past.router)
    editing = (arranging.router, tools.router, picture_editing.router)
    return (*first, *areas, *looking, *editing, datasets.router)
