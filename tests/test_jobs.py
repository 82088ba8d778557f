"""Jobs by what their folder says: started, followed, stopped, killed, gone on with; a stand-in plays the worker."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

import lorasmith
from lorasmith.errors import BaseError, EnvironmentProblem, JobError, LorasmithError, OutOfDisk
from lorasmith.events import Event, Notice, Phase, Progress
from lorasmith.jobfolder import JobFolder, Result
from lorasmith.jobs import Job, Jobs
from tests.stand_in import command

posix = pytest.mark.skipif(os.name == "nt", reason="signals and sessions of POSIX")


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    made = Jobs(tmp_path / "héim mit Leerzeichen", command=command)
    yield made
    for job in made.list():
        if job.state() == "running":
            job.stop(force=True, grace=0.0)


def submit(jobs: Jobs, *script: str, **payload: Any) -> Job:
    return jobs.submit("train", {"script": list(script), **payload}, name="Mäscot one")


def until(job: Job, phase: str, events: Iterator[Event] | None = None) -> Iterator[Event]:
    """Follow until the job is in that phase; the rest of the events is handed back."""
    events = events or job.follow()
    for event in events:
        if event == Phase(name=phase, time=event.time):
            return events
    raise AssertionError(f"the job never came to '{phase}'")


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


def test_submit_writes_a_frozen_record_under_a_sortable_name(jobs: Jobs) -> None:
    job = submit(jobs, "metric")
    assert job.id[:8].isdigit() and job.id.endswith("-train-mascot-one")
    assert job.record().payload == {"script": ["metric"]}
    assert job.state() == "queued"


def test_ids_never_collide_and_nothing_is_overwritten(jobs: Jobs) -> None:
    many = [submit(jobs, str(number)) for number in range(30)]
    assert len({job.id for job in many}) == 30
    assert sorted(job.record().payload["script"][0] for job in many) == sorted(str(n) for n in range(30))


def test_jobs_of_one_second_are_listed_as_they_were_asked(jobs: Jobs) -> None:
    asked = [submit(jobs, str(number)).id for number in range(12)]
    for number, name in enumerate(asked):
        os.utime(
            jobs.folder / name / "job.json", ns=(number, number)
        )  # a clock coarser than this loop tells them apart
    assert [job.id for job in jobs.list()] == asked or len({name[:15] for name in asked}) > 1
    assert jobs.get("last").id == asked[-1]


def test_a_payload_that_is_not_json_leaves_no_folder(jobs: Jobs) -> None:
    with pytest.raises(JobError, match="cannot be written down"):
        jobs.submit("train", {"model": object()})
    assert jobs.list() == () and not list(jobs.folder.iterdir())


def test_a_job_runs_to_its_end_and_says_everything(jobs: Jobs) -> None:
    job = submit(jobs, "metric").start()
    assert kinds(list(job.follow())) == ["phase", "metric", "progress", "finished"]
    assert job.state() == "succeeded"
    assert job.output() == {"steps": 1}
    assert kinds(list(job.follow())) == ["phase", "metric", "progress", "finished"], "what was said stays readable"


def test_the_state_is_read_by_another_process_in_the_same_way(jobs: Jobs) -> None:
    job = submit(jobs, "wait").start()
    until(job, "waiting")
    other = Jobs(jobs.home).get(job.id)
    assert other.state() == "running"
    other.stop()
    assert other.wait().outcome == "stopped"
    assert job.state() == other.state() == "stopped"


def test_a_queued_job_cannot_be_followed_for_ever(jobs: Jobs) -> None:
    with pytest.raises(JobError, match="nobody runs it"):
        list(submit(jobs).follow())


@posix
def test_killed_worker_is_told_with_signal_and_way_on(jobs: Jobs) -> None:
    job = submit(jobs, "wait once").start()
    events = until(job, "waiting")
    owner = json.loads((job.folder.path / "owner.json").read_text())
    os.kill(owner["pid"], signal.SIGKILL)
    with pytest.raises(JobError, match=rf"signal 9 .*`lorasmith resume {job.id}` goes on"):
        list(events)
    assert job.state() == "lost"
    assert job.resume().wait().outcome == "succeeded"


def test_a_worker_that_ends_in_silence_is_told_with_its_last_words(jobs: Jobs) -> None:
    job = submit(jobs, "metric", "die by exit code").start()
    seen: list[Event] = []
    with pytest.raises(JobError) as caught:
        for event in job.follow():
            seen.append(event)
    assert kinds(seen) == ["phase", "metric"], "what it said before is not lost"
    assert "exit code 3" in caught.value.message
    assert "the last words of a library" in caught.value.hint
    assert Jobs(jobs.home).get(job.id).state() == "lost"
    with pytest.raises(JobError, match="exit status is not known"):
        Jobs(jobs.home).get(job.id).wait()


@posix
def test_a_torn_line_is_not_an_event_and_hides_none_before_it(jobs: Jobs) -> None:
    job = submit(jobs, "metric", "half a line", "die by signal").start()
    seen: list[Event] = []
    with pytest.raises(JobError):
        for event in job.follow():
            seen.append(event)
    assert kinds(seen) == ["phase", "metric"]


def test_an_event_written_in_two_halves_arrives_once(jobs: Jobs) -> None:
    job = submit(jobs, "wait").start()
    events = until(job, "waiting")
    whole = Notice(message="日本語").to_json().encode() + b"\n"
    with (job.folder.path / "events.jsonl").open("ab") as stream:
        stream.write(whole[:20])
        stream.flush()
        assert [e.kind for _, e in job.folder.read_events()] == ["phase", "phase"]
        stream.write(whole[20:])
    assert next(events) == Notice(message="日本語", time=json.loads(whole)["time"])


def test_two_starts_at_once_make_one_worker(jobs: Jobs) -> None:
    job = submit(jobs, "wait")
    refusals: list[JobError] = []

    def start() -> None:
        try:
            Jobs(jobs.home, jobs.command).get(job.id).start()
        except JobError as refusal:
            refusals.append(refusal)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(job, "waiting")
    assert len(refusals) == 3 and all("already running" in refusal.message for refusal in refusals)
    job.stop()
    job.wait()
    assert len((job.folder.path / "owners.txt").read_text().splitlines()) == 1


def test_pause_and_resume_keep_the_earlier_result(jobs: Jobs) -> None:
    job = submit(jobs, "wait once").start()
    until(job, "waiting")
    job.pause()
    assert job.wait().outcome == "paused" and job.state() == "paused"
    job.resume()
    assert job.wait().outcome == "succeeded"
    assert json.loads((job.folder.path / "result.1.json").read_text())["outcome"] == "paused"
    assert job.folder.control().wanted == "run"
    assert kinds(list(job.follow())) == ["phase", "phase", "finished", "phase", "progress", "finished"]
    assert kinds(list(job.follow(latest=True))) == ["phase", "progress", "finished"]


def test_a_job_that_has_ended_cannot_pause(jobs: Jobs) -> None:
    done = submit(jobs).start()
    done.wait()
    with pytest.raises(JobError, match=r"cannot pause: it has ended \(succeeded\)"):
        done.pause()


def test_a_job_that_succeeded_or_runs_is_not_resumed(jobs: Jobs) -> None:
    job = submit(jobs, "wait").start()
    with pytest.raises(JobError, match="already running"):
        job.resume()
    job.stop()
    job.wait()
    done = submit(jobs).start()
    done.wait()
    with pytest.raises(JobError, match="has succeeded"):
        done.resume()
    with pytest.raises(JobError, match="started before"):
        done.start()


def test_save_and_sample_are_counted_so_that_none_is_missed(jobs: Jobs) -> None:
    job = submit(jobs, "wait").start()
    events = until(job, "waiting")
    job.save_now()
    assert getattr(next(events), "message", "") == "saved 1"
    job.sample_now()
    assert getattr(next(events), "message", "") == "sampled 1"
    job.save_now()
    assert getattr(next(events), "message", "") == "saved 2"
    job.stop()
    list(events)
    with pytest.raises(JobError, match="not running"):
        job.save_now()


def test_a_deaf_worker_is_ended_by_force_with_a_result(jobs: Jobs) -> None:
    job = submit(jobs, "ignore everything").start()
    until(job, "deaf")
    job.stop(force=True, grace=0.1)
    result = job.result()
    assert result is not None and result.outcome == "stopped" and "by force" in result.message
    assert job.state() == "stopped"


def test_force_leaves_a_worker_alone_that_stops_when_asked(jobs: Jobs) -> None:
    job = submit(jobs, "wait").start()
    until(job, "waiting")
    job.stop(force=True, grace=20.0)
    result = job.result()
    assert result is not None and result.outcome == "stopped" and result.message == ""


def test_stopping_a_queued_job_ends_it(jobs: Jobs) -> None:
    job = submit(jobs)
    job.stop()
    assert job.state() == "stopped"


def test_a_strangers_process_is_never_taken_for_the_worker(jobs: Jobs) -> None:
    job = submit(jobs)
    me = psutil.Process()
    stranger = {"pid": me.pid, "started": me.create_time() - 3600}
    (job.folder.path / "owner.json").write_text(json.dumps(stranger))
    assert job.state() == "lost"
    (job.folder.path / "owner.json").write_text(json.dumps(stranger | {"started": me.create_time()}))
    assert job.state() == "running"
    (job.folder.path / "owner.json").unlink()


def test_the_workers_error_reaches_the_caller_with_its_class(jobs: Jobs) -> None:
    job = submit(jobs, "fail").start()
    assert job.wait().outcome == "failed"
    with pytest.raises(BaseError, match=r"The base is damaged\. Get it again\."):
        job.output()


def test_an_error_that_nobody_foresaw_keeps_its_exit_code(jobs: Jobs) -> None:
    job = submit(jobs)
    job.folder.set_result(Result(outcome="failed", message="Odd.", error="ZeroDivisionError"))
    (job.folder.path / "log.txt").write_text("the cause\n")
    with pytest.raises(LorasmithError, match=r"Odd\.") as caught:
        job.output()
    assert caught.value.exit_code == 1 and caught.value.hint.endswith("  the cause")


def test_a_full_disk_pauses_and_says_so(jobs: Jobs) -> None:
    job = submit(jobs)
    job.folder.set_result(Result(outcome="paused", message="The disk is full.", error="OutOfDisk", exit_code=6))
    assert job.state() == "paused"
    with pytest.raises(OutOfDisk, match="disk is full"):
        job.output()


def test_jobs_are_found_by_part_of_their_id_and_missing_ones_named(jobs: Jobs) -> None:
    first, second = submit(jobs), jobs.submit("caption", {})
    assert jobs.get("caption").id == second.id
    assert jobs.get("last").id == second.id
    assert jobs.get(first.id).id == first.id
    with pytest.raises(JobError, match="could be any of 2"):
        jobs.get("20")
    with pytest.raises(JobError, match=f"Did you mean '{second.id}'"):
        jobs.get(second.id.replace("caption", "captoin"))
    with pytest.raises(JobError, match="no job"):
        jobs.get("../../etc")


def test_damaged_files_are_a_sentence(jobs: Jobs) -> None:
    job = submit(jobs)
    (job.folder.path / "result.json").write_text("{")
    assert job.state() == "lost"
    with pytest.raises(JobError, match="damaged"):
        job.result()
    assert job.resume().wait().outcome == "succeeded"
    with pytest.raises(JobError, match="no job at"):
        Job(JobFolder(jobs.folder / "gone"), jobs).stop()


@posix
def test_the_worker_has_a_session_of_its_own_and_no_stdin(jobs: Jobs) -> None:
    job = submit(jobs, "wait").start()
    until(job, "waiting")
    pid = json.loads((job.folder.path / "owner.json").read_text())["pid"]
    assert os.getsid(pid) == pid != os.getsid(0)
    job.stop()
    assert Progress not in {type(event) for event in job.follow()}


def test_a_worker_finds_the_package_from_any_folder(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(lorasmith.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", ".")
    assert submit(jobs).start().wait().outcome == "succeeded"
    monkeypatch.delenv("PYTHONPATH")
    assert submit(jobs).start().wait().outcome == "succeeded"


def test_a_worker_that_cannot_be_started_changes_nothing(jobs: Jobs) -> None:
    job = submit(jobs)
    hopeless = Job(job.folder, Jobs(jobs.home, command=lambda folder: (str(folder / "no such program"),)))
    with pytest.raises(EnvironmentProblem, match="No worker can be started"):
        hopeless.start()
    assert job.state() == "queued"
    job.stop()
    with pytest.raises(EnvironmentProblem):
        hopeless.resume()
    assert job.state() == "stopped"
    assert job.resume().wait().outcome == "succeeded"


def test_while_a_worker_is_being_started_the_job_is_not_lost(jobs: Jobs) -> None:
    seen: list[str] = []

    def look(folder: Path) -> Sequence[str]:
        seen.append(Jobs(jobs.home).get(folder.name).state())
        return command(folder)

    job = submit(jobs, "wait once").start()
    until(job, "waiting")
    job.pause()
    job.wait()
    assert Job(job.folder, Jobs(jobs.home, look)).resume().wait().outcome == "succeeded"
    assert seen == ["running"]
