"""What survives: killed workers and dispatchers, a full disk, a locked database, a wrong clock, a restart.

Short here; ``bench/chaos.py`` does the same two hundred times and writes down its figures.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from lorasmith import processes
from lorasmith.errors import JobError, OutOfDisk
from lorasmith.files import write_json
from lorasmith.jobs import Jobs
from lorasmith.queue import records
from lorasmith.queue.database import DatabaseBusy
from lorasmith.queue.dispatcher import Dispatcher, Pace
from lorasmith.queue.fsck import examine
from lorasmith.queue.records import QueuedJob
from lorasmith.queue.retries import Retries
from lorasmith.queue.verbs import Queue
from tests.chaos.dispatching import command
from tests.chaos.harness import EVERY, Chaos

posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


@pytest.fixture
def chaos(tmp_path: Path) -> Iterator[Chaos]:
    made = Chaos(tmp_path / "home", seed=7)
    yield made
    made.close()


def dispatcher(queue: Queue, **values: Any) -> Dispatcher:
    pace = Pace(search=0.0, report=0.0, grace=60.0)
    settings: dict[str, Any] = {"lanes": {"light": 2}, "pace": pace, "retries": Retries(rest=0.0), "room": 0}
    return Dispatcher(queue, **(settings | values))


def submit(queue: Queue, **toy: Any) -> QueuedJob:
    return queue.submit("import", {"toy": {"every": EVERY, **toy}})


def until(one: Dispatcher, job: str, *states: str) -> QueuedJob:
    deadline = one.clock() + 180
    while (row := one.queue.get(job)).state not in states:
        assert one.clock() < deadline, row
        one.tick()
        threading.Event().wait(0.01)
    return row


def until_at_work(one: Dispatcher, row: QueuedJob) -> Path:
    """Until its worker has done a step and stands at its gate, and the queue knows of it; the job's folder."""
    folder = one.queue.job(row.id).folder.path
    deadline = one.clock() + 180
    while not (folder / "steps.txt").exists() or one.queue.get(row.id).state != "running":
        assert one.clock() < deadline
        one.tick()
        threading.Event().wait(0.01)
    return folder


@posix
def test_ten_kills_of_workers_and_dispatchers_lose_and_double_nothing(chaos: Chaos) -> None:
    chaos.submit(5, steps=30, seconds=0.02)
    tally = chaos.run(10)
    assert tally.lost == 0 and tally.run_twice_at_once == 0 and not tally.corrupt, tally
    assert tally.most_steps_repeated <= EVERY, tally
    assert tally.jobs == 5 and tally.attempts > 5, "some were killed, or nothing was proven"


@posix
def test_after_a_restart_a_stranger_with_the_workers_pid_is_neither_believed_nor_touched(chaos: Chaos) -> None:
    row = submit(chaos.queue, steps=60, gate=1)
    with dispatcher(chaos.queue) as one:
        folder = until_at_work(one, row)
    assert chaos.kill_worker()
    (folder / "go").touch()
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    try:
        before = processes.identity(stranger.pid)
        old = json.loads((folder / "owner.json").read_bytes())
        for name in ("owner.json", "start.json"):  # its number passed on, with the start of him who had it before
            write_json(folder / name, json.loads((folder / name).read_bytes()) | old | {"pid": stranger.pid})
        with dispatcher(chaos.queue) as two:
            assert until(two, row.id, "starting", "running", "queued").attempt in (1, 2)
            done = until(two, row.id, "succeeded")
        assert done.attempt == 2
        assert processes.find(before) is not None, "the stranger lives"
    finally:
        stranger.kill()
        stranger.wait()


def test_a_worker_whose_lock_is_held_is_not_lost_whatever_its_records_say(chaos: Chaos) -> None:
    row = submit(chaos.queue, steps=20, gate=1)
    with dispatcher(chaos.queue) as one:
        folder = until_at_work(one, row)
        for name in ("owner.json", "start.json"):
            (folder / name).write_text('{"pid": 1, "started": 5.0, "token": "x"}')
        for _ in range(5):
            one.tick()
            assert chaos.queue.get(row.id).state == "running"
        (folder / "go").touch()
        assert until(one, row.id, "succeeded").attempt == 1
    assert not (folder / "doubles.txt").exists()


@pytest.mark.parametrize("days", [-1, 1])
def test_a_clock_that_is_set_moves_no_job_and_finds_every_worker(
    chaos: Chaos, days: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [submit(chaos.queue, steps=20, gate=1) for _ in range(4)]
    with dispatcher(chaos.queue) as one:
        until_at_work(one, rows[0])
    real_start, real_time = psutil.Process.create_time, __import__("time").time
    if sys.platform == "linux":  # where start times are counted from a boot time that moves with the clock
        monkeypatch.setattr(psutil.Process, "create_time", lambda self: real_start(self) + 86_400 * days)
    monkeypatch.setattr("time.time", lambda: real_time() + 86_400 * days)
    late = submit(chaos.queue, steps=1)
    with dispatcher(chaos.queue) as two:
        assert chaos.queue.get(rows[0].id).state == "running"
        for row in rows:
            (chaos.queue.job(row.id).folder.path / "go").touch()
        for row in (*rows, late):
            assert until(two, row.id, "succeeded").attempt == 1
    started = [entry.job for entry in chaos.queue.journal() if entry.after == "starting"]
    assert started == [row.id for row in (*rows, late)], "the order is that of submission, whatever the clock says"


def test_a_locked_database_stops_no_worker_and_fails_no_job(tmp_path: Path) -> None:
    queue = Queue.open(Jobs(tmp_path, command=command), patience=0.05)
    rows = [submit(queue, steps=20, gate=1) for _ in range(3)]
    with dispatcher(queue) as one:
        until_at_work(one, rows[0])
        thread = threading.Thread(target=one.run, kwargs={"until_idle": True})
        with closing(sqlite3.connect(tmp_path / "studio.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(DatabaseBusy, match="locked by another process"):
                queue.hold(rows[2].id)
            thread.start()
            for row in rows:
                (queue.job(row.id).folder.path / "go").touch()
            job = queue.job(rows[0].id)
            assert job.wait().outcome == "succeeded", "the worker neither knows nor cares"
            assert thread.is_alive(), "the dispatcher waits"
            assert queue.get(rows[0].id).state == "running", "nothing could be written"
            other.execute("ROLLBACK")
        thread.join(180)
    assert [queue.get(row.id).state for row in rows] == ["succeeded"] * 3
    queue.close()


def test_a_full_disk_pauses_a_job_and_it_goes_on_when_there_is_room(chaos: Chaos) -> None:
    row = submit(chaos.queue, steps=20, fail_at=12, error="OSError", once=True)
    with dispatcher(chaos.queue, room=2**62) as one:
        paused = until(one, row.id, "paused")
        assert paused.failure == "out_of_disk" and "disk" in paused.reason
        one.tick()
        assert chaos.queue.get(row.id).state == "paused", "there is no room yet"
    with dispatcher(chaos.queue, room=0) as two:
        assert until(two, row.id, "succeeded").attempt == 2
    assert examine(chaos.queue) == ()


def test_a_database_that_cannot_grow_refuses_in_a_sentence_and_stays_whole(chaos: Chaos) -> None:
    row = submit(chaos.queue, steps=1)
    database = chaos.queue.database
    with database.write() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()

    with pytest.raises(OutOfDisk, match="disk that holds"), database.write() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        for number in range(10_000):
            records.note(connection, row.id, "request", {"filler": "x" * 500, "number": number})
    assert database.damage() == ""
    database.engine.dispose()  # the limit was that connection's
    assert chaos.queue.hold(row.id).state == "held"
    assert len(chaos.queue.journal(job=row.id)) == 2, "what did not fit was taken back"


def test_orders_and_cancels_beside_claims_neither_lose_nor_double_a_job(chaos: Chaos) -> None:
    rows = [submit(chaos.queue, steps=1) for _ in range(60)]
    claimed: list[str] = []
    with dispatcher(chaos.queue, lanes={"light": 1000}) as one:
        ended = threading.Event()

        def disturb() -> None:
            other = Queue.open(Jobs(chaos.home, command=command))
            try:
                for number, row in enumerate(rows[::-1]):
                    with contextlib.suppress(JobError):  # it was claimed just now: there is nothing to move any more
                        (other.front, other.cancel, other.back)[number % 3](row.id)
            finally:
                other.close()
                ended.set()

        thread = threading.Thread(target=disturb)
        thread.start()
        while (row := one.claim("light")) is not None or not ended.is_set():
            if row is not None:
                claimed.append(row.id)
        thread.join()
        states = {row.id: chaos.queue.get(row.id).state for row in rows}
    cancelled = {job for job, state in states.items() if state in ("cancelled", "cancelling")}
    assert len(claimed) == len(set(claimed)), "nothing was claimed twice"
    assert set(claimed) | cancelled == set(states), "every job was claimed or cancelled"
    assert {state for job, state in states.items() if job not in claimed} <= {"cancelled"}
