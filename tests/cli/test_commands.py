"""The command line as a user meets it: real datasets and bases, a stand-in for the worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorasmith.cli import run
from lorasmith.jobs import Jobs
from tests.stand_in import CERTIFICATE, WORKER, command, tell, tell_to_train, write_base, write_pictures


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORASMITH_HOME", str(tmp_path / "héim"))
    monkeypatch.setattr("lorasmith.jobs.worker_command", command)
    return tmp_path / "héim"


@pytest.fixture
def base(tmp_path: Path) -> str:
    return str(write_base(tmp_path / "tiny base"))


@pytest.fixture
def photos(tmp_path: Path) -> str:
    return str(write_pictures(tmp_path / "my photos"))


Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(home: Path, capfd: pytest.CaptureFixture[str]) -> Say:
    """Run a command line: exit code, stdout, stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run(arguments)
        return code, *capfd.readouterr()

    return call


@pytest.fixture
def ask(say: Say) -> Callable[..., Any]:
    """Run a command line with --json: the one document."""

    def call(*arguments: str, code: int = 0) -> Any:
        ended, out, _ = say(*arguments, "--json")
        document = json.loads(out)
        assert ended == code, document
        return document

    return call


@pytest.fixture
def cats(say: Say, photos: str) -> str:
    assert say("import", photos, "--name", "cats")[0] == 0
    return "cats"


# Prepare


def test_import_accounts_for_every_file(say: Say, ask: Callable[..., Any], photos: str) -> None:
    code, out, _ = say("import", photos, "--name", "cats")
    assert code == 0
    assert out.startswith("cats@1: 3 pictures taken, 1 file left out.\n  notes.pdf: ")
    document = ask("import", photos, "--name", "dogs")
    assert document["reference"] == "dogs@1" and document["pictures"] == 3 and document["captioned"] == 2
    assert {fate["path"] for fate in document["ledger"]} == {path.name for path in Path(photos).iterdir()}


def test_import_of_nothing_is_a_sentence(ask: Callable[..., Any], tmp_path: Path) -> None:
    error = ask("import", str(tmp_path / "nowhere.zip"), code=3)["error"]
    assert error["exit_code"] == 3 and error["message"] and error["hint"]


def test_check_ends_with_its_exit_code(say: Say, ask: Callable[..., Any], cats: str, base: str, tmp_path: Path) -> None:
    findings = ask("check", cats, "--trigger-word", "ohwx", "--base", base, code=3)["findings"]
    assert ("C1", "error") in {(finding["id"], finding["severity"]) for finding in findings}
    say("import", str(write_pictures(tmp_path / "more", [f"a cat {n}" for n in range(6)])), "--name", "more")
    code, out, _ = say("check", "more", "--base", base)
    assert code == 0 and "error: " not in out and out.splitlines()[-1].startswith("more@1: ")


def test_captions_are_shown_and_edited(say: Say, ask: Callable[..., Any], cats: str) -> None:
    code, out, _ = say("captions", cats, "--trigger-word", "ohwx", "--remove-tag", "red")
    assert code == 0 and "猫 0.png: ohwx, a cat\n" in out and out.endswith("cats@3 made from cats@1.\n")
    assert "Nothing to change in cats@3." in say("captions", cats, "--trigger-word", "ohwx")[1]
    assert ask("captions", "cats@1")["captions"]["猫 2.png"] == ""
    assert ask("datasets") == {"datasets": {"cats": [1, 2, 3]}}


def test_caption_lists_what_failed(say: Say, cats: str, home: Path) -> None:
    said = {"猫 0.png": {"caption": "a tiger", "tags": []}, "猫 1.png": {"caption": "a wolf", "tags": []}}
    tell(home, "caption", output={"captions": said, "failures": {"猫 2.png": "too dark"}})
    code, out, _ = say("caption", cats, "--trigger-word", "ohwx", "--set", "general_threshold=0.4")
    assert code == 0
    assert out.startswith("cats@3: 3 captions written, 1 failed.\n  猫 2.png: too dark\n")


# Train


def test_train_ends_with_the_adapter(say: Say, cats: str, base: str, home: Path) -> None:
    tell_to_train(home, "metric", "sample")
    code, out, err = say("train", cats, "--base", base, "--rank", "4", "--set", "max_train_steps=7", "--seed", "3")
    assert (code, out.splitlines()[0]) == (0, str(home / "adapters" / "cats.safetensors"))
    assert "training ...\n" in err and "loss 0.25" in err and "preview at step 1: samples/1.png" in err
    config = Jobs(home).get("last").record().payload["config"]
    assert (config["adapter"]["rank"], config["max_train_steps"], config["seed"]) == (4, 7, 3)
    assert config["output_name"] == "cats"


def test_train_with_json_is_one_document_and_events_are_lines(
    say: Say, ask: Callable[..., Any], cats: str, base: str, home: Path
) -> None:
    tell_to_train(home, "metric")
    document = ask("train", cats, "--base", base)
    assert document["state"] == "succeeded" and Path(document["adapter"]).is_file()
    assert document["output"]["certificate"]["passed"] is True
    code, out, err = say("train", cats, "--base", base, "--json", "--json-events")
    assert code == 0 and json.loads(out)
    assert [json.loads(line)["kind"] for line in err.splitlines()][-3:] == ["metric", "progress", "finished"]


def test_options_come_from_the_file_and_the_command_line_wins(
    ask: Callable[..., Any], cats: str, base: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"base: {base}\ndataset: {cats}\nlearning_rate: 2e-4\nadapter:\n  rank: 8\n")
    config = ask("train", "--config", str(file), "--rank", "4", "--dry-run")["config"]
    assert config["adapter"]["rank"] == 4 and config["optimizer"]["learning_rate"] == 2e-4


def test_dry_run_shows_config_and_plan_and_makes_no_job(
    say: Say, ask: Callable[..., Any], cats: str, base: str, home: Path
) -> None:
    document = ask("train", cats, "--base", base, "--max-train-steps", "6", "--dry-run")
    assert document["plan"]["steps"] == 6 and document["plan"]["pictures"] == 3
    assert document["config"]["data"]["resolution"] == 128
    assert "have no caption" in document["notices"][0]["message"]
    code, out, _ = say("train", cats, "--base", base, "--max-train-steps", "6", "--dry-run")
    assert code == 0 and "Steps: 6 of 1 x 1 pictures, 2.0 epochs." in out and "Disk: " in out
    assert not (home / "jobs").exists()


def test_rehearse_states_the_time(say: Say, cats: str, base: str, home: Path) -> None:
    figures = {"seconds_per_step": 0.5, "estimated_seconds": 90.0, "seconds": {"loading": 1.0}}
    tell(home, "train", output=figures | {"peak_rss_bytes": 2e9, "peak_device_bytes": 0})
    code, out, _ = say("train", cats, "--base", base, "--dry-run", "--rehearse")
    assert code == 0 and "Time: about 1 min 30 s at 0.50 s per step." in out and "Memory: 2 GB" in out


def test_detach_returns_while_the_worker_goes_on(ask: Callable[..., Any], cats: str, base: str, home: Path) -> None:
    tell(home, "train", "wait")
    job = ask("train", cats, "--base", base, "--detach")["job"]
    assert ask("jobs")["jobs"][0] | {"doing": ""} == ask("jobs", "list")["jobs"][0] | {"doing": ""}
    assert ask("jobs", "save", job)["state"] == "running"
    assert ask("resume", job, code=7)["error"]["message"].endswith("is already running.")
    assert ask("jobs", "stop", job)["id"] == job
    assert Jobs(home).get(job).wait().outcome == "stopped"
    assert ask("jobs", "show", job)["state"] == "stopped"


def test_a_running_job_shows_its_phase_and_heartbeat(
    say: Say, ask: Callable[..., Any], cats: str, base: str, home: Path
) -> None:
    tell(home, "train", "wait")
    job = Jobs(home).get(ask("train", cats, "--base", base, "--detach")["job"])
    (job.folder.path / "heartbeat").write_text('{"beat": 3, "phase": "saving", "count": 9}')
    os.utime(job.folder.path / "heartbeat", (time.time() - 90, time.time() - 90))
    shown = ask("jobs", "show")
    assert shown["heartbeat"]["phase"] == "saving" and 90 <= shown["heartbeat"]["age"] < 120
    assert ", saving\n" in say("jobs", "show")[1] and "  heartbeat 1 min " in say("jobs", "show")[1]
    job.stop(force=True, grace=0.1)
    assert ask("jobs", "show")["heartbeat"] is None


def test_a_failed_job_is_told_with_its_exit_code(say: Say, cats: str, base: str, home: Path) -> None:
    tell(home, "train", "fail")
    code, out, err = say("train", cats, "--base", base)
    assert (code, out) == (4, "")
    assert err.endswith("Error: The base is damaged.\n  Get it again.\n")


def test_a_dead_worker_is_told_and_resume_goes_on(say: Say, cats: str, base: str, home: Path) -> None:
    tell(home, "train", "die by exit code")
    code, _, err = say("train", cats, "--base", base)
    assert code == 7 and "exit code 3" in err and "the last words of a library" in err
    code, out, _ = say("jobs", "show")
    assert code == 0 and "lost" in out and "lorasmith resume" in out
    assert say("jobs", "log")[1] == "the last words of a library\n"
    tell_to_train(home)
    code, out, _ = say("resume")
    assert code == 0 and out.startswith(str(home / "adapters" / "cats.safetensors"))


def test_a_resumed_caption_job_still_commits(say: Say, cats: str, home: Path) -> None:
    tell(home, "caption", "die by exit code")
    assert say("caption", cats)[0] == 7
    tell(home, "caption", output={"captions": {"猫 0.png": {"caption": "a tiger", "tags": []}}, "failures": {}})
    code, out, _ = say("resume")
    assert (code, out) == (0, "cats@2 has the captions.\n")


def test_one_damaged_job_hides_no_other(ask: Callable[..., Any], cats: str, base: str, home: Path) -> None:
    tell_to_train(home)
    ask("train", cats, "--base", base)
    broken = home / "jobs" / "20200101-000000-train"
    broken.mkdir()
    (broken / "job.json").write_text("{")
    assert [job["state"] for job in ask("jobs")["jobs"]] == ["damaged", "succeeded"]


def started_train(home: Path, cats: str, base: str) -> subprocess.Popen[str]:
    """``lorasmith train`` as a process of its own, with the stand-in, until its worker waits."""
    code = (
        "import sys, lorasmith.jobs\n"
        f"lorasmith.jobs.worker_command = lambda folder: (sys.executable, {str(WORKER)!r}, str(folder))\n"
        "from lorasmith.cli import main\n"
        f"sys.argv = ['lorasmith', 'train', {cats!r}, '--base', {base!r}]\n"
        "main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line in ("waiting ...\n", "deaf ...\n"):
            return process
    raise AssertionError("the worker never waited")


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_saves_stops_and_says_how_to_go_on(say: Say, cats: str, base: str, home: Path) -> None:
    tell(home, "train", "wait")
    process = started_train(home, cats, base)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Saving and stopping" in err and "is stopped. `lorasmith resume" in out
    assert Jobs(home).get("last").state() == "stopped"


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_a_second_ctrl_c_leaves_the_worker_alone(say: Say, cats: str, base: str, home: Path) -> None:
    tell(home, "train", "ignore everything")
    process = started_train(home, cats, base)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert any("Saving and stopping" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    job = Jobs(home).get("last")
    assert process.returncode == 130 and "to save and stop by itself" in err
    assert job.state() == "running"
    job.stop(force=True, grace=0.1)


@pytest.mark.skipif(os.name == "nt", reason="sends SIGUSR1")
def test_a_signal_in_the_middle_of_a_line_is_answered(tmp_path: Path) -> None:
    """Streams of Python refuse to be entered twice; who presses Ctrl-C in the middle of a line is told all the same."""
    code = (
        "import io, os, signal, sys\n"
        "from lorasmith.cli.session import Session\n"
        "session = object.__new__(Session)\n"
        "object.__setattr__(session, 'json', False)\n"
        "said = type(session).said\n"
        "signal.signal(signal.SIGUSR1, lambda *_: session.exclaim('stopping'))\n"
        "class Slow(io.RawIOBase):\n"
        "    def writable(self): return True\n"
        "    def fileno(self): return 2\n"
        "    def write(self, data):\n"
        "        os.kill(os.getpid(), signal.SIGUSR1)\n"
        "        return os.write(2, bytes(data))\n"
        "sys.stderr = io.TextIOWrapper(io.BufferedWriter(Slow()), write_through=True)\n"
        "sys.stderr.write('a line\\n')\n"
        "sys.stderr.flush()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "stopping" in done.stderr and "a line" in done.stderr


# Use


def test_generate_copies_and_writes_over_nothing(say: Say, cats: str, base: str, home: Path, tmp_path: Path) -> None:
    image = {"path": "0.png", "prompt": "a", "negative_prompt": "", "seed": 1, "adapters": []}
    tell(home, "generate", output={"images": [image]}, files={"0.png": "picture"})
    out = tmp_path / "out"
    for name in ("00000.png", "00001.png"):
        code, said, _ = say("generate", "a", "--base", base, "--out", str(out))
        assert code == 0 and said == f"{out / name}\n"
    assert Jobs(home).get("last").record().payload["prompts"] == ["a"]


def test_a_grid_is_asked_for_and_answered(
    say: Say, ask: Callable[..., Any], cats: str, base: str, home: Path, tmp_path: Path
) -> None:
    adapter, out = tmp_path / "rex.safetensors", tmp_path / "out"
    adapter.write_bytes(b"weights")
    image = {"path": "0.png", "prompt": "a", "negative_prompt": "", "seed": 1, "adapters": []}
    tell(home, "generate", output={"images": [image]}, files={"0.png": "picture", "grid.png": "sheet"})
    given = ("generate", "a", "--base", base, "--adapter", str(adapter), "--out", str(out))
    document = ask(*given, "--grid-weights", "0,0.5,1")
    asked = Jobs(home).get("last").record().payload
    assert asked["grid"] == {"adapters": [str(adapter)], "weights": [0, 0.5, 1]} and asked["adapters"] == []
    assert document["grid"] == str(out / "grid-00000.png") and (out / "grid-00000.png").read_text() == "sheet"


def test_certify_ends_with_5_when_the_file_fails(
    say: Say, ask: Callable[..., Any], cats: str, base: str, home: Path
) -> None:
    tell_to_train(home)
    ask("train", cats, "--base", base)
    tell(home, "certify", output=CERTIFICATE)
    assert ask("certify", "cats", "--base", base)["passed"] is True
    tell(home, "certify", output=CERTIFICATE | {"passed": False, "findings": ["An alpha is missing."]})
    code, out, _ = say("certify", "cats", "--base", base)
    assert code == 5 and "An alpha is missing." in out


def test_what_a_certificate_finds_is_said_once(
    say: Say, ask: Callable[..., Any], cats: str, base: str, home: Path
) -> None:
    tell_to_train(home)
    ask("train", cats, "--base", base)
    output = CERTIFICATE | {"passed": False, "findings": ["An alpha is missing."]}
    tell(home, "certify", "notice An alpha is missing.", "notice It is a slow day.", output=output)
    code, out, err = say("certify", "cats", "--base", base)
    assert code == 5 and out.count("An alpha is missing.") == 1
    assert "An alpha is missing." not in err and "It is a slow day." in err
    code, _, err = say("certify", "cats", "--base", base, "--json", "--json-events")
    assert code == 5 and "An alpha is missing." in err


def test_doctor_answers(ask: Callable[..., Any]) -> None:
    document = ask("doctor", code=0)
    assert document["can_train"] is True and {"Python", "torch", "sandbox"} <= {c["name"] for c in document["checks"]}


# Refusals


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["trian", "cats"], 2, "Did you mean 'lorasmith train'?"),
        (["jobs", "shwo"], 2, "Did you mean 'lorasmith jobs show'?"),
        (["train", "cats", "--rnak", "4"], 2, "Did you mean '--rank'?"),
        (["train", "cats", "--base", "BASE", "--set", "adapter.rnak=4"], 2, "Did you mean 'adapter.rank'?"),
        (["train", "cats", "--base", "BASE", "--rank", "two"], 2, "adapter.rank"),
        (["train", "cats", "--base", "BASE", "--rank", "4", "--set", "adapter.rank=8"], 2, "given twice"),
        (["train", "cats", "--base", "BASE", "--set", "rank"], 2, "KEY=VALUE"),
        (["train", "cats"], 2, "No base is chosen"),
        (["train", "--base", "BASE"], 2, "No dataset is named"),
        (["train", "dogs", "--base", "BASE"], 3, "dogs"),
        (["train", "cats", "--base", "/nowhere/at/all"], 4, "no base at"),
        (["train", "cats", "--config", "nowhere.yaml"], 2, "no config file"),
        (["import"], 2, "Missing argument 'SOURCE...'"),
        (["check", "dogs"], 3, "dogs"),
        (["caption", "cats", "--captioner", "wd_tager"], 2, "Did you mean 'wd_tagger'?"),
        (["inspect", "nope"], 5, "no adapter 'nope'"),
        (["generate", "a", "--base", "BASE", "--adapter", "nope"], 5, "no adapter 'nope'"),
        (["generate", "a", "--base", "BASE", "--adapter", "nope:x"], 2, "not a weight"),
        (["generate", "a", "--base", "BASE", "--grid-weights", "0,1"], 2, "without an adapter"),
        (["generate", "a", "--base", "BASE", "--adapter", "x:1", "--grid-weights", "0,1"], 2, "weight of its own"),
        (["generate", "a", "--base", "BASE", "--adapter", "x", "--grid-weights", "0;1"], 2, "no list of weights"),
        (["caption", "cats", "--trigger-word", " "], 2, "trigger word is empty"),
        (["jobs", "show", "nope"], 7, "no job 'nope'"),
        (["resume"], 7, "no job 'last'"),
    ],
)
def test_bad_input_is_one_sentence_with_the_next_thing_to_do(
    say: Say, cats: str, base: str, arguments: list[str], code: int, words: str
) -> None:
    arguments = [base if argument == "BASE" else argument for argument in arguments]
    ended, out, err = say(*arguments)
    assert (ended, out) == (code, "") and words in err
    assert err.startswith("Error: ") and len(err.splitlines()) == 2 and "Traceback" not in err
    ended, out, err = say(*arguments, "--json")
    error = json.loads(out)["error"]
    assert ended == error["exit_code"] == code and error["hint"] and err == ""


def test_debug_shows_where_it_came_from(say: Say) -> None:
    code, _, err = say("check", "dogs", "--debug")
    assert code == 3 and err.startswith("Traceback") and "Error: " in err
