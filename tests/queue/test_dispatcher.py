"""A dispatcher from submission to the end: claims, follows, adopts, ends, tries again."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from lorasmith.errors import JobError
from lorasmith.jobs import Job, Jobs
from lorasmith.queue.dispatcher import Dispatcher, Pace
from lorasmith.queue.records import QueuedJob
from lorasmith.queue.retries import Retries
from lorasmith.queue.states import State
from lorasmith.queue.verbs import Placement, Queue

posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
FAST = Pace(search=0.0, report=0.0, grace=60.0)
LANES = {"cpu": 1, "light": 2}


def dispatcher(queue: Queue, **values: Any) -> Dispatcher:
    values = {"lanes": LANES, "pace": FAST, "retries": Retries(rest=0.0)} | values
    return Dispatcher(queue, **values)


def submit(queue: Queue, placement: Placement | None = None, **toy: Any) -> QueuedJob:
    payload = {"device": "cpu", "toy": {"steps": 2, **toy}}
    return queue.submit("generate", payload, name="toy", placement=placement)


def until(one: Dispatcher, condition: Callable[[], bool], patience: float = 60.0) -> None:
    """Move the dispatcher until something is so."""
    deadline = one.clock() + patience
    while not condition():
        assert one.clock() < deadline, [(row.id, row.state, row.reason, row.attempt) for row in one.queue.list()]
        one.tick()
        threading.Event().wait(0.01)


def reach(one: Dispatcher, job: QueuedJob, *states: State) -> QueuedJob:
    until(one, lambda: one.queue.get(job.id).state in states)
    return one.queue.get(job.id)


def states_of(queue: Queue, job: QueuedJob) -> list[str]:
    return [entry.after for entry in queue.journal(job=job.id) if entry.kind == "state"]


def steps(job: Job) -> list[int]:
    return [int(line.split()[0]) for line in (job.folder.path / "steps.txt").read_text().splitlines()]


def test_a_job_goes_from_submission_to_its_end(queue: Queue) -> None:
    row = submit(queue, steps=3)
    assert row.state == "queued" and row.attempt == 0
    seen: list[str] = []
    with dispatcher(queue, collect=lambda job: {"filed": seen.append(job.id) or "here"}) as one:
        done = reach(one, row, "succeeded")
    assert done.output == {"filed": "here"} and seen == [row.id]
    assert (done.done, done.total, done.attempt, done.lane) == (3, 3, 1, "cpu")
    assert states_of(queue, row) == ["queued", "starting", "running", "succeeded"]


def test_a_lane_runs_one_at_a_time_and_the_light_one_two(queue: Queue) -> None:
    heavy = [submit(queue, steps=10_000, seconds=0.01) for _ in range(2)]
    light = [queue.submit("import", {"toy": {"steps": 10_000, "seconds": 0.01}}) for _ in range(3)]
    with dispatcher(queue) as one:
        until(one, lambda: queue.counts().get("running", 0) == 3)
        one.tick()
        assert [queue.get(row.id).state for row in heavy] == ["running", "queued"]
        assert [queue.get(row.id).state for row in light] == ["running", "running", "queued"]
        queue.cancel(heavy[0].id)
        assert reach(one, heavy[1], "running").lane == "cpu"
    assert queue.get(heavy[0].id).state == "cancelled"


def test_a_worker_outlives_its_dispatcher_and_the_next_one_finds_it(queue: Queue) -> None:
    row = submit(queue, steps=200, seconds=0.01)
    with dispatcher(queue) as one:
        reach(one, row, "running")
        until(one, (queue.job(row.id).folder.path / "owner.json").exists)
    pid = json.loads((queue.job(row.id).folder.path / "owner.json").read_bytes())["pid"]
    assert psutil.pid_exists(pid)
    other = Queue.open(Jobs(queue.home, queue.jobs.command))
    with dispatcher(other) as two:
        two.tick()
        assert json.loads((queue.job(row.id).folder.path / "owner.json").read_bytes())["pid"] == pid
        assert reach(two, row, "succeeded").attempt == 1
    other.close()
    assert steps(queue.job(row.id)) == list(range(1, 201)), "nothing was done twice"


@posix
def test_a_killed_worker_is_lost_and_tried_again_from_its_checkpoint(queue: Queue) -> None:
    row = submit(queue, steps=100, seconds=0.01, every=5)
    with dispatcher(queue) as one:
        reach(one, row, "running")
        place = queue.job(row.id).folder.path
        until(one, (place / "checkpoints" / "10").exists)
        os.kill(json.loads((place / "owner.json").read_bytes())["pid"], signal.SIGKILL)
        done = reach(one, row, "succeeded")
    assert done.attempt == 2
    assert states_of(queue, row)[2:6] == ["running", "lost", "queued", "starting"]
    repeated = len(steps(queue.job(row.id))) - len(set(steps(queue.job(row.id))))
    assert set(steps(queue.job(row.id))) == set(range(1, 101)) and repeated <= 5


def test_pause_frees_the_lane_and_resume_goes_on(queue: Queue) -> None:
    row = submit(queue, steps=300, seconds=0.01)
    with dispatcher(queue) as one:
        reach(one, row, "running")
        assert queue.pause(row.id).state == "pausing"
        assert reach(one, row, "paused").lane == ""
        other = submit(queue)
        reach(one, other, "succeeded")
        assert queue.get(row.id).state == "paused", "nobody goes on with it by himself"
        assert queue.resume(row.id).state == "queued"
        assert reach(one, row, "succeeded").attempt == 2
    done = steps(queue.job(row.id))
    assert done == list(range(1, 301)), "nothing was lost or done twice"


def test_cancel_ends_what_runs_what_waits_and_what_is_paused(queue: Queue) -> None:
    running, waiting = submit(queue, steps=10_000, seconds=0.01), submit(queue)
    with dispatcher(queue) as one:
        reach(one, running, "running")
        assert queue.cancel(waiting.id).state == "cancelled"
        assert queue.cancel(running.id).state == "cancelling"
        assert reach(one, running, "cancelled").reason
        with pytest.raises(JobError, match="cancelled"):
            queue.hold(running.id)
        again = queue.resume(running.id)
        assert again.state == "queued"
        assert queue.cancel(running.id).state == "cancelled", "one that waits for its second attempt"
        one.tick()
        assert queue.get(running.id).state == "cancelled"


def test_a_second_dispatcher_of_a_home_is_refused(queue: Queue) -> None:
    with dispatcher(queue), pytest.raises(JobError, match=rf"\({os.getpid()}\) runs the queue"), dispatcher(queue):
        raise AssertionError("it was let in")
    with dispatcher(queue):
        pass
