"""The façade of curation: its verbs over a small real dataset, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lorasmith.datasets.manifest import DatasetVersion
from lorasmith.errors import BaseError, ConfigError, ConflictError, DatasetError, EnvironmentProblem
from lorasmith.studio import Studio
from tests.datasets.dataset_pictures import gradient


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path / "home 家")


@pytest.fixture
def version(studio: Studio, tmp_path: Path) -> DatasetVersion:
    folder = tmp_path / "cats"
    folder.mkdir()
    for number, caption in enumerate(("cat, red", "cat, blue, big", "a dog, sitting", "")):
        gradient(120, 80 + 20 * number, seed=number).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(caption)
    return studio.import_dataset(folder)


def test_an_edit_is_shown_made_undone_and_made_again(studio: Studio, version: DatasetVersion) -> None:
    curate = studio.curate
    shown = curate.preview_edit("cats", "add_trigger_word", {"word": "zib"}, where="tag:cat")
    assert (shown.in_scope, shown.changed, shown.total) == (2, 2, 4)
    edited = curate.edit("cats", "add_trigger_word", {"word": "zib"}, where="tag:cat")
    assert [item.caption for item in edited.items][:2] == ["zib, cat, red", "zib, cat, blue, big"]
    assert edited.operation.arguments["where"] == "tag:cat"
    assert curate.diff(version, edited).counts()["captions"] == 2
    assert curate.undo("cats").root == version.root
    assert curate.redo("cats").root == edited.root
    assert [entry.number for entry in curate.history("cats") if entry.is_head] == [2]


def test_a_name_with_a_number_goes_on_from_there(studio: Studio, version: DatasetVersion) -> None:
    curate = studio.curate
    curate.set_captions("cats", {"3.png": "a fish"})
    again = curate.set_captions("cats@1", {"3.png": "a bird"})
    assert again.parent == 1 and again.items[3].caption == "a bird"
    with pytest.raises(ConflictError, match="a bird"):
        curate.set_captions(version, {"3.png": "a worm"})
    joined = curate.set_captions(version, {"0.png": "a cow"})
    assert [item.caption for item in joined.items][::3] == ["a cow", "a bird"], "edits of different pictures are joined"


def test_selections_stand_for_their_query(studio: Studio, version: DatasetVersion) -> None:
    studio.curate.save_selection("cats", "felines", "tag:cat")
    assert studio.curate.select("cats", "@felines") == ["0.png", "1.png"]
    assert studio.curate.select("cats", "missing:caption OR tags:>2") == ["1.png", "3.png"]


def test_checks_repairs_and_health(studio: Studio, version: DatasetVersion) -> None:
    curate = studio.curate
    lens = curate.lens(resolution=64, trigger_word="zib", goal="character")
    report = curate.inspect("cats", lens)
    found = {finding.id: finding for finding in report.findings}
    assert {"C2", "C5", "S1"} <= found.keys() and "C21" in report.not_run
    preview = curate.preview_repair("cats", found["C5"], lens=lens)
    assert (preview.finding, preview.in_scope, preview.unchanged) == ("C5", len(found["C5"].items), 0)
    assert preview.scope == "all 4 pictures"
    assert {one.item for one in preview.examples} == set(found["C5"].items)
    assert all("zib" not in one.before and "zib" in one.after for one in preview.examples)
    assert curate.version("cats").number == version.number  # a preview changes nothing
    few = curate.preview_repair(version, found["C5"], found["C5"].items[:1], lens)
    assert (few.scope, few.changed, len(few.difference.captions)) == ("1 of 4 pictures", 1, 1)
    mended = curate.repair("cats", found["C5"], lens=lens)
    assert mended.items == preview.items and mended.operation == preview.operation
    assert all("zib" in item.caption for item in mended.items if item.caption)
    assert mended.operation.arguments["finding"] == "C5"
    assert 0 < curate.health(version, report).score < 100
    with pytest.raises(DatasetError, match="S1 cannot be mended"):
        curate.repair("cats", found["S1"])
    with pytest.raises(DatasetError, match="S1 cannot be mended"):
        curate.preview_repair("cats", found["S1"])
    with pytest.raises(ConfigError, match="does not say anything of"):
        curate.preview_repair("cats", found["C5"], ["lost.png"])
    with pytest.raises(DatasetError, match="has no picture"):
        curate.preview_repair(curate.leave_out("cats", [found["C5"].items[0]]), found["C5"], lens=lens)


def test_pictures_roles_export_and_report(studio: Studio, version: DatasetVersion, tmp_path: Path) -> None:
    curate = studio.curate
    outcome = curate.use_tool("cats", "resize", {"mode": "long_side", "size": 60})
    assert outcome.changed == 4 and max(item.width for item in outcome.version.items) == 60
    split = curate.split("cats", count=1)
    assert sum(item.role == "validation" for item in split.items) == 1
    out = tmp_path / "out"
    exported = curate.export("cats", "kohya", out)
    assert (out / exported.files[0]).is_file() and [loss.what for loss in exported.losses] == ["role"]
    assert curate.buckets("cats", curate.lens(resolution=64)).pictures == 3
    page = curate.report("cats", tmp_path / "page.html", curate.lens(resolution=64))
    assert "cats@3" in page.read_text(encoding="utf-8")


def test_what_nobody_needs_any_more_is_freed(studio: Studio, version: DatasetVersion) -> None:
    curate = studio.curate
    curate.leave_out("cats", ["3.png"])
    curate.drop("cats@1")
    garbage = curate.garbage()
    assert len(garbage.blobs) == 1 and garbage.bytes > 0
    curate.collect(garbage)
    assert not curate.garbage().files and len(studio.dataset("cats").items) == 3


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"goal": "nope"}, ConfigError, "no goal 'nope'"),
        ({"family": "nope"}, ConfigError, "family 'nope'"),
        ({"base": "/nowhere"}, BaseError, "no base at"),
        ({"resolution": 3}, ConfigError, "resolution of 3"),
        ({"batch_size": 0}, ConfigError, "begin at 1"),
    ],
)
def test_a_lens_that_cannot_be_is_refused(
    studio: Studio, values: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        studio.curate.lens(**values)


def test_places_that_cannot_be_written_are_named(studio: Studio, version: DatasetVersion, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(EnvironmentProblem, match="file"):
        studio.curate.export("cats", "plain", blocked / "out")
    with pytest.raises(EnvironmentProblem, match="file"):
        studio.curate.report("cats", blocked / "page.html")


def test_unknown_pictures_are_refused(studio: Studio, version: DatasetVersion) -> None:
    curate = studio.curate
    with pytest.raises(DatasetError, match=r"nope\.png"):
        curate.leave_out("cats", ["nope.png"])
    with pytest.raises(DatasetError, match=r"nope\.png"):
        curate.set_captions("cats", {"nope.png": ""})
    with pytest.raises(DatasetError, match=r"nope\.png"):
        curate.set_role("cats", ["nope.png"], "train")
    assert studio.dataset("cats").number == 1


def test_checks_are_ignored_by_dataset(studio: Studio, version: DatasetVersion) -> None:
    curate, name = studio.curate, version.dataset
    assert curate.ignored(name) == ()
    assert curate.ignore(name, "P2") == ("P2",) and curate.ignore(name, "C5") == ("C5", "P2") == curate.ignored(name)
    assert curate.ignore(name, "P2", on=False) == ("C5",)
    with pytest.raises(ConfigError, match="no check"):
        curate.ignore(name, "X99")
    with pytest.raises(DatasetError):
        curate.ignored("../elsewhere")
    (studio.home / "datasets" / name / "ignored.json").write_text("{")
    with pytest.raises(DatasetError, match="cannot be read"):
        curate.ignored(name)


def test_a_mask_by_hand_and_none(studio: Studio, version: DatasetVersion) -> None:
    item = version.items[0]
    painted = Image.new("L", (item.width, item.height), 255)
    assert studio.curate.set_mask(version, item.name, painted) is version  # white all over is no mask
    painted.putpixel((0, 0), 0)
    made = studio.curate.set_mask(version, item.name, painted)
    assert made.items[0].mask and made.items[0].image == item.image and "mask painted" in str(made.operation.arguments)
    assert studio.curate.set_mask(made, item.name, painted) is made
    assert studio.curate.set_mask(made, item.name, None).items[0].mask is None
    for wrong in (Image.new("L", (3, 3), 9), Image.new("L", painted.size, 0)):
        with pytest.raises(DatasetError):
            studio.curate.set_mask(version, item.name, wrong)
