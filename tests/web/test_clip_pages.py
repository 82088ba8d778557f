"""Clips in the web app: they play where they are shown, in parts, as what their bytes are, and only when asked to."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lorasmith.datasets.clips.program import find_ffmpeg
from lorasmith.datasets.clips.showing import shown_clip
from lorasmith.datasets.clips.writing import animated_webp, write_mp4
from lorasmith.datasets.holders import Holders
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.studio import Studio
from tests.web.conftest import Door, Server

pytestmark = pytest.mark.skipif(find_ffmpeg() is None, reason="videos are decoded by ffmpeg")
HERE = "/datasets/moving"


def ffmpeg(*arguments: str) -> None:
    subprocess.run([str(find_ffmpeg()), "-v", "error", "-y", *arguments], check=True)


@pytest.fixture(scope="session")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a clip of every kind."""
    folder = tmp_path_factory.mktemp("moving")
    frames = [Image.new("RGB", (64, 48), (8 * n, 90, 200 - 8 * n)) for n in range(24)]
    write_mp4(folder / "ein Clip 動.mp4", frames, 16.0)
    (folder / "anim.webp").write_bytes(animated_webp(frames[:8], 8.0))
    ffmpeg("-i", str(folder / "ein Clip 動.mp4"), "-c:v", "libvpx", "-deadline", "realtime", str(folder / "b.webm"))
    tags = "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:log-level=error"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=8:d=1", "-c:v", "libx265", "-pix_fmt", "yuv420p10le",
           "-x265-params", tags, str(folder / "hdr.mp4"))  # fmt: skip
    Image.new("RGB", (64, 48), "red").save(folder / "still.png")
    return folder


def imported(studio: Studio, folder: Path) -> DatasetVersion:
    return studio.import_dataset(folder, name="moving", clips=True)


def named(version: DatasetVersion, name: str) -> Item:
    return next(item for item in version.items if item.name == name)


def test_the_gallery_says_what_moves_and_its_panel_plays_it(door: Door, moving: Path) -> None:
    version = imported(door.studio, moving)
    gallery = door.client.get(HERE).text
    assert gallery.count('class="moves') == 4 and "▶ 1.5 s" in gallery
    clip = named(version, "ein Clip 動.mp4").clip
    assert clip is not None
    panel = door.client.get(f"{HERE}/item", params={"item": "ein Clip 動.mp4"}).text
    assert f'<source src="/clips/{clip.video}" type="video/mp4">' in panel and "24 frames, 16 a second" in panel
    assert 'preload="none"' in panel and "autoplay" not in panel
    hdr = door.client.get(f"{HERE}/item", params={"item": "hdr.mp4"}).text
    assert "/clips/" not in hdr and f'src="{HERE}/clip?number=1' in hdr and "HDR, mapped to sRGB" in hdr
    animated = door.client.get(f"{HERE}/item", params={"item": "anim.webp"}).text
    assert "<video" not in animated and '<details class="plays">' in animated
    still = door.client.get(f"{HERE}/item", params={"item": "still.png"}).text
    assert "<video" not in still and "plays" not in still
    page = door.client.get(f"{HERE}/picture", params={"item": "ein Clip 動.mp4"}).text
    assert "<video" in page and "tool=cut_windows" in page


def test_a_video_is_sent_in_the_parts_that_are_asked_for(door: Door, moving: Path) -> None:
    version = imported(door.studio, moving)
    for name, kind in (("ein Clip 動.mp4", "video/mp4"), ("b.webm", "video/webm")):
        clip = named(version, name).clip
        assert clip is not None
        content = (moving / name).read_bytes()
        whole = door.client.get(f"/clips/{clip.video}")
        assert (whole.status_code, whole.headers["content-type"], whole.content) == (200, kind, content)
        assert whole.headers["accept-ranges"] == "bytes" and "nosniff" in whole.headers["x-content-type-options"]
        part = door.client.get(f"/clips/{clip.video}", headers={"range": "bytes=100-199"})
        assert part.status_code == 206 and part.content == content[100:200]
        assert part.headers["content-range"] == f"bytes 100-199/{len(content)}"
        assert door.client.get(f"/clips/{clip.video}", headers={"range": "bytes=9999999-"}).status_code == 416


def test_nothing_but_videos_is_sent_as_one(door: Door, moving: Path) -> None:
    version = imported(door.studio, moving)
    still, animated = named(version, "still.png"), named(version, "anim.webp")
    assert animated.clip is not None
    for address in (f"/clips/{still.image}", f"/clips/{animated.clip.video}", f"/clips/{'0' * 64}", "/clips/../x"):
        assert door.client.get(address).status_code in (404, 422), address
    assert door.client.get(f"/pictures/{animated.clip.video}").headers["content-type"] == "image/webp"
    for wrong in ("anim.webp", "still.png", "none.mp4", "<script>alert(1)</script>"):
        answer = door.client.get(f"{HERE}/clip", params={"number": 1, "item": wrong})
        assert 400 <= answer.status_code < 500 and "<script>alert" not in answer.text
    door.client.cookies.clear()
    clip = named(version, "b.webm").clip
    assert clip is not None and door.client.get(f"/clips/{clip.video}").status_code != 200


def test_what_browsers_cannot_play_is_made_playable_once(door: Door, moving: Path) -> None:
    version = imported(door.studio, moving)
    answer = door.client.get(f"{HERE}/clip", params={"number": version.number, "item": "hdr.mp4"})
    assert answer.headers["content-type"] == "video/webm" and answer.content[:4] == b"\x1aE\xdf\xa3"
    (kept,) = (door.studio.home / "shown").iterdir()
    before = kept.stat().st_ino
    assert door.client.get(f"{HERE}/clip", params={"number": 1, "item": "hdr.mp4"}).content == answer.content
    assert kept.stat().st_ino == before and not list(kept.parent.glob(".*"))


def test_the_kept_ones_that_nobody_looked_at_go_first(
    door: Door, moving: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    version = imported(door.studio, moving)
    (tmp_path / "old.webm").write_bytes(bytes(4000))
    monkeypatch.setattr("lorasmith.datasets.clips.showing._MOST", 1000)
    clip = named(version, "b.webm").clip
    assert clip is not None
    made = shown_clip(door.studio.curate.picture(clip.video), clip, tmp_path)
    assert made.is_file() and not (tmp_path / "old.webm").exists()


def test_whoever_holds_a_clip_holds_its_video(door: Door, moving: Path) -> None:
    version = imported(door.studio, moving)
    clip = named(version, "b.webm").clip
    assert clip is not None and Holders(door.studio.home).of(clip.video) == ("moving",)


def test_buckets_and_eyes_are_told_of_frames(door: Door, moving: Path) -> None:
    version = imported(door.studio, moving)
    lens = door.studio.curate.lens(family="wan")
    plan = door.studio.curate.buckets(version, lens)
    assert {bucket.frames for bucket in plan.buckets} == {1, 13, 21}
    seen = door.studio.curate.see(version, "diffusion_pipe", lens)
    assert {one.item: len(one.frames[0]) for one in seen if one.frames} == {
        "ein Clip 動.mp4": 17, "b.webm": 17, "hdr.mp4": 13, "anim.webp": 13,
    }  # fmt: skip
    drawn = door.studio.curate.draw(version, "diffusion_pipe", "ein Clip 動.mp4", lens)
    assert drawn[8:12] == b"WEBP"


PLAY = """async () => {
  const video = document.querySelector("video");
  await video.play();
  while (video.currentTime < 0.2) await new Promise((done) => setTimeout(done, 30));
  return [video.currentSrc, video.videoWidth, video.videoHeight];
}"""
ONCE_IT_CAME = "async (picture) => { await picture.decode(); return picture.naturalWidth; }"


def test_clips_play_in_a_browser(server: Server, browser_page: Any, moving: Path) -> None:
    imported(server.studio, moving)
    for name, words in (("b.webm", "/clips/"), ("hdr.mp4", "/clip?number")):
        browser_page.goto(f"{server.address}{HERE}/picture?item={name}")
        source, width, height = browser_page.evaluate(PLAY)
        assert words in source and (width, height) == (64, 48)
    browser_page.goto(f"{server.address}{HERE}")
    browser_page.click('[data-item="anim.webp"]')
    browser_page.click(".plays summary")
    playing = browser_page.wait_for_selector(".plays img")
    playing.scroll_into_view_if_needed()
    assert playing.evaluate(ONCE_IT_CAME) == 64
