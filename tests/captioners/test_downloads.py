"""A tagger's whole way: from a hub like Hugging Face, through the one downloader, to captions."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from PIL import Image

from lorasmith.captioners import Need
from lorasmith.captioners import run as caption_job
from lorasmith.captioners.downloads import fetch
from lorasmith.captioners.tagging.models import KNOWN_MODELS, locate, need_of
from lorasmith.captioners.wd_tagger import WdTagger
from lorasmith.credentials import Credentials
from lorasmith.errors import EnvironmentProblem, Stopped
from lorasmith.events import Notice
from lorasmith.fetching import Fetcher
from lorasmith.jobfolder import Control
from lorasmith.studio import Studio
from tests.captioners.stub_tagger import write_stub
from tests.captioners.test_caption_job import folder_for
from tests.fetching.loopback import (
    LOCAL,
    FakeTime,
    Loopback,
    Shelf,
    Visit,
    in_turn,
    redirects,
    refuses_authorization,
    says,
    wants_bearer,
)

TOKEN = "hf_lorasmithtest0123456789abcdef"
REPOSITORY = KNOWN_MODELS[0].repository


class Hub:
    """A hub with one tagger: small files are given out, large ones lie in a store that a signed address leads to."""

    def __init__(self, folder: Path, site: Loopback, store: Loopback) -> None:
        self.site, self.store = site, store
        model = onnx.load(write_stub(folder) / "model.onnx")
        model.doc_string = "weight" * 50_000  # large enough to be cut and gone on with
        self.model = model.SerializeToString()
        self.shelf = Shelf(self.model, etag='"of-the-model"')
        store.at("/signed", refuses_authorization(self.serve))
        self.site.at(self.path("model.onnx"), redirects(store.url("/signed"), 302))
        self.site.at(self.path("selected_tags.csv"), Shelf((folder / "selected_tags.csv").read_bytes()))

    def serve(self, visit: Visit) -> None:
        self.shelf(visit)

    def path(self, name: str) -> str:
        return f"/{REPOSITORY}/resolve/main/{name}"

    def here(self, need: Need) -> Need:
        """The need, asked for here and not at Hugging Face."""
        host = "https://huggingface.co"
        assert all(wanted.url.startswith(host) for wanted in need.downloads)
        moved = [
            dataclasses.replace(wanted, url=self.site.url(wanted.url.removeprefix(host))) for wanted in need.downloads
        ]
        return dataclasses.replace(need, downloads=tuple(moved))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    for variable in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path / "nothing"))
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    with Loopback() as site, Loopback() as store:
        yield Hub(tmp_path / "served", site, store)


def wanted(home: Path) -> Need:
    return need_of(locate("wd-vit-v3", home))


def bring(hub: Hub, home: Path, time: FakeTime | None = None, need: Need | None = None, **limits: Any) -> list[int]:
    """Carry the download out; how far it was, each time it said so."""
    said: list[int] = []
    fetcher = Fetcher(
        dataclasses.replace(LOCAL, **limits),
        Credentials(home),
        services={hub.site.place: "huggingface"},
        clock=(time or FakeTime()).clock(),
    )
    with fetcher:
        fetch(need or hub.here(wanted(home)), home, lambda done, total: said.append(done), transport=fetcher)
    return said


def refused(hub: Hub, home: Path, **options: Any) -> EnvironmentProblem:
    with pytest.raises(EnvironmentProblem) as caught:
        bring(hub, home, **options)
    assert "could not be downloaded. " in caught.value.message
    assert not any(path.name == "model.onnx" for path in (home / "captioners").rglob("*"))  # whole, or not at all
    assert "the same command goes on" in caught.value.hint
    return caught.value


def test_from_the_hub_to_captions(hub: Hub, tmp_path: Path) -> None:
    home = tmp_path / "home"
    Credentials(home).set("huggingface", TOKEN)
    assert bring(hub, home)[-1] >= len(hub.model)
    assert hub.site.seen[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert all("authorization" not in seen.headers for seen in hub.store.seen)  # a token stays where it belongs
    assert wanted(home).downloads == ()

    for color in ("red", "blue"):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.new("RGB", (20, 20), color).save(tmp_path / "pictures" / f"{color}.png")
    studio = Studio(home)
    studio.import_dataset(tmp_path / "pictures", "set")
    made = studio.caption("set", "wd-vit-v3")
    assert [item.caption for item in made.items] == ["blue picture, o_o", "zib (mascot), red picture, o_o"]
    by = made.items[0].provenance["captioner"]
    digest = hashlib.sha256(hub.model).hexdigest()
    assert by["model"] == REPOSITORY and len(by["revision"]) == 64 and by["revision"] != digest  # of all its files
    asked = len(hub.site.seen) + len(hub.store.seen)
    assert bring(hub, home, need=Need(folder=home)) == [] and len(hub.site.seen) + len(hub.store.seen) == asked


def test_what_is_cut_is_gone_on_with(hub: Hub, tmp_path: Path) -> None:
    home, half = tmp_path / "home", len(hub.model) // 2
    hub.shelf = Shelf(hub.model, etag='"of-the-model"', cuts=[half])
    bring(hub, home)
    ranges = [seen.headers.get("range", "") for seen in hub.store.seen]
    assert ranges[-1] == f"bytes={half}-"
    assert (home / "captioners" / REPOSITORY.replace("/", "--") / "model.onnx").read_bytes() == hub.model


def test_a_run_that_ended_in_the_middle_goes_on_in_the_next(hub: Hub, tmp_path: Path) -> None:
    home, half = tmp_path / "home", len(hub.model) // 2
    hub.shelf = Shelf(hub.model, etag='"of-the-model"', cuts=[half])
    hub.site.at(
        hub.path("model.onnx"),
        in_turn(redirects(hub.store.url("/signed"), 302), says(404), redirects(hub.store.url("/signed"), 302)),
    )
    assert "404" in refused(hub, home).message
    before = len(hub.store.seen)
    bring(hub, home)
    assert [seen.headers.get("range") for seen in hub.store.seen[before:]] == [f"bytes={half}-"]
    assert WdTagger().need(WdTagger.Options(model="wd-vit-v3"), home=home).downloads == ()


def test_a_stop_keeps_what_arrived(hub: Hub, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Fetcher(LOCAL, clock=FakeTime().clock()) as fetcher, pytest.raises(Stopped):
        fetch(hub.here(wanted(home)), home, lambda *_: None, cancel=lambda: True, transport=fetcher)
    bring(hub, home)
    assert wanted(home).downloads == ()


@pytest.mark.parametrize(
    ("behaviour", "words", "hint"),
    [
        (says(404, {"error": "Entry not found"}), "has nothing at this address (404)", "Check the spelling"),
        (says(401, {"error": "Invalid username or password."}), "who you are (401)", "secrets set huggingface"),
        (says(403, {"error": "Access to model is restricted"}), "(403)", "secrets set huggingface"),
        (says(451), "legal reasons", "another source"),
        (says(500), "6 times in a row", "Try again later"),
    ],
)
def test_a_hub_that_refuses_is_said_with_what_to_do(
    hub: Hub, tmp_path: Path, behaviour: Any, words: str, hint: str
) -> None:
    hub.site.at(hub.path("model.onnx"), behaviour)
    error = refused(hub, tmp_path / "home")
    assert words in error.message and hint in error.hint


def test_a_gated_model_needs_a_token_and_then_its_licence(hub: Hub, tmp_path: Path) -> None:
    home = tmp_path / "home"
    to_store = redirects(hub.store.url("/signed"), 302)
    hub.site.at(hub.path("model.onnx"), wants_bearer(TOKEN, to_store))
    assert "lorasmith secrets set huggingface" in refused(hub, home).hint
    Credentials(home).set("huggingface", "hf_thewrongone0123456789abcdef")
    assert "was refused; make a new one" in refused(hub, home).hint
    Credentials(home).set("huggingface", TOKEN)
    hub.site.at(hub.path("model.onnx"), says(403, {"error": "Access to this repository is gated"}))
    assert "accept the licence there" in refused(hub, home).hint
    hub.site.at(hub.path("model.onnx"), wants_bearer(TOKEN, to_store))
    bring(hub, home)
    assert wanted(home).downloads == ()


def test_a_wrong_file_is_never_kept_as_the_right_one(hub: Hub, tmp_path: Path) -> None:
    home = tmp_path / "home"
    need = hub.here(wanted(home))
    checked = tuple(
        dataclasses.replace(one, sha256="0" * 64) if one.path == "model.onnx" else one for one in need.downloads
    )
    with pytest.raises(EnvironmentProblem, match="could not be downloaded") as caught:
        bring(hub, home, need=dataclasses.replace(need, downloads=checked))
    assert "SHA-256" in caught.value.message or "hash" in caught.value.message
    assert wanted(home).downloads


def test_a_page_in_place_of_a_model_is_not_kept(hub: Hub, tmp_path: Path) -> None:
    home = tmp_path / "home"
    good = hub.site.routes[hub.path("model.onnx")]
    hub.site.at(hub.path("model.onnx"), says(200, b"<!doctype html><title>Maintenance</title>"))
    assert "sent a web page instead of a file: “Maintenance”" in refused(hub, home).message
    hub.site.at(hub.path("model.onnx"), good)
    bring(hub, home)
    assert wanted(home).downloads == ()


def test_a_damaged_model_is_said_with_what_to_delete(hub: Hub, tmp_path: Path) -> None:
    home = tmp_path / "home"
    bring(hub, home)
    model = home / "captioners" / REPOSITORY.replace("/", "--") / "model.onnx"
    model.write_bytes(b"damaged")
    with pytest.raises(EnvironmentProblem, match="cannot be opened") as caught:
        WdTagger().load(WdTagger.Options(model="wd-vit-v3"), device="cpu", home=home)
    assert str(model) in caught.value.message and "Delete it" in caught.value.hint and "--download" in caught.value.hint
    model.unlink()
    bring(hub, home)
    WdTagger().load(WdTagger.Options(model="wd-vit-v3"), device="cpu", home=home)


def test_a_full_disk_is_said_before_it_is_full(hub: Hub, tmp_path: Path) -> None:
    error = refused(hub, tmp_path / "home", reserve_bytes=10**18)
    assert "disk" in error.message.lower() and "Free" in error.hint


def test_the_job_says_what_it_downloads_and_why_it_failed(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job itself, with the hub in place of Hugging Face."""
    (tmp_path / "s").mkdir()
    Image.new("RGB", (20, 20), "red").save(tmp_path / "s" / "0.png")
    home = tmp_path / "home"
    Studio(home).import_dataset(tmp_path / "s", "set")
    monkeypatch.setattr(
        "lorasmith.captioners.downloads._fetcher", lambda home: Fetcher(LOCAL, clock=FakeTime().clock())
    )
    monkeypatch.setattr(WdTagger, "need", lambda self, options, home: hub.here(need_of(locate(options.model, home))))
    folder = folder_for(tmp_path, captioner="wd_tagger", options={"model": "wd-vit-v3"}, download=True)
    model = hub.path("model.onnx")
    good = hub.site.routes[model]
    hub.site.at(model, says(404))
    said: list[Any] = []
    with pytest.raises(EnvironmentProblem) as caught:
        caption_job.run(folder, said.append, lambda: Control(wanted="run"))
    assert caught.value.message.startswith("Tagging failed: model.onnx could not be downloaded. 127.0.0.1")
    for words in ("internet connection", "2-3 GB of free disk", "another model", "batch_size"):
        assert words in caught.value.hint
    notice = next(event for event in said if isinstance(event, Notice) and "model.onnx" in event.message)
    for words in ("model.onnx and selected_tags.csv", "379 MB", REPOSITORY, "Apache-2.0", "disk are free"):
        assert words in notice.message
    hub.site.at(model, good)
    output = caption_job.run(folder, said.append, lambda: Control(wanted="run"))
    assert output["captions"]["0.png"]["caption"] == "zib (mascot), red picture, o_o"
