"""Generate: the form asks for what it says, pictures come as they are painted, prompts are kept."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lorasmith.errors import ConfigError
from lorasmith.studio import Studio
from tests.bases.bare import editing_base
from tests.web.conftest import Door, Server, expect
from tests.web.test_datasets import fill
from tests.web.test_models import take_in
from tests.web.test_runs import PAYLOAD
from tests.web.tiny_lora import write_lora


def asked(studio: Studio) -> dict[str, Any]:
    """The payload of the newest job."""
    return studio.jobs()[-1].record().payload


def painted(studio: Studio, there: int, **request: Any) -> str:
    """A generate job of which the first pictures are there; its id."""
    row = studio.enqueue.generate({"base": "sandbox", **request})
    folder = studio.job(row.id).folder.path / "images"
    folder.mkdir()
    for index in range(there):
        Image.new("RGB", (8, 8), (index, 0, 0)).save(folder / f"{index:05d}.png")
    return row.id


def adapters(**scales: str) -> dict[str, str]:
    """Fields of the form for adapters."""
    fields: dict[str, str] = {}
    for number, (name, scale) in enumerate(scales.items()):
        fields |= {f"adapter.{number}.name": name, f"adapter.{number}.scale": scale, f"adapter.{number}.on": "1"}
    return fields


def test_pictures_to_edit_are_those_of_datasets(door: Door, tmp_path: Path) -> None:
    """A path would be a file of the server."""
    fill(door.studio, tmp_path / "pictures")
    version = door.studio.dataset("cats")
    image = version.items[0].image
    page = door.client.get(f"/generate?reference={image}").text
    assert f'value="{image}"' in page
    base = editing_base(door.studio.home)
    form = {"base": base, "prompt": "make it red"}
    assert door.client.post("/generate", data=form | {"reference.1": image}).status_code == 303
    assert asked(door.studio)["references"] == [image]
    count = len(door.studio.jobs())
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    for stranger in (str(secret), "0" * 64, f"{image} ../a", image.upper()):
        assert door.client.post("/generate", data=form | {"reference.1": stranger}).status_code == 422, stranger
        request = {"base": base, "prompts": ["x"], "first_frame": stranger}
        assert door.client.post("/api/generate", json={"request": request}).status_code in (404, 422), stranger
        request = {"base": base, "prompts": ["x"], "references": stranger.split()}
        sent = door.client.post("/api/generate", json={"request": request})
        assert sent.status_code in (404, 422), (stranger, sent.status_code)
    assert len(door.studio.jobs()) == count
    item = door.client.get(f"/datasets/{version.dataset}/item", params={"item": version.items[0].name}).text
    assert f"/generate?reference={image}" in item


def test_the_form_becomes_a_request(door: Door, tmp_path: Path) -> None:
    take_in(door.studio, tmp_path)
    form = {"base": "sandbox", "prompt": "a cat\n\n  a dog ", "negative_prompt": "blur", "guidance_scale": "8,5",
            "steps": "6", "count": "2", "seeding": "fixed", "seed": "41", "width": "64", "height": ""}  # fmt: skip
    sent = door.client.post("/generate", data=form | adapters(cat="1.25"))
    assert sent.status_code == 303 and sent.headers["location"].startswith("/generate?job=")
    request = asked(door.studio)
    assert request["prompts"] == ["a cat", "a dog"] and request["guidance_scale"] == 8.5 and request["seed"] == 41
    assert (request["steps"], request["count"], request["width"], request["height"]) == (6, 2, 64, None)
    assert [(Path(use["name"]).stem, use["weight"]) for use in request["adapters"]] == [("cat", 1.25)]
    door.client.post("/generate", data=form | {"seeding": "random"})
    assert asked(door.studio)["adapters"] == []
    page = door.client.get(sent.headers["location"]).text
    assert "0 of 4 pictures" in page and "It waits for its turn" in page and "5-7 creative, 7-10 accurate" in page
    assert 'value="1.25"' in page and 'value="41"' in page  # the form shows what was asked


def test_a_random_seed_is_another_every_time(door: Door) -> None:
    seeds = set()
    for _ in range(3):
        door.client.post("/generate", data={"prompt": "a", "seed": "5", "seeding": "random"})
        seeds.add(asked(door.studio)["seed"])
    assert len(seeds) == 3 and 5 not in seeds


def test_a_drawn_seed_does_not_stay_in_the_form(door: Door) -> None:
    for seeding, kept in (("random", False), ("fixed", True)):
        sent = door.client.post("/generate", data={"prompt": "a", "seed": "5", "seeding": seeding})
        page = door.client.get(sent.headers["location"]).text
        assert ('id="seed-fixed" value="fixed" checked' in page) is kept, seeding


def test_a_grid_and_a_comparison(door: Door, tmp_path: Path) -> None:
    take_in(door.studio, tmp_path)
    take_in(door.studio, tmp_path, "dog", seed=1)
    both = adapters(cat="1", dog="0.5")
    door.client.post("/generate", data={"prompt": "a", "grid": "0, 0.5 1"} | both)
    grid = asked(door.studio)["grid"]
    assert [Path(name).stem for name in grid["adapters"]] == ["cat", "dog"] and grid["weights"] == [0, 0.5, 1]
    assert len(door.studio.easel.painting(door.studio.jobs()[-1].id).pictures) == 6
    door.client.post("/generate", data={"prompt": "a", "compare": "1", "seeding": "fixed", "seed": "3"} | both)
    pictures = door.studio.easel.painting(door.studio.jobs()[-1].id).pictures
    assert [(one.prompt, one.seed, one.adapters) for one in pictures] == [
        ("a", 3, (("cat", 1.0), ("dog", 0.5))),
        ("a", 3, ()),
    ]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"prompt": "  \n "}, "There is no prompt"),
        ({"guidance_scale": "warm"}, "guidance scale"),
        ({"steps": "nan"}, "is not a number"),
        ({"steps": "1e999"}, "is not a number"),
        ({"steps": "0"}, "steps"),
        ({"width": "65"}, "multiple of 8"),
        ({"seed": "-1", "seeding": "fixed"}, "seed"),
        ({"seed": "x", "seeding": "fixed"}, "seed"),
        ({"prompt": "a <lora:nobody:1>"}, "nobody"),
        ({"prompt": "a <lora:cat"}, "never closed"),
        ({"prompt": "<hypernet:x:1>"}, "not supported"),
        ({"base": "/etc/passwd"}, "passwd"),
        ({"base": PAYLOAD}, "no base"),
        ({"grid": "1"}, "A grid needs adapters"),
        ({"scheduler": PAYLOAD}, "scheduler"),
        ({"count": "1001"}, "count"),
        (adapters(cat="2.5"), "goes from 0 to 2"),
        (adapters(cat="-0.1"), "goes from 0 to 2"),
        (adapters(nobody="1"), "nobody"),
    ],
)
def test_what_cannot_be_painted_is_refused_on_the_page(
    door: Door, tmp_path: Path, wrong: dict[str, str], said: str
) -> None:
    take_in(door.studio, tmp_path)
    answer = door.client.post("/generate", data={"prompt": "a cat", "negative_prompt": "stays"} | wrong)
    assert answer.status_code == 422 and said in answer.text and PAYLOAD not in answer.text
    assert door.studio.jobs() == ()
    if "goes from" not in said:
        assert "stays" in answer.text


def test_pictures_are_shown_as_they_come(door: Door, tmp_path: Path) -> None:
    take_in(door.studio, tmp_path)
    job = painted(door.studio, 1, prompts=[f"a {PAYLOAD}"], count=2, adapters=[{"name": "cat", "weight": 0.5}])
    shown = door.client.get(f"/generate/{job}/pictures").text
    assert "1 of 2 pictures" in shown and f"/generate/{job}/0.png" in shown and f"/generate/{job}/1.png" not in shown
    assert 'hx-trigger="every 1s"' in shown and "cat 0.5" in shown and PAYLOAD not in shown
    sent = door.client.get(f"/generate/{job}/0.png")
    assert sent.headers["content-type"] == "image/png" and sent.headers["content-security-policy"] == "sandbox"
    for missing in (f"/generate/{job}/1.png", f"/generate/{job}/9.png", f"/generate/{job}/..%2f.png"):
        assert door.client.get(missing).status_code >= 400
    assert door.client.get("/generate/nobody/0.png").status_code == 404
    assert PAYLOAD not in door.client.get(f"/generate?job={job}").text


def test_it_stops_asking_when_the_job_has_ended(door: Door) -> None:
    job = painted(door.studio, 1, prompts=["a"])
    door.studio.queue.cancel(job)
    shown = door.client.get(f"/generate/{job}/pictures").text
    assert "every 1s" not in shown and "cancelled" in shown


def test_another_jobs_page_is_no_painting(door: Door) -> None:
    row = door.studio.queue.submit("certify", {"adapter": "a", "base": "sandbox"})
    assert door.client.get(f"/generate?job={row.id}").status_code == 409
    assert door.client.get(f"/generate/{row.id}/0.png").status_code == 409


def test_prompts_are_kept_used_again_and_deleted(door: Door, tmp_path: Path) -> None:
    take_in(door.studio, tmp_path)
    job = painted(door.studio, 2, prompts=[f"a {PAYLOAD}"], count=2, seed=9, steps=7, negative_prompt="blur",
                  adapters=[{"name": "cat", "weight": 0.5}])  # fmt: skip
    assert door.client.post("/generate/prompts", data={"name": PAYLOAD, "job": job, "index": "1"}).status_code == 303
    (kept,) = door.studio.easel.prompts()
    assert kept.name == PAYLOAD and kept.request["seed"] == 10 and kept.request["steps"] == 7
    page = door.client.get(f"/generate?saved={kept.id}").text
    assert PAYLOAD not in page and 'value="10"' in page and 'value="7"' in page and 'value="0.5"' in page
    assert "blur" in page
    again = door.client.get(f"/generate?job={job}&again=0").text
    assert 'value="9"' in again
    door.client.post("/generate/prompts", data={"name": PAYLOAD, "job": job, "index": "0"})
    assert [one.name for one in door.studio.easel.prompts()] == [f"{PAYLOAD} 2", PAYLOAD]
    door.client.post(f"/generate/prompts/{kept.id}/delete")
    assert len(door.studio.easel.prompts()) == 1
    assert door.client.get(f"/generate?saved={kept.id}").status_code == 422
    assert door.client.post("/generate/prompts", data={"job": job, "index": "7"}).status_code == 409


def test_a_damaged_store_of_prompts_is_said_and_kept(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    (tmp_path / "prompts.json").write_text("[")
    with pytest.raises(ConfigError, match="is damaged"):
        studio.easel.save("x", {"base": "sandbox", "prompts": ["a"]})
    assert (tmp_path / "prompts.json").read_text() == "["
    (tmp_path / "prompts.json").write_text(json.dumps({"prompts": [1, {"id": "a"}]}))
    assert studio.easel.prompts() == ()
    with pytest.raises(ConfigError, match="no generation option"):
        studio.easel.save("x", {"base": "sandbox", "prompts": ["a"], "colour": "red"})


def test_all_pictures_are_found_again_by_adapter(door: Door, tmp_path: Path) -> None:
    take_in(door.studio, tmp_path)
    first = painted(door.studio, 2, prompts=["one"], count=2)
    second = painted(door.studio, 1, prompts=["two <lora:cat:0.7>"])
    pictures, more = door.studio.easel.history()
    assert [(one.job, one.index) for one in pictures] == [(second, 0), (first, 0), (first, 1)] and not more
    assert door.studio.easel.history(limit=1)[1] is True
    only, _ = door.studio.easel.history(adapter="cat")
    assert [(one.prompt, one.adapters) for one in only] == [("two", (("cat", 0.7),))]
    text = door.client.get("/generate/history?adapter=cat").text
    assert f"/generate/{second}/0.png" in text and f"/generate/{first}/0.png" not in text
    assert "Nothing was generated" in door.client.get("/generate/history?offset=50").text
    assert door.client.get("/generate/history?offset=-1").status_code == 422
    assert f"/generate?job={second}" in door.client.get("/models/cat").text


def test_the_same_picture_without_its_adapter(door: Door, tmp_path: Path) -> None:
    take_in(door.studio, tmp_path)
    job = painted(door.studio, 1, prompts=["a"], seed=4, steps=5, adapters=[{"name": "cat", "weight": 0.5}])
    sent = door.client.post(f"/generate/{job}/0/without")
    made = door.studio.easel.painting(sent.headers["location"].partition("=")[2]).pictures
    assert [(one.prompt, one.seed, one.adapters) for one in made] == [("a", 4, (("cat", 0.5),)), ("a", 4, ())]
    assert made[0].settings["steps"] == 5
    assert door.client.post(f"/generate/{job}/3/without").status_code == 409


def test_a_picture_becomes_part_of_a_dataset(door: Door, tmp_path: Path) -> None:
    fill(door.studio, tmp_path / "pictures")
    job = painted(door.studio, 1, prompts=["a new cat"])
    before = door.studio.dataset("cats")
    sent = door.client.post(f"/generate/{job}/0/keep", data={"dataset": "cats"})
    assert sent.headers["location"] == "/datasets/cats"
    after = door.studio.dataset("cats")
    new = [item for item in after.items if item.name not in {one.name for one in before.items}]
    assert len(new) == 1 and new[0].caption == "a new cat"
    assert door.client.post(f"/generate/{job}/0/keep", data={"dataset": "nobody"}).status_code == 422


def test_somebody_generates_with_an_adapter_and_compares(server: Server, browser_page: Any, tmp_path: Path) -> None:
    """For real: the sandbox base, an adapter, a worker, pictures in the browser."""
    page = browser_page
    file = write_lora(tmp_path / "tiny.safetensors")
    server.studio.models.register(file)
    page.goto(f"{server.address}/models/tiny")
    with page.expect_navigation():  # with its scripts: they lead the sliders
        page.click("text=Generate with it")
    assert page.input_value("#prompt") == "ohwx" and page.is_checked("#adapter-0")
    page.fill("#prompt", "ohwx red circle")
    page.fill("#steps", "2")
    page.locator("[data-range=scale-0]").fill("1.5")
    expect(page.locator("#scale-0")).to_have_value("1.5")
    page.fill("#seed", "11")
    expect(page.locator("#seed-fixed")).to_be_checked()
    page.check("#compare")
    page.locator("#prompt").press("Control+Enter")
    page.wait_for_url("**/generate?job=*")
    page.wait_for_selector("#pictures[data-state=succeeded]", timeout=240_000)
    expect(page.locator(".shot img")).to_have_count(2)
    came = "async (picture) => { await picture.decode(); return picture.naturalWidth; }"
    assert all(page.locator(".shot img").nth(one).evaluate(came) > 0 for one in (0, 1))
    page.click("#shot-0 .shot")
    expect(page.locator("#viewer-with")).to_have_value(re.compile(r"/1\.png$"))  # the same seed and prompt, without it
    page.locator("#viewer-at").fill("20")
    expect(page.locator("#viewer-b")).to_have_attribute("style", re.compile("20%"))
    page.click("#viewer >> text=Close")
    page.click("#shot-0 .more summary")
    page.locator("#shot-0 input[name=name]").fill("the good one")
    page.click("#shot-0 >> text=Save")
    page.wait_for_selector("#saved >> text=the good one")
    pictures = server.studio.easel.history()[0]
    assert {one.adapters for one in pictures} == {(("tiny", 1.5),), ()} and {one.seed for one in pictures} == {11}
    one, other = (server.studio.easel.picture(p.job, p.index).read_bytes() for p in pictures)
    assert one != other
