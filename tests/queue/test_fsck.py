"""Folders and database held against each other: every kind of difference is found, and mended after the folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lorasmith.errors import EnvironmentProblem
from lorasmith.jobfolder import Result
from lorasmith.jobs import Jobs
from lorasmith.queue import records, tables
from lorasmith.queue.fsck import bring_after_folders, examine, open_to_rebuild, rebuild
from lorasmith.queue.observing import COLLECTED
from lorasmith.queue.records import QueuedJob
from lorasmith.queue.ticket import FILE, read_ticket, write_ticket
from lorasmith.queue.verbs import Placement, Queue


def submit(queue: Queue, placement: Placement | None = None) -> QueuedJob:
    return queue.submit("import", {"toy": {}}, name="rex", placement=placement)


def folder_of(queue: Queue, row: QueuedJob) -> Path:
    return queue.job(row.id).folder.path


def set_row(queue: Queue, row: QueuedJob, **values: object) -> None:
    with queue.database.write() as connection:
        connection.execute(tables.job.update().where(tables.job.c.id == row.id).values(values))


def edit_ticket(queue: Queue, row: QueuedJob, **values: object) -> None:
    ticket = read_ticket(folder_of(queue, row))
    assert ticket is not None
    write_ticket(folder_of(queue, row), ticket.model_copy(update=values))


def drop_row(queue: Queue, row: QueuedJob) -> None:
    with queue.database.write() as connection:
        records.remove(connection, row.id)


def end_folder(queue: Queue, row: QueuedJob) -> None:
    queue.job(row.id).stop()


def add_orphans(queue: Queue, row: QueuedJob) -> None:
    with queue.database.write() as connection:
        connection.execute(tables.attempt.insert().values(job="nobody", number=1, outcome="lost"))


def change_request(queue: Queue, row: QueuedJob) -> None:
    path = folder_of(queue, row) / "job.json"
    record = json.loads(path.read_bytes())
    path.write_text(json.dumps(record | {"payload": {"toy": {"steps": 99}}}))


DAMAGES: dict[str, tuple[str, Callable[[Queue, QueuedJob], object], bool]] = {
    "row dropped": ("no_row", drop_row, True),
    "folder deleted": ("no_folder", lambda queue, row: shutil.rmtree(folder_of(queue, row)), True),
    "state changed": ("state", lambda queue, row: set_row(queue, row, state="held"), True),
    "folder ended": ("state", end_folder, True),
    "ticket held": ("state", lambda queue, row: edit_ticket(queue, row, held=True), True),
    "position changed": ("place", lambda queue, row: set_row(queue, row, position=99.0), True),
    "priority in the ticket": ("place", lambda queue, row: edit_ticket(queue, row, priority=9), True),
    "title changed": ("facts", lambda queue, row: set_row(queue, row, title="another"), True),
    "needs in the ticket": ("needs", lambda queue, row: edit_ticket(queue, row, after=("nobody",)), True),
    "orphans": ("orphan", add_orphans, False),
    "request changed": ("request", change_request, False),
    "job.json torn": ("damaged", lambda queue, row: (folder_of(queue, row) / "job.json").write_text("{"), False),
    "ticket torn": ("damaged", lambda queue, row: (folder_of(queue, row) / FILE).write_text("{"), False),
    "control torn": ("damaged", lambda queue, row: (folder_of(queue, row) / "control.json").write_text("{"), False),
    "result torn": ("state", lambda queue, row: (folder_of(queue, row) / "result.json").write_text("{"), False),
    "submission never finished": ("damaged", lambda queue, row: (folder_of(queue, row) / "job.json").unlink(), False),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_every_damage_is_found_and_only_that(queue: Queue, name: str) -> None:
    sound, row = submit(queue), submit(queue)
    assert examine(queue) == ()
    kind, damage, mended = DAMAGES[name]
    damage(queue, row)
    found = examine(queue)
    assert kind in {difference.kind for difference in found}, found
    assert sound.id not in {difference.job for difference in found}
    assert all(difference.sentence.endswith(".") for difference in found)
    bring_after_folders(queue)
    if mended:
        assert examine(queue) == (), "a dispatcher that begins mends it"
    assert queue.get(sound.id) == sound, "and leaves the others as they are"


@pytest.mark.parametrize("name", [name for name in DAMAGES if name not in ("request changed",)])
def test_rebuild_leaves_no_difference_but_what_is_damaged_on_disk(queue: Queue, name: str) -> None:
    sound, row = submit(queue, Placement(priority=3)), submit(queue)
    DAMAGES[name][1](queue, row)
    made, damaged = rebuild(queue)
    assert made + len(damaged) == (1 if name in ("folder deleted", "submission never finished") else 2)
    assert {difference.kind for difference in examine(queue)} <= {"damaged"}
    again = queue.get(sound.id)
    assert (again.state, again.priority, again.position) == (sound.state, 3, sound.position)


def test_rebuild_brings_everything_back_and_tells_the_readers_of_the_journal(either_queue: Queue) -> None:
    queue = either_queue
    first, second, third = submit(queue), submit(queue, Placement(held=True)), submit(queue, Placement(front=True))
    fourth = submit(queue, Placement(after=(first.id,)))
    queue.cancel(third.id)
    done = submit(queue)
    queue.job(done.id).folder.set_result(Result(outcome="succeeded", output={}))
    (folder_of(queue, done) / COLLECTED).write_text('{"dataset": "rex@1"}')
    bring_after_folders(queue)
    set_row(queue, done, state="succeeded", output={"dataset": "rex@1"})
    before = {row.id: (row.state, row.position, row.priority, row.title, row.output) for row in queue.list()}
    name, end = queue.journal_end()
    with queue.database.write() as connection:
        for table in (tables.job, tables.dependency, tables.attempt):
            connection.execute(table.delete())
    rebuild(queue)
    assert {row.id: (row.state, row.position, row.priority, row.title, row.output) for row in queue.list()} == before
    assert queue.needs(fourth.id) == (first.id,) and queue.get(second.id).state == "held"
    assert queue.journal_end()[0] == name, "ids go on"
    assert "rebuilt" in {entry.kind for entry in queue.journal(end)}
    backups = list((queue.home / "backups").iterdir())
    assert len(backups) == 1 and backups[0].stat().st_size > 0


def test_a_database_that_cannot_be_opened_is_set_aside_and_made_anew(queue: Queue) -> None:
    row = submit(queue)
    queue.close()
    path = queue.home / "studio.db"
    for file in queue.home.glob("studio.db-*"):
        file.unlink()
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(EnvironmentProblem, match="damaged") as caught:
        Queue.open(Jobs(queue.home))
    assert "fsck --rebuild" in caught.value.hint
    again = open_to_rebuild(Jobs(queue.home))
    assert rebuild(again) == (1, ())
    assert again.get(row.id).state == "queued" and examine(again) == ()
    assert b"this is no database" in (queue.home / "backups" / "studio-damaged-1.db").read_bytes()
    again.close()


def test_a_folder_that_was_never_queued_is_held_until_it_is_released(queue: Queue) -> None:
    job = queue.jobs.submit("import", {"toy": {}})
    row = queue.index(job)
    assert row.state == "held" and not row.managed and "release" in row.reason
    assert queue.index(job) == row, "asked twice it is the same"
    released = queue.release(job.id)
    assert (released.state, released.managed) == ("queued", True)
    assert examine(queue) == ()
