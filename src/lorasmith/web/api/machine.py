"""``/api/doctor``, ``/api/places``: this machine, and where one can go."""

from __future__ import annotations

from pydantic import BaseModel

from lorasmith import __version__
from lorasmith.doctor import Check, examine
from lorasmith.web.api.asking import Admin, StudioOf, noun

router = noun("", "machine")


class Examined(BaseModel):
    """What this machine can do and what it lacks."""

    version: str
    can_train: bool
    checks: tuple[Check, ...]


class Places(BaseModel):
    """Names of what there is."""

    datasets: list[str]
    adapters: list[str]
    jobs: list[str]
    """The newest first."""


@router.get("/doctor", summary="What this machine can do")
def examine_machine(studio: StudioOf, admin: Admin) -> Examined:
    """And what it lacks, with what to do about it."""
    found = examine(studio.home)
    return Examined(version=__version__, can_train=found.can_train, checks=found.checks)


@router.get("/places", summary="Names of what there is")
def list_places(studio: StudioOf) -> Places:
    """Datasets, adapters, and the newest 200 jobs."""
    return Places(
        datasets=list(studio.datasets()),
        adapters=list(studio.library.names()),
        jobs=[row.id for row in studio.queue.list(newest=True, limit=200)],
    )
