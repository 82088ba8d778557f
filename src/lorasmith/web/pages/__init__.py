"""What people look at; one file per area, each with a ``router``.

They are imported by the functions below and not above: the first page needs two of them.
"""

from __future__ import annotations

from fastapi import APIRouter


def first() -> tuple[APIRouter, ...]:
    """The way in, and the page it leads to. Their addresses are none of the others'."""
    from lorasmith.web.pages import door, workspace

    return (door.router, workspace.router)


def others() -> tuple[APIRouter, ...]:
    """All others, in the order in which they are tried."""
    from lorasmith.web.pages import (
        announcements,
        arranging,
        bases,
        calculator,
        captioning,
        checks,
        creating,
        datasets,
        duplicates,
        generate,
        help,
        imports,
        lora_tools,
        loras,
        models,
        pairing,
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
    )

    everywhere = (shown.router, people.router, places.router, pictures.router)
    making = (creating.router, queue.router, runs.router)
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
    editing = (arranging.router, tools.router, picture_editing.router, pairing.router)
    return (*everywhere, *making, *areas, *coming, *looking, *editing, datasets.router)
