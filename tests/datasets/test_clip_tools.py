"""Tools on clips: cut in time, every frame the same way, made anew with every pixel or nearly so; the others refuse."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lorasmith.datasets.clips.program import find_ffmpeg
from lorasmith.datasets.clips.writing import animated_webp, write_mp4
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.datasets.pictures import TOOLS, ClipTool, tool_from
from lorasmith.datasets.pictures.work import ToolOutcome, preview_tool, use_tool
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import ConfigError, EnvironmentProblem

pytestmark = pytest.mark.skipif(find_ffmpeg() is None, reason="clips are written by ffmpeg")
FPS = 16.0
Home = tuple[DatasetStore, DatasetVersion]


def picture(number: int, size: tuple[int, int] = (48, 32)) -> Image.Image:
    """A bar that walks over a gradient, so that turning, cropping and order all show."""
    x = np.arange(size[0]) + np.zeros((size[1], 1))
    y = np.arange(size[1])[:, None] + np.zeros(size[0])
    bar = np.where(abs(x - number) < 3, 255.0, 40.0)
    return Image.fromarray(np.stack([bar, 4 * x, 6 * y], axis=-1).clip(0, 255).astype(np.uint8))


def cut_film() -> list[Image.Image]:
    """Three scenes of 20, 12 and 16 frames; a flash of one frame in the first is none."""
    scenes = [((200, 30, 30), 20), ((20, 40, 220), 12), ((30, 200, 60), 16)]
    frames = [Image.new("RGB", (48, 32), color) for color, count in scenes for _ in range(count)]
    frames[7] = Image.new("RGB", (48, 32), "white")
    return frames


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("in")
    write_mp4(folder / "a clip 動.mp4", [picture(n) for n in range(40)], FPS, quality="lossless")
    write_mp4(folder / "film.mp4", cut_film(), FPS, quality="lossless")
    (folder / "anim.webp").write_bytes(animated_webp([picture(n) for n in range(6)], FPS))
    picture(3).save(folder / "still.png")
    (folder / "a clip 動.txt").write_text("zib runs", encoding="utf-8")
    store = DatasetStore(tmp_path_factory.mktemp("home"))
    return store, store.import_source(folder, name="moving", clips=True)


def use(home: Home, tool: str, names: list[str] | None = None, **options: object) -> ToolOutcome:
    store, version = home
    commit = partial(store.commit, onto="parent")
    return use_tool(version, store, tool_from(tool, options), names, commit=commit)


def named(version: DatasetVersion, *names: str) -> list[Item]:
    return [next(item for item in version.items if item.name == name) for name in names]


def frames(store: DatasetStore, item: Item) -> NDArray[np.uint8]:
    assert item.clip is not None
    return np.stack([np.asarray(frame) for frame in store.open_frames(item, range(item.clip.frames))])


def test_a_clip_is_trimmed_to_the_very_frames(home: Home) -> None:
    store, version = home
    outcome = use(home, "trim", ["a clip 動.mp4"], start=0.5, end=-0.25, written="lossless")
    (before,), (after,) = named(version, "a clip 動.mp4"), named(outcome.version, "a clip 動.mp4")
    assert after.clip is not None and before.clip is not None
    assert (after.clip.frames, after.clip.fps, after.clip.start) == (28, FPS, 0)
    assert np.array_equal(frames(store, after), frames(store, before)[8:36])
    assert np.array_equal(np.asarray(store.open_image(after)), frames(store, before)[8]), "its picture is its first"
    assert after.caption == "zib runs" and after.original == before.original and after.clip.video != before.clip.video
    assert after.provenance["tools"] == ["trim:8-36", "video:lossless"]
    assert outcome.version.operation.arguments["unit"] == "seconds"
    assert named(outcome.version, "film.mp4") == named(version, "film.mp4"), "what was not meant stays"
    assert use(home, "trim", ["a clip 動.mp4"], start=0, end=40, unit="frames").changed == 0


def test_windows_are_cut_one_after_the_other(home: Home) -> None:
    store, version = home
    outcome = use(home, "cut_windows", ["a clip 動.mp4"], length=17, written="lossless")
    parts = named(outcome.version, "a clip 動-1.mp4", "a clip 動-2.mp4")
    whole = frames(store, named(version, "a clip 動.mp4")[0])
    assert [np.array_equal(frames(store, part), whole[17 * n : 17 * n + 17]) for n, part in enumerate(parts)] == [
        True
    ] * 2
    assert [part.provenance["tools"][0] for part in parts] == ["window:0-17", "window:17-34"]
    kept = use(home, "cut_windows", ["a clip 動.mp4"], length=1, unit="seconds", rest="keep")
    lengths = [item.clip.frames for item in kept.version.items if item.name.startswith("a clip") and item.clip]
    assert lengths == [16, 16, 8]
    short = use(home, "cut_windows", ["anim.webp"])
    assert short.changed == 0 and "fewer than one window of 33" in short.refused["anim.webp"]


def test_scenes_are_cut_where_the_picture_changes(home: Home) -> None:
    outcome = use(home, "cut_scenes")
    found = {item.name: item.clip.frames for item in outcome.version.items if item.clip}
    assert {name: count for name, count in found.items() if "film" in name} == {
        "film-1.mp4": 20, "film-2.mp4": 12, "film-3.mp4": 16,
    }  # fmt: skip
    assert found["a clip 動.mp4"] == 40, "motion is no cut"
    assert outcome.changed == 1 and not outcome.refused


def test_a_rate_repeats_and_passes_over(home: Home) -> None:
    store, version = home
    outcome = use(home, "set_rate", ["a clip 動.mp4"], fps=24.0, written="lossless")
    (after,) = named(outcome.version, "a clip 動.mp4")
    assert after.clip is not None and (after.clip.frames, after.clip.fps) == (60, 24.0)
    whole = frames(store, named(version, "a clip 動.mp4")[0])
    assert np.array_equal(frames(store, after), whole[[int(n * 16 / 24 + 1e-6) for n in range(60)]])
    assert use(home, "set_rate", ["a clip 動.mp4"], fps=16.0).changed == 0


@pytest.mark.parametrize(
    ("tool", "options", "change"),
    [
        ("crop", {"box": (0.25, 0.0, 0.75, 0.5)}, lambda x: x[:, :16, 12:36]),
        ("flip", {}, lambda x: x[:, :, ::-1]),
        ("rotate", {"degrees": 90}, lambda x: np.rot90(x, -1, (1, 2))),
    ],
)
def test_every_frame_goes_the_same_way(home: Home, tool: str, options: dict[str, object], change: object) -> None:
    store, version = home
    outcome = use(home, tool, ["a clip 動.mp4", "anim.webp"], **options)
    assert not outcome.refused
    for before, after in (("a clip 動.mp4", "a clip 動.mp4"), ("anim.webp", "anim.mp4")):
        want = change(frames(store, named(version, before)[0]))  # type: ignore[operator]
        (item,) = named(outcome.version, after)
        got = frames(store, item)
        assert got.shape == want.shape and item.width == got.shape[2]
        assert abs(got[..., 0].astype(int) - want[..., 0]).mean() < 12, "nearly, colours being at half the size"
        assert abs(got.astype(int).mean((0, 1, 2)) - want.mean((0, 1, 2))).max() < 3, "the colours of BT.709"


def test_resize_and_buckets_fit_clips_too(home: Home) -> None:
    outcome = use(home, "resize", None, mode="fill", width=32, height=32)
    assert {(item.width, item.height) for item in outcome.version.items} == {(32, 32)}
    assert all((item.clip.width, item.clip.height) == (32, 32) for item in outcome.version.items if item.clip)
    middle = use(home, "to_bucket", None, resolution=64, multiple=16, window="center", upscale=True)
    assert not middle.refused and all(item.width % 16 == 0 for item in middle.version.items)


def test_odd_sides_stay_odd(home: Home) -> None:
    outcome = use(home, "crop", ["a clip 動.mp4"], box=(0.0, 0.0, 0.7, 0.5))
    (item,) = named(outcome.version, "a clip 動.mp4")
    assert item.clip is not None and frames(home[0], item).shape == (40, 16, 34, 3)
    outcome = use(home, "crop", ["a clip 動.mp4"], box=(0.0, 0.0, 0.69, 0.46))
    (item,) = named(outcome.version, "a clip 動.mp4")
    assert item.width % 2 == 1 and frames(home[0], item).shape[1:3] == (item.height, item.width)


@pytest.mark.parametrize("tool", sorted(TOOLS))
def test_every_tool_works_on_clips_or_says_why_not(home: Home, tool: str) -> None:
    box = (0, 0, 0.5, 0.5)
    needed: dict[str, dict[str, object]] = {
        "resize": {"mode": "long_side", "size": 24},
        "crop": {"box": box},
        "rotate": {"degrees": 180},
        "mask_rectangle": {"box": box},
        "trim": {"start": 0.25},
        "cut_windows": {"length": 4},
        "set_rate": {"fps": 8},
        "convert": {"format": "jpeg"},
    }
    kind = TOOLS[tool]
    if kind.masks_only:
        return  # they move no pixels
    store, version = home
    preview = preview_tool(version, store, tool_from(tool, needed.get(tool, {})), ["film.mp4", "anim.webp"])
    working = issubclass(kind, ClipTool) or tool in ("resize", "crop", "rotate", "flip")
    told = [reason for reason in preview.refused.values() if "work on clips" in reason]
    assert len(told) == (0 if working else 2)
    if issubclass(kind, ClipTool):
        assert preview.examples and preview.examples[0].after


def test_pictures_stay_as_they_are_under_tools_for_clips(home: Home) -> None:
    _, version = home
    outcome = use(home, "trim", start=0.1)
    assert named(outcome.version, "still.png") == named(version, "still.png") and not outcome.refused


@pytest.mark.parametrize(
    ("tool", "options", "said"),
    [
        ("trim", {}, "start or end"),
        ("trim", {"start": 2, "end": 1}, "end must lie after start"),
        ("cut_windows", {"length": 0}, "greater than 0"),
        ("set_rate", {"fps": 0}, "greater than 0"),
        ("cut_scenes", {"change": 1.5}, "less than 1"),
        ("trim", {"start": 1, "written": "best"}, "written"),
    ],
)
def test_impossible_options_are_refused(tool: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        tool_from(tool, options)


def test_what_would_not_move_any_more_is_refused(home: Home) -> None:
    outcome = use(home, "trim", start=39, unit="frames")
    assert outcome.changed == 1, "of the film, which is longer"
    assert "fewer than two would be left" in outcome.refused["a clip 動.mp4"]
    assert "fewer than two would be left" in outcome.refused["anim.webp"]


def test_without_ffmpeg_it_says_what_to_install(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lorasmith.datasets.clips.program.find_ffmpeg", lambda: None)
    with pytest.raises(EnvironmentProblem, match="ffmpeg, which is not here"):
        use(home, "trim", ["anim.webp"], start=0.1)


def test_what_was_made_is_plain_and_goes_out_as_it_is(home: Home, tmp_path: Path) -> None:
    from lorasmith.datasets import layouts

    store, _ = home
    outcome = use(home, "trim", ["anim.webp"], start=1, unit="frames")
    (item,) = named(outcome.version, "anim.mp4")
    exported = layouts.export(outcome.version, store, "musubi", tmp_path / "out")
    assert not [loss for loss in exported.losses if loss.what == "clips_anew"]
    written = next(path for path in exported.files if path.endswith("anim.mp4"))
    assert item.clip is not None
    assert (tmp_path / "out" / written).read_bytes() == store.blob_path(item.clip.video).read_bytes()
