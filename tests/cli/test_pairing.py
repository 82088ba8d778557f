"""dataset references, set-references, swap-references, as people and programs meet them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.desk import Desk
from tests.datasets.test_pairs import put


@pytest.fixture
def rooms(desk: Desk, tmp_path: Path) -> Desk:
    put(tmp_path / "in", a=1, b=2, c=3)
    put(tmp_path / "before", a=11, b_0=12, b_1=13, stray=14)
    desk.ask("import", str(tmp_path / "in"), "--name", "rooms")
    return desk


def test_a_folder_is_tried_then_given(rooms: Desk, tmp_path: Path) -> None:
    before = str(tmp_path / "before")
    tried = rooms.ask("dataset", "references", "rooms", before, "--dry-run")
    assert tried["dry_run"] and tried["matched"] == {"a.png": ["a.png"], "b.png": ["b_0.png", "b_1.png"]}
    assert tried["unmatched"] == ["c.png"] and set(tried["left_out"]) == {"stray.png"}
    code, out, _ = rooms.say("dataset", "references", "rooms", before)
    assert code == 0 and "rooms@2 made from rooms@1" in out and "Without a match: c.png" in out
    listed = rooms.ask("dataset", "references", "rooms")["pictures"]
    assert [len(one["references"]) for one in listed] == [1, 2, 0]
    assert "2 with" not in out and "b_0.png, b_1.png" in rooms.say("dataset", "references", "rooms")[1]
    assert rooms.ask("dataset", "references", "rooms", before, "--dry-run")["replaced"] == ["a.png", "b.png"]


def test_one_picture_is_set_by_numbers_and_files(rooms: Desk, tmp_path: Path) -> None:
    rooms.ask("dataset", "references", "rooms", str(tmp_path / "before"))
    first, second = rooms.ask("dataset", "references", "rooms")["pictures"][1]["references"]
    rooms.ask("dataset", "set-references", "rooms", "b.png", "2", "1")
    assert rooms.ask("dataset", "references", "rooms")["pictures"][1]["references"] == [second, first]
    rooms.ask("dataset", "set-references", "rooms", "b.png", str(tmp_path / "before" / "stray.png"), "1")
    assert rooms.ask("dataset", "references", "rooms")["pictures"][1]["references"][1] == second
    assert rooms.ask("dataset", "set-references", "rooms", "b.png", "--none")["references"] == 0
    assert "no reference 1" in rooms.refused("dataset", "set-references", "rooms", "b.png", "1")["message"]
    for wrong in ((), ("1", "--none")):
        assert "Say which" in rooms.refused("dataset", "set-references", "rooms", "a.png", *wrong)["message"]
    assert "no picture" in rooms.refused("dataset", "set-references", "rooms", "x.png", "1", code=3)["message"]
    assert (
        "cannot be read" in rooms.refused("dataset", "set-references", "rooms", "a.png", "gone.png", code=3)["message"]
    )


def test_pairs_are_swapped_and_removed(rooms: Desk, tmp_path: Path) -> None:
    assert "has a reference" in rooms.refused("dataset", "swap-references", "rooms", code=3)["message"]
    rooms.ask("dataset", "references", "rooms", str(tmp_path / "before"))
    assert rooms.ask("dataset", "swap-references", "rooms", "--dry-run")["names"] == ["a.png", "b.png"]
    done = rooms.ask("dataset", "swap-references", "rooms", "--number", "2")
    assert done["swapped"] == ["b.png"] and "no reference 2" in done["refused"]["a.png"]
    code, out, _ = rooms.say("dataset", "references", "rooms", "--remove", "--where", "name:a", "--dry-run")
    assert code == 0 and "1 picture: a.png" in out
    assert rooms.ask("dataset", "references", "rooms", "--remove", "--where", "name:a")["names"] == ["a.png"]
    assert [len(one["references"]) for one in rooms.ask("dataset", "references", "rooms")["pictures"]] == [0, 2, 0]
    assert "not both" in rooms.refused("dataset", "references", "rooms", "x", "--remove")["message"]
    assert "--remove" in rooms.refused("dataset", "references", "rooms", "--where", "name:a")["hint"]
