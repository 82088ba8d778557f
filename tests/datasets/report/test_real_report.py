"""The page of real small sets, made by ``Studio.curate.report``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from lorasmith.datasets.clips.writing import animated_webp
from lorasmith.datasets.manifest import DatasetVersion, Operation
from lorasmith.datasets.report import gather as gathering
from lorasmith.datasets.report.stages import STAGES, Pace, Stages
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import ConfigError
from lorasmith.studio import Studio
from tests.datasets.dataset_pictures import gradient, jpeg, png, with_orientation, write_folder
from tests.datasets.report.made_up import HOSTILE, Reading

LONG = "a very long name " * 12


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path / "home")


@pytest.fixture
def version(studio: Studio, tmp_path: Path) -> DatasetVersion:
    """Ten pictures of two concepts, a mask, three roles, two captions in one file, a file that is left out."""
    files: dict[str, bytes] = {}
    for number in range(8):
        files[f"2_cats/cat {number}.png"] = png(number)
        files[f"2_cats/cat {number}.txt"] = f"zib, cat {number}, blue sky".encode()
    files["2_cats/cat 1.txt"] = b"zib, one line\nzib, another line"
    files["2_cats/cat 2.txt"] = HOSTILE.encode()
    files[f"1_dogs/{LONG}.jpg"] = jpeg(20)
    files["1_dogs/turned.jpg"] = with_orientation(gradient(seed=21), 6)
    files["1_dogs/broken.png"] = png(22)[:60]
    made = studio.import_dataset(write_folder(tmp_path / "photos", files), name="pets")
    store = DatasetStore(studio.home)
    cat = made.items[-1]
    mask = store.put_image(Image.new("L", (cat.width, cat.height), 255), "L")
    roles = {made.items[3].name: "validation", made.items[4].name: "regularisation"}
    items = [replace(i, role=roles.get(i.name, "train"), mask=mask if i is cat else None) for i in made.items]
    return store.commit(made, items, Operation(name="masks"))


def rows_of(path: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(Reading(path.read_text(encoding="utf-8")).data("pictures"))
    return rows


def test_every_side_of_a_set_is_on_its_page(studio: Studio, version: DatasetVersion, tmp_path: Path) -> None:
    path = studio.curate.report("pets", tmp_path / "out" / "pets.html")
    assert path == tmp_path / "out" / "pets.html"
    reading = Reading(path.read_text(encoding="utf-8"))
    shown = "".join(reading.text)
    for words in ("pets@2", "broken.png", "left out", "sd-scripts", "40×24", "masks", "import of", "import"):
        assert words in shown, words
    rows = {row["n"]: row for row in rows_of(path)}
    assert len(rows) == len(version.items)
    for item in version.items:
        row = rows[item.name]
        assert row["w"] == item.width
        assert row.get("r", "train") == item.role
        assert bool(row.get("m")) == (item.mask is not None)
        assert row["c"] == item.caption
    entries = reading.data("thumbnails-0").split(" ")
    assert sum("|" in entry for entry in entries) == 1
    assert "-" not in entries


def test_the_line_of_versions_is_that_which_led_here(studio: Studio, version: DatasetVersion, tmp_path: Path) -> None:
    curate = studio.curate
    curate.edit("pets", "add_trigger_word", {"word": "first"})
    curate.undo("pets")
    last = curate.edit("pets", "add_trigger_word", {"word": "second"})
    shown = "".join(Reading(curate.report(last, tmp_path / "r.html").read_text(encoding="utf-8")).text)
    assert "trigger word 'second'" in shown
    assert "trigger word 'first'" not in shown
    assert "captions changed" in shown
    assert "1 mask changed" in shown


def test_missing_and_damaged_pictures_are_said_and_shown_as_such(
    studio: Studio, version: DatasetVersion, tmp_path: Path
) -> None:
    store = DatasetStore(studio.home)
    gone, torn, dark = version.items[0], version.items[1], version.items[-1]
    store.blob_path(gone.image).unlink()
    whole = store.blob_path(torn.image).read_bytes()
    store.blob_path(torn.image).chmod(0o600)
    store.blob_path(torn.image).write_bytes(whole[:70])
    assert dark.mask is not None
    store.blob_path(dark.mask).unlink()
    path = studio.curate.report("pets", tmp_path / "r.html")
    reading = Reading(path.read_text(encoding="utf-8"))
    entries = dict(zip([row["n"] for row in rows_of(path)], reading.data("thumbnails-0").split(" "), strict=True))
    assert [name for name, entry in entries.items() if entry == "-"] == [gone.name, torn.name]
    assert "|" not in entries[dark.name]


def test_pictures_that_were_lost_after_a_first_page(studio: Studio, version: DatasetVersion, tmp_path: Path) -> None:
    first = studio.curate.report("pets", tmp_path / "r.html").read_bytes()
    store = DatasetStore(studio.home)
    for item in version.items[:3]:
        store.blob_path(item.image).unlink()
    assert studio.curate.report("pets", tmp_path / "r.html").read_bytes() != first


def test_progress_goes_through_the_stages(studio: Studio, version: DatasetVersion, tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    paces: list[Pace] = []
    studio.curate.report("pets", tmp_path / "r.html", progress=lambda *said: told.append(said), watch=paces.append)
    assert list(dict.fromkeys(stage for _, _, stage in told)) == list(STAGES)
    assert all(done <= total for done, total, _ in told)
    assert [(p.done, p.total, p.stage) for p in paces] == told
    assert [p.number for p in paces] == sorted(p.number for p in paces)
    assert all(p.seconds_left is None or p.seconds_left >= 0 for p in paces)


def test_the_time_left_is_of_what_is_really_done(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 100.0, 110.0])
    monkeypatch.setattr("lorasmith.datasets.report.stages.time.monotonic", lambda: next(clock))
    paces: list[Pace] = []
    stages = Stages(watch=paces.append)
    stages("thumbnails", 40, 100)  # known from before
    stages("thumbnails", 60, 100)
    assert [p.seconds_left for p in paces] == [None, 20.0]


@pytest.mark.parametrize("stage", STAGES)
def test_an_end_at_any_stage_leaves_the_old_page(
    studio: Studio, version: DatasetVersion, tmp_path: Path, stage: str
) -> None:
    path = tmp_path / "out" / "r.html"
    path.parent.mkdir()
    path.write_text("the old page")

    def stop(done: int, total: int, what: str) -> None:
        if what == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        studio.curate.report("pets", path, progress=stop)
    assert path.read_text() == "the old page"
    assert list(path.parent.iterdir()) == [path]


def test_a_wrong_trainer_is_told_before_anything_is_measured(
    studio: Studio, version: DatasetVersion, tmp_path: Path
) -> None:
    told: list[str] = []
    with pytest.raises(ConfigError):
        studio.curate.report(
            "pets", tmp_path / "r.html", trainers=["nobody"], progress=lambda *said: told.append(said[2])
        )
    assert told == []
    path = studio.curate.report("pets", tmp_path / "r.html", trainers=["sd_scripts"])
    shown = "".join(Reading(path.read_text(encoding="utf-8")).text)
    assert "sd-scripts" in shown
    assert "OneTrainer" not in shown


def test_batches_are_not_counted_from_a_choice_of_pictures(
    studio: Studio, version: DatasetVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lens = studio.curate.lens(family="sd", batch_size=3)

    def said() -> str:
        path = studio.curate.report("pets", tmp_path / "r.html", lens, trainers=["onetrainer"])
        return "".join(Reading(path.read_text(encoding="utf-8")).text)

    assert "for batches of 3" in said()
    monkeypatch.setattr(gathering, "_LOOKED_AT", 4)
    shown = said()
    assert "for batches of 3" not in shown
    assert "evenly chosen" in shown


def test_clips_show_a_few_of_their_frames(studio: Studio, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    frames = [Image.new("RGB", (64, 48), (8 * n, 0, 90)) for n in range(24)]
    (folder / "run.webp").write_bytes(animated_webp(frames, 16.0))
    (folder / "still.png").write_bytes(png(1))
    studio.import_dataset(folder, name="moving", clips=True)
    path = studio.curate.report("moving", tmp_path / "moving.html", studio.curate.lens(family="wan"))
    moving, still = sorted(rows_of(path), key=lambda row: str(row["n"]))
    assert moving["v"] == "a clip of 24 frames, 16 a second (1.5 s)" and moving["z"] == 3
    assert moving["b"].endswith("×21") and "z" not in still and "v" not in still  # type: ignore[attr-defined]
    block = path.read_text(encoding="utf-8").partition('id="thumbnails-0">')[2].partition("<")[0].split(" ")
    shown = next(entry for entry in block if "|" in entry).split("|")
    assert len(shown) == 5 and shown[1] == "", "the picture, no mask, and three frames"
    assert len(set(shown)) == 5
