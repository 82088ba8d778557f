"""The verbs of the studio as JSON; one file per noun, each with a ``router``."""

from __future__ import annotations

from fastapi import APIRouter


def routers() -> tuple[APIRouter, ...]:
    """All of them; specific paths before those that take a name.

    They are imported here and not above: that takes half a second, and the first page does not need them.
    """
    from lorasmith.web.api import (
        bases,
        captioning,
        captions,
        datasets,
        events,
        jobs,
        keeping,
        looking,
        machine,
        pairing,
        people,
        retouching,
        sources,
        toolbox,
        training,
        uploads,
        using,
        versions,
    )

    return (
        events.router,
        uploads.router,
        machine.router,
        people.router,
        keeping.router,
        jobs.router,
        training.router,
        using.router,
        toolbox.router,
        captioning.router,
        sources.router,
        bases.router,
        captions.router,
        versions.garbage,
        versions.router,
        looking.router,
        retouching.router,
        pairing.router,
        datasets.router,
    )
