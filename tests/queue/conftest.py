"""A queue with the sturdy stand-in for workers, and a dispatcher that a test moves by hand."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lorasmith.jobs import Jobs
from lorasmith.queue.verbs import Queue

WORKER = Path(__file__).parents[1] / "chaos" / "sturdy_worker.py"


def command(folder: Path) -> Sequence[str]:
    """How the stand-in is started."""
    return (sys.executable, str(WORKER), str(folder))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "héim mit Leerzeichen"


@pytest.fixture
def queue(home: Path) -> Iterator[Queue]:
    opened = Queue.open(Jobs(home, command=command))
    yield opened
    for row in opened.list():
        job = opened.job(row.id)
        if (job.folder.path / "job.json").exists() and job.state() == "running":
            job.stop(force=True, grace=0.0)
    opened.close()
