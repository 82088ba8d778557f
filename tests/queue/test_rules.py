"""The rules by themselves: what is tried again, how a worker is brought to its end, lanes, migrations, the database."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from sqlalchemy import Connection, text

from lorasmith import errors
from lorasmith.errors import ConfigError, EnvironmentProblem, LorasmithError
from lorasmith.jobs import Jobs
from lorasmith.queue import lanes, migrations
from lorasmith.queue.database import open_database
from lorasmith.queue.ladder import Ladder
from lorasmith.queue.migrations import STEPS, migrate
from lorasmith.queue.retries import Retries
from lorasmith.queue.states import Failure, failure_of
from lorasmith.queue.ticket import Attempt
from lorasmith.queue.verbs import Queue


def attempts(*failures: tuple[Failure, str, int, int]) -> list[Attempt]:
    return [
        Attempt(number=number, outcome="failed", failure=failure, error=error, step=step, checkpoint=checkpoint)
        for number, (failure, error, step, checkpoint) in enumerate(failures, 1)
    ]


def test_the_machine_s_doing_is_tried_three_times_with_longer_rests() -> None:
    rules, killed = Retries(rest=5.0), ("infrastructure", "killed", 7, 5)
    decisions = [rules.decide(attempts(*[killed] * count)) for count in (1, 2, 3, 4)]  # type: ignore[list-item]
    assert [decision.again for decision in decisions] == [True, True, True, False]
    assert [decision.rest for decision in decisions[:3]] == [5.0, 10.0, 20.0]
    assert "no further" in decisions[3].sentence


def test_progress_begins_the_count_anew() -> None:
    moving = attempts(*[("infrastructure", "killed", 10 * n, 10 * n) for n in range(1, 30)])
    assert Retries().decide(moving).again


@pytest.mark.parametrize("failure", ["out_of_memory", "out_of_disk", "request", "training"])
def test_what_must_be_changed_first_is_never_tried_blindly(failure: Failure) -> None:
    assert not Retries().decide(attempts((failure, "x", 0, 0))).again


def test_the_same_crash_at_the_same_step_twice_stops_and_another_one_does_not() -> None:
    rules = Retries(crash=5)
    crash: tuple[Failure, str, int, int] = ("crash", "ZeroDivisionError", 12, 10)
    assert rules.decide(attempts(crash)).again
    stopped = rules.decide(attempts(crash, crash))
    assert not stopped.again and "twice at step 12" in stopped.sentence and "ZeroDivisionError" in stopped.sentence
    assert rules.decide(attempts(crash, ("crash", "ZeroDivisionError", 13, 10))).again


def test_every_error_of_the_house_has_a_class() -> None:
    named = [name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, LorasmithError)]
    unclassed = {name for name in named if failure_of(name) == "crash"}
    assert unclassed == {"LorasmithError", "Stopped"}
    assert failure_of("ZeroDivisionError") == "crash"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_ladder_asks_signals_and_kills_each_after_its_grace(tmp_path: Path) -> None:
    clock = Clock()
    ladder = Ladder(tmp_path, 10.0, clock)
    seen = []
    for clock.now in (0.0, 9.9, 10.0, 15.0, 20.0, 30.0):
        seen.append(ladder.step())
    assert seen == [None, None, "signalled", None, "killed", "killed"]


def test_a_worker_that_is_saving_and_gets_on_is_not_hurried_for_ever_either(tmp_path: Path) -> None:
    clock = Clock()
    place = tmp_path / "checkpoints" / ".7.partial"
    place.mkdir(parents=True)
    (tmp_path / "heartbeat").write_text('{"beat": 1, "phase": "saving", "count": 1}')
    ladder = Ladder(tmp_path, 10.0, clock)
    seen = []
    for second in range(0, 130, 5):
        clock.now = float(second)
        (place / "adapter.safetensors").write_bytes(b"x" * (second + 1))
        seen.append(ladder.step())
    assert seen[:20] == [None] * 20, "its file grows"
    assert [rung for rung in seen if rung][:2] == ["signalled", "killed"]


def test_a_lane_serves_what_fits_it_and_shows_its_worker_no_other_card() -> None:
    assert lanes.serves("cuda:1", "cuda") and lanes.serves("cuda:1", "cuda:1")
    assert not lanes.serves("cuda:1", "cuda:0") and not lanes.serves("cpu", "cuda")
    assert lanes.environment_of("cuda:1")["CUDA_VISIBLE_DEVICES"] == "1"
    assert lanes.environment_of("cpu") == {}


def test_lanes_are_those_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "devices", lambda: ("cuda", "cpu"))
    monkeypatch.setattr(lanes, "nvidia_cards", lambda: ["one", "two"])
    assert lanes.lanes_here() == {"light": 2, "cpu": 1, "cuda:0": 1, "cuda:1": 1}
    assert lanes.wanted_by("train", {"config": {"device": "auto"}}) == "cuda"
    assert lanes.wanted_by("train", {"config": {"device": "cpu"}}) == "cpu"
    assert lanes.wanted_by("fetch", {"link": "x"}) == "light"
    monkeypatch.setattr(lanes, "devices", lambda: ("cpu",))
    assert lanes.lanes_here() == {"light": 2, "cpu": 1} and lanes.wanted_by("caption", {"device": "auto"}) == "cpu"


def add_a_column(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE job ADD COLUMN mood TEXT"))


def break_down(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE job ADD COLUMN half TEXT"))
    raise RuntimeError("the power is gone")


def test_a_migration_writes_a_backup_first_and_keeps_what_was_there(either_queue: Queue) -> None:
    row = either_queue.submit("import", {"toy": {}})
    backup = migrate(either_queue.database, either_queue.home / "backups", (*STEPS, add_a_column))
    assert backup is not None and backup.stat().st_size > 0
    with either_queue.database.read() as connection:
        assert connection.execute(text("SELECT id, mood FROM job")).one() == (row.id, None)
    if either_queue.database.path is not None:
        with closing(sqlite3.connect(backup)) as copy:
            assert copy.execute("SELECT id FROM job").fetchall() == [(row.id,)]
            assert "mood" not in {column[1] for column in copy.execute("PRAGMA table_info(job)")}
    else:
        assert row.id in backup.read_text()
    assert migrate(either_queue.database, either_queue.home / "backups", (*STEPS, add_a_column)) is None, "once"


def test_a_migration_that_breaks_down_leaves_the_version_before(either_queue: Queue) -> None:
    row = either_queue.submit("import", {"toy": {}})
    with pytest.raises(RuntimeError):
        migrate(either_queue.database, either_queue.home / "backups", (*STEPS, add_a_column, break_down))
    assert migrate(either_queue.database, either_queue.home / "backups", STEPS) is None
    assert either_queue.get(row.id) == row


def test_a_newer_database_is_refused_and_left_alone(queue: Queue) -> None:
    migrate(queue.database, queue.home / "backups", (*STEPS, add_a_column))
    with pytest.raises(EnvironmentProblem, match=f"has version 2, and this lorasmith knows {len(migrations.STEPS)}"):
        Queue.open(Jobs(queue.home))


@pytest.mark.parametrize("address", ["mysql://x/y", "not an address", "sqlite:///elsewhere.db"])
def test_an_address_that_is_not_postgres_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_database(tmp_path, address)
    assert "postgresql://" in caught.value.hint and not (tmp_path / "studio.db").exists()


def test_a_server_that_is_not_there_is_a_sentence_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="cannot be reached") as caught:
        open_database(tmp_path, "postgresql://me:s3cr3t-word@127.0.0.1:1/x?connect_timeout=2")
    assert "s3cr3t-word" not in str(caught.value)


class Partition(NamedTuple):
    mountpoint: str
    fstype: str


def test_a_network_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[Any] = [Partition("/", "ext4"), Partition(str(tmp_path.resolve()), "nfs4")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all=False: parts)
    with pytest.raises(EnvironmentProblem, match=r"network disk \(nfs4\)"):
        open_database(tmp_path / "home")
    parts[1] = Partition(str(tmp_path.resolve()), "xfs")
    open_database(tmp_path / "home").close()


def test_sqlite_is_durable(queue: Queue) -> None:
    with queue.database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2, "FULL"
