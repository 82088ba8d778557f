"""kill -9 while the store writes: every accepted change is there, every version is whole, and writing goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lorasmith.datasets.manifest import Item, Operation
from lorasmith.datasets.store import DatasetStore
from tests.datasets.killed_writer import state

WRITER = Path(__file__).with_name("killed_writer.py")
POINTS = 200

pytestmark = pytest.mark.skipif(os.name == "nt", reason="fork and SIGKILL are POSIX")


def run(home: Path, points: list[str]) -> dict[str, Any]:
    done = subprocess.run([sys.executable, str(WRITER), str(home), *points], check=True, capture_output=True)
    return dict(json.loads(done.stdout))


def test_a_writer_killed_at_200_points_loses_no_accepted_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    home = tmp_path / "höme"
    store = DatasetStore(home)
    shas = [store.put_image(Image.new("RGB", (4, 4), (n, n, n))) for n in range(3)]
    items = [Item(f"{n}.png", sha, sha, 4, 4, caption="zero") for n, sha in enumerate(shas)]
    store.create("set", items, Operation(name="import"))
    begin = state(home)

    whole = run(home, ["none"])["none"]
    *expected, counted = whole["said"]
    expected = [begin, *expected]
    assert not whole["killed"]
    points = [f"file {number + 1}" for number in range(counted["files"])]
    lines = POINTS - len(points)
    assert lines > 100 and counted["lines"] > 4 * lines
    points += [f"line {1 + number * (counted['lines'] - 2) // (lines - 1)}" for number in range(lines)]
    assert len(set(points)) == POINTS
    outcomes = run(home, points)
    reached = set()
    for number, (point, outcome) in enumerate(outcomes.items()):
        assert outcome["killed"], f"{point} was never reached"
        accepted = len(outcome["said"])
        assert outcome["said"] == list(range(1, accepted + 1)), point
        found = state(Path(outcome["home"]))  # reads every version of every dataset
        assert found in expected[accepted : accepted + 2], f"{point}: neither the accepted state nor the next"
        reached.add((accepted, found == expected[accepted]))
        if number % 4 == 0:
            go_on(Path(outcome["home"]), found, point)
    assert {accepted for accepted, _ in reached} == set(range(len(expected) - 1)), "every kind of change was killed in"


def go_on(home: Path, found: dict[str, Any], point: str) -> None:
    """The store can be collected and edited as if nothing had been."""
    store = DatasetStore(home)
    store.collect(store.garbage())
    assert state(home) == found, point
    head = store.get("set")
    made = store.commit(head, [replace(head.items[0], caption="after"), *head.items[1:]], Operation(name="edit"))
    assert DatasetStore(home).get("set") == made, point
    assert store.garbage().files == (), point
    assert all(store.open_image(item) for item in made.items), point
