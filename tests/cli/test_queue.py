"""The queue from the command line: put off, put in order, worked off, looked at, mended."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.desk import Desk


@pytest.fixture
def queued(desk: Desk, tmp_path: Path) -> list[str]:
    """Three trainings that wait."""
    return [put_off(desk) for _ in range(3)]


def put_off(desk: Desk, *more: str) -> str:
    arguments = ("train", "pets", "--base", "sandbox", "--max-train-steps", "4", "--device", "cpu", "--queue", *more)
    return str(desk.ask(*arguments)["job"])


def order(desk: Desk) -> list[tuple[str, str]]:
    return [(row["id"], row["state"]) for row in desk.ask("queue", "list")["jobs"]]


def test_an_empty_queue_says_so(desk: Desk) -> None:
    assert desk.say("queue")[1] == "Nothing waits or runs.\n"
    assert desk.ask("queue") == {"jobs": [], "lanes": []}


def test_jobs_are_put_off_and_brought_in_order(desk: Desk, queued: list[str]) -> None:
    a, b, c = queued
    d = put_off(desk, "--front")
    held = put_off(desk, "--hold", "--priority", "5")
    later = put_off(desk, "--after", a)
    assert order(desk) == [
        (d, "queued"),
        (a, "queued"),
        (b, "queued"),
        (c, "queued"),
        (held, "held"),
        (later, "blocked"),
    ]
    desk.ask("queue", "front", c, b)
    desk.ask("queue", "back", d)
    desk.ask("queue", "priority", a, "9")
    desk.ask("queue", "hold", b, "--reason", "not tonight")
    assert [job for job, state in order(desk) if state == "queued"] == [a, c, d]
    shown = desk.say("queue")[1]
    assert "not tonight" in shown and f"It waits for {a}." in shown
    assert desk.ask("queue", "release", b)["jobs"][0]["state"] == "queued"
    assert [job for job, state in order(desk) if state == "queued"] == [a, c, b, d]


def test_what_has_ended_is_listed_when_asked_and_can_be_tried_again(desk: Desk, queued: list[str]) -> None:
    desk.ask("queue", "cancel", queued[0])
    assert queued[0] not in dict(order(desk))
    assert {row["id"]: row["state"] for row in desk.ask("queue", "list", "--all")["jobs"]}[queued[0]] == "cancelled"
    assert desk.ask("queue", "retry", queued[0])["jobs"][0]["state"] == "queued"
    assert order(desk)[-1][0] == queued[0]
    assert desk.ask("queue", "pause", queued[0])["jobs"][0]["state"] == "held"
    assert desk.ask("queue", "resume", queued[0])["jobs"][0]["state"] == "queued"
    journal = desk.ask("queue", "show", queued[0])["journal"]
    assert [entry["after"] for entry in journal if entry["kind"] == "state"][-4:] == [
        "cancelled",
        "queued",
        "held",
        "queued",
    ]


def test_a_clone_has_other_values_and_a_name_of_its_own(desk: Desk, queued: list[str]) -> None:
    clone = desk.ask("queue", "clone", queued[0], "--set", "max_train_steps=9")["job"]
    row = next(row for row in desk.ask("queue")["jobs"] if row["id"] == clone)
    assert row["parent"] == queued[0] and row["output_name"] == "pets-4"
    assert "no checkpoint" in desk.refused("queue", "clone", queued[0], "--from-newest", code=7)["message"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("queue", "cancel", "nobody"), 7, "no job 'nobody'"),
        (("queue", "hold"), 2, "JOB"),
        (("queue", "prioritty", "x"), 2, "no command"),
        (("queue", "drain"), 2, "No lane"),
        (("train", "pets", "--base", "sandbox", "--front"), 2, "--queue is not given"),
        (("train", "pets", "--base", "sandbox", "--queue", "--after", "nobody"), 7, "no job 'nobody'"),
        (("train", "pets", "--base", "sandbox", "--queue", "--priority", "500"), 2, "priority of 500"),
        (("caption", "pets", "--queue", "--trigger-word", "zib"), 2, "--trigger-word comes after"),
        (("generate", "a cat", "--base", "sandbox", "--queue", "--out", "x"), 2, "--out cannot wait"),
    ],
)
def test_refusals_are_sentences_with_a_hint(desk: Desk, arguments: tuple[str, ...], code: int, words: str) -> None:
    error = desk.refused(*arguments, code=code)
    assert words in error["message"] and error["hint"]


def test_the_first_refusal_of_several_ends_it_and_what_was_done_is_said(desk: Desk, queued: list[str]) -> None:
    code, _, err = desk.say("queue", "hold", queued[0], "nobody", queued[1])
    assert code == 7 and f"{queued[0]} is held" in err
    assert [state for _, state in order(desk)] == ["queued", "queued", "held"]


def test_the_queue_is_worked_off_by_real_workers(desk: Desk, tmp_path: Path) -> None:
    captions = desk.ask("caption", "pets", "--with", "sandbox", "--queue")["job"]
    training = put_off(desk)
    bad = desk.ask("certify", str(bad_adapter(tmp_path)), "--base", "sandbox", "--queue", "--priority", "3")["job"]
    code, _, err = desk.say("queue", "run", "--until-idle")
    assert code == 0 and f"{bad}: starting." in err and f"{bad}: succeeded." in err
    assert "light (2), cpu (1)" in err
    rows = {row["id"]: row for row in desk.ask("queue", "list", "--all")["jobs"]}
    assert rows[bad]["output"] == {"passed": False}, "a certificate that says no is a finished job"
    assert (rows[captions]["state"], rows[captions]["output"]) == ("succeeded", {"dataset": "pets@2"})
    assert (rows[training]["state"], rows[training]["output"]) == ("succeeded", {"adapter": "pets"})
    assert (desk.home / "adapters" / "pets.safetensors").is_file()
    assert desk.ask("queue", "fsck") == {"differences": []}
    assert {lane["name"] for lane in desk.ask("queue", "drain")["lanes"] if lane["draining"]} == {"cpu", "light"}
    assert "drained" in desk.say("queue")[1]
    assert not any(lane["draining"] for lane in desk.ask("queue", "drain", "--off")["lanes"])


def bad_adapter(folder: Path) -> Path:
    path = folder / "bad.safetensors"
    path.write_bytes(b"\x08\0\0\0\0\0\0\0not json")
    return path


def test_fsck_finds_and_mends(desk: Desk, queued: list[str]) -> None:
    assert desk.say("queue", "fsck")[:2] == (0, "No difference.\n")
    with closing(sqlite3.connect(desk.home / "studio.db")) as database, database:
        database.execute("DELETE FROM job WHERE id = ?", (queued[0],))
    found = desk.ask("queue", "fsck", code=3)["differences"]
    assert [(one["job"], one["kind"]) for one in found if one["kind"] == "no_row"] == [(queued[0], "no_row")]
    (desk.home / "studio.db").write_bytes(b"no database at all" * 500)
    for name in ("studio.db-wal", "studio.db-shm"):
        (desk.home / name).unlink(missing_ok=True)
    assert "fsck --rebuild" in desk.refused("queue", code=6)["hint"]
    assert desk.ask("queue", "fsck", "--rebuild") == {"jobs": 3, "damaged": []}
    assert desk.ask("queue", "fsck") == {"differences": []}
    assert [job for job, _ in order(desk)] == queued


def test_imports_bases_and_exports_wait_too(desk: Desk, tmp_path: Path) -> None:
    from tests.cli.desk import CAPTIONS, paint

    more = paint(tmp_path / "more", CAPTIONS)
    bring = desk.ask("import", str(more), "--name", "more", "--max-side", "128", "--queue", "--hold")["job"]
    add = desk.ask("import", str(more), "--into", "pets", "--queue", "--after", bring)["job"]
    (tmp_path / "base").mkdir()
    base = desk.ask("bases", "add", str(tmp_path / "base"), "--queue", "--hold")["job"]
    out = desk.ask("dataset", "export", "pets", "--layout", "kohya", "--to", str(tmp_path / "out"), "--queue")["job"]
    assert dict(order(desk)) == {bring: "held", add: "blocked", base: "held", out: "queued"}
    desk.ask("queue", "release", bring)
    desk.ask("queue", "cancel", base)
    desk.say("queue", "run", "--until-idle")
    states = {row["id"]: row["state"] for row in desk.ask("queue", "list", "--all")["jobs"]}
    assert states == {bring: "succeeded", add: "succeeded", base: "cancelled", out: "succeeded"}
    assert list((tmp_path / "out").rglob("*.png")) and "more" in desk.say("datasets")[1]
    for wrong in (("--queue", "--dry-run"), ("--front",), ("--queue", "--allow-host", "nas.local")):
        desk.refused("import", str(more), *wrong, code=2)
    desk.refused("import", str(tmp_path / "nothing"), "--queue", code=3)
    desk.refused("bases", "add", "what is this?", "--queue", code=4)
    desk.refused("dataset", "export", "pets", "--layout", "nope", "--to", str(tmp_path / "o"), "--queue", code=2)


def test_what_helps_a_failed_job_is_said_and_done(desk: Desk, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export = ("dataset", "export", "pets", "--layout", "kohya", "--to", str(out))
    desk.ask(*export)
    next(iter(out.rglob("*.txt"))).write_text("my own words")
    job = desk.ask(*export, "--queue")["job"]
    desk.say("queue", "run", "--until-idle")
    told = desk.ask("queue", "remedies", job)["diagnosis"]
    assert told["id"] == "folder-taken" and "is not as this program wrote it" in told["evidence"]
    assert f"lorasmith queue remedy {job} replace" in desk.say("queue", "remedies", job)[1]
    desk.refused("queue", "remedy", job, "nonsense", code=2)
    again = desk.ask("queue", "remedy", job, "replace")["job"]
    assert desk.ask("queue", "remedies", again)["diagnosis"] is None
    desk.say("queue", "run", "--until-idle")
    assert dict(order(desk)) == {} and "my own words" not in {path.read_text() for path in out.rglob("*.txt")}
