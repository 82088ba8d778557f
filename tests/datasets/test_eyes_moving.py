"""Trainers' eyes on clips: which frames each takes, how fast they run, what it drops without a word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lorasmith.datasets.bucket_plan import plan_buckets
from lorasmith.datasets.buckets import Frames
from lorasmith.datasets.clips.writing import animated_webp
from lorasmith.datasets.eyes import EyeSettings, eye_of, eyes
from lorasmith.datasets.eyes.drawing import picks, strip
from lorasmith.datasets.eyes.seeing import look
from lorasmith.datasets.eyes.seen import Seen
from lorasmith.datasets.lens import Lens
from lorasmith.datasets.manifest import Clip, DatasetVersion, Item, Operation
from lorasmith.datasets.store import DatasetStore
from lorasmith.datasets.tokens import counter_for
from lorasmith.errors import ConfigError, DatasetError

WAN = Frames(4, 81, 16.0)
SHA = "0" * 64


def moving(name: str, frames: int, fps: float, size: tuple[int, int] = (832, 480), **provenance: object) -> Item:
    clip = Clip(video=SHA, frames=frames, fps=fps, width=size[0], height=size[1])
    about = {"format": "MP4", "transforms": []} | provenance
    return Item(name=name, image=SHA, original=SHA, width=size[0], height=size[1], caption="a zib", clip=clip,
                provenance=about)  # fmt: skip


def version_of(*items: Item) -> DatasetVersion:
    return DatasetVersion(
        dataset="moving", number=1, parent=None, operation=Operation(name="import"), created="2026-01-01", items=items
    )


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path / "home")


def see(store: DatasetStore, trainer: str, *items: Item, family: str = "wan", **given: Any) -> list[Seen]:
    options: dict[str, Any] = {
        "resolution": 512,
        "clips": WAN if family == "wan" else None,
        "counter": counter_for("sd"),
    } | given
    return look(version_of(*items), store, trainer, family=family, **options)


def notes(seen: Seen) -> dict[str, str]:
    return {note.id: note.sentence for note in seen.differences}


def test_musubi_passes_over_frames_until_the_rate_is_right(store: DatasetStore) -> None:
    (seen,) = see(store, "musubi", moving("a.mp4", 72, 24.0))
    assert seen.outcome == "read" and len(seen.frames[0]) == 33
    assert seen.frames[0][:6] == (0, 2, 3, 5, 7, 8), "two of three, by sums that round as the program's do"
    assert seen.fit is not None and seen.fit.target[0] % 16 == 0
    assert "clip_speed" not in notes(seen), "its motion runs as it did"
    assert seen.frames_in_words == "1, 3, 4, 6 ... 49"
    assert "ends at 2.0 s" in notes(seen)["clip_cut"]


def test_musubi_drops_what_is_short_and_the_eye_says_so(store: DatasetStore) -> None:
    short, whole = see(store, "musubi", moving("a.mp4", 30, 16.0), moving("b.mp4", 33, 16.0),
                       settings=EyeSettings(frames=33))  # fmt: skip
    assert (short.outcome, short.fit, short.frames) == ("skipped", None, ())
    assert "30 frames at 16 a second where 33 are asked for" in notes(short)["clip_short"]
    assert "does not say so" in notes(short)["clip_short"]
    assert whole.frames == (tuple(range(33)),) and "clip_short" not in notes(whole)


def test_musubi_repeats_no_frame_of_a_slow_clip(store: DatasetStore) -> None:
    hunyuan = Frames(4, 81, 24.0)
    (seen,) = see(store, "musubi", moving("a.mp4", 40, 16.0), family="hunyuan_video", clips=hunyuan)
    assert seen.outcome == "skipped" and "below that of the model" in notes(seen)["clip_short"]


def test_musubi_takes_a_clip_below_16_frames_as_it_lies(store: DatasetStore) -> None:
    (seen,) = see(store, "musubi", moving("a.gif", 18, 12.0))
    assert seen.frames == (tuple(range(17)),) and "1.3 times as fast" in notes(seen)["clip_speed"]
    (still,) = see(store, "musubi", moving("b.mp4", 3, 16.0))
    assert "nothing of its motion" in notes(still)["clip_short"] and "clip_cut" not in notes(still)


def test_diffusion_pipe_takes_the_longest_bucket_it_fills(store: DatasetStore) -> None:
    long, short = see(store, "diffusion_pipe", moving("a.mp4", 60, 30.0), moving("b.mp4", 6, 30.0),
                      settings=EyeSettings(frames=17))  # fmt: skip
    assert len(long.frames[0]) == 17 and long.frames[0][:3] == (0, 1, 3), "spread over all of it, the head shown"
    assert short.outcome == "skipped" and "3 frames at 16 a second" in notes(short)["clip_short"]
    (own,) = see(store, "diffusion_pipe", moving("b.mp4", 12, 24.0))
    assert own.outcome == "read" and len(own.frames[0]) == 5, "an export names a bucket for it"


def test_ai_toolkit_keeps_time_with_auto_frames_and_squeezes_without(store: DatasetStore) -> None:
    item = moving("a.mp4", 120, 24.0)
    (auto,) = see(store, "ai_toolkit", item)
    assert len(auto.frames[0]) == 77 and "clip_speed" not in notes(auto), "80 frames of 16 a second, to 4 n + 1"
    (squeezed,) = see(store, "ai_toolkit", item, settings=EyeSettings(frames=33))
    assert (squeezed.frames[0][0], squeezed.frames[0][-1], len(squeezed.frames[0])) == (0, 119, 33)
    assert "2.5 times as fast" in notes(squeezed)["clip_speed"] and "clip_cut" not in notes(squeezed)
    (long,) = see(store, "ai_toolkit", moving("b.mp4", 480, 24.0))
    assert "takes memory" in notes(long)["clip"]


def test_onetrainer_draws_a_place_repeats_the_end_and_reads_for_one_family_alone(store: DatasetStore) -> None:
    (other,) = see(store, "onetrainer", moving("a.mp4", 48, 24.0))
    assert other.outcome == "skipped" and "HunyuanVideo alone" in notes(other)["clip"]
    hunyuan: dict[str, Any] = {"family": "hunyuan_video", "clips": Frames(4, 33, 24.0)}
    long, short = see(store, "onetrainer", moving("a.mp4", 48, 24.0), moving("b.mp4", 10, 24.0), **hunyuan)
    assert long.frames[0] == tuple(range(1, 26)) and "drawn" in notes(long)["clip_random"]
    assert short.frames[0][-3:] == (9, 9, 9) and "stands still" in notes(short)["clip_padded"]
    (slow,) = see(store, "onetrainer", moving("a.mp4", 90, 60.0), **hunyuan)
    assert "2.5 times as slow" in notes(slow)["clip_speed"]


def test_simpletuner_takes_frames_as_they_lie(store: DatasetStore) -> None:
    (seen,) = see(store, "simpletuner", moving("a.mp4", 60, 30.0))
    assert seen.frames == (tuple(range(49)),) and "1.9 times as slow" in notes(seen)["clip_speed"]
    (short,) = see(store, "simpletuner", moving("a.mp4", 60, 30.0), settings=EyeSettings(frames=61))
    assert short.outcome == "skipped" and "60 frames where 61" in notes(short)["clip_short"]


def test_our_own_shows_the_windows_that_training_makes(store: DatasetStore) -> None:
    frames = Frames(4, 17, 16.0, "chunks")
    (seen,) = see(store, "lorasmith", moving("a.mp4", 60, 24.0), clips=frames)
    assert [len(window) for window in seen.frames] == [17, 17] and seen.frames[1][0] == 25
    (still,) = see(store, "lorasmith", moving("a.mp4", 60, 24.0), family="sdxl")
    assert still.outcome == "read" and still.frames == () and "first frame" in notes(still)["clip_still"]


@pytest.mark.parametrize("trainer", sorted(eyes()))
def test_every_eye_says_what_it_makes_of_clips(store: DatasetStore, trainer: str) -> None:
    items = [moving("lång klipp 動.mp4", 300, 29.97), moving("one.mp4", 1, 16.0), moving("odd.mp4", 9, 11.1, (33, 77))]
    for family in ("wan", "sdxl", ""):
        for seen in see(store, trainer, *items, family=family):
            assert (seen.outcome == "read") == (seen.fit is not None)
            assert seen.fit is None or seen.frames or trainer == "lorasmith"
            assert seen.differences or seen.outcome == "read"
            assert all(0 <= n < 300 for window in seen.frames for n in window)
            assert all(note.sentence.endswith(".") for note in seen.differences)
            assert seen.to_dict()["frames"] == seen.frames
    if eye_of(trainer).moves:
        assert any("ideo" in fact.rule or "clip" in fact.rule for fact in eye_of(trainer).facts)


def test_what_came_on_its_side_is_misread_as_it_came_only(store: DatasetStore) -> None:
    item = moving("a.mp4", 40, 16.0, transforms=["turned:90", "frame_rate:uneven", "hdr:pq", "sound:aac"])
    (given,) = see(store, "musubi", item)
    (raw,) = see(store, "musubi", item, originals=True)
    assert "clip_misread" not in notes(given)
    said = [note.sentence for note in raw.differences if note.id == "clip_misread"]
    assert len(said) == 3 and any("trained sideways" in one for one in said)
    (turned,) = see(store, "ai_toolkit", item, originals=True)
    assert not [note for note in turned.differences if "sideways" in note.sentence]
    (ours,) = see(store, "lorasmith", item, originals=True)
    assert "clip_misread" not in notes(ours)


def test_batches_are_of_one_length(store: DatasetStore) -> None:
    items = [moving("a.mp4", 33, 16.0), moving("b.mp4", 17, 16.0)]
    for seen in see(store, "diffusion_pipe", *items, batch_size=2):
        length = len(seen.frames[0])
        assert f"x{length} has 1 pictures for batches of 2" in notes(seen)["short_batch"]


def test_no_window_of_nothing() -> None:
    with pytest.raises(ConfigError, match="window of 0 frames"):
        EyeSettings(frames=0)


@pytest.fixture
def shades(tmp_path: Path) -> Iterator[tuple[DatasetStore, Item]]:
    frames = [Image.new("RGB", (64, 64), (6 * n,) * 3) for n in range(40)]
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.webp").write_bytes(animated_webp(frames, 16.0))
    store = DatasetStore(tmp_path / "home")
    yield store, store.import_source(tmp_path / "in", name="moving", clips=True).items[0]


def test_a_strip_shows_the_frames_that_are_trained(shades: tuple[DatasetStore, Item]) -> None:
    store, item = shades
    (seen,) = see(store, "musubi", item, resolution=64)
    assert picks(seen) == [0, 10, 21, 32]
    sheet = strip(seen, store.open_frames(item, picks(seen)))
    assert sheet.size == (2 * 64 + 8, 2 * 64 + 8)
    places = [(32, 32), (32, 104), (104, 32), (104, 104)]
    assert [int(np.asarray(sheet)[place][0]) for place in places] == [0, 60, 126, 192]
    (dropped,) = see(store, "musubi", item, resolution=64, settings=EyeSettings(frames=81))
    with pytest.raises(DatasetError, match="nothing to draw"):
        strip(dropped, iter(()))


def test_buckets_of_clips_have_three_sides() -> None:
    version = version_of(moving("a.mp4", 40, 16.0, (64, 64)), moving("b.mp4", 100, 16.0, (64, 64)))
    lens = Lens("wan", 16, 64, counter_for("sd"), frames=Frames(4, 33, 16.0, "chunks"))
    plan = plan_buckets(version, family=lens, frames=lens.frames)
    (load,) = plan.buckets
    assert load.title == "64x64x33" and [one.item for one in load.landings] == ["a.mp4", "b.mp4", "b.mp4", "b.mp4"]
    assert [one.seconds for one in load.landings][1:3] == [(0.0, 33 / 16), (33 / 16, 66 / 16)]
    still = plan_buckets(version, family=lens)
    assert still.buckets[0].title == "64x64" and still.buckets[0].landings[0].seconds is None
