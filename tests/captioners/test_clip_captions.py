"""Captions of clips: several frames where the captioner takes them, and a word where only the first is seen."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lorasmith.captioners import Answer, Captioner, Failure, Known
from lorasmith.captioners import run as caption_job
from lorasmith.captioners.openai_compatible import OpenAICompatible
from lorasmith.captioners.speaking import LocalSpeaker
from lorasmith.config import Section
from lorasmith.datasets.clips.writing import animated_webp
from lorasmith.datasets.store import DatasetStore
from lorasmith.events import Notice
from lorasmith.jobfolder import JobFolder
from tests.captioners.chat_servers import COLORS, ChatServer, Vllm, pictures_of
from tests.captioners.test_caption_job import folder_for, go
from tests.fetching.loopback import FakeTime


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A dataset ``set`` of a still and a clip that begins red, goes over blue and ends green."""
    source = tmp_path / "s"
    source.mkdir()
    frames = [Image.new("RGB", (40, 30), COLORS[color]) for color in ("red", "blue", "green") for _ in range(5)]
    (source / "clip.webp").write_bytes(animated_webp(frames, 8.0))
    Image.new("RGB", (40, 30), COLORS["red"]).save(source / "still.png")
    DatasetStore(tmp_path / "home").import_source(source, name="set", clips=True)
    return tmp_path


def captioned(
    home: Path, monkeypatch: pytest.MonkeyPatch, server: ChatServer, **options: Any
) -> tuple[dict[str, str], list[Notice]]:
    captioner = OpenAICompatible(FakeTime().clock())
    monkeypatch.setattr(caption_job, "captioners", lambda: {"openai_compatible": captioner})
    monkeypatch.setattr(caption_job, "start_speaker", LocalSpeaker)
    shutil.rmtree(home / "home/jobs", ignore_errors=True)
    folder: JobFolder = folder_for(home, captioner="openai_compatible", options={"base_url": server.url, **options})
    output, said = go(folder)
    captions = {name: entry["caption"] for name, entry in output["captions"].items()}
    return captions, [event for event in said if isinstance(event, Notice)]


def test_a_server_sees_the_frames_of_a_clip_in_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Vllm() as server:
        captions, notices = captioned(home, monkeypatch, server, frames=3)
        assert captions == {"clip.webp": "A clip of red, then blue, then green.", "still.png": "A plain red picture."}
        assert not [one for one in notices if "first frame" in one.message]
        asked = {len(pictures_of(request)): request for request in server.asked}
        assert set(asked) == {1, 3} and {picture.size for picture in pictures_of(asked[3])} == {(40, 30)}
        told = asked[3]["messages"][-1]["content"][0]["text"]
        assert told.startswith("These 3 pictures are frames of one video clip") and "clip" not in str(
            asked[1]["messages"][-1]["content"][0]["text"]
        )
        again, _ = captioned(home, monkeypatch, server, frames=3)
        assert again == captions and len(server.asked) == 2, "what was answered is kept"
        captioned(home, monkeypatch, server, frames=2)
        assert len(server.asked) == 3, "only the clip is another question"


def test_by_one_frame_alone_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Vllm() as server:
        captions, notices = captioned(home, monkeypatch, server)
    assert captions["clip.webp"] == "A plain red picture."
    (notice,) = [one for one in notices if "first frame" in one.message]
    assert notice.message == "One clip is captioned by the first frame alone." and "option frames" in notice.hint


def test_more_frames_than_a_clip_has_are_not_asked_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Vllm() as server:
        captioned(home, monkeypatch, server, frames=32, prompt="About {filename}.")
        counts = sorted(len(pictures_of(request)) for request in server.asked)
        texts = " ".join(request["messages"][-1]["content"][0]["text"] for request in server.asked)
    assert counts == [1, 3] and "About clip." in texts and "About still." in texts


def test_a_clip_whose_video_is_gone_is_one_failure(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DatasetStore(home / "home")
    clip = next(item.clip for item in store.get("set").items if item.clip)
    store.blob_path(clip.video).unlink()
    with Vllm() as server:
        captions, notices = captioned(home, monkeypatch, server, frames=3)
    assert captions == {"still.png": "A plain red picture."}
    assert any("clip.webp has no caption" in one.message and "missing" in one.hint for one in notices)


class Blind(Captioner):
    """Looks at one picture each, whatever it is of."""

    name = "blind"
    title = "for tests"

    def load(self, options: Section, *, device: str, home: Path | None = None) -> None:
        pass

    def caption(
        self, images: Sequence[Image.Image], *, attempt: int = 0, known: Sequence[Known] = ()
    ) -> list[Answer | Failure]:
        return [Answer(f"{image.width} x {image.height}") for image in images]


def test_every_other_captioner_gets_the_first_frame_and_the_job_says_so(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caption_job, "captioners", lambda: {"blind": Blind()})
    monkeypatch.setattr(caption_job, "start_speaker", LocalSpeaker)
    output, said = go(folder_for(home, captioner="blind"))
    assert output["captions"]["clip.webp"]["caption"] == "40 x 30"
    assert any(isinstance(one, Notice) and "first frame alone" in one.message for one in said)
