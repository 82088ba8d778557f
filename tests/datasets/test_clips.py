"""Clips: taken in, measured, read frame by frame, cut into windows; what is wrong with a file is one sentence."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorasmith.datasets import layouts
from lorasmith.datasets.buckets import Frames, arrange
from lorasmith.datasets.checks import inspect, look_at_pictures
from lorasmith.datasets.checks.context import CheckContext, FamilyFacts
from lorasmith.datasets.clips import reading
from lorasmith.datasets.clips.program import Failed, find_ffmpeg, started
from lorasmith.datasets.clips.writing import animated_webp, write_mp4
from lorasmith.datasets.manifest import Clip, DatasetVersion, Item, Operation
from lorasmith.datasets.pieces import cut_items, items_of
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import DatasetError, EnvironmentProblem
from lorasmith.plugins import discover

FPS = 16.0
video = pytest.mark.skipif(find_ffmpeg() is None, reason="videos are decoded by ffmpeg")
Make = Callable[[Path, list[Image.Image]], None]


def shades(count: int, size: tuple[int, int] = (64, 48)) -> list[Image.Image]:
    """Frame n is gray of 8 n."""
    return [Image.new("RGB", size, (8 * n, 8 * n, 8 * n)) for n in range(count)]


def seen(frames: list[Image.Image]) -> list[int]:
    """Which frames of ``shades`` these are, through any codec."""
    return [round(float(np.asarray(frame).mean()) / 8) for frame in frames]


def write(path: Path, frames: list[Image.Image]) -> None:
    if path.suffix == ".mp4":
        assert write_mp4(path, frames, FPS)
    elif path.suffix == ".webp":
        path.write_bytes(animated_webp(frames, FPS))
    else:
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=62.5 if path.suffix == ".png" else 60)


def ffmpeg(*arguments: str) -> None:
    subprocess.run([str(find_ffmpeg()), "-v", "error", "-y", *arguments], check=True)


def imported(folder: Path, store: DatasetStore, *, clips: bool = True) -> DatasetVersion:
    return store.import_source(folder, name="moving", clips=clips)


def fate_of(version: DatasetVersion, path: str) -> tuple[str, str]:
    return next((fate.rule, fate.detail) for fate in version.ledger if fate.path == path)


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path / "home")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "källa 動"
    place.mkdir()
    Image.new("RGB", (32, 32), "red").save(place / "still.png")
    return place


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", pytest.param(".mp4", marks=video)])
def test_a_clip_comes_in_whole_with_its_caption(folder: Path, store: DatasetStore, suffix: str) -> None:
    write(folder / f"猫{suffix}", shades(20))
    (folder / "猫.txt").write_text("zib runs", encoding="utf-8")
    version = imported(folder, store)
    item = next(item for item in version.items if item.clip)
    assert item.name == f"猫{suffix}" and item.caption == "zib runs" and (item.width, item.height) == (64, 48)
    assert item.clip is not None and item.clip.frames == 20
    assert item.clip.fps == pytest.approx(1000 / 60 if suffix == ".gif" else FPS)
    assert item.original == item.clip.video and store.blob_path(item.clip.video).is_file()
    assert seen([store.open_image(item)]) == [0], "its picture is its first frame"
    assert seen(list(store.open_frames(item, [0, 3, 3, 7, 19]))) == [0, 3, 3, 7, 19]
    rule, detail = fate_of(version, f"猫{suffix}")
    assert rule == "image" and "is taken as it came. It is a clip of 20 frames" in detail
    assert version.operation.arguments["clips"] is True
    assert imported(folder, store) == version, "the same again is no new version"
    reread = DatasetStore(store.home).get(version.reference)
    assert reread.items == version.items and reread.fingerprint == version.fingerprint


def test_without_the_option_nothing_moves_and_both_kinds_are_told_of_it(folder: Path, store: DatasetStore) -> None:
    write(folder / "a.gif", shades(3))
    (folder / "b.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    version = imported(folder, store, clips=False)
    assert all(item.clip is None for item in version.items) and len(version.items) == 2
    assert fate_of(version, "a.gif")[1].endswith("With the option clips it is taken as a clip.")
    assert fate_of(version, "b.mp4") == (
        "video",
        "is a video by its name; with the option clips it is taken as a clip.",
    )
    assert "clips" not in version.operation.arguments


@video
def test_every_broken_video_is_one_sentence(folder: Path, store: DatasetStore, tmp_path: Path) -> None:
    whole = tmp_path / "whole.mp4"
    write(whole, shades(24))
    content = whole.read_bytes()
    webm, sound = tmp_path / "whole.webm", folder / "sound.mp4"
    ffmpeg("-i", str(whole), "-c:v", "libvpx", "-deadline", "realtime", str(webm))
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac", str(sound))
    (folder / "cut.mp4").write_bytes(content[: len(content) * 2 // 3])
    (folder / "cut.webm").write_bytes(webm.read_bytes()[: webm.stat().st_size * 2 // 3])
    (folder / "head.mp4").write_bytes(content[:32])
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "page.mp4").write_bytes(b"<!doctype html><html>404</html>")
    (folder / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    (folder / "noise.mkv").write_bytes(b"\x1aE\xdf\xa3" + bytes(range(256)) * 8)
    ffmpeg("-i", str(whole), "-frames:v", "1", str(folder / "one.mp4"))
    (folder / "cut.txt").write_text("of a video that is cut")
    version = imported(folder, store)
    rules = {path: fate_of(version, path)[0] for path in (
        "cut.mp4", "cut.webm", "head.mp4", "empty.mp4", "page.mp4", "list.mp4", "noise.mkv", "sound.mp4", "one.mp4"
    )}  # fmt: skip
    assert rules == {
        "cut.mp4": "damaged", "cut.webm": "damaged", "head.mp4": "damaged", "empty.mp4": "empty_file",
        "page.mp4": "not_an_image", "list.mp4": "damaged", "noise.mkv": "damaged", "sound.mp4": "not_an_image",
        "one.mp4": "image",
    }  # fmt: skip
    assert all(len(fate_of(version, path)[1].split(". ")) <= 2 for path in rules)
    assert "one frame, and is taken as a picture" in fate_of(version, "one.mp4")[1]
    assert sorted(item.name for item in version.items) == ["one.mp4", "still.png"]
    assert all(item.clip is None for item in version.items)
    assert not any("/etc/passwd" in fate.detail for fate in version.ledger)


def test_a_damaged_animation_is_refused_and_a_huge_one(
    folder: Path, store: DatasetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "cut.webp", shades(12))
    content = (folder / "cut.webp").read_bytes()
    (folder / "cut.webp").write_bytes(content[: len(content) - 200])
    write(folder / "long.gif", shades(9))
    monkeypatch.setattr(reading, "MOST_FRAMES", 8)
    version = imported(folder, store)
    assert fate_of(version, "cut.webp")[0] == "damaged"
    assert fate_of(version, "long.gif") == ("too_large", "has more than 8 frames; cut it into clips first.")


@video
def test_uneven_frames_are_read_at_their_mean(folder: Path, store: DatasetStore) -> None:
    frames = shades(16)
    durations = [50] * 8 + [150] * 8
    frames[0].save(folder / "uneven.webp", save_all=True, append_images=frames[1:], duration=durations, lossless=True)
    chosen = "select='not(mod(n,3))+lt(n,10)'"
    source = "testsrc=size=64x48:rate=30:duration=1"
    ffmpeg("-f", "lavfi", "-i", source, "-vf", chosen, "-fps_mode", "vfr", str(folder / "uneven.mp4"))
    version = imported(folder, store)
    for name, count, fps in (("uneven.webp", 16, 10.0), ("uneven.mp4", 16, 16.0)):
        item = next(item for item in version.items if item.name == name)
        assert item.clip is not None and (item.clip.frames, item.clip.fps) == (count, pytest.approx(fps))
        assert "it is read at its mean" in fate_of(version, name)[1]
        assert len(list(store.open_frames(item, range(count)))) == count
    still = next(item for item in version.items if item.name == "uneven.webp")
    shown = seen(list(store.open_frames(still, range(16))))
    assert shown[:5] == [1, 3, 5, 7, 8] and shown[-1] == 15, "the picture that is there at each moment"


@video
def test_the_same_clip_in_another_container_is_one_item(folder: Path, store: DatasetStore) -> None:
    write(folder / "a.mp4", shades(10))
    ffmpeg("-i", str(folder / "a.mp4"), "-c", "copy", str(folder / "b.mkv"))
    write(folder / "other.mp4", [*shades(9), Image.new("RGB", (64, 48), "blue")])
    version = imported(folder, store)
    assert [item.name for item in version.items if item.clip] == ["a.mp4", "other.mp4"], "which begin alike"
    assert fate_of(version, "b.mkv")[0] == "duplicate"


@video
def test_turned_and_stretched_videos_come_out_upright(folder: Path, store: DatasetStore) -> None:
    write(folder / "flat.mp4", shades(3))
    ffmpeg("-display_rotation", "90", "-i", str(folder / "flat.mp4"), "-c", "copy", str(folder / "turned.mov"))
    ffmpeg("-i", str(folder / "flat.mp4"), "-vf", "setsar=2/1", str(folder / "wide.mp4"))
    sizes = {item.name: (item.width, item.height) for item in imported(folder, store).items}
    assert sizes["turned.mov"] == (48, 64) and sizes["wide.mp4"] == (128, 48)


def test_what_no_ffmpeg_means(folder: Path, store: DatasetStore, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(64))
    write(folder / "b.gif", shades(3))
    monkeypatch.setattr(reading, "find_ffmpeg", lambda: None)
    version = imported(folder, store)
    assert fate_of(version, "a.mp4")[0] == "needs_extra"
    assert "pip install 'lorasmith[video]'" in fate_of(version, "a.mp4")[1]
    assert next(item for item in version.items if item.name == "b.gif").clip is not None
    monkeypatch.setattr("lorasmith.datasets.clips.program.find_ffmpeg", lambda: None)
    with pytest.raises(EnvironmentProblem, match="ffmpeg, which is not here"), started([]):
        pass


@video
def test_a_program_that_takes_too_long_is_ended() -> None:
    endless = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=1000000", "-f", "null", "-"]
    with pytest.raises(Failed) as failed, started(endless, seconds=0.3):
        pass
    assert failed.value.out_of_time


def test_a_clip_whose_video_is_gone_or_short_says_so(folder: Path, store: DatasetStore) -> None:
    write(folder / "a.gif", shades(6))
    item = next(item for item in imported(folder, store).items if item.clip)
    assert item.clip is not None
    with pytest.raises(DatasetError, match="ends at frame 6, and frame 41"):
        list(reading._picked(iter(shades(6)), [0, 40]))
    assert seen(list(reading._picked(iter(shades(6)), [5, 6]))) == [5, 5], "what rounding took from the end"
    still = next(i for i in store.get("moving").items if not i.clip)
    with pytest.raises(DatasetError, match="a picture and no clip"):
        list(store.open_frames(still, [0]))
    store.blob_path(item.clip.video).unlink()
    with pytest.raises(DatasetError, match=r"of 'a[.]gif' is missing"):
        list(store.open_frames(item, [0]))


def test_transparent_frames_lie_on_the_background(folder: Path, store: DatasetStore) -> None:
    frames = [Image.new("RGBA", (16, 16), (0, 0, 0, 0)) for _ in range(3)]
    for n, frame in enumerate(frames):
        frame.putpixel((n, 0), (255, 0, 0, 255))
    frames[0].save(folder / "clear.webp", save_all=True, append_images=frames[1:], duration=100, lossless=True)
    version = store.import_source(folder, name="moving", clips=True, background="#102030")
    item = next(item for item in version.items if item.clip)
    shown = list(store.open_frames(item, [0, 2]))
    assert store.open_image(item).getpixel((8, 8)) == shown[1].getpixel((8, 8)) == (16, 32, 48)
    assert shown[1].getpixel((2, 0)) == (255, 0, 0)


def test_garbage_keeps_a_clips_video(folder: Path, store: DatasetStore) -> None:
    write(folder / "a.gif", shades(6))
    item = next(item for item in imported(folder, store).items if item.clip)
    edited = replace(item, original=item.image)  # nothing but the clip names the video now
    version = store.get("moving")
    store.commit(
        version, tuple(edited if i is item or i.name == item.name else i for i in version.items), Operation(name="x")
    )
    store.drop(version.reference)
    store.collect(store.garbage())
    assert item.clip is not None and store.blob_path(item.clip.video).is_file()


def test_pieces_hold_clips_and_versions_without_are_as_they_were() -> None:
    still = Item(name="a.png", image="1" * 64, original="1" * 64, width=8, height=8)
    clip = Clip(video="2" * 64, frames=9, fps=29.97002997002997, width=8, height=8, start=3)
    moving = Item(name="b.mp4", image="3" * 64, original="2" * 64, width=8, height=8, clip=clip)
    _, contents = cut_items((still, moving))
    (content,) = contents.values()
    assert items_of(content) == (still, moving)
    assert b"clip" not in content.splitlines()[0]
    version = DatasetVersion(
        dataset="d", number=1, parent=None, operation=Operation(name="import"), created="2026-01-01", items=(still,)
    )
    assert version.fingerprint == "30867dd8a6e9c78163299b14bf2f6abd9c7fd007d0722510c01f03d3b06dc399", (
        "as before there were clips"
    )
    other = replace(moving, clip=replace(clip, start=0))
    one, two = (version.model_copy(update={"items": (item,)}).fingerprint for item in (moving, other))
    assert one != two


# --- windows ---------------------------------------------------------------------------------------------------


def clip_of(frames: int, fps: float = FPS) -> Item:
    clip = Clip(video="2" * 64, frames=frames, fps=fps, width=64, height=64)
    return Item(name="c.mp4", image="3" * 64, original="2" * 64, width=64, height=64, clip=clip)


@pytest.mark.parametrize(
    ("frames", "fps", "cut", "windows"),
    [
        (50, 16, "head", [(0, 17)]),
        (50, 16, "chunks", [(0, 17), (17, 17)]),
        (50, 16, "uniform", [(0, 17), (16, 17), (33, 17)]),
        (12, 16, "uniform", [(0, 9), (3, 9)]),
        (17, 16, "uniform", [(0, 17)]),
        (4, 16, "head", [(0, 1)]),
        (60, 30, "head", [(0, 17)]),
        (30, 30, "chunks", [(0, 13)]),
        (8, 8, "head", [(0, 13)]),
    ],
)
def test_windows_of_a_clip(frames: int, fps: float, cut: str, windows: list[tuple[int, int]]) -> None:
    found = arrange(
        [clip_of(frames, fps)],
        resolution=64,
        bucket_multiple=16,
        frames=Frames(4, 17, 16.0, cut),  # type: ignore[arg-type]
    )
    placed = [p for bucket in found.buckets for p in bucket.placed]
    assert sorted((p.start, p.frames) for p in placed) == windows
    assert len({p.key for p in placed}) == len(placed) and all(p.frames % 4 == 1 for p in placed)
    clip = clip_of(frames, fps).clip
    assert clip is not None
    for one in placed:
        numbers = one.numbers(clip)
        assert len(numbers) == one.frames and numbers == sorted(numbers) and numbers[0] >= 0 and numbers[-1] < frames


def test_pictures_and_clips_lie_in_three_dimensions() -> None:
    still = Item(name="a.png", image="1" * 64, original="1" * 64, width=64, height=64)
    found = arrange([still, clip_of(20)], resolution=64, bucket_multiple=16, frames=Frames(4, 17, 16.0))
    assert [(b.width, b.height, b.frames, b.title) for b in found.buckets] == [
        (64, 64, 1, "64 x 64"), (64, 64, 17, "64 x 64 x 17")
    ]  # fmt: skip
    flat = arrange([still, clip_of(20)], resolution=64, bucket_multiple=16)
    assert [(b.frames, len(b.placed)) for b in flat.buckets] == [(1, 2)], "a family of pictures trains first frames"


def test_tools_that_look_at_what_is_in_a_picture_leave_clips_alone(folder: Path, store: DatasetStore) -> None:
    from lorasmith.datasets.pictures import tool_from
    from lorasmith.datasets.pictures.work import use_tool

    write(folder / "a.gif", shades(6))
    shutil.copy(folder / "still.png", folder / "again.png")
    outcome = use_tool(imported(folder, store), store, tool_from("trim_borders", {}))
    assert list(outcome.refused) == ["a.gif"] and "is a clip" in outcome.refused["a.gif"]


def test_every_layout_takes_what_moves_or_says_that_it_stays_behind(folder: Path, store: DatasetStore) -> None:
    write(folder / "a.gif", shades(6))
    version = imported(folder, store)
    for name, layout in discover(layouts, layouts.Layout).items():  # type: ignore[type-abstract]
        told = next((loss for loss in layout.losses(version) if loss.what in ("clips", "clips_anew")), None)
        assert (told is None) == (name == "plain")
        takes = name in ("musubi", "diffusion_pipe", "ai_toolkit", "onetrainer", "simpletuner")
        if told is not None:
            assert told.items == ("a.gif",) and ("H.264 without loss" if takes else "first frame") in told.sentence


def test_an_import_says_at_once_what_is_wrong_with_its_clips(tmp_path: Path) -> None:
    """Animated pictures tell their times themselves, so this needs no ffmpeg."""
    source = tmp_path / "s"
    source.mkdir()
    for name, count, fps in (("a", 9, 10.0), ("b", 13, 10.0), ("short", 3, 10.0), ("fast", 9, 25.0)):
        (source / f"{name}.webp").write_bytes(animated_webp(shades(count), fps))
    uneven = shades(17)  # another length, or it is the same clip in another container
    uneven[0].save(source / "odd.gif", save_all=True, append_images=uneven[1:], duration=[60, 140] * 8 + [100])
    store = DatasetStore(tmp_path / "home")
    version = imported(source, store)
    said = [one for one in version.operation.arguments["said"] if "clip" in one]
    assert said == [
        "1 clip has fewer than 5 frames, too few to move in any family: short.webp (V1).",
        "1 clip has another frame rate than most (10 a second): fast.webp (V2).",
        "1 clip has frames that last unlike long, and is read at its mean rate: odd.gif (V5).",
    ]
    context = CheckContext(version, store, family=FamilyFacts("wan", frames=Frames(4, 33, 16.0)))
    look_at_pictures(context, overlay=False)
    found = {one.id: (one.message, one.items) for one in inspect(context, only={"V1", "V2", "V3", "D1"}).findings}
    assert found["V1"][0].startswith("1 clip has fewer frames") and found["V1"][1] == ("short.webp",)
    assert "short.webp" not in found.get("V3", ("", ()))[1], "what is too short to move is said once"
    assert "D1" not in found and not context.groups, "clips that begin alike are not the same clip"
    twice = version.items[0]
    again = store.commit(version, [*version.items, replace(twice, name="copy.webp")], Operation(name="test"))
    (same,) = inspect(CheckContext(again, store), only={"D1"}).findings
    assert set(same.items) == {twice.name, "copy.webp"}


@video
def test_a_clip_that_its_metadata_turns_is_told_of(tmp_path: Path) -> None:
    source = tmp_path / "s"
    source.mkdir()
    write(tmp_path / "flat.mp4", shades(9))
    turn = ("-display_rotation", "90", "-i", str(tmp_path / "flat.mp4"), "-c", "copy", str(source / "a.mp4"))
    ffmpeg(*turn)
    version = imported(source, DatasetStore(tmp_path / "home"))
    assert (version.items[0].width, version.items[0].height) == (48, 64)
    assert "1 clip is turned as its metadata asks: a.mp4." in version.operation.arguments["said"]
    assert "It is turned by 90 degrees, as its metadata asks." in fate_of(version, "a.mp4")[1]
