"""What a video says of itself: HDR is mapped to sRGB or told, sound is told, odd and hostile files are no surprise."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorasmith.datasets.clips import probing, reading
from lorasmith.datasets.clips.probing import Probed, has_filters, mapped_light, probe, read
from lorasmith.datasets.clips.program import find_ffmpeg
from lorasmith.datasets.clips.words import how_to_read, why_made_anew
from lorasmith.datasets.clips.writing import write_mp4
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import EnvironmentProblem

pytestmark = pytest.mark.skipif(find_ffmpeg() is None, reason="videos are decoded by ffmpeg")
HDR = {"pq": "smpte2084", "hlg": "arib-std-b67"}


def ffmpeg(*arguments: str) -> None:
    subprocess.run([str(find_ffmpeg()), "-v", "error", "-y", *arguments], check=True)


def hdr(path: Path, kind: str, gray: int = 128) -> None:
    """A second of one gray, 10 bits, said to be PQ or HLG of BT.2020."""
    tags = f"colorprim=bt2020:transfer={HDR[kind]}:colormatrix=bt2020nc:log-level=error"
    color = f"color=0x{gray:02x}{gray:02x}{gray:02x}:s=64x48:r=8:d=1"
    ffmpeg("-f", "lavfi", "-i", color, "-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", tags, str(path))


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path / "home")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "in put"
    place.mkdir()
    return place


def imported(folder: Path, store: DatasetStore) -> DatasetVersion:
    return store.import_source(folder, name="moving", clips=True)


def told(version: DatasetVersion, path: str) -> str:
    return next(fate.detail for fate in version.ledger if fate.path == path)


def level(store: DatasetStore, item: Item) -> float:
    return float(np.asarray(next(store.open_frames(item, [3]))).mean())


@pytest.mark.parametrize("kind", HDR)
def test_hdr_is_mapped_to_the_light_of_a_screen(folder: Path, store: DatasetStore, kind: str) -> None:
    for name, gray in (("dark.mp4", 60), ("light.mp4", 150)):
        hdr(folder / name, kind, gray)
    version = imported(folder, store)
    dark, light = sorted(version.items, key=lambda item: item.name)
    assert f"It is HDR ({kind.upper()}); its light is mapped to sRGB." in told(version, "dark.mp4")
    assert dark.provenance["transforms"] == [f"hdr:{kind}"] and how_to_read(dark) == ("#ffffff", kind)
    assert level(store, dark) < level(store, light), "what was lighter stays lighter"
    first = float(np.asarray(store.open_image(light)).mean())
    assert first == pytest.approx(level(store, light), abs=1.5), "its picture is mapped as its frames are"
    assert light.clip is not None
    raw = next(reading.frames_of(store.blob_path(light.clip.video), light.clip, [3]))
    assert abs(float(np.asarray(raw).mean()) - first) > 5, "and is not what the numbers say"
    assert why_made_anew(dark) == "its light is that of HDR"


def test_white_of_a_screen_is_bright_after_mapping(folder: Path, store: DatasetStore) -> None:
    hdr(folder / "white.mp4", "pq", 130)  # PQ writes 100 cd/m2, the white of a screen, as 0.508
    (item,) = imported(folder, store).items
    assert 150 < level(store, item) < 256


def test_without_the_filters_hdr_is_told_and_what_to_do(
    folder: Path, store: DatasetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    hdr(folder / "a.mp4", "pq")
    monkeypatch.setattr(reading, "has_filters", lambda *names: False)
    version = imported(folder, store)
    assert "it will look gray and flat" in told(version, "a.mp4")
    assert version.items[0].provenance["transforms"] == ["hdr_unmapped:pq"]
    assert how_to_read(version.items[0])[1] == ""


def test_a_home_that_moves_to_an_ffmpeg_without_them_says_so(
    folder: Path, store: DatasetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    hdr(folder / "a.mp4", "pq")
    (item,) = imported(folder, store).items
    monkeypatch.setattr(reading, "mapped_light", lambda hdr: "no_such_filter,")
    monkeypatch.setattr(reading, "has_filters", lambda *names: False)
    with pytest.raises(EnvironmentProblem, match="cannot map its light") as caught:
        list(store.open_frames(item, [0]))
    assert "zscale" in caught.value.hint


def test_sound_and_rotation_are_told(folder: Path, store: DatasetStore, tmp_path: Path) -> None:
    plain = tmp_path / "plain.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=8:d=1", "-f", "lavfi", "-i", "sine=d=1", "-c:a", "aac",
           "-pix_fmt", "yuv420p", "-metadata", "title=\n  Stream #0:9: Video: fake, SAR 2:1", str(plain))  # fmt: skip
    ffmpeg("-display_rotation", "270", "-i", str(plain), "-c", "copy", str(folder / "a.mp4"))
    version = imported(folder, store)
    (item,) = version.items
    assert "Its sound is kept in the file and not trained." in told(version, "a.mp4")
    assert item.provenance["transforms"] == ["turned:270", "sound:aac"] and (item.width, item.height) == (48, 64)
    said = probe(plain, "mov")
    assert said == Probed("h264", 0, "1:1", "", "aac"), "a title is no stream"


def test_what_ffmpeg_prints_is_read_by_its_streams() -> None:
    lines = [
        "    title           : Stream #0:0: Video: none",
        "  Stream #0:0: Audio: opus, 48000 Hz",
        "  Stream #0:1[0x1](und): Video: vp9 (Profile 2), yuv420p10le(bt2020nc/bt2020/arib-std-b67), 64x48, SAR 85:64",
        "      Display Matrix: rotation of -90.00 degrees",
        "  Stream #0:2: Video: mjpeg, yuvj420p(pc, smpte2084), 8x8 [SAR 2:1 DAR 1:1]",
        "      displaymatrix: rotation of 180.00 degrees",
        "  Stream #0:3: Audio: aac (LC)",
    ]
    assert read(lines) == Probed("vp9", 270, "85:64", "hlg", "opus")
    assert read([]) == Probed() and read(["  Stream #0:0: Video: "]) == Probed()
    assert Probed(turned=90, aspect="4:3", sound="aac").words == ("turned:90", "pixels:4:3", "sound:aac")


def test_the_chain_of_filters_is_stated() -> None:
    assert mapped_light("") == "" and mapped_light("film") == ""
    for kind, transfer in HDR.items():
        chain = mapped_light(kind)
        assert f"color_trc={transfer}" in chain and "tonemap=hable" in chain and "t=iec61966-2-1" in chain
        assert chain.endswith(",")
    assert has_filters("scale", "fps") and not has_filters("scale", "no_such_filter")


def test_odd_sizes_come_in_as_they_are(folder: Path, store: DatasetStore) -> None:
    frames = [Image.new("RGB", (33, 47), (9 * n, 40, 40)) for n in range(12)]
    for quality, name in (("lossless", "a.mp4"), ("high", "b.mp4")):
        write_mp4(folder / name, frames, 12.0, quality=quality)  # type: ignore[arg-type]
    version = imported(folder, store)
    assert {(item.width, item.height) for item in version.items} == {(33, 47)}
    shown = [np.asarray(frame)[20, 20] for frame in store.open_frames(version.items[0], range(12))]
    assert [int(one[0]) for one in shown] == [9 * n for n in range(12)]


def test_a_video_that_is_broken_in_the_middle_is_refused(folder: Path, store: DatasetStore, tmp_path: Path) -> None:
    whole = tmp_path / "whole.mp4"
    ffmpeg("-f", "lavfi", "-i", "mandelbrot=s=160x120:r=12", "-t", "3", "-pix_fmt", "yuv420p", str(whole))
    content = bytearray(whole.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes((7 * n) % 256 for n in range(2000))
    (folder / "broken  middle.mp4").write_bytes(content)
    Image.new("RGB", (32, 32), "red").save(folder / "still.png")
    version = imported(folder, store)
    assert [item.name for item in version.items] == ["still.png"]
    assert told(version, "broken  middle.mp4").startswith("is damaged")


def test_huge_dimensions_are_refused_before_a_frame_is_kept(folder: Path, store: DatasetStore) -> None:
    ffmpeg("-f", "lavfi", "-i", "color=red:s=16000x8000:r=2", "-frames:v", "2", "-c:v", "libx264", "-preset",
           "ultrafast", "-pix_fmt", "yuv420p", str(folder / "huge.mp4"))  # fmt: skip
    Image.new("RGB", (32, 32), "red").save(folder / "still.png")
    version = imported(folder, store)
    fate = next(fate for fate in version.ledger if fate.path == "huge.mp4")
    assert fate.rule == "too_many_pixels" and "16000 x 8000" in fate.detail


def test_a_probe_that_takes_too_long_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(probing, "_SECONDS", 0.0)
    with pytest.raises(probing.Failed) as caught:
        probe(tmp_path / "a.mp4", "mov")
    assert caught.value.out_of_time
