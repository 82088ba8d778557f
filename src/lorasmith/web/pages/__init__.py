"""What people look at; one file per area, each with a ``router``."""

from __future__ import annotations

from fastapi import APIRouter

from lorasmith.web.pages import (
    announcements,
    arranging,
    bases,
    calculator,
    captioning,
    checks,
    creating,
    datasets,
    door,
    duplicates,
    generate,
    help,
    imports,
    lora_tools,
    loras,
    models,
    past,
    people,
    picture_editing,
    pictures,
    places,
    queue,
    runs,
    settings,
    shown,
    tags,
    tools,
    training_views,
    workflow,
    workspace,
)


def routers() -> tuple[APIRouter, ...]:
    """All of them, in the order in which they are tried."""
    door_and_people = (door.router, shown.router, people.router, places.router, pictures.router)
    first = (*door_and_people, workspace.router, creating.router, queue.router, runs.router)
    areas = (
        loras.router,
        lora_tools.router,
        calculator.router,
        models.router,
        generate.router,
        bases.router,
        announcements.router,
        settings.router,
        help.router,
        workflow.router,
    )
    coming = (imports.router, captioning.router, tags.router)
    looking = (checks.router, duplicates.router, training_views.router, past.router)
    editing = (arranging.router, tools.router, picture_editing.router)
    return (*first, *areas, *coming, *looking, *editing, datasets.router)
