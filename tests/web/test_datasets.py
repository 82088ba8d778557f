"""The dataset pages: what is asked is shown, what is edited is one version, what others wrote is never lost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from lorasmith.studio import Studio
from tests.web.conftest import Door, Server, expect

PAYLOAD = "<img src=x onerror=alert(1)>"
CAPTIONS = {"a.png": "1girl, solo, red hair", "b.png": "1girl, blue hair", "c & d.png": "", "猫.png": f"cat, {PAYLOAD}"}


def fill(studio: Studio, folder: Path, captions: Mapping[str, str] = CAPTIONS, name: str = "cats") -> None:
    """A small dataset; every picture has its own color."""
    folder.mkdir()
    for number, (file, caption) in enumerate(captions.items()):
        Image.new("RGB", (64 + 8 * number, 64), (40 * number % 256, 90, 200 - 30 * number % 200)).save(folder / file)
        if caption:
            (folder / file).with_suffix(".txt").write_text(caption, "utf-8")
    studio.import_dataset(folder, name)


@pytest.fixture
def cats(door: Door, tmp_path: Path) -> Door:
    fill(door.studio, tmp_path / "pictures")
    return door


def test_the_list_shows_what_is_there(door: Door, tmp_path: Path) -> None:
    assert "No pictures yet" in door.client.get("/datasets").text
    fill(door.studio, tmp_path / "pictures")
    text = door.client.get("/datasets").text
    assert "cats" in text and "4 pictures" in text and 'href="/datasets/cats"' in text


def test_the_gallery_shows_what_a_query_means(cats: Door) -> None:
    assert cats.client.get("/datasets/cats").text.count("data-item=") == 4
    some = cats.client.get("/datasets/cats", params={"q": 'tag:"blue hair"'}).text
    assert some.count("data-item=") == 1 and 'data-item="b.png"' in some and "1 of 4 pictures" in some
    none = cats.client.get("/datasets/cats", params={"q": "tag:dog"}).text
    assert "No picture is like that" in none
    broken = cats.client.get("/datasets/cats", params={"q": "tag:("})
    assert broken.status_code == 200 and "refusal" in broken.text and "data-item=" not in broken.text


def test_a_text_of_a_stranger_stays_text(cats: Door) -> None:
    for path in ("/datasets/cats", "/datasets/cats/tags", f"/datasets/cats/item?item={quote('猫.png')}"):
        text = cats.client.get(path).text
        assert PAYLOAD not in text and "&lt;img src=x" in text, path


def test_a_caption_is_saved_and_the_next_picture_comes(cats: Door) -> None:
    form = {"item": "a.png", "number": "1", "caption": "1girl, solo, long hair\r\nsecond", "then": "next", "q": ""}
    answer = cats.client.post("/datasets/cats/caption", data=form)
    assert answer.status_code == 200 and 'data-item="b.png"' in answer.text and "Saved." in answer.text
    version = cats.studio.dataset("cats")
    assert version.number == 2 and version.items[0].caption == "1girl, solo, long hair\nsecond"


def test_two_editors_lose_nothing(cats: Door) -> None:
    save = {"item": "a.png", "number": "1", "q": ""}
    assert cats.client.post("/datasets/cats/caption", data={**save, "caption": "theirs"}).status_code == 200
    other = cats.client.post("/datasets/cats/caption", data={**save, "item": "b.png", "caption": "mine"})
    assert other.status_code == 200  # another picture of the same old version is joined
    clash = cats.client.post("/datasets/cats/caption", data={**save, "caption": "mine"})
    assert clash.status_code == 409 and "Theirs: theirs" in clash.text and "<ins>mine</ins>" in clash.text
    captions = {item.name: item.caption for item in cats.studio.dataset("cats").items}
    assert (captions["a.png"], captions["b.png"]) == ("theirs", "mine")
    again = cats.client.post("/datasets/cats/caption", data={**save, "number": "3", "caption": "mine"})
    assert again.status_code == 200 and cats.studio.dataset("cats").items[0].caption == "mine"


def test_a_bulk_edit_is_seen_before_it_is_made_and_can_be_undone(cats: Door) -> None:
    page = cats.client.get("/datasets/cats/edit", params={"operation": "remove_tags", "q": "tag:1girl"}).text
    assert 'name="o.tags"' in page and 'value="tag:1girl"' in page
    form = {"operation": "remove_tags", "o.tags": "solo\n1girl", "q": "tag:1girl"}
    seen = cats.client.post("/datasets/cats/preview", data=form).text
    assert "2 of 4 pictures" in seen and "<del>" in seen and 'name="number" value="1"' in seen
    assert cats.studio.dataset("cats").number == 1
    assert cats.client.post("/datasets/cats/apply", data=form).status_code == 422  # nobody has looked
    done = cats.client.post("/datasets/cats/apply", data={**form, "number": "1"})
    assert done.status_code == 303 and done.headers["location"] == "/datasets/cats"
    assert [item.caption for item in cats.studio.dataset("cats").items[:2]] == ["red hair", "blue hair"]
    assert "Undo: " in cats.client.get("/datasets/cats").text
    assert cats.client.post("/datasets/cats/undo").status_code == 303
    assert cats.studio.dataset("cats").number == 1
    assert cats.client.post("/datasets/cats/redo").status_code == 303
    assert cats.studio.dataset("cats").number == 2


def test_every_operation_has_a_form(cats: Door) -> None:
    from lorasmith.datasets.captions.operations import OPERATIONS

    for name, kind in OPERATIONS.items():
        text = cats.client.get("/datasets/cats/edit", params={"operation": name}).text
        for field in kind.model_fields:
            assert f'name="o.{field}"' in text, (name, field)
    assert cats.client.get("/datasets/cats/edit", params={"operation": "nonsense"}).status_code == 422


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/datasets/dogs", 422),
        ("/datasets/..%2f..%2fetc", 404),
        ("/datasets/cats/item?item=nothing.png", 422),
        ("/datasets/cats/cards?at=-1", 422),
        ("/pictures/../../etc/passwd", 404),
        ("/pictures/" + "0" * 64, 422),
        ("/pictures/zz", 404),
        ("/thumbnails/" + "0" * 64, 404),
        ("/thumbnails/" + "0" * 64 + "?side=9999", 422),
    ],
)
def test_what_is_not_there_is_a_sentence(cats: Door, path: str, status: int) -> None:
    answer = cats.client.get(path)
    assert answer.status_code == status
    assert ("Traceback" not in answer.text and "alert" in answer.text) or "error" in answer.text


def test_pictures_are_sent_as_pictures(cats: Door) -> None:
    item = cats.studio.dataset("cats").items[0]
    whole, small = cats.client.get(f"/pictures/{item.image}"), cats.client.get(f"/thumbnails/{item.image}")
    assert whole.headers["content-type"] == "image/png" and small.headers["content-type"] == "image/webp"
    assert "immutable" in small.headers["cache-control"] and whole.headers["content-security-policy"] == "sandbox"
    blob = cats.studio.curate.picture(item.image)
    blob.chmod(0o644)
    blob.write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")
    assert cats.client.get(f"/pictures/{item.image}").status_code == 404


def test_suggestions_begin_with_what_is_written(cats: Door) -> None:
    found = cats.client.get("/datasets/cats/suggestions", params={"find": "h"}, headers={"accept": "application/json"})
    assert [one["tag"] for one in found.json()] == ["blue hair", "red hair"]


def test_captions_are_written_by_keys_alone(browser_page: Any, server: Server, tmp_path: Path) -> None:
    fill(server.studio, tmp_path / "pictures")
    page = browser_page
    page.goto(f"{server.address}/datasets/cats")
    page.keyboard.press("j")
    page.wait_for_selector('.item-view[data-item="a.png"]')
    page.keyboard.press("e")
    page.keyboard.press("End")
    page.keyboard.type(", smiling")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector('.item-view[data-item="b.png"]')
    page.wait_for_selector("#caption:focus")
    page.keyboard.type("new: ")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector('.item-view[data-item="c & d.png"]')
    captions = {item.name: item.caption for item in server.studio.dataset("cats").items}
    assert captions["a.png"] == "1girl, solo, red hair, smiling" and "new: " in captions["b.png"]
    expect(page.locator('.card-picture[data-item="a.png"] .caption')).to_have_text(captions["a.png"])


def test_keys_may_be_quicker_than_the_server(browser_page: Any, server: Server, tmp_path: Path) -> None:
    fill(server.studio, tmp_path / "pictures")
    page, late = browser_page, []
    page.goto(f"{server.address}/datasets/cats")
    page.route("**/datasets/cats/item?**", lambda route: route.continue_() if late else late.append(route))
    with page.expect_request("**/datasets/cats/item?**"):
        page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator('.card-picture[data-item="c & d.png"]')).to_have_attribute("aria-current", "true")
    late[0].continue_()
    page.wait_for_selector('.item-view[data-item="c & d.png"]')
    expect(page.locator('.card-picture[data-item="c & d.png"]')).to_have_attribute("aria-current", "true")


def test_an_edit_in_bulk_in_the_browser(browser_page: Any, server: Server, tmp_path: Path) -> None:
    fill(server.studio, tmp_path / "pictures")
    page = browser_page
    page.goto(f"{server.address}/datasets/cats/edit")
    page.fill("[name='o.word']", "ohwx")
    page.click("text=Preview")
    page.click("text=Change 4 captions")
    page.wait_for_url(f"{server.address}/datasets/cats")
    assert all(item.caption.startswith("ohwx") for item in server.studio.dataset("cats").items)
    page.goto(f"{server.address}/datasets/cats/edit")
    page.select_option("#operation", "sort_tags")
    page.wait_for_selector("[name='o.by']")
