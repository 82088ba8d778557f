"""The workspace asks for what the chosen base needs, hides what means nothing to it, and shows a way forward."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.datasets.test_pairs import put
from tests.families.conftest import *  # noqa: F403 (the tiny bases)
from tests.web.conftest import Door

Tiny = Callable[[str], Path]


@pytest.fixture
def rooms(door: Door, tmp_path: Path) -> Door:
    put(tmp_path / "in", a=1, b=2)
    door.studio.import_dataset(tmp_path / "in", "rooms")
    return door


def names(door: Door, base: str, form: str = "") -> str:
    return door.client.get("/", params={"model": f"native:{base}", "dataset": "rooms", "form": form}).text


def test_what_a_family_takes(door: Door) -> None:
    workbench = door.studio.workbench
    assert workbench.takes("flux_kontext").most_references == 1 and workbench.takes("wan").clips
    assert not workbench.takes("flux").most_references and not workbench.takes("nobody knows it").clips


def test_a_base_that_edits_asks_for_pairs_and_says_where_they_are_given(
    rooms: Door, tiny: Tiny, tmp_path: Path
) -> None:
    shutil.copytree(tiny("flux_kontext"), tmp_path / "kontext")
    rooms.studio.bases.add(str(tmp_path / "kontext"), name="kontext")
    base = "kontext"
    page = names(rooms, base)
    assert 'name="data.reference_resolution"' in page and 'name="data.frames"' not in page
    assert "it takes one reference for each" in page and "/datasets/rooms/references" in page and "2 have none" in page
    form = {"model": f"native:{base}", "dataset": "rooms", "max_train_steps": "2"}
    ready = rooms.client.post("/workspace/readiness", data=form).text
    assert "no reference picture" in ready and "“References” on the dataset" in ready
    assert "/datasets/rooms/references" in ready and "disabled" in ready
    put(tmp_path / "before", a=11, b=12)
    rooms.studio.curate.pairs.give("rooms", tmp_path / "before")
    assert "All have theirs" in names(rooms, base)
    ready = rooms.client.post("/workspace/readiness", data=form).text
    assert "no reference picture" not in ready and "What will happen" in ready


def test_a_base_of_pictures_hides_what_others_need(rooms: Door) -> None:
    page = names(rooms, "sandbox", "expert")
    for key in ("data.reference_resolution", "data.frames", "data.fps", "data.cut", "data.first_frame_conditioning"):
        assert f'name="{key}"' not in page, key
    assert 'name="data.caption_dropout"' in page and "takes one reference" not in page
