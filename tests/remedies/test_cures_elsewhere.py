"""Every cure of jobs that are no training: imports, captions, downloads, exports, pictures."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lorasmith import gathering
from lorasmith.captioners import run as captioning
from lorasmith.credentials import Credentials
from lorasmith.datasets import exporting_job
from lorasmith.errors import EnvironmentProblem, InputError, OutOfMemory
from lorasmith.queue.records import QueuedJob
from lorasmith.remedies import catalogue
from lorasmith.studio import Studio
from tests.fetching.loopback import Loopback, in_turn, says, wants_bearer
from tests.remedies import test_cures
from tests.remedies.workshop import applied, claimed, cured, cures, failed, looked_at, short, worked
from tests.sources import errands
from tests.web.conftest import client_of
from tests.web.tiny_lora import write_lora

pytestmark = pytest.mark.filterwarnings("ignore")
ZIP = errands.packed({"a.png": errands.picture(1), "b.png": errands.picture(2)})


def test_every_remedy_of_the_catalogue_is_shown_to_help(studio: Studio) -> None:
    """A button that no test has pressed has no place in the catalogue; a page that it leads to has to be there."""
    from lorasmith.web.sessions import Sessions

    here = __import__("sys").modules[__name__]
    shown = claimed(test_cures) | claimed(here)
    there = {(failure.id, one.id) for failure in catalogue() for one in failure.remedies if not one.address}
    assert there - shown == set(), "these have no test"
    assert shown - there == set(), "these are no remedies any more"
    client = client_of(studio, Sessions(studio.home))
    row = studio.enqueue.train("dots", short())
    for failure in catalogue():
        assert failure.title.endswith(".") and failure.why.endswith(".") and failure.remedies, failure.id
        only = [one for one in failure.remedies if one.address]
        for one in only:
            assert client.get(one.address.format(job=row.id)).status_code == 200, (failure.id, one.address)
        if len(only) == len(failure.remedies):  # no button at all: the test of these two says what comes of it
            assert failure.id in ("config", "address-refused"), failure.id
    assert len({failure.id for failure in catalogue()}) == len(catalogue()) > 30


def test_the_button_of_the_page_and_the_route_press_the_same(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person presses is what the other tests call."""
    from lorasmith.web.sessions import Sessions

    row = failed(studio, _exported_onto_foreign_files(studio), "folder-taken")
    client = client_of(studio, Sessions(studio.home))
    page = client.get(f"/jobs/{row.id}").text
    assert "Somebody else&#39;s files are in the way." in page and "is not as this program wrote it" in page
    button = re.search(r'name="remedy" value="(\w+)"', page)
    assert button is not None and button[1] == "replace"
    led = client.post(f"/jobs/{row.id}/cure", data={"remedy": button[1]}).headers["location"]
    assert worked(studio, studio.queue.get(led.rpartition("/")[2])).state == "succeeded"
    told = client.get(f"/api/jobs/{row.id}/remedies", headers={"accept": "application/json"}).json()
    assert told["id"] == "folder-taken" and [one["id"] for one in told["remedies"]] == ["replace", "again"]
    made = client.post(f"/api/jobs/{row.id}/remedies/replace", json={}).json()
    assert worked(studio, studio.queue.get(made["id"])).state == "succeeded"
    assert client.post(f"/api/jobs/{row.id}/remedies/nonsense", json={}).status_code == 422
    assert client.get(f"/api/jobs/{made['id']}/remedies").status_code == 409  # it needs none


# Captions


def captions(studio: Studio, **options: Any) -> QueuedJob:
    return studio.enqueue.caption("dots", "wd_tagger", general_threshold=0.0, character_threshold=0.0, **options)


def _speaks_unless(monkeypatch: pytest.MonkeyPatch, fault: Callable[[str], Exception | None]) -> None:
    real = captioning.start_speaker

    def start(captioner: Any, options: Any, *, device: str, home: Path) -> Any:
        error = fault(device)
        if error is not None:
            raise error
        return real(captioner, options, device=device, home=home)

    monkeypatch.setattr(captioning, "start_speaker", start)


@pytest.mark.parametrize("remedy", ["processor", "again"])
@cures("memory-taken/{remedy}")
def test_a_card_that_others_fill(studio: Studio, monkeypatch: pytest.MonkeyPatch, remedy: str) -> None:
    with monkeypatch.context() as patched:
        full = OutOfMemory("The card has no room for the captioner.", "Close other programs.")
        _speaks_unless(patched, lambda device: None if device == "cpu" else full)
        row = failed(studio, captions(studio), "memory-taken")
        if remedy == "again":
            patched.undo()
        new = cured(studio, row, remedy)
        assert new.state == "succeeded" and new.output and new.output["dataset"] == "dots@2"


@pytest.mark.parametrize("remedy", ["processor", "again"])
@cures("captioner-died/{remedy}")
def test_a_captioner_that_does_not_come_up(studio: Studio, monkeypatch: pytest.MonkeyPatch, remedy: str) -> None:
    """Its process ends before it has said a word: a module that is not there ends it as a crash would."""
    from lorasmith.captioners.speaking import ProcessSpeaker

    real = captioning.start_speaker

    def start(captioner: Any, options: Any, *, device: str, home: Path) -> Any:
        if device == "cpu":
            return real(captioner, options, device=device, home=home)
        return ProcessSpeaker(captioner.name, {}, device=device, home=home, module="lorasmith.nothing_of_that_name")

    monkeypatch.setattr(captioning, "start_speaker", start)
    row = failed(studio, captions(studio), "captioner-died")
    if remedy == "again":
        monkeypatch.undo()
    assert cured(studio, row, remedy).state == "succeeded"


@cures("card-unusable/processor-here")
def test_a_card_that_fails_the_captioner(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError("CUDA error: no kernel image is available for execution on the device")
    _speaks_unless(monkeypatch, lambda device: None if device == "cpu" else error)
    row = failed(studio, captions(studio), "card-unusable")
    assert cured(studio, row, "processor-here").state == "succeeded"


@cures("not-installed/again")
def test_something_that_is_not_installed(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        lack = EnvironmentProblem(
            "The tagger needs onnxruntime, which is not installed.", "Install lorasmith[caption]."
        )
        _speaks_unless(patched, lambda device: lack)
        row = failed(studio, captions(studio), "not-installed")
    assert cured(studio, row, "again").state == "succeeded"


@cures("captioner-not-here/download")
def test_a_model_that_has_to_be_fetched(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tagger whose files were there when the job was made, and then were not; allowed to, it fetches them."""
    from lorasmith.captioners import Wanted
    from lorasmith.captioners.wd_tagger import plugin
    from lorasmith.sandbox import sandbox_weights

    folder = studio.home / "captioners" / "somebody--tagger"
    shutil.copytree(sandbox_weights() / "tagger", folder)
    row = captions(studio, model=str(folder))
    moved = folder.with_name("elsewhere")
    folder.rename(moved)
    real = type(plugin).need

    def need(self: Any, options: Any, *, home: Path) -> Any:
        if folder.exists():
            return real(self, options, home=home)
        wanted = Wanted("https://models.example.org/model.onnx", "model.onnx", size=1000)
        from lorasmith.captioners import Need

        return Need(downloads=(wanted,), folder=folder, source="models.example.org")

    monkeypatch.setattr(type(plugin), "need", need)
    monkeypatch.setattr(captioning, "fetch", lambda *arguments, **options: moved.rename(folder))
    row = failed(studio, row, "captioner-not-here")
    new = cured(studio, row, "download")
    assert new.state == "succeeded" and new.output and new.output["dataset"] == "dots@2"


@cures("captioner-silent/again")
def test_a_captioner_that_says_nothing(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    from lorasmith.captioners.speaking import ProcessSpeaker

    def nothing(self: Any, pictures: Any, attempt: int, known: Any = ()) -> Any:
        from lorasmith.captioners import Answer

        return [Answer("") for _ in pictures]

    with monkeypatch.context() as patched:
        patched.setattr(ProcessSpeaker, "caption", nothing)
        row = failed(studio, captions(studio, fresh=True), "captioner-silent")
        assert all(item.caption == "zib" for item in studio.dataset("dots").items)  # and nothing became a caption
    assert cured(studio, row, "again").state == "succeeded"


@cures("consent/agree")
def test_pictures_that_would_leave_the_machine(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """The consent was withdrawn while the job waited; agreeing writes down exactly the words that were shown."""
    from lorasmith.captioners import Need
    from lorasmith.captioners.wd_tagger import plugin
    from lorasmith.fetching import Consents

    row = captions(studio)
    monkeypatch.setattr(type(plugin), "need", lambda self, options, home: Need(sends_to="api.example.org"))
    row = failed(studio, row, "consent")
    found = studio.remedies.diagnose(row)
    assert found is not None and "api.example.org" in row.reason
    assert cured(studio, row, "agree").state == "succeeded"
    assert list(Consents(studio.home).all()) == ["send-to:api.example.org"]


@cures("edited-meanwhile/afresh")
def test_captions_that_were_edited_meanwhile(studio: Studio) -> None:
    row = captions(studio)
    studio.curate.edit("dots", "add_trigger_word", {"word": "ohwx"})
    row = failed(studio, row, "edited-meanwhile")
    assert all(item.caption.startswith("ohwx") for item in studio.dataset("dots").items)  # nothing was thrown away
    new = cured(studio, row, "afresh")
    assert new.state == "succeeded" and new.output and new.output["dataset"] == "dots@3"


# Imports and exports


@cures("no-pictures/again")
def test_a_folder_without_pictures(studio: Studio, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    (folder / "notes.txt").write_text("later")
    row = failed(studio, studio.enqueue.import_dataset(folder, "cats"), "no-pictures")
    Image.new("RGB", (64, 64), "red").save(folder / "one.png")
    new = cured(studio, row, "again")
    assert new.state == "succeeded" and new.output == {"dataset": "cats@1"}


@cures("source-gone/again")
def test_a_folder_that_was_moved(studio: Studio, tmp_path: Path) -> None:
    row = studio.enqueue.import_dataset(tmp_path / "pictures", "cats")
    (tmp_path / "pictures").rename(tmp_path / "away")
    row = failed(studio, row, "source-gone")
    (tmp_path / "away").rename(tmp_path / "pictures")
    assert cured(studio, row, "again").state == "succeeded"


def _exported_onto_foreign_files(studio: Studio) -> QueuedJob:
    folder = studio.home.parent / "out"
    studio.queue.drain()
    first = worked(studio, studio.enqueue.export("dots", "kohya", folder))
    assert first.state == "succeeded"
    for file in folder.rglob("*.txt"):
        file.write_text("my own words")
    return studio.enqueue.export("dots", "kohya", folder)


@cures("folder-taken/replace", "folder-taken/again")
def test_an_export_onto_files_of_others(studio: Studio) -> None:
    row = failed(studio, _exported_onto_foreign_files(studio), "folder-taken")
    assert {file.read_text() for file in (studio.home.parent / "out").rglob("*.txt")} == {"my own words"}
    (studio.home.parent / "out").rename(studio.home.parent / "mine")
    assert cured(studio, row, "again").state == "succeeded"
    row = failed(studio, _exported_onto_foreign_files(studio), "folder-taken")
    assert cured(studio, row, "replace").state == "succeeded"
    assert {file.read_text() for file in (studio.home.parent / "out").rglob("*.txt")} == {"zib"}


@cures("not-writable/again")
def test_a_place_that_cannot_be_written(studio: Studio, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    row = studio.enqueue.export("dots", "kohya", tmp_path / "out")
    with monkeypatch.context() as patched:

        def closed(*arguments: Any, **options: Any) -> Any:
            raise PermissionError(13, "Permission denied", str(tmp_path / "out"))

        patched.setattr(exporting_job, "export", closed)
        row = failed(studio, row, "not-writable")
    assert cured(studio, row, "again").state == "succeeded"


# Downloads


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A site on this machine that jobs may ask, as if it were one of the hub's."""
    with Loopback() as running:
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        services = {running.place: "huggingface"}
        with monkeypatch.context() as patched:
            patched.setattr(gathering, "Gathering", lambda home, store: errands.gathering(home, services=services))
            yield running


def brought(studio: Studio, address: str) -> QueuedJob:
    payload = {"location": address, "source": "url", "options": {}, "name": "pets", "into": "", "importing": {}}
    return studio.queue.submit("gather", payload, name="pets")


@cures("no-access/again")
def test_a_site_that_wants_a_token(studio: Studio, server: Loopback) -> None:
    token = "hf_" + "t" * 30
    row = brought(studio, server.at("/pets.zip", wants_bearer(token, says(200, ZIP))))
    row = failed(studio, row, "no-access")
    Credentials(studio.home).set("huggingface", token)  # as the settings do, where the other remedy leads
    new = cured(studio, row, "again")
    assert new.state == "succeeded" and new.output == {"dataset": "pets@1"}
    log = "".join(path.read_text(errors="replace") for path in (studio.home / "jobs").rglob("*") if path.is_file())
    assert token not in log


@cures("not-there/again")
def test_an_address_with_nothing_behind_it(studio: Studio, server: Loopback) -> None:
    row = brought(studio, server.at("/pets.zip", in_turn(*[says(404)] * 2, says(200, ZIP))))
    row = failed(studio, row, "not-there")
    server.at("/pets.zip", says(200, ZIP))
    assert cured(studio, row, "again").state == "succeeded"


@cures("connection/again")
def test_a_server_that_is_down(studio: Studio, server: Loopback) -> None:
    row = failed(studio, brought(studio, server.at("/pets.zip", says(503))), "connection")
    server.at("/pets.zip", says(200, ZIP))
    assert cured(studio, row, "again").state == "succeeded"


@cures("download-damaged/again")
def test_a_page_in_place_of_a_file(studio: Studio, server: Loopback) -> None:
    page = says(200, b"<!doctype html><title>Please sign in</title>", {"content-type": "text/html"})
    row = failed(studio, brought(studio, server.at("/pets.zip", page)), "download-damaged")
    server.at("/pets.zip", says(200, ZIP))
    assert cured(studio, row, "again").state == "succeeded"


def test_an_address_inside_is_not_asked(studio: Studio) -> None:
    """Refused whatever is tried: the remedy is another link, and it leads where one is given."""
    for kind, page in (("gather", "/datasets/new"), ("fetch", "/bases")):
        if kind == "gather":
            row = brought(studio, "https://169.254.169.254/latest/meta-data/pets.zip")
        else:
            row = studio.enqueue.fetch_base("https://169.254.169.254/base.safetensors")
        row = failed(studio, row, "address-refused")
        found = studio.remedies.diagnose(row)
        assert found is not None and [one.address for one in found.remedies] == [page]


# Pictures


@cures("adapter-unusable/again")
def test_an_adapter_that_is_gone(studio: Studio, tmp_path: Path) -> None:
    file = studio.library.add(write_lora(tmp_path / "mascot.safetensors"), None, name="mascot")
    row = studio.enqueue.certify("mascot", "sandbox")
    file.rename(tmp_path / "away")
    row = failed(studio, row, "adapter-unusable")
    (tmp_path / "away").rename(file)
    assert cured(studio, row, "again").state == "succeeded"


# What the doctor does not do


def test_jobs_that_are_well_have_no_diagnosis(studio: Studio, tmp_path: Path) -> None:
    row = studio.enqueue.export("dots", "kohya", tmp_path / "out")
    assert studio.remedies.diagnose(row) is None
    done = worked(studio, row)
    assert done.state == "succeeded" and studio.remedies.diagnose(done) is None


def test_a_damaged_folder_is_told_and_breaks_nothing(studio: Studio, tmp_path: Path) -> None:
    row = studio.enqueue.export("dots", "kohya", tmp_path / "out")
    folder = studio.queue.job(row.id).folder.path
    (folder / "job.json").write_text("{")
    row = looked_at(studio, row)
    with studio.dispatcher() as dispatcher:
        studio.queue.open_lane()
        dispatcher.tick()
    row = studio.queue.get(row.id)
    found = studio.remedies.diagnose(row)
    assert row.state == "failed" and found is not None
    assert applied and InputError
