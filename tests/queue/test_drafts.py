"""Tickets are durable before anybody else has to wait for them, and whoever dies half way leaves what was meant."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from lorasmith.errors import OutOfDisk
from lorasmith.queue import records
from lorasmith.queue.database import Database
from lorasmith.queue.fsck import bring_after_folders
from lorasmith.queue.records import QueuedJob
from lorasmith.queue.ticket import Draft, Ticket, read_ticket
from lorasmith.queue.verbs import Placement, Queue

Verb = Callable[[Queue, str, str], object]
VERBS: dict[str, Verb] = {
    "front": lambda queue, job, other: queue.front(job),
    "back": lambda queue, job, other: queue.back(job),
    "before": lambda queue, job, other: queue.move_before(job, other),
    "priority": lambda queue, job, other: queue.prioritise(job, 4),
    "hold": lambda queue, job, other: queue.hold(job, "Wait."),
}


def submit(queue: Queue, placement: Placement | None = None) -> str:
    return queue.submit("import", {"toy": {}}, placement=placement).id


def ticket_of(queue: Queue, job: str) -> Ticket:
    ticket = read_ticket(queue.job(job).folder.path)
    assert ticket is not None
    return ticket


def leftovers(queue: Queue) -> list[Path]:
    return sorted(queue.jobs.folder.glob("*/.queue.json*"))


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_nobody_waits_for_a_ticket_on_its_way_to_the_disk(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, verb: Verb
) -> None:
    other, job = submit(queue), submit(queue)
    writing, synced = threading.local(), []
    write, fsync = Database.write, os.fsync

    @contextmanager
    def noted(self: Database) -> Iterator[Connection]:
        with write(self) as connection:
            writing.now = True
            try:
                yield connection
            finally:
                writing.now = False

    def watched(descriptor: int) -> None:
        synced.append(getattr(writing, "now", False))
        fsync(descriptor)

    monkeypatch.setattr(Database, "write", noted)
    monkeypatch.setattr(os, "fsync", watched)
    verb(queue, job, other)
    assert synced and not any(synced), "made durable, and not while everybody else waited"
    assert queue.examine() == () and leftovers(queue) == []


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_who_dies_before_the_commit_leaves_a_ticket_that_says_what_was_meant(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, verb: Verb
) -> None:
    other, job = submit(queue), submit(queue)
    before, ticket = queue.get(job), ticket_of(queue, job)
    for name in ("change", "transition"):
        monkeypatch.setattr(records, name, _dies)
    with pytest.raises(KeyboardInterrupt):
        verb(queue, job, other)
    monkeypatch.undo()
    assert queue.get(job) == before and ticket_of(queue, job) != ticket
    meant = ticket_of(queue, job)
    bring_after_folders(queue)
    row = queue.get(job)
    assert (row.priority, row.position, row.state == "held") == (meant.priority, meant.position, meant.held)
    assert queue.examine() == () and leftovers(queue) == []


def test_who_dies_before_the_transaction_has_changed_nothing(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(queue)
    job = submit(queue)
    ticket = ticket_of(queue, job)
    monkeypatch.setattr(Database, "write", _dies)
    with pytest.raises(KeyboardInterrupt):
        queue.front(job)
    monkeypatch.undo()
    assert ticket_of(queue, job) == ticket and queue.examine() == () and leftovers(queue) == []


def test_what_changes_meanwhile_is_foreseen_anew(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the draft and the transaction somebody else goes to the front: both come before all others."""
    jobs = [submit(queue) for _ in range(4)]
    quick, entered = [jobs[2]], Draft.__enter__

    def interrupted(self: Draft) -> Draft:
        if quick:
            queue.front(quick.pop())
        return entered(self)

    monkeypatch.setattr(Draft, "__enter__", interrupted)
    queue.front(jobs[3])
    assert [row.id for row in queue.list(in_turn=True)] == [jobs[3], jobs[2], jobs[0], jobs[1]]
    assert queue.examine() == () and leftovers(queue) == []


def test_a_ticket_that_never_holds_still_is_written_at_last(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [submit(queue) for _ in range(3)]
    entered, busy = Draft.__enter__, threading.local()

    def interrupted(self: Draft) -> Draft:
        if not getattr(busy, "now", False):
            busy.now = True
            queue.front(jobs[1])
            busy.now = False
        return entered(self)

    monkeypatch.setattr(Draft, "__enter__", interrupted)
    row = queue.front(jobs[2])
    assert row.position < queue.get(jobs[1]).position and queue.examine() == ()


def test_a_claimed_job_is_not_cancelled_as_one_that_waits(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its turn comes between the draft and the transaction."""
    job = submit(queue)
    entered, turns = Draft.__enter__, [True]

    def claimed(self: Draft) -> Draft:
        if turns:
            turns.pop()
            with queue.database.write() as connection:
                row = records.find(connection, job)
                assert row is not None
                records.transition(connection, row, "starting", lane="light", attempt=1)
        return entered(self)

    monkeypatch.setattr(Draft, "__enter__", claimed)
    with pytest.raises(Exception, match="only a waiting job"):
        queue.hold(job)
    assert not ticket_of(queue, job).held and queue.get(job).state == "starting" and leftovers(queue) == []


def test_a_full_disk_refuses_and_leaves_nothing_behind(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    job = submit(queue)
    ticket = ticket_of(queue, job)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutOfDisk, match="is full"):
        queue.hold(job)
    monkeypatch.undo()
    assert ticket_of(queue, job) == ticket and queue.get(job).state == "queued" and leftovers(queue) == []


def test_many_at_once_lose_no_order(queue: Queue) -> None:
    jobs = [submit(queue) for _ in range(6)]
    failed: list[BaseException] = []

    def move(job: str) -> None:
        try:
            for number in range(12):
                (queue.front, queue.back)[number % 2](job)
        except BaseException as cause:  # noqa: BLE001 - told below
            failed.append(cause)

    threads = [threading.Thread(target=move, args=(job,)) for job in jobs[:4]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [] and queue.examine() == () and leftovers(queue) == []
    assert len({row.position for row in queue.list()}) == len(jobs)


def _dies(*arguments: Any, **values: Any) -> QueuedJob:
    raise KeyboardInterrupt
