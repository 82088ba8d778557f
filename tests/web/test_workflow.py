"""From a ZIP to a training: three downloads, loaded again pair by pair, and a form that recipes fill."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from lorasmith.sandbox.world import draw, sample_scene
from lorasmith.studio import Studio
from tests.web.conftest import Door, Server, expect
from tests.web.test_datasets import PAYLOAD, fill
from tests.web.test_imports import packed, png, work

NAMES = ("folder_captions.txt", "folder_captions.json", "folder_processed_images.zip")


def world_zip(count: int = 4) -> bytes:
    chance = np.random.default_rng(5)
    files = {}
    for number in range(count):
        out = io.BytesIO()
        draw(sample_scene(chance), chance).save(out, "PNG")
        files[f"IMG {number}.png"] = out.getvalue()
    return packed(files)


def begin(door: Door, content: bytes, **form: str) -> Any:
    files = [("files", ("folder.zip", content, "application/zip"))]
    return door.client.post("/captioning", data={"captioner": "wd_tagger"} | form, files=files)


def captioned(door: Door) -> dict[str, bytes]:
    """Go the way to the three files; what they hold."""
    answer = begin(door, world_zip())
    assert answer.status_code == 303, answer.text
    where = answer.headers["location"]
    assert "hx-trigger" in door.client.get(f"{where}/state").text
    work(door.studio)
    text = door.client.get(where).text
    assert text.count("succeeded") == 2 and "Three files" in text and "IMG 3.png" in text
    assert door.client.post("/captioning/folder/downloads").status_code == 303
    assert "hx-trigger" in door.client.get("/captioning/folder/downloads").text
    work(door.studio)
    listed = door.client.get("/captioning/folder/downloads").text
    return {name: door.client.get(f"/captioning/folder/downloads/{name}").content for name in NAMES if name in listed}


def test_the_form_begins_as_it_is_known(door: Door) -> None:
    text = door.client.get("/captioning").text
    assert "Start Advanced Processing" in text and "Load Dataset" in text
    for key, value in [
        ("prompt", "Describe this image in detail, focusing on style, mood, and composition"),
        ("temperature", "0.7"), ("top_p", "0.9"), ("max_new_tokens", "1024"), ("batch_size", "4"),
    ]:  # fmt: skip
        assert re.search(rf'name="o\.{key}" value="{re.escape(value)}"', text), key
    tagger = door.client.get("/captioning", params={"with": "wd_tagger"}).text
    assert "o.temperature" not in tagger, "a field that the captioner ignores is not there"


def test_a_zip_becomes_three_files_and_a_dataset_again(door: Door) -> None:
    files = captioned(door)
    assert set(files) == set(NAMES)
    with zipfile.ZipFile(io.BytesIO(files[NAMES[2]])) as archive:
        assert archive.namelist() == [f"{number:04d}.png" for number in range(1, 5)]
    told = json.loads(files[NAMES[1]])["captions"]
    version = door.studio.dataset("folder")
    assert [entry["caption"] for entry in told.values()] == [item.caption for item in version.items]
    assert all(item.caption in files[NAMES[0]].decode() for item in version.items)
    sent = [("files", (name, files[name], "application/octet-stream")) for name in NAMES[:0:-1]]
    answer = door.client.post("/captioning/load", data={"name": "again"}, files=sent)
    assert answer.status_code == 303
    work(door.studio)
    parts = urlsplit(answer.headers["location"])
    led = door.client.get(f"{parts.path}/state?{parts.query}", headers={"hx-request": "true"})
    assert led.headers["hx-redirect"] == "/datasets/again/pairs"
    again = door.studio.dataset("again")
    assert [item.caption for item in again.items] == [item.caption for item in version.items]
    pairs = door.client.get("/datasets/again/pairs").text
    assert re.search(r"With a caption</dt><dd>4<", pairs) and "IMG 0.png" in pairs and "Configure training" in pairs
    for item in again.items:
        assert item.caption in pairs


def test_a_caption_without_its_picture_is_shown(door: Door, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "a.png").write_bytes(png(1))
    (folder / "b<i>.txt").write_text(PAYLOAD, "utf-8")
    door.studio.import_dataset(folder, "x")
    text = door.client.get("/datasets/x/pairs").text
    assert "Captions without a picture" in text and "b<i>" not in text and "no caption" in text
    fill(door.studio, tmp_path / "pictures")
    text = door.client.get("/datasets/cats/pairs").text
    assert PAYLOAD not in text and "&lt;img src=x" in text
    assert door.client.get("/datasets/nothing/pairs").status_code == 422


def test_what_cannot_be_captioned_is_said_before_anything_is_taken(door: Door) -> None:
    for form, status in [
        ({"captioner": "nobody"}, 422), ({"o.general_threshold": "7"}, 422), ({"o.model": "wd-vit-v3"}, 503),
    ]:  # fmt: skip
        assert begin(door, world_zip(1), **form).status_code == status, form
    assert door.client.post("/captioning", data={"captioner": "wd_tagger"}).status_code == 422
    assert door.studio.uploads.all() == [] and door.studio.queue.list() == ()
    where = begin(door, packed({"notes.txt": b"x"})).headers["location"]
    work(door.studio)
    assert "No images found" in door.client.get(where).text
    broken = begin(door, b"no zip at all").headers["location"]
    work(door.studio)
    assert "failed" in door.client.get(broken).text


def test_downloads_lead_to_three_files_and_nowhere_else(door: Door, tmp_path: Path) -> None:
    fill(door.studio, tmp_path / "pictures")
    assert "Make the three files" in door.client.get("/captioning/cats/downloads").text
    assert door.client.get("/captioning/cats/downloads/cats_captions.txt").status_code == 404
    for _ in range(2):  # asked twice, made once
        door.client.post("/captioning/cats/downloads")
    assert len(door.studio.queue.list()) == 1
    work(door.studio)
    answer = door.client.get("/captioning/cats/downloads/cats_captions.txt")
    assert answer.status_code == 200 and "attachment" in answer.headers["content-disposition"]
    for path in ("secrets.json", "..%2f..%2fweb-key", "%2fetc%2fpasswd"):
        assert door.client.get(f"/captioning/cats/downloads/{path}").status_code == 404


@pytest.mark.parametrize(
    ("name", "steps", "rank", "rate"),
    [("portrait", 1200, 24, 3e-4), ("style", 1000, 16, 4e-4), ("product", 800, 12, 5e-4)],
)
def test_recipes_fill_the_form(door: Door, name: str, steps: int, rank: int, rate: float) -> None:
    values = door.studio.recipes.get(name).values
    assert (values["max_train_steps"], values["adapter.rank"], values["optimizer.learning_rate"]) == (steps, rank, rate)
    text = door.client.get("/captioning/train", params={"recipe": name}).text
    for key, value in [("max_train_steps", steps), ("adapter.rank", rank), ("optimizer.learning_rate", rate)]:
        assert re.search(rf'name="{re.escape(key)}" inputmode="decimal" value="{value}"', text)
    assert {"best_quality", "faster", "memory"} <= set(door.studio.recipes.all())


def test_a_recipe_is_shared_as_a_file(door: Door, tmp_path: Path) -> None:
    answer = door.client.get("/captioning/recipes/memory.toml")
    assert answer.status_code == 200 and "attachment" in answer.headers["content-disposition"]
    other = Studio(tmp_path / "other")
    other.recipes.add(answer.content, "from a friend")
    added = other.recipes.get("from_a_friend" if "from_a_friend" in other.recipes.all() else "from-a-friend")
    assert added.own and added.values == door.studio.recipes.get("memory").values
    send = lambda content, **form: door.client.post(  # noqa: E731
        "/captioning/recipes", data=form, files=[("files", ("mine.toml", content, "application/toml"))]
    )
    assert (
        send(b'title = "<b>Mine"\n[values]\nmax_train_steps = 5\nsample = { prompts = ["a, b", "c"] }').status_code
        == 303
    )
    text = door.client.get("/captioning/train?recipe=mine").text
    assert "<b>Mine" not in text and "yours" in text and "a, b\nc" in text
    assert send(b"[values]\nseed = 1").status_code == 422, "it is not replaced unasked"
    assert send(b"[values]\nseed = 1", replace="on").status_code == 303
    assert door.studio.recipes.get("mine").values == {"seed": 1}
    for bad in (b"", b"\xff", b"x", b"[values]", b"[values]\nnothing = 1", b"[values]\nmax_train_steps = -1",
                b"[values]\nbase = 'x'", b"title = 1\n[values]\nseed = 1", b"x = 1\n[values]\nseed = 1"):  # fmt: skip
        assert send(bad, name="bad").status_code == 422, bad
    assert "bad" not in door.studio.recipes.all()
    assert door.client.post("/captioning/recipes/mine/remove").status_code == 303
    assert door.client.post("/captioning/recipes/style/remove").status_code == 422
    assert door.client.get("/captioning/recipes/nothing.toml").status_code == 422
    assert door.client.post("/captioning/recipes").status_code == 422


def test_the_form_opens_in_the_workspace_with_its_values(door: Door, tmp_path: Path) -> None:
    fill(door.studio, tmp_path / "pictures")
    asked = {
        "dataset": "cats", "output_name": "my-style-lora", "trigger_word": "MYSTYLE", "max_train_steps": "777",
        "optimizer.learning_rate": "0.0004", "adapter.rank": "13", "sample.prompts": "one, two\nthree",
        "gradient_checkpointing": "on", "gradient_checkpointing.switch": "1",
    }  # fmt: skip
    text = door.client.get("/", params=asked).text
    for value in ("my-style-lora", "MYSTYLE", "777", "0.0004", '"13"', "one, two\nthree"):
        assert value in text
    assert re.search(r'name="gradient_checkpointing"[^>]*checked', text)


def test_the_whole_path_in_a_browser(browser_page: Any, server: Server, tmp_path: Path) -> None:
    page = browser_page
    pieces: list[str] = []
    page.on("request", lambda request: pieces.append(request.url) if request.method == "PATCH" else None)
    (tmp_path / "folder.zip").write_bytes(world_zip())
    page.goto(f"{server.address}/captioning?with=wd_tagger")
    page.set_input_files("#archive", tmp_path / "folder.zip")
    page.click("text=Start Advanced Processing")
    page.wait_for_url("**/captioning/runs/*")
    assert pieces and all("/api/uploads/" in address for address in pieces)  # in pieces, and not with the form
    saved = {}
    for name in NAMES:
        link = page.locator(f"#downloads a[download]:has-text('{name}')")
        link.wait_for(timeout=120_000)
        with page.expect_download() as coming:
            link.click()
        saved[name] = tmp_path / f"saved-{name}" / name
        coming.value.save_as(saved[name])
    page.goto(f"{server.address}/captioning#load")
    page.set_input_files("#processed", saved[NAMES[2]])
    page.set_input_files("#captions", saved[NAMES[1]])
    page.fill("#load-name", "again")
    page.click("button:has-text('Load Dataset')")
    page.wait_for_url("**/datasets/again/pairs", timeout=120_000)
    expect(page.locator(".pairs > li")).to_have_count(4)
    expect(page.locator(".pairs .none")).to_have_count(0)
    page.click("text=Configure training")
    page.wait_for_url("**/captioning/train?dataset=again")
    page.click(".recipes >> text=Character or portrait")
    page.wait_for_url("**recipe=portrait**")
    page.fill("#trigger_word", "ARTPORT")
    page.click("text=Open in the workspace")
    page.wait_for_url(f"{server.address}/?**")
    asked = parse_qs(urlsplit(page.url).query)
    assert asked["dataset"] == ["again"] and asked["max_train_steps"] == ["1200"] and asked["adapter.rank"] == ["24"]
    expect(page.locator("#trigger_word")).to_have_value("ARTPORT")
