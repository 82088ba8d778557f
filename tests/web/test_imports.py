"""Importing in the browser: files with and without scripts, sources looked at first, and every file's fate."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lorasmith.studio import Studio
from tests.fetching.loopback import Loopback
from tests.sources.errands import picture
from tests.sources.hub_server import HubServer
from tests.web.conftest import Door, Server, expect
from tests.web.test_datasets import PAYLOAD, fill
from tests.web.test_uploads import CONTENT, announce, send


def png(number: int = 0, size: int = 64) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (size, size), (40 * number % 256, 200, 30 * number % 256)).save(out, "PNG")
    return out.getvalue()


def packed(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def work(studio: Studio) -> None:
    """Work the queue off."""
    with studio.dispatcher() as dispatcher:
        dispatcher.run(until_idle=True)


def put(door: Door, files: dict[str, bytes]) -> list[str]:
    """Upload whole files; their ids."""
    ids = []
    for path, content in files.items():
        url = announce(door.client, name=path.rpartition("/")[2], length=len(content), path=path)
        assert send(door.client, url, 0, content).status_code == 204  # type: ignore[attr-defined]
        ids.append(url.rpartition("/")[2])
    return ids


def asked(door: Door, **form: str) -> str:
    """Submit the form; where it leads."""
    answer = door.client.post("/datasets/new", data=form)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def test_a_folder_becomes_a_dataset_with_its_captions(door: Door) -> None:
    files = {
        "trip/a/1.png": png(1), "trip/a/1.txt": b"first", "trip/b/1.png": png(2), "trip/b/1.txt": b"second",
        "trip/notes.pdf": b"%PDF-", "trip/broken.png": png(3)[:60],
    }  # fmt: skip
    ids = put(door, files)
    where = asked(door, uploads=json.dumps(ids), **{"i.background": "black"})
    assert "queued" in door.client.get(where).text and "hx-trigger" in door.client.get(f"{where}/state").text
    assert door.studio.uploads.all() == [], "what is in the job is no upload any more"
    work(door.studio)
    version = door.studio.dataset("trip")
    assert {item.name: item.caption for item in version.items} == {"a/1.png": "first", "b/1.png": "second"}
    text = door.client.get(where).text
    assert (
        "What became of every file" in text
        and "notes.pdf" in text
        and "broken.png" in text
        and "/datasets/trip" in text
    )
    assert "hx-trigger" not in door.client.get(f"{where}/state").text
    assert list((door.studio.home / "uploads").glob("set-*")) == [], "the copies are gone"


def test_a_zip_is_named_after_itself_and_can_be_added_to(door: Door) -> None:
    where = asked(door, uploads=json.dumps(put(door, {"cats.zip": packed({"a.png": png(1)})})))
    work(door.studio)
    assert len(door.studio.dataset("cats").items) == 1 and "cats" in door.client.get(where).text
    asked(door, uploads=json.dumps(put(door, {"more.png": png(2), "more.txt": b"more"})), into="cats")
    work(door.studio)
    version = door.studio.dataset("cats")
    assert version.number == 2 and [item.caption for item in version.items] == ["", "more"]
    chosen = door.client.get("/datasets/new", params={"into": "cats"}).text
    assert '<option value="cats" selected>' in chosen


def test_without_scripts_the_form_itself_brings_the_files(door: Door) -> None:
    files = [("files", (name, content, "image/png")) for name, content in
             {"x/1.png": png(1), "x/1.txt": b"one", "x/2.png": png(2), "x/empty.png": b""}.items()]  # fmt: skip
    answer = door.client.post("/datasets/new", data={"name": "plain"}, files=files)
    assert answer.status_code == 303
    work(door.studio)
    assert {item.name: item.caption for item in door.studio.dataset("plain").items} == {"1.png": "one", "2.png": ""}


def test_what_cannot_be_is_said(door: Door, tmp_path: Path) -> None:
    fill(door.studio, tmp_path / "pictures")
    ids = json.dumps(put(door, {"a.png": png(1)}))
    for form, words in [
        ({}, "nothing to import"),
        ({"uploads": "{"}, "cannot be read"),
        ({"uploads": "[1]"}, "cannot be read"),
        ({"uploads": ids, "name": "x", "into": "cats"}, "not both"),
        ({"uploads": ids, "into": "nothing"}, "nothing"),
        ({"uploads": ids, "name": "a/b"}, "cannot be the name"),
        ({"uploads": ids, "name": "new"}, "address of this app"),
        ({"uploads": ids, "i.max_side": "0"}, "max_side"),
        ({"uploads": ids, "i.alpha": "nonsense"}, "alpha"),
    ]:
        answer = door.client.post("/datasets/new", data=form)
        assert answer.status_code == 422 and words in answer.text, form
    unfinished = announce(door.client).rpartition("/")[2]
    assert "not whole" in door.client.post("/datasets/new", data={"uploads": json.dumps([unfinished])}).text
    assert list(door.studio.datasets()) == ["cats"]
    assert door.client.get("/datasets/imports/nothing").status_code == 404


def test_an_import_that_failed_says_why_and_can_be_tried_again(door: Door) -> None:
    where = asked(door, uploads=json.dumps(put(door, {"notes.zip": packed({f"{PAYLOAD[:10]}.txt": b"x"})})))
    work(door.studio)
    text = door.client.get(where).text
    assert "failed" in text and "No images found" in text and "Try again" in text and PAYLOAD[:10] not in text
    assert door.client.post(f"{where}/retry").status_code == 303
    assert "queued" in door.client.get(where).text
    assert door.client.post(f"{where}/cancel").status_code == 303
    assert "cancelled" in door.client.get(where).text


def test_every_source_has_its_form(door: Door) -> None:
    text = door.client.get("/datasets/new").text
    for source, title in door.studio.sources.names().items():
        if source not in ("folder", "zip"):
            assert title in text
            form = door.client.get("/datasets/new", params={"from": source}).text
            for option in door.studio.sources.about(source).options.model_fields:
                assert f'name="o.{option}' in form, (source, option)
    assert "There is no secret for" in door.client.get("/datasets/new", params={"from": "huggingface"}).text
    assert door.client.get("/datasets/new", params={"from": "nowhere"}).status_code == 422


def test_a_source_asks_for_consent_before_it_asks_anybody(door: Door) -> None:
    form = {"source": "gelbooru", "location": "solo"}
    answer = door.client.post("/datasets/new/look", data=form, headers={"hx-request": "true"})
    assert answer.status_code == 200 and "I agree" in answer.text
    assert "I agree" in door.client.post("/datasets/new/look", data=form).text, "a page of its own without scripts"
    assert door.client.post("/datasets/new/fetch", data=form).status_code == 422
    wrong = door.client.post("/datasets/new/agree", data=form | {"agree": "gelbooru-terms 0000"})
    assert "I agree" in wrong.text, "another text was not agreed to"
    notice = door.studio.sources.notices("solo", "gelbooru")[0]
    assert f"{notice.id} {notice.digest}" in answer.text


def test_a_source_is_looked_at_then_brought(door: Door) -> None:
    with Loopback() as server, Loopback() as store:
        hub = HubServer(server, store)
        card = {"license": "cc-by-4.0"}
        hub.add(
            "somebody/pets", {"a.png": picture(1), "a.txt": b"one", "x<b>.py": b"print()"}, kind="datasets", card=card
        )
        form = {"source": "huggingface", "location": "somebody/pets", "o.endpoint": hub.endpoint, "name": "pets"}
        looked = door.client.post("/datasets/new/look", data=form, headers={"hx-request": "true"})
        assert looked.status_code == 200, looked.text
        assert "2 files" in looked.text and "cc-by-4.0" in looked.text and "x<b>" not in looked.text
        assert door.studio.datasets() == {} and "Bring them" in looked.text
        answer = door.client.post("/datasets/new/fetch", data=form | {"i.limit": "5"})
        assert answer.status_code == 303
        work(door.studio)
        version = door.studio.dataset("pets")
        assert [(item.name, item.caption) for item in version.items] == [("a.png", "one")]
        text = door.client.get(answer.headers["location"]).text
        assert "What became of every file" in text and "Import of pets" in text
        missing = door.client.post("/datasets/new/look", data=form | {"location": "somebody/nothing"})
        assert missing.status_code == 422


def test_an_address_is_looked_at_and_a_closed_one_is_refused(door: Door) -> None:
    form = {"source": "url", "location": "http://127.0.0.1:9/x.zip"}
    answer = door.client.post("/datasets/new/look", data=form, headers={"hx-request": "true"})
    assert answer.status_code == 422 and "refusal" in answer.text
    empty = door.client.post("/datasets/new/look", data={"source": "url", "location": " "})
    assert empty.status_code == 422


DROP = """async ([names, contents]) => {
  const transfer = new DataTransfer();
  names.forEach((name, i) => transfer.items.add(new File([Uint8Array.from(contents[i])], name)));
  document.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
}"""


def test_files_are_dropped_and_become_a_dataset(browser_page: Any, server: Server, tmp_path: Path) -> None:
    page = browser_page
    page.goto(f"{server.address}/datasets/new")
    page.wait_for_selector("#upload[data-ready]")
    files = {"one.png": png(1), "one.txt": b"a caption", "two.png": png(2), "empty.txt": b""}
    dropped = [list(files), [list(content) for content in files.values()]]
    page.evaluate(DROP, dropped)
    page.locator("#uploads li[data-state=here]").nth(2).wait_for()
    expect(page.locator("#uploads li[data-state=empty]")).to_contain_text("empty.txt")
    page.evaluate(DROP, dropped)  # the same again sends nothing
    page.wait_for_selector("#import-words:has-text('already')")
    expect(page.locator("#uploads li:not([data-state=empty])")).to_have_count(3)  # the others were looked at and went
    expect(page.locator("#uploads li[data-state=here]")).to_have_count(3)
    assert len(server.studio.uploads.all()) == 3
    page.reload()  # what is here stays here
    page.locator("#uploads li[data-state=here]").nth(2).wait_for()
    page.fill("#name", "dropped")
    page.click("#import")
    page.wait_for_url("**/datasets/imports/*")
    page.wait_for_selector("text=What became of every file", timeout=90_000)  # the server runs its queue itself
    assert {i.name: i.caption for i in server.studio.dataset("dropped").items} == {
        "one.png": "a caption",
        "two.png": "",
    }
    page.goto(f"{server.address}/datasets/new?into=dropped")
    page.wait_for_selector("#upload[data-ready]")
    page.evaluate(DROP, [["one.png"], [list(png(1))]])
    page.wait_for_selector("#uploads li[data-state=there]")
    assert server.studio.uploads.all() == [], "what the dataset has is not sent"


def test_a_folder_is_chosen_and_an_interrupted_file_goes_on(browser_page: Any, server: Server, tmp_path: Path) -> None:
    import hashlib

    page = browser_page
    sha = hashlib.sha256(CONTENT).hexdigest()
    page.goto(f"{server.address}/datasets/new")
    owner = server.sessions.actor(page.context.cookies()[0]["value"])
    assert owner is not None
    id = server.studio.uploads.create("big.zip", len(CONTENT), sha, owner=owner.name, path="big.zip")
    server.studio.uploads.append(id, 0, io.BytesIO(CONTENT[:30_000]))
    page.reload()
    page.wait_for_selector("#uploads li[data-state=interrupted]")
    (tmp_path / "big.zip").write_bytes(CONTENT)
    page.set_input_files("#files", tmp_path / "big.zip")
    page.wait_for_selector("#uploads li[data-state=here]")
    assert server.studio.uploads.finish(id).read_bytes() == CONTENT and len(server.studio.uploads.all()) == 1
    folder = tmp_path / "häus"
    (folder / "in").mkdir(parents=True)
    (folder / "in/猫.png").write_bytes(png(4))
    page.set_input_files("#folder", folder)
    page.locator("#uploads li[data-state=here]").nth(1).wait_for()
    assert {one.path for one in server.studio.uploads.all()} == {"big.zip", "häus/in/猫.png"}
    with page.expect_response(lambda answer: answer.request.method == "DELETE"):
        page.click("#uploads li:first-child button")
    assert [one.path for one in server.studio.uploads.all()] == ["häus/in/猫.png"]


def test_large_files_are_hashed_in_pieces(browser_page: Any, server: Server) -> None:
    import hashlib

    page = browser_page
    page.goto(f"{server.address}/datasets/new")
    for size in (0, 1, 55, 56, 63, 64, 65, 1000, 70_001):
        found = page.evaluate(
            "async ([content, address]) => (await import(address)).inPieces(new File([Uint8Array.from(content)], 'x'))",
            [list(CONTENT[:size]), "/static/sha256.js"],
        )
        assert found == hashlib.sha256(CONTENT[:size]).hexdigest(), size


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_a_name_with_spaces_is_taken_with_hyphens(door: Door) -> None:
    ids = json.dumps(put(door, {"a.png": png(1)}))
    where = asked(door, uploads=ids, name=" red  ball ")
    assert "Import of red-ball" in door.client.get(where).text


def test_a_failed_import_says_it_once_and_offers_other_files(door: Door) -> None:
    place = asked(door, uploads=json.dumps(put(door, {"notes.txt": b"hello"})))
    work(door.studio)
    text = door.client.get(place).text
    assert text.count("neither a picture nor a ZIP nor a folder") == 1
    assert 'href="/datasets/new">Choose other files' in text


@pytest.mark.parametrize(
    ("came", "back"),
    [
        ("http://testserver/datasets/new?from=folder", True),
        ("http://elsewhere.example/datasets/new", False),
        ("http://testserver//elsewhere.example/", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_a_refused_form_leads_back_into_this_app_alone(door: Door, came: str, back: bool) -> None:
    came = came.replace("http://testserver", str(door.client.base_url).rstrip("/"))
    text = door.client.post("/datasets/new", data={"name": "a/b"}, headers={"referer": came}).text
    assert "cannot be the name" in text
    assert ("Back to where you were" in text) is back
    assert "elsewhere.example" not in text
