"""``lorasmith dataset``: versions, the ledger, queries and edits, as people and programs meet them."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from lorasmith.cli.app import cli
from lorasmith.cli.completion import complete_dataset, complete_operation, complete_tool
from lorasmith.cli.dataset import DATASET_COMMANDS
from lorasmith.cli.sections import values_for
from lorasmith.cli.session import Session, visible
from lorasmith.cli.versions import draw
from lorasmith.cli.words import word_line
from lorasmith.datasets.captions.operations import OPERATIONS
from lorasmith.datasets.history import HistoryEntry
from lorasmith.datasets.manifest import Operation
from lorasmith.datasets.pictures import TOOLS
from tests.cli.desk import CAPTIONS, Desk, edited

TRIGGER = ("add_trigger_word", "--set", "word=zib")
NO_HAT = ("remove_tags", "--set", "tags=hat")


# The group


def test_the_list_is_what_the_group_says_without_a_command(desk: Desk) -> None:
    code, out, _ = desk.say("dataset")
    assert code == 0 and out == desk.say("dataset", "list")[1]
    assert out.splitlines()[1].startswith("pets ")
    (row,) = desk.ask("dataset")["datasets"]
    assert (row["dataset"], row["version"], row["versions"], row["pictures"]) == ("pets", 1, 1, 7)


def test_an_empty_home_says_what_to_do(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "lorasmith import" in Desk(tmp_path, capfd).say("dataset")[1]


def test_a_damaged_dataset_hides_no_other(desk: Desk) -> None:
    (desk.home / "datasets" / "broken").mkdir()
    (desk.home / "datasets" / "broken" / "1.json").write_text("{")
    rows = {row["dataset"]: row for row in desk.ask("dataset", "list")["datasets"]}
    assert rows["pets"]["pictures"] == 7 and "broken" in rows
    assert desk.say("dataset", "list")[0] == 0


def test_a_command_that_is_none_names_the_nearest(desk: Desk) -> None:
    assert "lorasmith dataset history" in desk.refused("dataset", "histry")["hint"]


@pytest.mark.parametrize("name", [name for section in DATASET_COMMANDS.values() for name in section])
def test_an_unknown_dataset_is_a_sentence_in_every_command(desk: Desk, name: str) -> None:
    extra = {
        "list": None,
        "gc": None,
        "select": ["tag:solo"],
        "edit": [*TRIGGER],
        "pictures": ["flip"],
        "leave-out": ["--where", "tag:solo"],
        "role": ["train", "--where", "tag:solo"],
        "repeats": ["2", "--where", "tag:solo"],
        "split": ["--count", "1"],
        "branch": ["more"],
        "set-references": ["a.png", "--none"],
        "see": ["--trainer", "musubi"],
        "export": ["--layout", "kohya", "--dry-run"],
        "report": ["--out", "page.html"],
    }.get(name, [])
    if extra is None:
        assert desk.ask("dataset", name) is not None
        return
    error = desk.refused("dataset", name, "pest", *extra, code=3)
    assert "pest" in error["message"] and "pets" in error["hint"]


# Versions


def test_history_undo_redo_restore(desk: Desk) -> None:
    edited(desk, TRIGGER, NO_HAT)
    assert desk.ask("dataset", "undo", "pets")["reference"] == "pets@2"
    assert desk.ask("dataset", "redo", "pets")["reference"] == "pets@3"
    code, out, _ = desk.say("dataset", "undo", "pets", "--steps", "2")
    assert code == 0 and out.startswith("pets@1 is the present version now; against pets@3: 7 captions changed.")
    lines = desk.say("dataset", "history", "pets")[1].splitlines()
    assert [line[:3] for line in lines] == ["* 1", "o 2", "o 3"] and lines[0].endswith("<- present")
    assert desk.ask("dataset", "restore", "pets@2")["reference"] == "pets@4"
    assert desk.ask("dataset", "restore", "pets@4")["counts"] == {}
    marks = {entry["number"]: entry["is_head"] for entry in desk.ask("dataset", "history", "pets")["history"]}
    assert marks == {1: False, 2: False, 3: False, 4: True}
    assert "begin" in desk.refused("dataset", "undo", "pets", "--steps", "9", code=3)["hint"]
    desk.refused("dataset", "redo", "pets", code=3)
    desk.refused("dataset", "restore", "pets@9", code=3)


def test_the_drawing_of_a_tree() -> None:
    parents = {1: None, 2: 1, 3: 2, 4: 1, 5: 4, 6: 4, 7: 1}
    line = {1, 4, 6}
    entries = [
        HistoryEntry(n, parent, Operation(name="edit"), "2026", 1, "", n == 6, n in line, redo=False)
        for n, parent in parents.items()
    ]
    assert [graph for graph, _ in draw(entries)] == ["o 1", "|-o 2", "| o 3", "|-o 7", "o 4", "|-o 5", "* 6"]


def test_diff_is_word_by_word(desk: Desk) -> None:
    edited(desk, NO_HAT)
    code, out, _ = desk.say("dataset", "diff", "pets@1", "pets@2")
    assert code == 0 and out.startswith("pets@1 -> pets@2: 2 captions changed.")
    assert "  cat 2.png\n    cat, red[-, hat-]\n" in out and "\x1b" not in out
    assert desk.say("dataset", "diff", "pets")[1] == out, "one version is compared with its parent"
    document = desk.ask("dataset", "diff", "pets@1", "pets@2")
    assert document["counts"] == {"captions": 2}
    assert document["captions"][0]["words"] == [["same", "cat, red"], ["removed", ", hat"]]
    assert "first of its line" in desk.refused("dataset", "diff", "pets@1")["message"]
    back = desk.say("dataset", "diff", "pets@2", "pets@1")[1]
    assert "{+, hat+}" in back


def test_diff_names_pictures_and_settings(desk: Desk) -> None:
    desk.say("dataset", "leave-out", "pets", "--where", "name:twin*")
    desk.say("dataset", "repeats", "pets", "3", "--where", "tag:solo")
    out = desk.say("dataset", "diff", "pets@1", "pets@3")[1]
    assert "1 picture removed, 2 numbers of repeats changed" in out
    assert "removed: twin.png" in out and "cat 1.png: repeats 1 to 3" in out


def test_words_in_colour_are_marked_twice() -> None:
    line = word_line("red cat", "blue cat", coloured=True)
    assert "\x1b[9m" in line and "\x1b[4m" in line, "for eyes that do not tell red from green"
    hostile = word_line("a", "a, \x1b[2Jb\nc", coloured=False)
    assert "\x1b" not in hostile and "\n" not in hostile and "\\n" in hostile
    long = "word " * 100
    assert "..." in word_line(long, long + "end", coloured=False)
    assert visible("\u202egpj.exe") == "\\u202egpj.exe"


def test_branch_drop_and_gc(desk: Desk) -> None:
    assert desk.ask("dataset", "branch", "pets@1", "animals")["reference"] == "animals@1"
    desk.refused("dataset", "branch", "pets", "animals", code=3)
    desk.refused("dataset", "branch", "pets", "a/b", code=3)
    edited(desk, TRIGGER)
    assert "would drop pets@1" in desk.say("dataset", "drop", "pets@1")[1]
    assert desk.ask("dataset", "drop", "pets@1")["dropped"] is False
    assert len(desk.ask("dataset", "history", "pets")["history"]) == 2, "without --yes it is only said"
    desk.refused("dataset", "drop", "pets@2", "--yes", code=3)
    assert desk.ask("dataset", "drop", "pets@1", "--yes")["dropped"] is True
    for name in ("pets", "animals"):
        assert desk.ask("dataset", "drop", name, "--yes")["versions"]
    said = desk.ask("dataset", "gc")
    assert len(said["pictures"]) == 7 and said["bytes"] > 0 and Path(said["pictures"][0]).is_file()
    assert "--yes frees it" in desk.say("dataset", "gc")[1]
    assert desk.ask("dataset", "gc", "--yes")["freed"] is True and not Path(said["pictures"][0]).exists()
    assert desk.say("dataset", "gc")[1] == "Nothing to free.\n"


def test_gc_says_what_holds_everything(desk: Desk) -> None:
    job = desk.home / "jobs" / "20260101-000000-train-x"
    job.mkdir(parents=True)
    (job / "job.json").write_text("{")
    code, out, _ = desk.say("dataset", "gc")
    assert code == 0 and out.startswith("Nothing can be freed") and job.name in out


# The ledger and queries


def test_ledger_for_people_and_programs(desk: Desk, tmp_path: Path) -> None:
    code, out, _ = desk.say("dataset", "ledger", "pets", "--fate", "left_out")
    assert (
        code == 0
        and "notes.pdf" in out
        and out.endswith("1 file: 0 taken, 0 of them as a repaired or converted copy, 1 left out.\n")
    )
    document = desk.ask("dataset", "ledger", "pets")
    totals = document["totals"]
    assert totals["inputs"] == totals["taken"] + totals["left_out"] == len(document["ledger"])
    rows = list(csv.DictReader(io.StringIO(desk.say("dataset", "ledger", "pets", "--format", "csv")[1])))
    assert {row["path"] for row in rows} >= set(CAPTIONS)
    assert len(json.loads(desk.say("dataset", "ledger", "pets", "--format", "json", "--path", "*.pdf")[1])) == 1
    file = tmp_path / "ledger.jsonl"
    assert desk.ask("dataset", "ledger", "pets", "--rule", "image", "--out", str(file))["file"] == str(file)
    assert len(file.read_text(encoding="utf-8").splitlines()) == 7
    assert "damaged" in desk.refused("dataset", "ledger", "pets", "--rule", "damage")["hint"]
    assert "--format" in desk.refused("dataset", "ledger", "pets", "--out", str(tmp_path / "x.txt"))["hint"]
    desk.refused("dataset", "ledger", "pets", "--fate", "eaten")


def test_select_lists_names_and_says_what_it_means(desk: Desk) -> None:
    code, out, err = desk.say("dataset", "select", "pets", "tag:hat OR missing:caption")
    assert (code, out.splitlines()) == (0, ["cat 2.png", "dog 6.png", "twin.png", "猫 4.png"])
    assert err == "4 of 7 pictures: pictures tagged 'hat' or without a caption\n"
    assert desk.ask("dataset", "select", "pets", "tag:none")["names"] == []
    assert desk.ask("dataset", "select", "pets", "missing:trigger", "--trigger-word", "solo")["total"] == 7
    assert desk.say("dataset", "select", "pets", "tag:hat", "--explain")[1] == "pictures tagged 'hat'\n"
    assert {"tag", "blur"} <= {field["name"] for field in desk.ask("dataset", "select", "--fields")["fields"]}


def test_a_bad_query_shows_the_place(desk: Desk) -> None:
    code, out, err = desk.say("dataset", "select", "pets", "tag:a (tags:>x")
    assert (code, out) == (2, "")
    shown = err.splitlines()
    assert shown[1:3] == ["  tag:a (tags:>x", "  " + " " * 13 + "^"]
    assert desk.ask("dataset", "select", "pets", "tag:a (tags:>x", code=2)["error"]["column"] == 14
    assert "tag:" in desk.refused("dataset", "select", "pets", "tagg:a")["hint"]
    assert desk.ask("dataset", "edit", "pets", *TRIGGER, "--where", "(", code=2)["error"]["column"]


def test_selections_are_saved_used_and_deleted(desk: Desk) -> None:
    assert desk.ask("dataset", "select", "pets", "tag:hat", "--save", "hats")["saved"] == "hats"
    desk.refused("dataset", "select", "pets", "tag:solo", "--save", "hats", code=3)
    assert desk.say("dataset", "select", "pets", "tag:solo", "--save", "hats", "--replace", "--explain")[0] == 0
    assert desk.ask("dataset", "select", "pets", "@hats")["names"] == ["cat 1.png", "猫 4.png"]
    assert "@hats" in desk.say("dataset", "selections", "pets")[1]
    assert "hats" in desk.refused("dataset", "select", "pets", "@hat", code=3)["hint"]
    desk.refused("dataset", "select", "pets", "@hats", "--save", "more")
    desk.refused("dataset", "select", "pets", "tag:a", "--replace")
    desk.refused("dataset", "selections", "pets", "--delete", "none", code=3)
    assert desk.ask("dataset", "selections", "pets", "--delete", "@hats") == {
        "dataset": "pets", "selections": [], "deleted": "hats"
    }  # fmt: skip


# Captions


def test_an_edit_is_shown_before_it_is_done(desk: Desk) -> None:
    code, out, _ = desk.say("dataset", "edit", "pets", *NO_HAT, "--where", "tag:solo", "--dry-run")
    assert code == 0
    assert out.splitlines()[:3] == [
        "Remove the tag 'hat'.",
        "On 2 of 7 pictures: 1 captions change, 1 stay as they are.",
        "Tags: hat 1 to 0",
    ]
    assert "cat, blue, [-hat, -]solo" in out and out.endswith("Nothing was changed: this was a dry run.\n")
    assert desk.ask("dataset", "list")["datasets"][0]["version"] == 1
    document = desk.ask("dataset", "edit", "pets", *NO_HAT, "--where", "tag:solo")
    assert (document["changed"], document["reference"], document["before"]) == (1, "pets@2", "pets@1")
    assert "Nothing to change in pets@2." in desk.say("dataset", "edit", "pets", *NO_HAT, "--where", "tag:solo")[1]


def test_an_edit_of_an_older_version_goes_on_from_it(desk: Desk) -> None:
    edited(desk, TRIGGER)
    assert desk.say("dataset", "edit", "pets@1", *NO_HAT)[1].endswith(
        "pets@3 made from pets@1. Back: lorasmith dataset undo pets\n"
    )
    assert desk.ask("captions", "pets")["captions"]["cat 3.png"] == "cat, blue"


def test_operations_and_their_options_are_listed(desk: Desk) -> None:
    listed = desk.ask("dataset", "edit", "--list")["operation"]
    assert [row["name"] for row in listed] == list(OPERATIONS) and all(row["does"] for row in listed)
    tools = desk.ask("dataset", "pictures", "--list")["tool"]
    assert [row["name"] for row in tools] == list(TOOLS)
    for kinds, group in ((OPERATIONS, "edit"), (TOOLS, "pictures")):
        for name, kind in kinds.items():
            options = desk.ask("dataset", group, name, "--options")["options"]
            assert {row["name"] for row in options} == set(kind.model_fields)
            assert all(row["type"] and "typing" not in row["type"] for row in options), name
    assert "word  (text, needed)" in desk.say("dataset", "edit", "pets", "add_trigger_word", "--options")[1]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["pets", "add_triger_word"], "add_trigger_word"),
        (["pets", "add_trigger_word", "--set", "wort=a"], "word"),
        (["pets", "add_trigger_word"], ""),
        (["pets", "add_trigger_word", "--set", "word"], "--set"),
        (["pets", "add_trigger_word", "--set", "word=a", "--set", "word=b"], "one"),
        (["pets", "keep_first", "--set", "count=-1"], ""),
        (["pets", "find_and_replace", "--set", "find=(", "--set", "scope=regex"], ""),
        (["pets", *TRIGGER, "--where", "@none"], ""),
        (["pets", *TRIGGER, "--where", ""], "name:*"),
        (["pets", *TRIGGER, "--base", "sandbox", "--family", "sdxl"], "Leave out one"),
        (["pets", *TRIGGER, "--family", "nonsense"], "sdxl"),
        (["pets"], "--list"),
        ([], "--list"),
        (["--options"], "add_trigger_word"),
    ],
)
def test_edits_that_cannot_be(desk: Desk, arguments: list[str], hint: str) -> None:
    code = 3 if "@none" in arguments else 2
    assert hint in desk.refused("dataset", "edit", *arguments, code=code)["hint"]
    assert desk.ask("dataset", "list")["datasets"][0]["version"] == 1


def test_options_are_read_as_their_fields_want_them() -> None:
    assert values_for(OPERATIONS["remove_tags"], ["tags=a, b"]) == {"tags": ["a", "b"]}
    assert values_for(OPERATIONS["remove_tags"], ['tags=["a, b"]']) == {"tags": ["a, b"]}
    assert values_for(OPERATIONS["find_and_replace"], ["find=[x", "replace=null"]) == {"find": "[x", "replace": "null"}
    assert values_for(TOOLS["crop"], ["box=0,0,0.5,1"]) == {"box": ["0", "0", "0.5", "1"]}
    assert values_for(TOOLS["rotate"], ["degrees=90"]) == {"degrees": 90}
    assert values_for(TOOLS["resize"], ["width=null"]) == {"width": None}


# Pictures and roles


def test_a_tool_is_tried_and_used(desk: Desk) -> None:
    resize = ("resize", "--set", "mode=long_side", "--set", "size=64")
    tried = desk.ask("dataset", "pictures", "pets", *resize, "--dry-run")
    assert tried["changed"] == 7 and tried["examples"][0]["after"] == [[64, 48]]
    code, out, _ = desk.say("dataset", "pictures", "pets", *resize, "--where", "tag:solo")
    assert code == 0 and "2 pictures changed, 0 refused.\npets@2 made from pets@1." in out
    assert ".." not in out
    out = desk.say("dataset", "pictures", "pets", "mask_from_alpha", "--dry-run")[1]
    assert "Refused: " in out and "dry run" in out
    mask = ("mask_rectangle", "--set", "box=0,0,0.5,1")
    assert "50% of it trained" in desk.say("dataset", "pictures", "pets", *mask, "--dry-run")[1]
    assert "resize" in desk.refused("dataset", "pictures", "pets", "resise")["hint"]
    desk.refused("dataset", "pictures", "pets", "resize", "--set", "mode=long_side", "--set", "size=x")
    desk.refused("dataset", "pictures", "pets")


def test_rename_keeps_the_mapping(desk: Desk) -> None:
    document = desk.ask("dataset", "rename", "pets", "--prefix", "p-", "--digits", "2")
    assert document["names"]["cat 1.png"] == "p-01.png" and len(document["names"]) == 7
    assert "Nothing to change" in desk.say("dataset", "rename", "pets", "--prefix", "p-", "--digits", "2")[1]
    desk.refused("dataset", "rename", "pets", "--prefix", "../", code=3)


def test_roles_repeats_and_leaving_out(desk: Desk) -> None:
    dry = desk.ask("dataset", "leave-out", "pets", "--where", "tag:hat", "--dry-run")
    assert dry["names"] == ["cat 2.png", "猫 4.png"] and dry["dry_run"] is True
    assert desk.ask("dataset", "leave-out", "pets", "--where", "tag:hat")["pictures"] == 5
    assert "No picture is meant." in desk.say("dataset", "leave-out", "pets", "--where", "tag:hat")[1]
    assert desk.ask("dataset", "role", "pets", "validation", "--where", "name:cat*")["reference"] == "pets@3"
    assert desk.ask("dataset", "repeats", "pets", "4", "--where", "name:dog*")["reference"] == "pets@4"
    for command, extra in (("leave-out", []), ("role", ["train"]), ("repeats", ["2"])):
        desk.refused("dataset", command, "pets", *extra)
        desk.refused("dataset", command, "pets", *extra, "--where", " ")
    desk.refused("dataset", "role", "pets", "king", "--where", "name:*")
    desk.refused("dataset", "repeats", "pets", "0", "--where", "name:*")
    desk.refused("dataset", "leave-out", "pets", "--where", "name:*", code=3)


def test_split_and_balance(desk: Desk) -> None:
    dry = desk.ask("dataset", "split", "pets", "--count", "2", "--dry-run")
    assert desk.ask("dataset", "split", "pets", "--count", "2")["held_out"] == dry["held_out"]
    desk.refused("dataset", "split", "pets")
    desk.refused("dataset", "split", "pets", "--count", "2", "--fraction", "0.1")
    desk.refused("dataset", "split", "pets", "--fraction", "2")
    assert "Most to least: 1.00 -> 1.00" in desk.say("dataset", "balance", "pets", "--dry-run")[1]
    desk.refused("dataset", "balance", "pets", "--share", "cat=much")
    desk.refused("dataset", "balance", "pets", "--share", "cat=2")


# The face


def test_names_are_completed(desk: Desk) -> None:
    edited(desk, TRIGGER)
    context, any_ = click.Context(cli, obj=Session(home=desk.home)), click.Argument(["any"])
    assert complete_dataset(context, any_, "p") == ["pets"]
    assert complete_dataset(context, any_, "pets@") == ["pets@1", "pets@2"]
    assert complete_dataset(context, any_, "x") == []
    assert complete_operation(context, any_, "add_") == ["add_trigger_word", "add_prefix", "add_suffix"]
    assert complete_tool(context, any_, "mask_f") == ["mask_from_alpha", "mask_from_files", "mask_faces"]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_console_that_cannot_write_a_name_ends_nothing(made: Path, encoding: str) -> None:
    code = "import sys; from lorasmith.cli import main; sys.argv[0] = 'lorasmith'; main()"
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "LORASMITH_HOME": str(made)}

    def call(*arguments: str) -> bytes:
        command = [sys.executable, "-c", code, "dataset", "select", "pets", "name:猫*", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, check=True).stdout

    assert json.loads(call("--json"))["names"] == ["猫 4.png"]
    assert call().strip().endswith(b" 4.png")
