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
    settings: dict[str, Any] = {"lanes": LANES, "pace": FAST, "retries": Retries(rest=0.0)}
    return Dispatcher(queue, **(settings | values))


def submit(queue: Queue, placement: Placement | None = None, **toy: Any) -> QueuedJob:
    payload = {"device": "cpu", "toy": {"steps": 2, **toy}}
    return queue.submit("generate", payload, name="toy", placement=placement)


def until(one: Dispatcher, condition: Callable[[], bool], patience: float = 180.0) -> None:
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


def open_gate(queue: Queue, job: QueuedJob) -> None:
    """Let a worker go on that stands at its gate, or that will come to it."""
    (queue.job(job.id).folder.path / "go").touch()


def steps(job: Job) -> list[int]:
    return [int(line.split()[0]) for line in (job.folder.path / "steps.txt").read_text().splitlines()]


def test_a_job_goes_from_submission_to_its_end(queue: Queue) -> None:
    row = submit(queue, steps=3)
    assert row.state == "queued" and row.attempt == 0
    seen: list[str] = []

    def collect(job: Job) -> dict[str, Any]:
        seen.append(job.id)
        return {"filed": "here"}

    with dispatcher(queue, collect=collect) as one:
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
    row = submit(queue, steps=20, gate=5)
    with dispatcher(queue) as one:
        reach(one, row, "running")
        until(one, (queue.job(row.id).folder.path / "owner.json").exists)
    pid = json.loads((queue.job(row.id).folder.path / "owner.json").read_bytes())["pid"]
    assert psutil.pid_exists(pid)
    other = Queue.open(Jobs(queue.home, queue.jobs.command))
    with dispatcher(other) as two:
        two.tick()
        assert json.loads((queue.job(row.id).folder.path / "owner.json").read_bytes())["pid"] == pid
        open_gate(queue, row)
        assert reach(two, row, "succeeded").attempt == 1
    other.close()
    assert steps(queue.job(row.id)) == list(range(1, 21)), "nothing was done twice"


@posix
def test_a_killed_worker_is_lost_and_tried_again_from_its_checkpoint(queue: Queue) -> None:
    row = submit(queue, steps=30, gate=12, every=5)
    with dispatcher(queue) as one:
        reach(one, row, "running")
        place = queue.job(row.id).folder.path
        until(one, (place / "checkpoints" / "10").exists)
        os.kill(json.loads((place / "owner.json").read_bytes())["pid"], signal.SIGKILL)
        open_gate(queue, row)
        done = reach(one, row, "succeeded")
    assert done.attempt == 2
    assert states_of(queue, row)[2:6] == ["running", "lost", "queued", "starting"]
    repeated = len(steps(queue.job(row.id))) - len(set(steps(queue.job(row.id))))
    assert set(steps(queue.job(row.id))) == set(range(1, 31)) and repeated <= 5


def test_pause_frees_the_lane_and_resume_goes_on(queue: Queue) -> None:
    row = submit(queue, steps=30, gate=10)
    with dispatcher(queue) as one:
        reach(one, row, "running")
        assert queue.pause(row.id).state == "pausing"
        assert reach(one, row, "paused").lane == ""
        other = submit(queue)
        reach(one, other, "succeeded")
        assert queue.get(row.id).state == "paused", "nobody goes on with it by himself"
        open_gate(queue, row)
        assert queue.resume(row.id).state == "queued"
        assert reach(one, row, "succeeded").attempt == 2
    done = steps(queue.job(row.id))
    assert done == list(range(1, 31)), "nothing was lost or done twice"


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


def test_a_crash_is_tried_again_and_the_same_one_twice_is_not(queue: Queue) -> None:
    once = submit(queue, steps=10, fail_at=7, error="ZeroDivisionError", once=True)
    always = submit(queue, steps=10, fail_at=7, error="ZeroDivisionError")
    silent = submit(queue, steps=10, fail_at=7, error="exit")
    with dispatcher(queue, retries=Retries(crash=5, rest=0.0)) as one:
        assert reach(one, once, "succeeded").attempt == 2
        failed = reach(one, always, "failed")
        assert (failed.attempt, failed.failure) == (2, "crash") and "crashed twice at step 7" in failed.reason
        assert "ZeroDivisionError" in failed.reason
        dead = reach(one, silent, "failed")
        assert (dead.attempt, dead.failure) == (2, "crash") and "exit code 3" in dead.reason
    assert queue.examine() == ()


@pytest.mark.parametrize(
    ("error", "failure"),
    [("OutOfMemory", "out_of_memory"), ("ConfigError", "request"), ("NonFiniteLoss", "training")],
)
def test_what_must_be_changed_first_fails_at_once_with_its_class(queue: Queue, error: str, failure: str) -> None:
    row = submit(queue, steps=10, fail_at=3, error=error)
    with dispatcher(queue) as one:
        failed = reach(one, row, "failed", "succeeded")
        assert (failed.state, failed.attempt, failed.failure) == ("failed", 1, failure)
        assert "as it was told to" in failed.reason
        (queue.job(row.id).folder.path / "failed-once").touch()
        assert queue.retry(row.id).state == "queued", "a person may insist"
        assert reach(one, row, "failed").attempt == 2


def test_a_server_that_does_not_answer_is_tried_again_three_times(queue: Queue) -> None:
    row = submit(queue, steps=10, fail_at=3, error="FetchError")
    with dispatcher(queue) as one:
        failed = reach(one, row, "failed")
        until(one, lambda: queue.get(row.id).attempt == 4 and queue.get(row.id).state == "failed")
        failed = queue.get(row.id)
    assert failed.failure == "infrastructure" and "4 times in a row" in failed.reason


def test_the_rest_before_a_retry_keeps_no_lane(queue: Queue) -> None:
    row = submit(queue, steps=10, fail_at=3, error="FetchError")
    other = submit(queue, steps=1)
    with dispatcher(queue, retries=Retries(rest=1e9, longest_rest=1e9)) as one:
        reach(one, other, "succeeded")
        waiting = queue.get(row.id)
        assert (waiting.state, waiting.attempt) == ("queued", 1) and "Retry 1 of 3" in waiting.reason
        one.tick()
        assert queue.get(row.id).state == "queued"


def test_what_waits_for_a_job_goes_on_when_that_has_succeeded(queue: Queue) -> None:
    first = submit(queue, steps=5, fail_at=2, error="ConfigError")
    second = submit(queue, Placement(after=(first.id,), priority=50))
    with dispatcher(queue) as one:
        reach(one, first, "failed")
        until(one, lambda: "failed" in queue.get(second.id).reason)
        assert queue.get(second.id).state == "blocked"
        record = queue.job(first.id).folder.path / "failed-once"
        assert record.exists()
        third = submit(queue, Placement(after=(second.id,)))
        assert third.state == "blocked"
        queue.cancel(second.id)
        until(one, lambda: "was cancelled" in queue.get(third.id).reason)


def test_dependents_run_in_their_turn(queue: Queue) -> None:
    first = submit(queue, steps=3)
    second = submit(queue, Placement(after=(first.id,), priority=50))
    with dispatcher(queue) as one:
        reach(one, second, "succeeded")
    started = [entry.job for entry in queue.journal() if entry.after == "starting"]
    assert started == [first.id, second.id], "a higher priority does not jump what it needs"


def test_save_sample_and_finish_reach_the_worker(queue: Queue) -> None:
    row = submit(queue, steps=10_000, seconds=0.01, every=10_000)
    with dispatcher(queue) as one:
        reach(one, row, "running")
        place = queue.job(row.id).folder.path
        until(one, (place / "steps.txt").exists)
        queue.save_now(row.id)
        until(one, lambda: any((place / "checkpoints").glob("[0-9]*")))
        queue.sample_now(row.id)
        until(one, lambda: any(place.glob("sample-*")))
        queue.finish(row.id)
        done = reach(one, row, "succeeded")
    assert done.attempt == 1 and len(steps(queue.job(row.id))) < 10_000
    asked = [entry.detail["request"] for entry in queue.journal(job=row.id) if entry.kind == "request"]
    assert asked == ["save", "sample", "finish"]


@posix
def test_a_deaf_worker_is_killed_and_the_lane_is_free_again(queue: Queue) -> None:
    row = submit(queue, steps=10_000, seconds=0.01, deaf=True)
    other = submit(queue)
    pace = Pace(search=0.0, report=0.0, grace=0.2)
    with dispatcher(queue, pace=pace) as one:
        reach(one, row, "running")
        until(one, (queue.job(row.id).folder.path / "steps.txt").exists)
        queue.cancel(row.id)
        cancelled = reach(one, row, "cancelled")
        assert cancelled.attempt == 1
        reach(one, other, "succeeded")
    assert queue.job(row.id).state() == "stopped" and queue.examine() == ()


def test_a_drained_lane_ends_what_it_has_and_begins_nothing(queue: Queue) -> None:
    first, second = submit(queue, steps=3, gate=1), submit(queue)
    with dispatcher(queue) as one:
        reach(one, first, "running")
        assert next(lane for lane in queue.drain("cpu", "Games tonight.") if lane.name == "cpu").draining
        open_gate(queue, first)
        reach(one, first, "succeeded")
        one.tick()
        assert queue.get(second.id).state == "queued"
        queue.open_lane()
        reach(one, second, "succeeded")


def test_a_job_for_a_device_that_is_not_here_says_so(queue: Queue) -> None:
    row = submit(queue, Placement(wants="cuda"))
    with dispatcher(queue) as one:
        one.tick()
        blocked = queue.get(row.id)
        assert blocked.state == "blocked" and "no lane for 'cuda'" in blocked.reason
    with dispatcher(queue, lanes={"cuda:0": 1}) as two:
        done = reach(two, row, "succeeded")
        assert done.lane == "cuda:0"


def test_a_request_that_was_changed_after_submission_is_not_run(queue: Queue) -> None:
    row = submit(queue)
    path = queue.job(row.id).folder.path / "job.json"
    path.write_text(path.read_text().replace('"steps": 2', '"steps": 3'))
    with dispatcher(queue) as one:
        failed = reach(one, row, "failed", "succeeded")
    assert failed.state == "failed" and "was changed after it was submitted" in failed.reason
    assert not (path.parent / "steps.txt").exists()


def test_what_cannot_be_filed_fails_with_the_reason(queue: Queue) -> None:
    def refuse(job: Job) -> dict[str, Any]:
        raise JobError("There is no shelf for it.", "Build one.")

    row = submit(queue)
    with dispatcher(queue, collect=refuse) as one:
        failed = reach(one, row, "failed")
    assert failed.reason == "There is no shelf for it. Build one."


def test_an_end_that_was_not_filed_yet_is_filed_by_the_next_dispatcher(queue: Queue) -> None:
    row = submit(queue, steps=2)
    with dispatcher(queue) as one:
        reach(one, row, "running", "succeeded")
    if queue.get(row.id).state != "succeeded":
        queue.job(row.id).wait()
        with dispatcher(queue, collect=lambda job: {"filed": job.id}) as two:
            assert reach(two, row, "succeeded").output == {"filed": row.id}


def test_a_job_that_was_started_by_hand_holds_its_lane_and_is_followed(queue: Queue) -> None:
    job = queue.jobs.submit("generate", {"device": "cpu", "toy": {"steps": 10_000, "seconds": 0.01}})
    job.start()
    waiting = submit(queue)
    with dispatcher(queue) as one:
        until(one, lambda: queue.get(job.id).state == "running")
        one.tick()
        assert queue.get(waiting.id).state == "queued", "the card is in use"
        job.stop()
        reach(one, waiting, "succeeded")
    assert queue.get(job.id).state == "cancelled"


def test_one_that_goes_on_by_hand_is_noticed(queue: Queue) -> None:
    row = submit(queue, steps=10, gate=5)
    with dispatcher(queue) as one:
        reach(one, row, "running")
        queue.pause(row.id)
        reach(one, row, "paused")
        queue.job(row.id).resume()
        reach(one, row, "running")
        open_gate(queue, row)
        assert reach(one, row, "succeeded").attempt == 2


def test_a_folder_that_vanishes_takes_its_row_along_and_no_other(queue: Queue) -> None:
    row, other = submit(queue), submit(queue)
    for path in (queue.job(row.id).folder.path).iterdir():
        path.unlink()
    (queue.job(row.id).folder.path).rmdir()
    with dispatcher(queue) as one:
        reach(one, other, "succeeded")
    assert [found.id for found in queue.list()] == [other.id]


def test_run_ends_when_it_is_idle_and_tells_what_happens(queue: Queue) -> None:
    rows = [submit(queue) for _ in range(2)]
    heard: list[str] = []
    with dispatcher(queue, pace=Pace(look=0.01, search=0.0)) as one:
        one.run(until_idle=True, hear=lambda entry: heard.append(f"{entry.job} {entry.after}"))
    assert [f"{row.id} succeeded" for row in rows] == [line for line in heard if line.endswith("succeeded")]


def test_a_dispatcher_in_a_thread_ends_when_it_is_told(queue: Queue) -> None:
    with dispatcher(queue, pace=Pace(look=600.0, search=0.0)) as one:
        thread = threading.Thread(target=one.run)
        thread.start()
        row = submit(queue)
        until_quiet = one.clock() + 180
        while queue.get(row.id).state == "queued" and one.clock() < until_quiet:
            one.wake()
            threading.Event().wait(0.01)
        assert queue.get(row.id).state != "queued", "it was woken long before its next look"
        one.end()
        thread.join(180)
        assert not thread.is_alive()
