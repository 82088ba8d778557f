"""Studio.captions and the caption job on the sandbox: kept tags, review, modes, downloads, several captioners."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import urlopen

import pytest
from PIL import Image

from lorasmith.captioners import Need, Wanted, downloads
from lorasmith.captioners.tagging.models import KNOWN_MODELS
from lorasmith.captioning import lay_over
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.errors import ConfigError, DatasetError, EnvironmentProblem, InputError, OutOfDisk, Stopped
from lorasmith.events import Progress
from lorasmith.studio import Studio
from tests.captioners.stub_tagger import write_stub


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with three pictures that two taggers have seen: in turn red, blue and grey."""
    folder = tmp_path_factory.mktemp("captioning")
    source = folder / "pictures"
    source.mkdir()
    for n, color in enumerate(((255, 0, 0), (0, 0, 255), (128, 128, 128))):
        Image.new("RGB", (20, 20), color).save(source / f"{n}.png")
    studio = Studio(folder / "home")
    version = studio.import_dataset(source, "set")
    studio.caption(version, model=str(write_stub(folder / "one", side=16)))
    studio.caption("set", model=str(write_stub(folder / "two", side=24)), existing="keep")  # nothing is missing
    before = studio.dataset("set")
    assert studio.caption(before, model=str(folder / "two"), existing="append") == before  # nothing new to append
    return folder / "home"


@pytest.fixture
def studio(home: Path) -> Studio:
    return Studio(home)


def captions(version: DatasetVersion) -> list[str]:
    return [item.caption for item in version.items]


RED, BLUE, GREY = "zib (mascot), red picture, o_o", "blue picture, o_o", "o_o, blue picture, green picture, red picture"


def test_who_wrote_a_caption_is_told(studio: Studio) -> None:
    item = studio.dataset("set@2").items[0]
    assert (item.caption, item.provenance["caption"]) == (RED, "wd_tagger")
    by = item.provenance["captioner"]
    assert (by["model"], by["device"], len(by["revision"])) == ("one", "the CPU", 64)
    assert by["settings"]["model"].endswith("one") and by["at"] and by["job"]
    assert captions(studio.dataset("set@2")) == [RED, BLUE, GREY]
    assert [(kept.model, kept.pictures) for kept in studio.captions.taggers("set@1")] == [("one", 3), ("two", 3)]


def test_other_rules_need_no_model(studio: Studio) -> None:
    retag = studio.captions.retag
    assert captions(retag("set@2", {"general_threshold": 0.6}, taggers=["one"])) == [RED, BLUE, "o_o"]
    assert list(studio.captions.preview_tags("set@1", {"exclude_tags": ["o_o"]}).values())[1] == "blue picture"
    made = retag("set@2", {"general_threshold": 0.99}, taggers={"one": 1, "two": 2}, merge="max")
    assert captions(made) == ["zib (mascot), red picture", "blue picture", GREY]  # none is left for the last: it stays
    assert made.operation.arguments["without_tags"] == ["2.png"]
    assert made.items[0].provenance["caption"] == "retag"
    unchanged = studio.dataset("set@2")
    assert retag(unchanged, taggers=["one"]) is unchanged
    with pytest.raises(ConfigError, match="Did you mean 'one'"):
        retag("set@2", taggers=["ones"])
    with pytest.raises(ConfigError, match="general_threshold"):
        retag("set@2", {"general_threshold": 3})
    with pytest.raises(ConfigError, match="treshold"):
        retag("set@2", {"treshold": 0.3})


def test_unsure_tags_are_decided_once(studio: Studio, tmp_path: Path) -> None:
    version = studio.curate.branch("set@2", "reviewed")
    unsure = studio.captions.unsure(version, {"general_threshold": 0.55}, within=0.08)
    assert [(one.item, one.tag, one.present) for one in unsure[:3]] == [
        ("2.png", "blue picture", True), ("2.png", "green picture", True), ("2.png", "red picture", True),
    ]  # fmt: skip
    assert unsure[0].probability == pytest.approx(0.512, abs=0.02) and unsure[0].threshold == pytest.approx(0.55)
    assert len(studio.captions.unsure(version, within=1, most=2)) == 2
    made = studio.captions.decide(
        version, {("2.png", "red picture"): False, ("2.png", "Grey_Picture"): True, ("1.png", "o_o"): True}
    )
    assert captions(made) == [RED, BLUE, "o_o, blue picture, green picture, Grey_Picture"]
    left = {(one.item, one.tag) for one in studio.captions.unsure(made, within=1)}
    assert ("2.png", "red picture") not in left and ("2.png", "blue picture") in left
    again = studio.captions.retag(made, {"general_threshold": 0.1})
    assert again.items[2].caption == "o_o, blue picture, green picture, grey picture"
    with pytest.raises(DatasetError, match=r"7\.png"):
        studio.captions.decide(version, {("7.png", "a"): True})
    (studio.home / "verdicts.sqlite").unlink()


def test_pictures_nobody_looked_at_are_said(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    studio = Studio(tmp_path / "home")
    studio.import_dataset(tmp_path / "a.png", "new")
    with pytest.raises(ConfigError, match="No tagger has looked") as error:
        studio.captions.retag("new")
    assert "lorasmith caption new" in error.value.hint


def test_captioners_side_by_side(studio: Studio, home: Path) -> None:
    folders = {name: {"model": str(home.parent / name)} for name in ("one", "two")}
    asked = {"wd_tagger": {**folders["one"], "general_threshold": 0.6}, "wd-vit-v3": folders["two"]}
    shown = studio.captions.side_by_side("set@1", asked)
    assert shown.captions["wd_tagger"]["2.png"] == "o_o"
    assert shown.captions["wd-vit-v3"]["2.png"] == GREY
    combine = studio.captions.combine
    assert combine(shown).items[2].caption == GREY
    assert combine(shown, "lines").items[2].caption == f"o_o\n{GREY}"
    chosen = combine(shown, "choose", choices={"2.png": "wd-vit-v3"})
    assert captions(chosen) == [RED, BLUE, GREY]
    with pytest.raises(ConfigError, match="no captioner side by side"):
        combine(shown, order=["blip"])


@pytest.mark.parametrize(
    ("existing", "as_line", "caption"),
    [
        ("replace", False, "a, new"), ("keep", False, "a, old"), ("append", False, "a, old, new"),
        ("prepend", False, "new, a, old"), ("append", True, "a, old\na, new"), ("prepend", True, "a, new\na, old"),
    ],
)  # fmt: skip
def test_modes(existing: Any, as_line: bool, caption: str) -> None:
    items = [Item(name, "0" * 64, "0" * 64, 8, 8, text) for name, text in (("1", "a, old"), ("2", " "), ("3", "c"))]
    made = lay_over(items, {"1": "a, new", "2": "b"}, existing, "who", {"model": "m"}, as_line=as_line)
    assert [item.caption for item in made] == [caption, "b", "c"]
    assert made[1].provenance == {"caption": "who", "captioner": {"model": "m"}}
    assert made[2] is items[2]


# Downloads


def test_nothing_is_downloaded_that_nobody_agreed_to(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(studio.home / "nowhere"))
    monkeypatch.setenv("HF_HOME", str(studio.home / "nowhere"))
    need = studio.captions.need("wd-eva02-large-v3")
    assert need.bytes_to_load == 1_260_000_000 and need.licence == "Apache-2.0"
    assert [wanted.path for wanted in need.downloads] == ["model.onnx", "selected_tags.csv"]
    assert need.folder == studio.home / "captioners" / "SmilingWolf--wd-eva02-large-tagger-v3"
    with pytest.raises(EnvironmentProblem) as error:
        studio.caption("set", "wd-eva02-large-v3")
    assert "Tagging failed: The model is not on this machine" in error.value.message
    assert "1.26 GB" in error.value.message and "disk are free" in error.value.message
    assert "--download" in error.value.hint and "2-3 GB" in error.value.hint and "batch_size" in error.value.hint
    assert studio.captions.names()["wd14-swinv2-v2"]
    with pytest.raises(ConfigError, match="Did you mean 'wd-vit-v3'"):
        studio.caption("set", "wd-vit-v33")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    folder = write_stub(tmp_path / "served")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


class Transport:
    """Fetches as the downloader will, from loopback."""

    def download(self, url: str, folder: Path, *, name: str | None = None, **options: Any) -> object:
        assert options["expected"] == "data"
        with urlopen(url) as answer:
            content = answer.read()
        options["progress"](SimpleNamespace(done=len(content)))
        if options["cancel"]():
            raise Stopped("The download was stopped.", "")
        (folder / str(name)).write_bytes(content)
        return None


def test_what_was_agreed_to_is_fetched_and_used(tmp_path: Path, server: str) -> None:
    wanted = tuple(Wanted(f"{server}/{name}", name, 100) for name in ("model.onnx", "selected_tags.csv"))
    need = Need(wanted, tmp_path / "home" / "captioners" / "SmilingWolf--wd-vit-tagger-v3", "here", "MIT")
    downloads.refuse_unless_allowed(need, allowed=True, home=tmp_path / "home")
    said: list[tuple[int, int]] = []
    downloads.fetch(need, tmp_path / "home", lambda done, total: said.append((done, total)), transport=Transport())
    assert said[-1][0] > 100
    with pytest.raises(Stopped):
        again = Need(need.downloads, tmp_path / "elsewhere", "here")
        downloads.fetch(again, tmp_path, lambda done, total: None, cancel=lambda: True, transport=Transport())
    downloads.fetch(need, tmp_path / "home", lambda done, total: None, transport=Broken())  # all of it is here
    from lorasmith.captioners.wd_tagger import WdTagger

    tagger = WdTagger()
    assert tagger.need(WdTagger.Options(model="wd-vit-v3"), home=tmp_path / "home").downloads == ()
    tagger.load(WdTagger.Options(model="wd-vit-v3"), device="cpu", home=tmp_path / "home")
    assert tagger.identity().model == KNOWN_MODELS[0].repository
    assert tagger.legend()["general_threshold"] == KNOWN_MODELS[0].general_threshold


class Broken:
    def download(self, url: str, folder: Path, **options: Any) -> object:
        raise InputError("The server does not answer.", "Try later.")


def test_a_failed_download_says_why_first(tmp_path: Path) -> None:
    need = Need((Wanted("https://example.org/m", "m.onnx", 5),), tmp_path / "m", "here")
    with pytest.raises(EnvironmentProblem, match=r"could not be downloaded\. The server does not") as error:
        downloads.fetch(need, tmp_path, lambda done, total: None, transport=Broken())
    assert error.value.hint == "Try later. What has arrived is kept, and the same command goes on."
    huge = Need((Wanted("https://example.org/m", "m.onnx", 10**18),), tmp_path / "m", "here")
    with pytest.raises(OutOfDisk, match="needs"):
        downloads.refuse_unless_allowed(huge, allowed=True, home=tmp_path)
    with pytest.raises(EnvironmentProblem, match=r"would be downloaded: m\.onnx"):
        downloads.refuse_unless_allowed(need, allowed=False, home=tmp_path / "not" / "there")


def test_events_tell_how_fast_it_goes(studio: Studio, home: Path) -> None:
    said: list[Any] = []
    studio.caption("set@1", model=str(home.parent / "one"), fresh=True, on_event=said.append)
    last = [event for event in said if isinstance(event, Progress)][-1]
    assert (last.done, last.total, last.seconds_left) == (3, 3, 0.0)
    assert last.per_second is not None and last.per_second > 0
