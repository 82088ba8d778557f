"""What people look at; one file per area, each with a ``router``."""

from __future__ import annotations

from fastapi import APIRouter

from lorasmith.web.pages import (
    bases,
    creating,
    datasets,
    door,
    generate,
    help,
    models,
    pictures,
    places,
    queue,
    runs,
    settings,
    workspace,
)


def routers() -> tuple[APIRouter, ...]:
    """All of them, in the order in which they are tried."""
    return (
        door.router, places.router, pictures.router, workspace.router, creating.router, queue.router, runs.router, models.router,
        generate.router, bases.router, settings.router, help.router, datasets.router,
    )  # fmt: skip
