"""Captions of pairs: references and picture in one request, in order, and all that can go wrong with them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lorasmith.captioners import run as caption_job
from lorasmith.captioners.openai_compatible import OpenAICompatible
from lorasmith.captioners.pairs import UNPAIRED, PairCount, pair_count
from lorasmith.captioners.prompts import PROMPTS
from lorasmith.captioners.run import find_captioner, read_options, tell_need
from lorasmith.captioners.sending import notice_of
from lorasmith.captioners.speaking import LocalSpeaker
from lorasmith.captioning import check_options
from lorasmith.datasets.manifest import DatasetVersion, Operation
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import ConfigError, ConsentNeeded, DatasetError, InputError
from lorasmith.events import Notice
from lorasmith.fetching import Consents
from tests.captioners.chat_servers import COLORS, ChatServer, LmStudio, Ollama, Vllm, pictures_of, text_of
from tests.captioners.test_caption_job import folder_for, go
from tests.fetching.loopback import FakeTime

LARGE = 64


def put(path: Path, color: str, size: tuple[int, int] = (40, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, COLORS[color]).save(path)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """``set``: a blue picture made from a red one, a black one from green and white, and a white one of nothing."""
    source = tmp_path / "s"
    put(source / "a.png", "blue")
    put(source / "control/a.png", "red", (80, 20))
    put(source / "b.png", "black")
    put(source / "control/b_0.png", "green", (200, 100))
    put(source / "control/b_1.png", "white")
    put(source / "c.png", "white")
    DatasetStore(tmp_path / "home").import_source(source, name="set", references="control")
    return tmp_path


def captioned(
    home: Path, monkeypatch: pytest.MonkeyPatch, server: ChatServer, reference: str = "set@1", **options: Any
) -> tuple[dict[str, str], dict[str, str], list[Notice]]:
    """Captions, failures and notices of a job."""
    captioner = OpenAICompatible(FakeTime().clock())
    monkeypatch.setattr(caption_job, "captioners", lambda: {"openai_compatible": captioner})
    monkeypatch.setattr(caption_job, "start_speaker", LocalSpeaker)
    shutil.rmtree(home / "home/jobs", ignore_errors=True)
    given = {"base_url": server.url, "pairs": True, **options}
    output, said = go(folder_for(home, dataset=reference, captioner="openai_compatible", options=given))
    captions = {name: entry["caption"] for name, entry in output["captions"].items()}
    return captions, output["failures"], [event for event in said if isinstance(event, Notice)]


def by_count(server: ChatServer) -> dict[int, dict[str, Any]]:
    """The requests by their number of pictures."""
    return {len(pictures_of(request)): request for request in server.asked}


def jpegs(request: Mapping[str, Any]) -> list[bytes]:
    parts = request["messages"][-1]["content"]
    return [base64.b64decode(part["image_url"]["url"].partition(",")[2]) for part in parts if "image_url" in part]


def jpeg(store: DatasetStore, sha256: str, side: int) -> bytes:
    """A stored picture as it has to be sent."""
    with Image.open(store.blob_path(sha256)) as image:
        whole = image.convert("RGB")
    if max(whole.size) > side:
        scale = side / max(whole.size)
        whole = whole.resize((round(whole.width * scale), round(whole.height * scale)), Image.Resampling.BICUBIC)
    packed = io.BytesIO()
    whole.save(packed, "JPEG", quality=90)
    return packed.getvalue()


def test_references_and_picture_go_in_one_request_in_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DatasetStore(home / "home")
    with Vllm() as server:
        captions, failures, notices = captioned(home, monkeypatch, server, longest_side=LARGE)
        assert captions == {"a.png": "Turn red into blue.", "b.png": "Turn green and white into black."}
        assert failures == {"c.png": UNPAIRED} and len(server.asked) == 2
        asked = by_count(server)
        items = {item.name: item for item in store.get("set").items}
        for name, count in (("a.png", 2), ("b.png", 3)):
            item = items[name]
            wanted = [jpeg(store, sha256, LARGE) for sha256 in (*item.references, item.image)]
            assert jpegs(asked[count]) == wanted, "the very bytes, references first"
        assert [picture.size for picture in pictures_of(asked[3])] == [(64, 32), (40, 30), (40, 30)]
        assert text_of(asked[2]).startswith("Two pictures come with this, in this order. Picture 1 is what was given.")
        assert "Pictures 1 to 2 are what was given. Picture 3 is the result" in text_of(asked[3])
        assert text_of(asked[2]).endswith(PROMPTS["edit"]) and text_of(asked[3]).startswith("3 pictures")
    assert "2 pairs: 2 requests, together with 5 pictures." in [notice.message for notice in notices]


def test_answers_are_kept_by_all_the_pictures_and_their_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DatasetStore(home / "home")
    with Vllm() as server:
        captioned(home, monkeypatch, server)
        again, _, notices = captioned(home, monkeypatch, server)
        assert again["a.png"] == "Turn red into blue." and len(server.asked) == 2
        assert not [one for one in notices if "requests" in one.message], "nothing is asked"
        captioned(home, monkeypatch, server, prompt="What changed?")
        assert len(server.asked) == 4, "another question"

        version = store.get("set")
        first, second, alone = version.items
        turned = replace(second, references=second.references[::-1])
        other = replace(first, references=(alone.image,))
        store.commit(version, [other, turned, alone], Operation(name="test"))
        captions, _, _ = captioned(home, monkeypatch, server, "set@2")
        assert captions == {"a.png": "Turn white into blue.", "b.png": "Turn white and green into black."}
        assert len(server.asked) == 6, "a changed reference and a changed order ask again"
        captioned(home, monkeypatch, server)
        assert len(server.asked) == 6, "and what was said of the first ones is still known"


def test_pictures_alone_are_asked_as_ever(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that are kept of pictures alone stay theirs: neither their key nor who spoke has changed."""
    store = DatasetStore(home / "home")
    with Vllm() as server:
        captions, failures, _ = captioned(home, monkeypatch, server, pairs=False)
        assert captions["a.png"] == "A plain blue picture." and not failures and set(by_count(server)) == {1}
        captioner = OpenAICompatible()
        captioner.load(OpenAICompatible.Options(base_url=server.url), device="auto")
        identity = captioner.identity()
        assert identity.settings["prompt"] == PROMPTS["detailed"] and "pairs" not in identity.settings
        from lorasmith.captioners.answers import Answers

        images = [item.image for item in store.get("set").items]
        assert set(Answers(home / "home", identity).get(images)) == set(images)
        captioned(home, monkeypatch, server, pairs=False, prompt="About {filename}.")
        named = OpenAICompatible()
        named.load(OpenAICompatible.Options(base_url=server.url, prompt="About {filename}."), device="auto")
        keys = [
            hashlib.sha256(json.dumps([item.image, {"filename": item.name[0], "tags": ""}]).encode()).hexdigest()
            for item in store.get("set").items
        ]
        assert set(Answers(home / "home", named.identity()).get(keys)) == set(keys)


def test_the_prompt_may_be_any_and_is_filled(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Vllm() as server:
        captioned(home, monkeypatch, server, prompt="What became of {filename}, {{so}}?")
        assert text_of(by_count(server)[2]).endswith("made from it. What became of a, {so}?")


def test_a_damaged_reference_is_one_failure_that_names_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DatasetStore(home / "home")
    item = store.get("set").items[1]
    store.blob_path(item.references[1]).unlink()
    with Vllm() as server:
        captions, failures, _ = captioned(home, monkeypatch, server)
        assert list(captions) == ["a.png"] and set(by_count(server)) == {2}
    assert failures["b.png"].startswith("Its reference 2 cannot be shown. Its file is missing from the store")


@pytest.mark.parametrize(
    ("kind", "status", "document"),
    [
        (Vllm, 400, {"error": {"message": "At most 1 image(s) may be provided in one prompt.", "code": 400}}),
        (Ollama, 500, {"error": {"message": "vision model only supports a single image per message"}}),
        (LmStudio, 400, {"error": "You set image=1 in `--limit-mm-per-prompt`, but passed 2 image items."}),
    ],
)
def test_a_model_that_takes_one_picture_a_request_is_told_so(
    home: Path, monkeypatch: pytest.MonkeyPatch, kind: type[ChatServer], status: int, document: Any
) -> None:
    with kind() as server:
        server.trouble = lambda color, request: (status, document, {}) if len(pictures_of(request)) > 1 else None
        with pytest.raises(InputError) as caught:
            captioned(home, monkeypatch, server)
        said = caught.value.message
        assert "does not take 2 pictures in one request" in said and "ask without pairs" in said, said
        assert server.models[0] in said and len(server.asked) <= 4


def test_pictures_too_large_together_are_counted_in_the_sentence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Vllm() as server:
        server.trouble = lambda color, request: (413, b"", {}) if len(pictures_of(request)) == 3 else None
        captions, failures, _ = captioned(home, monkeypatch, server)
        assert captions == {"a.png": "Turn red into blue."}
        assert failures["b.png"].startswith("The 3 pictures of the request are too large together for ")


def test_large_pairs_go_in_smaller_batches(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes of all pictures of a pair count, not how many pairs there are."""
    from lorasmith.captioners import work

    monkeypatch.setattr(work, "_HELD", 40 * 30 * 3)
    batches: list[int] = []

    class Counting(LocalSpeaker):
        def caption(self, shown: Any, attempt: int, known: Any = ()) -> Any:
            batches.append(len(shown))
            return super().caption(shown, attempt, known)

    captioner = OpenAICompatible(FakeTime().clock())
    monkeypatch.setattr(caption_job, "captioners", lambda: {"openai_compatible": captioner})
    monkeypatch.setattr(caption_job, "start_speaker", Counting)
    with Vllm() as server:
        options = {"base_url": server.url, "pairs": True}
        go(folder_for(home, captioner="openai_compatible", options=options))
    assert batches == [1, 1]


# --- before anything is asked --------------------------------------------------------------------------------


def unpaired(home: Path) -> DatasetVersion:
    store = DatasetStore(home / "home")
    version = store.get("set")
    return store.commit(version, [replace(item, references=()) for item in version.items], Operation(name="test"))


def test_a_dataset_without_pairs_is_refused_before_it_starts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = unpaired(home)
    with pytest.raises(DatasetError, match="No picture of set@2 has a reference") as caught:
        check_options("vllm", {"pairs": True}, home=home, version=version)
    assert "lorasmith dataset references set FOLDER" in caught.value.hint
    with Vllm() as server:
        with pytest.raises(DatasetError, match="No picture of set@2 has a reference"):
            captioned(home, monkeypatch, server, "set@2")
        assert not server.asked
    check_options("vllm", {}, home=home, version=version)


@pytest.mark.parametrize("name", ["wd_tagger", "blip", "qwen_vl", "joycaption"])
def test_a_captioner_of_one_picture_refuses_pairs_and_says_who_takes_them(name: str, home: Path) -> None:
    captioner, given = find_captioner(name, {"pairs": True})
    with pytest.raises(ConfigError) as caught:
        read_options(captioner, given)
    assert caught.value.message == (
        f"The captioner {name} looks at one picture at a time, so it cannot say what changed in a pair."
    )
    assert "openai_compatible" in caught.value.hint and "vllm" in caught.value.hint


def test_the_prompt_of_pairs_needs_pairs() -> None:
    captioner, _ = find_captioner("openai_compatible", {})
    with pytest.raises(ConfigError, match="the prompt 'edit' is about a picture and its references: set 'pairs'"):
        read_options(captioner, {"prompt": "edit"})
    assert read_options(captioner, {"prompt": "edit", "pairs": True})
    local, _ = find_captioner("qwen_vl", {})
    with pytest.raises(ConfigError, match="this model looks at one picture at a time"):
        read_options(local, {"prompt": " edit"})


def test_references_leave_only_after_a_consent_of_their_own(tmp_path: Path) -> None:
    captioner, given = find_captioner("openai", {"model": "m", "pairs": True})
    options = read_options(captioner, given)
    Consents(tmp_path).give(notice_of("api.openai.com"))
    with pytest.raises(ConsentNeeded, match="and all of its references with it") as caught:
        tell_need(captioner, options, tmp_path, download=False)
    assert caught.value.notice == "send-pairs-to:api.openai.com"
    Consents(tmp_path).give(notice_of("api.openai.com", references=True))
    need = tell_need(captioner, options, tmp_path, download=False)
    assert need.sends_to == "api.openai.com" and need.sends_references
    here, given = find_captioner("ollama", {"pairs": True})
    assert not tell_need(here, read_options(here, given), tmp_path / "other", download=False).sends_references


def test_pairs_are_counted_as_they_are_asked(home: Path) -> None:
    first, second, alone = DatasetStore(home / "home").get("set").items
    assert pair_count([first, second, alone]) == PairCount(2, 5, 1)
    assert pair_count([first, replace(first, name="copy.png")]) == PairCount(1, 2)
    assert pair_count([first]).in_words == "1 pair: 1 request with 2 pictures."
