"""``lorasmith check`` for people and for machines, and the repairs it carries out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lorasmith.cli.checking import _ranges
from lorasmith.datasets.checks import CHECKS
from tests.cli.desk import Desk

SMALL = ("--base", "sandbox")


def test_findings_are_grouped_by_severity_with_their_repair(desk: Desk) -> None:
    code, out, err = desk.say("check", "pets", *SMALL, "--trigger-word", "solo cat")
    assert code == 3 and err == "" and "\x1b" not in out
    lines = out.splitlines()
    assert lines[0].startswith("pets@1: 7 pictures. Looked at for any goal with the trigger word 'solo cat' at 128")
    titles = [line.partition(" (")[0] for line in lines if line.endswith(")") and not line.startswith(" ")]
    assert titles == ["Errors", "Warnings", "Worth knowing"]
    assert "        lorasmith check pets --base sandbox --trigger-word 'solo cat' --fix C5" in lines
    assert "Health " in out and any(line.startswith("  captions ") and " of 30 " in line for line in lines)
    assert lines[-1].startswith("pets@1: ") and " errors, " in lines[-1]
    assert "Why: " not in out and "Why: " in desk.say("check", "pets", *SMALL, "-v")[1]


def test_the_document_is_whole(desk: Desk) -> None:
    document = desk.ask("check", "pets", *SMALL, "--goal", "character", "--batch-size", "2", "--epochs", "2", code=3)
    assert {"findings", "ran", "not_run", "health", "looked_at", "reference"} <= document.keys()
    assert set(document["ran"]) | set(document["not_run"]) == set(CHECKS)
    parts = document["health"]["parts"]
    assert sum(part["points"] for part in parts) == pytest.approx(document["health"]["score"], abs=1)
    first = document["findings"][0]
    assert first["severity"] == "error" and first["why"] and first["fix"] and first["repair"]["operation"]


def test_only_ignore_and_no_pictures(desk: Desk) -> None:
    document = desk.ask("check", "pets", "--only", "C,F1-F3", "--ignore", "C1,c2")
    assert {finding["id"][0] for finding in document["findings"]} <= {"C", "F"}
    assert not {"C1", "C2", "P1"} & set(document["ran"]) and "F3" in document["ran"]
    _, out, _ = desk.say("check", "pets", "--only", "P", "--no-pictures")
    assert "Not carried out" in out and "were not measured" in out and "F1-F12, D1-D7, C1-C23" in out
    for option in ("--only", "--ignore"):
        assert "C1-C23" in desk.refused("check", "pets", option, "Q7")["hint"]


def test_runs_of_ids_are_written_short() -> None:
    assert _ranges(["C3", "C1", "C2", "F1", "S9", "S10"]) == ["F1", "C1-C3", "S9-S10"]


@pytest.mark.parametrize(
    ("fail_on", "only", "code"),
    [("error", "C1", 3), ("error", "C5", 0), ("warning", "D1-D4", 3), ("info", "F1-F9", 0), ("never", "C1", 0)],
)
def test_the_exit_code_follows_the_severity(desk: Desk, fail_on: str, only: str, code: int) -> None:
    arguments = ("check", "pets", *SMALL, "--only", only, "--fail-on", fail_on)
    assert desk.say(*arguments)[0] == code
    desk.ask(*arguments, code=code)


def test_sarif_keeps_what_is_ignored_as_suppressed(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "check.sarif"
    document = desk.ask("check", "pets", *SMALL, "--only", "C", "--ignore", "C1", "--sarif", str(file))
    assert document["files"] == {"sarif": str(file)}
    assert "C1" not in {finding["id"] for finding in document["findings"]}
    (run,) = json.loads(file.read_bytes())["runs"]
    suppressed = {result["ruleId"] for result in run["results"] if "suppressions" in result}
    assert suppressed == {"C1"} and len(run["tool"]["driver"]["rules"]) == len(CHECKS)
    desk.refused("check", "pets", "--only", "F1", "--sarif", str(tmp_path / "none" / "x.sarif"), code=6)


def test_the_page_is_written_too(desk: Desk, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert desk.ask("check", "pets", "--only", "F1", "--report", str(page))["files"] == {"report": str(page)}
    assert page.stat().st_size > 1000


def test_a_repair_is_one_version(desk: Desk) -> None:
    word = ("--trigger-word", "zib")
    code, out, _ = desk.say("check", "pets", *word, "--fix", "C5", "--dry-run")
    assert code == 0 and "{+zib, +}cat, blue" in out and out.endswith("this was a dry run.\n")
    tried = desk.ask("check", "pets", *word, "--fix", "c5", "--dry-run")
    assert "changed, 0 left as they are." in out and tried["changed"] == tried["in_scope"] > 0
    assert {one["item"] for one in tried["examples"]} <= set(tried["finding"]["items"])
    made = desk.ask("check", "pets", *word, "--fix", "c5")
    assert made["changes"]["counts"] == tried["changes"]["counts"]
    assert (made["reference"], made["before"], made["finding"]["id"]) == ("pets@2", "pets@1", "C5")
    captions = desk.ask("captions", "pets")["captions"]
    assert captions["cat 3.png"] == "zib, cat, blue"
    assert "nothing to mend" in desk.say("check", "pets", *word, "--fix", "C5")[1]
    assert desk.ask("dataset", "undo", "pets")["reference"] == "pets@1"


def test_a_repair_that_leaves_pictures_out_names_them(desk: Desk) -> None:
    groups = {finding["id"] for finding in desk.ask("check", "pets", "--only", "D")["findings"] if finding["repair"]}
    code, out, _ = desk.say("check", "pets", "--fix", min(groups), "--dry-run")
    assert code == 0 and "1 picture removed." in out and "removed: " in out


def test_repairs_that_cannot_be(desk: Desk) -> None:
    assert "one at a time" in desk.refused("check", "pets", "--fix", "C")["hint"]
    assert "C1-C23" in desk.refused("check", "pets", "--fix", "Z1")["hint"]
    desk.refused("check", "pets", "--dry-run")
    desk.refused("check", "pets", "--fix", "C1.7", "--trigger-word", "zib")
    assert "not carried out" in desk.refused("check", "pets", "--fix", "P8", "--no-pictures")["message"]
    desk.refused("check", "pets", "--fix", "S1", "--goal", "style", code=3)


def test_hostile_options(desk: Desk) -> None:
    desk.refused("check", "none", code=3)
    desk.refused("check", "pets", "--goal", "fame")
    desk.refused("check", "pets", "--fail-on", "sometimes")
    desk.refused("check", "pets", "--trainer", "nobody")
    desk.refused("check", "pets", "--base", "sandbox", "--family", "sdxl")
    desk.refused("check", "pets", "--known-tags", str(desk.home / "none.csv"))
    desk.refused("check", "pets", "--epochs", "0")


def test_the_table_of_checks(desk: Desk) -> None:
    rows = desk.ask("check", "--list")["checks"]
    assert [row["id"] for row in rows] == list(CHECKS) and all(row["why"] and row["source"] for row in rows)
    assert len(desk.say("check", "--list")[1].splitlines()) == len(CHECKS) + 1
