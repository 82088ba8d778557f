"""Clips through the layouts of other trainers: out as each of them reads videos, in again as they were."""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from lorasmith.datasets import layouts
from lorasmith.datasets.clips.program import find_ffmpeg
from lorasmith.datasets.clips.writing import animated_webp, write_mp4
from lorasmith.datasets.layouts.clips import WINDOWS, video_suffix, window_of
from lorasmith.datasets.manifest import Clip, DatasetVersion, Item
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import InputError

pytestmark = pytest.mark.skipif(find_ffmpeg() is None, reason="videos are decoded by ffmpeg")
TRAINERS = ("musubi", "diffusion_pipe", "ai_toolkit", "onetrainer", "simpletuner")
EVERY = pytest.mark.parametrize("name", [*TRAINERS, "plain"])


def shades(count: int, size: tuple[int, int] = (48, 32)) -> list[Image.Image]:
    return [Image.new("RGB", size, (5 * n % 250, 200, 255 - 5 * n % 250)) for n in range(count)]


def ffmpeg(*arguments: str) -> None:
    subprocess.run([str(find_ffmpeg()), "-v", "error", "-y", *arguments], check=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DatasetStore, DatasetVersion]]:
    """Clips of every kind beside a still, imported once."""
    folder = tmp_path_factory.mktemp("in") / "2_zib 動く"
    folder.mkdir()
    write_mp4(folder / "läuft schnell.mp4", shades(40), 16.0)
    write_mp4(folder / "short.mp4", shades(7), 24.0)
    (folder / "tanz.webp").write_bytes(animated_webp(shades(18), 16.0))
    ffmpeg("-display_rotation", "90", "-i", str(folder / "short.mp4"), "-c", "copy", str(folder / "liegt.mov"))
    Image.new("RGB", (48, 32), "red").save(folder / "still.png")
    for path in list(folder.iterdir()):
        path.with_suffix(".txt").write_text(f"zib {path.stem}, été", encoding="utf-8")
    store = DatasetStore(tmp_path_factory.mktemp("home"))
    yield store, store.import_source(folder.parent, name="moving", clips=True)


def pixels(store: DatasetStore, item: Item) -> np.ndarray:
    assert item.clip is not None
    return np.stack([np.asarray(frame) for frame in store.open_frames(item, range(item.clip.frames))])


def captions(version: DatasetVersion) -> dict[str, Item]:
    return {item.caption: item for item in version.items}


@EVERY
def test_clips_go_out_and_come_back(name: str, home: tuple[DatasetStore, DatasetVersion], tmp_path: Path) -> None:
    store, version = home
    place = tmp_path / "aus gabe 動"
    exported = layouts.export(version, store, name, place)
    assert {path for path in exported.files if not (place / path).is_file()} == set()
    told = [one for one in exported.losses if one.what == "clips_anew"]
    anew = {item for one in told for item in one.items}
    assert anew == (set() if name == "plain" else {"2_zib 動く/tanz.webp", "2_zib 動く/liegt.mov"})
    assert not [one for one in exported.losses if one.what == "clips"]
    back = store.import_source(place, name=f"back-{name}".replace("_", "-"), clips=True)
    assert set(captions(back)) == set(captions(version))
    for caption, item in captions(version).items():
        again = captions(back)[caption]
        assert (again.width, again.height) == (item.width, item.height)
        if name != "plain":
            assert (again.repeats, again.concept) == (2, item.concept)
        if item.clip is None:
            assert again.clip is None and again.image == item.image
            continue
        assert again.clip is not None and again.clip.frames == item.clip.frames
        assert again.clip.fps == pytest.approx(item.clip.fps, abs=0.01)
        assert np.array_equal(pixels(store, again), pixels(store, item)), "every pixel of every frame"
        if item.name not in anew:
            assert again.clip.video == item.clip.video, "byte by byte"
        else:
            assert again.provenance["transforms"] == [], "upright and even now"


@EVERY
def test_a_second_export_encodes_nothing(
    name: str, home: tuple[DatasetStore, DatasetVersion], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, version = home
    first = layouts.export(version, store, name, tmp_path / "out")
    monkeypatch.setattr(layouts.clips, "write_mp4", None)  # who encodes again, calls nothing
    again = layouts.export(version, store, name, tmp_path / "out")
    assert again.unchanged == len(first.files)


def test_musubi_is_told_rate_and_length_of_each(home: tuple[DatasetStore, DatasetVersion], tmp_path: Path) -> None:
    store, version = home
    layouts.export(version, store, "musubi", tmp_path / "out")
    content = tomllib.loads((tmp_path / "out/dataset.toml").read_text("utf-8"))
    videos = [one for one in content["datasets"] if "video_jsonl_file" in one]
    assert {(one["source_fps"], *one["target_frames"]) for one in videos} == {(16.0, 33), (24.0, 1), (16.0, 17)}
    assert all(isinstance(one["source_fps"], float) and one["frame_extraction"] == "head" for one in videos)
    assert len({one["cache_directory"] for one in content["datasets"]}) == len(content["datasets"])
    lines = [json.loads(x) for one in videos for x in Path(one["video_jsonl_file"]).read_text("utf-8").splitlines()]
    assert all(set(line) == {"video_path", "caption"} and Path(line["video_path"]).is_file() for line in lines)
    assert len(lines) == 4 and "images" not in {key for one in videos for key in one}


def test_musubi_is_told_no_rate_that_it_would_drop_a_clip_for(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/slow.webp").write_bytes(animated_webp(shades(18), 12.0))
    store = DatasetStore(tmp_path / "home")
    version = store.import_source(tmp_path / "in", name="slow", clips=True)
    exported = layouts.export(version, store, "musubi", tmp_path / "out")
    (dataset,) = tomllib.loads((tmp_path / "out/dataset.toml").read_text("utf-8"))["datasets"]
    assert "source_fps" not in dataset and dataset["target_frames"] == [17]
    assert any(loss.what == "rate" and "set_rate helps" in loss.sentence for loss in exported.losses)


def test_the_others_get_their_settings(home: tuple[DatasetStore, DatasetVersion], tmp_path: Path) -> None:
    store, version = home
    for name in TRAINERS:
        layouts.export(version, store, name, tmp_path / name)
    toml = tomllib.loads((tmp_path / "diffusion_pipe/dataset.toml").read_text("utf-8"))
    assert [one["frame_buckets"] for one in toml["directory"]] == [[1, 17, 33]]
    blocks = yaml.safe_load((tmp_path / "ai_toolkit/dataset.yaml").read_text("utf-8"))["datasets"]
    assert [(block["auto_frame_count"], block["fps"]) for block in blocks] == [(True, 16)]
    entries = json.loads((tmp_path / "simpletuner/multidatabackend.json").read_text("utf-8"))
    videos = {entry["video"]["num_frames"]: entry for entry in entries if entry["dataset_type"] == "video"}
    assert set(videos) == {33, 17, 5}, "frames as they lie in the file, whatever their rate"
    assert all(entry["video"]["min_frames"] == frames for frames, entry in videos.items())
    assert [entry["dataset_type"] for entry in entries].count("image") == 1


def test_video_folders_of_others_are_read(home: tuple[DatasetStore, DatasetVersion], tmp_path: Path) -> None:
    store, version = home
    moving = next(item for item in version.items if "läuft" in item.name)
    assert moving.clip is not None
    folder = tmp_path / "theirs"
    (folder / "vids").mkdir(parents=True)
    shutil.copyfile(store.blob_path(moving.clip.video), folder / "vids/a.mp4")
    (folder / "vids/a.cap").write_text("from a folder", encoding="utf-8")
    (folder / "set.toml").write_text(
        '[general]\ncaption_extension = ".cap"\n[[datasets]]\nvideo_directory = "/data/vids"\n'
        'num_repeats = 3\ntarget_frames = [1, 25]\nframe_extraction = "uniform"\nframe_sample = 2\n'
    )
    back = store.import_source(folder, name="theirs", clips=True)
    (item,) = back.items
    assert item.clip is not None and (item.caption, item.repeats) == ("from a folder", 3)
    assert back.operation.arguments["layout"] == "musubi"
    with pytest.raises(InputError, match="Import it once more as clips"):
        store.import_source(folder, name="theirs-still")


def test_windows_name_what_a_clip_fills() -> None:
    def clip(frames: int, fps: float = 16.0) -> Clip:
        return Clip(video="0" * 64, frames=frames, fps=fps, width=8, height=8)

    assert [window_of(clip(n)) for n in (1, 4, 5, 16, 17, 48, 49, 500)] == [1, 1, 5, 13, 17, 33, 49, 81]
    assert window_of(clip(60, 30.0), 16.0) == 17 and window_of(clip(60, 30.0)) == 49
    assert all(length % 4 == 1 for length in WINDOWS)


def test_suffixes_follow_bytes(home: tuple[DatasetStore, DatasetVersion], tmp_path: Path) -> None:
    store, version = home
    found = {Path(i.name).name: video_suffix(store.blob_path(i.clip.video)) for i in version.items if i.clip}
    assert found == {"läuft schnell.mp4": ".mp4", "short.mp4": ".mp4", "tanz.webp": ".webp", "liegt.mov": ".mov"}
    for codec, suffix in (("libvpx", ".webm"), ("libx264", ".mkv")):
        ffmpeg("-f", "lavfi", "-i", "color=s=16x16:r=5:d=1", "-c:v", codec, str(tmp_path / f"a{suffix}"))
        assert video_suffix(tmp_path / f"a{suffix}") == suffix
