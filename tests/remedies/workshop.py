"""A workshop for faults: jobs that really run, really fail, are really cured; and what was shown to help.

Jobs are run by the worker's own ``main`` in a fork, so that faults can be put where a machine would have them.
"""

from __future__ import annotations

import functools
import os
import secrets
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

from lorasmith import worker
from lorasmith.config import layer
from lorasmith.files import write_json
from lorasmith.queue.records import QueuedJob
from lorasmith.queue.retries import Retries
from lorasmith.studio import Studio

SHORT: Final[dict[str, Any]] = {
    "base": "sandbox",
    "max_train_steps": 2,
    "train_batch_size": 2,
    "adapter.rank": 2,
    "sample.every_steps": 0,
    "checkpoint.every_steps": 0,
    "data.caption_dropout": 0.0,
    "threads": 1,
}
_SHOWN: Final[set[tuple[str, str]]] = set()


def cures(*pairs: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Marks a test that makes a fault happen, applies its remedy and sees the job get past it: ``failure/remedy``.

    A pair with ``{}`` is filled with the test's parameters. The test fails if it did not do what it says.
    """

    def mark(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def checked(*arguments: Any, **values: Any) -> None:
            test(*arguments, **values)
            said = {_pair(pair.format(**values)) for pair in pairs}
            assert said <= _SHOWN, f"not shown: {said - _SHOWN}"

        checked.pairs = pairs  # type: ignore[attr-defined]
        return checked

    return mark


def claimed(module: ModuleType) -> set[tuple[str, str]]:
    """Failures and remedies that the tests of a module say they show, once for each of their parameters."""
    found: set[tuple[str, str]] = set()
    for test in vars(module).values():
        for pair in getattr(test, "pairs", ()):
            marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
            found |= {_pair(pair.format(**values)) for values in _parameters(marks)}
    return found


def _parameters(marks: list[Any]) -> list[dict[str, Any]]:
    if not marks:
        return [{}]
    names, sets = marks[0].args
    names = names.split(",") if isinstance(names, str) else names
    return [dict(zip(names, one if len(names) > 1 else (one,), strict=True)) for one in sets]


def _pair(text: str) -> tuple[str, str]:
    failure, _, remedy = text.partition("/")
    return failure, remedy


def short(**changes: Any) -> dict[str, Any]:
    """A training of two steps."""
    return layer(SHORT, {"data.resolution": 64}, changes)


def worked(studio: Studio, row: QueuedJob) -> QueuedJob:
    """The job after its worker has ended and the queue has looked at it."""
    folder = studio.queue.job(row.id).folder.path
    write_json(folder / "start.json", {"token": secrets.token_hex(8)})
    child = os.fork()
    if not child:  # a process of its own, as a worker is one; faults that were put into this one are in it
        os._exit(worker.main([str(folder)]))
    os.waitpid(child, 0)
    return looked_at(studio, row)


def looked_at(studio: Studio, row: QueuedJob) -> QueuedJob:
    """The job after the queue has looked at what ended; nothing is started, nothing tried again."""
    with studio.dispatcher(retries=Retries(crash=0, infrastructure=0)) as dispatcher:
        studio.queue.drain()
        dispatcher.tick()
    return studio.queue.get(row.id)


def failed(studio: Studio, row: QueuedJob, diagnosis: str) -> QueuedJob:
    """The job after it failed by that."""
    row = worked(studio, row)
    found = studio.remedies.diagnose(row)
    assert found is not None and found.id == diagnosis, (row, found)
    return row


def cured(studio: Studio, row: QueuedJob, remedy: str) -> QueuedJob:
    """The job that comes of a remedy, after it has run."""
    return worked(studio, applied(studio, row, remedy))


def applied(studio: Studio, row: QueuedJob, remedy: str) -> QueuedJob:
    """The job that comes of a remedy."""
    found = studio.remedies.diagnose(row)
    assert found is not None and remedy in [one.id for one in found.remedies], found
    made = studio.remedies.apply(row.id, remedy)
    _SHOWN.add((found.id, remedy))
    return made


def raw(studio: Studio, **changes: Any) -> QueuedJob:
    """A training whose config was good when it was made, on another machine or for another base."""
    recipe = studio.prepare("dots", short())
    config = layer(recipe.config.model_dump(mode="json"), changes)
    return studio.queue.submit("train", recipe.payload() | {"config": config}, name="dots")
