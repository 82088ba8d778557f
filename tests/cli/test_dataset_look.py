"""``lorasmith dataset`` that looks and ships: figures, buckets, duplicates, trainers' eyes, exports, the report."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from PIL import Image

from lorasmith.cli.app import cli
from lorasmith.cli.completion import complete_layout, complete_trainer
from lorasmith.cli.session import Session
from lorasmith.datasets.eyes import eye_name, eyes
from lorasmith.datasets.layouts import available
from tests.cli.desk import Desk


def test_stats_as_tables_and_as_figures(desk: Desk) -> None:
    code, out, _ = desk.say("dataset", "stats", "pets", "--trigger-word", "solo")
    assert code == 0
    assert out.startswith("pets@1: 7 pictures, 5 with a caption, 0 with a mask; an epoch shows 7.\n")
    assert "Trigger word: in 40% of the captions." in out and "tokens (CLIP)" in out and "####" in out
    document = desk.ask("dataset", "stats", "pets")
    assert document["reference"] == "pets@1" and document["tags"]["counts"][0] == {"tag": "cat", "items": 4}
    assert "tokens (~" in desk.say("dataset", "stats", "pets", "--family", "flux")[1], "estimated ones are marked"
    desk.refused("dataset", "stats", "pets", "--tokenizer", str(desk.home / "none"))


def test_buckets_are_a_table_with_exact_steps(desk: Desk) -> None:
    plan = desk.ask("dataset", "buckets", "pets", "--base", "sandbox", "--batch-size", "2", "--epochs", "3")
    assert plan["resolution"] == 128 and plan["pictures"] == 7
    assert plan["steps"] == -(-plan["exposures_per_epoch"] * 3 // 2)
    code, out, _ = desk.say("dataset", "buckets", "pets", "--base", "sandbox", "--batch-size", "2", "--epochs", "3")
    assert code == 0 and f"The run: {plan['steps']} steps" in out
    assert "at 128 pixels, sides in steps of 32." in out and plan["side_step"] == 32  # the family's 64 is for 512
    assert all(bucket[side] % 32 == 0 for bucket in plan["buckets"] for side in ("width", "height"))
    assert desk.ask("dataset", "buckets", "pets", "--steps", "9")["steps"] == 9
    assert "left out: " in desk.say("dataset", "buckets", "pets", "--resolution", "512", "--no-upscale")[1]
    desk.refused("dataset", "buckets", "pets", "--steps", "9", "--epochs", "2")
    desk.refused("dataset", "buckets", "pets", "--resolution", "1")
    desk.refused("dataset", "buckets", "pets", "--base", str(desk.home / "none"), code=4)


def test_duplicates_name_the_keeper(desk: Desk) -> None:
    (group,) = desk.ask("dataset", "duplicates", "pets")["groups"]
    assert set(group["members"]) == {"cat 1.png", "twin.png"} and len(group["others"]) == 1
    code, out, _ = desk.say("dataset", "duplicates", "pets")
    assert code == 0 and f"keep {group['keeper']}: " in out
    assert out.endswith("pets@1: 1 group; 1 picture could go.\n")
    desk.say("dataset", "leave-out", "pets", "--where", "name:twin*")
    assert desk.say("dataset", "duplicates", "pets")[1] == "pets@2: No duplicates.\n"


def test_see_tells_and_draws(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "seen"
    document = desk.ask("dataset", "see", "pets", "--trainer", "kohya", "--originals", "--out", str(folder))
    assert document["trainer"] == "sd_scripts" and len(document["seen"]) == 7
    assert {kind["id"] for kind in document["tally"]} >= {"upscale"}
    assert [Path(path) for path in document["pictures"]] == [
        path for path in map(Path, document["pictures"]) if path.is_file()
    ]
    with Image.open(folder / "猫 4.png") as sheet:
        assert sheet.width > sheet.height, "two pictures side by side"
    assert "empty" in desk.refused("dataset", "see", "pets", "--trainer", "musubi", "--out", str(folder))["message"]
    code, out, _ = desk.say("dataset", "see", "pets", "--trainer", "ai-toolkit", "--where", "tag:solo")
    assert code == 0 and out.startswith("2 pictures: 2 read.\n") and "text: solo,  cat,  red" in out, (
        "ai-toolkit joins tags with two spaces"
    )
    assert "musubi" in desk.refused("dataset", "see", "pets", "--trainer", "nobody")["hint"]
    desk.refused("dataset", "see", "pets")


def test_a_trainer_has_one_name_for_people(desk: Desk) -> None:
    assert {eye_name(name) for name in ("kohya", "kohya_ss", "sd-scripts", "SD_Scripts")} == {"sd_scripts"}
    for name in (*eyes(), "kohya", "ai-toolkit", "diffusion-pipe"):
        assert desk.ask("check", "pets", "--trainer", name, "--only", "F1")["ran"] == ["F1"]


def test_export_says_first_what_is_lost(desk: Desk, tmp_path: Path) -> None:
    desk.say("dataset", "repeats", "pets", "3", "--where", "tag:solo")
    out = str(tmp_path / "out")
    code, said, _ = desk.say("dataset", "export", "pets", "--layout", "taggui", "--to", out, "--dry-run")
    assert code == 0 and said.startswith("Lost in taggui:\n  2 pictures: ") and not Path(out).exists()
    assert desk.ask("dataset", "export", "pets", "--layout", "taggui", "--dry-run")["losses"]
    code, said, err = desk.say("dataset", "export", "pets", "--layout", "taggui", "--to", out)
    assert code == 0 and err.startswith("Lost in taggui:") and said.splitlines()[-1] == out
    again = desk.ask("dataset", "export", "pets", "--layout", "taggui", "--to", out)
    assert again["unchanged"] == len(again["files"]) > 7
    caption = Path(out) / "cat 1.txt"
    caption.write_text("mine", encoding="utf-8")
    desk.refused("dataset", "export", "pets", "--layout", "taggui", "--to", out, code=3)
    assert desk.ask("dataset", "export", "pets", "--layout", "taggui", "--to", out, "--force")["files"]
    assert caption.read_text(encoding="utf-8").startswith("solo")
    desk.refused("dataset", "export", "pets", "--layout", "taggui")
    assert "kohya" in desk.refused("dataset", "export", "pets", "--layout", "kohia", "--to", out)["hint"]
    listed = desk.ask("dataset", "export", "--list")["layouts"]
    assert {row["name"] for row in listed} == set(available())


def test_report_is_one_page(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("click.launch", opened.append)
    page = tmp_path / "my page.html"
    assert desk.ask("dataset", "report", "pets", "--out", str(page), "--base", "sandbox")["report"] == str(page)
    assert page.read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>") and not opened
    desk.say("dataset", "report", "pets", "--out", str(page), "--open")
    assert opened == [page.as_uri()]
    desk.refused("dataset", "report", "pets")


def test_layouts_and_trainers_are_completed() -> None:
    context, any_ = click.Context(cli, obj=Session()), click.Argument(["any"])
    assert complete_layout(context, any_, "ko") == ["kohya"]
    assert complete_trainer(context, any_, "s") == ["sd_scripts", "simpletuner"]
