from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from PIL import Image

from lorasmith.demo.training import Diary, kill_worker, newest_checkpoint, train_and_kill
from lorasmith.errors import JobError
from lorasmith.events import Event, Metric, Sample
from lorasmith.jobfolder import JobFolder, Result


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits until its standard input closes."""
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        yield process
        process.kill()


def own(folder: Path, process: subprocess.Popen[bytes], *, drift: float = 0.0) -> None:
    started = psutil.Process(process.pid).create_time() + drift
    (folder / "owner.json").write_text(json.dumps({"pid": process.pid, "started": started}))


class FakeJob:
    """A job whose worker is ``child``: it says its events until it is killed, and the rest after a resume."""

    def __init__(self, path: Path, child: subprocess.Popen[bytes], events: list[Event], after: list[Event]) -> None:
        self.folder = JobFolder(path)
        self._child, self._events, self._after = child, events, after
        self.resumed = 0

    def follow(self, *, latest: bool = False) -> Iterator[Event]:
        if latest:
            yield from self._after
            return
        for event in self._events:
            if self._child.poll() is not None:
                break
            yield event
        self._child.wait(timeout=60)
        raise JobError("The worker died.")

    def result(self) -> Result | None:
        return self.folder.result()


@pytest.fixture
def studio() -> Any:
    def resume(job: FakeJob) -> FakeJob:
        job.resumed += 1
        return job

    return SimpleNamespace(resume=resume)


def steps(first: int, last: int) -> list[Event]:
    return [Metric(step, {"loss": 1.0 / step}) for step in range(first, last + 1)]


def test_the_worker_is_killed_once_and_the_diary_counts_every_step_once(
    tmp_path: Path, child: subprocess.Popen[bytes], studio: Any
) -> None:
    own(tmp_path, child)
    (tmp_path / "checkpoints" / "4").mkdir(parents=True)
    (tmp_path / "checkpoints" / ".6.tmp").mkdir()
    job: Any = FakeJob(tmp_path, child, steps(1, 10), steps(5, 10))
    said: list[str] = []
    diary = train_and_kill(studio, job, total=10, kill_after=0.55, say=said.append)
    assert child.returncode != 0
    assert job.resumed == 1
    assert diary.killed_at is not None
    assert 6 <= diary.killed_at <= 10
    assert diary.resumed_from == 4
    assert [step for step, _ in diary.curves().loss] == list(range(1, 11))
    assert diary.curves().marks == ((diary.killed_at, "killed (SIGKILL), resumed from step 4"),)


def test_a_worker_that_dies_by_itself_is_not_hidden(
    tmp_path: Path, child: subprocess.Popen[bytes], studio: Any
) -> None:
    own(tmp_path, child)  # and no checkpoint yet: nothing is killed
    child.kill()
    child.wait(timeout=60)
    job: Any = FakeJob(tmp_path, child, steps(1, 10), [])
    with pytest.raises(JobError, match="died"):
        train_and_kill(studio, job, total=10, kill_after=0.1, say=lambda line: None)
    assert job.resumed == 0


def test_a_stranger_with_the_same_number_is_left_alone(tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    job: Any = SimpleNamespace(folder=JobFolder(tmp_path))
    assert kill_worker(job) is False
    own(tmp_path, child, drift=-100.0)
    assert kill_worker(job) is False
    assert child.poll() is None
    own(tmp_path, child)
    assert kill_worker(job) is True
    assert child.wait(timeout=60) != 0
    assert newest_checkpoint(job) is None


def test_previews_are_read_by_step(tmp_path: Path) -> None:
    diary = Diary()
    for step in (50, 0):
        for prompt in ("b", "a"):
            name = f"{step}-{prompt}.png"
            Image.new("RGB", (8, 8), (step, 0, 0)).save(tmp_path / name)
            diary.hear(Sample(step, name, prompt, 1))
    job: Any = SimpleNamespace(folder=JobFolder(tmp_path))
    rows = diary.previews(job)
    assert [row.step for row in rows] == [0, 50]
    assert [prompt for prompt, _ in rows[1].pictures] == ["b", "a"]
    assert rows[1].pictures[0][1].getpixel((0, 0)) == (50, 0, 0)
