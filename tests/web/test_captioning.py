"""Captions by machines in the browser: a run with live captions, thresholds, the review, two side by side."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lorasmith.sandbox.world import draw, sample_scene
from lorasmith.studio import Studio
from tests.captioners.chat_servers import Vllm, pictures_of
from tests.web.conftest import Door, Server, expect, patient_context
from tests.web.test_axe import faults
from tests.web.test_datasets import PAYLOAD, fill
from tests.web.test_imports import work

FORM = {"captioner": "wd_tagger", "existing": "replace"}


def world(studio: Studio, folder: Path, count: int = 6) -> None:
    """Pictures that the sandbox's tagger knows."""
    folder.mkdir()
    chance = np.random.default_rng(5)
    for number in range(count):
        draw(sample_scene(chance), chance).save(folder / f"{number}.png")
    studio.import_dataset(folder, "shapes")


def begin(door: Door, **form: str) -> str:
    """Start a run; where it is watched."""
    answer = door.client.post("/datasets/shapes/captioning", data=FORM | form)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


@pytest.fixture
def shapes(door: Door, tmp_path: Path) -> Door:
    world(door.studio, tmp_path / "shapes")
    return door


@pytest.fixture
def tagged(shapes: Door) -> Door:
    shapes.studio.caption("shapes")
    return shapes


def test_every_captioner_has_its_form(shapes: Door) -> None:
    for captioner in shapes.studio.captions.other_names():
        text = shapes.client.get("/datasets/shapes/captioning", params={"with": captioner}).text
        for option in shapes.studio.captions.options_of(captioner).model_fields:
            assert f'name="o.{option}' in text, (captioner, option)
    assert shapes.client.get("/datasets/shapes/captioning", params={"with": "nobody"}).status_code == 422


def test_what_it_takes_is_said_before(shapes: Door) -> None:
    here = shapes.client.post("/datasets/shapes/captioning/need", data=FORM)
    assert "Nothing has to be downloaded" in here.text
    there = shapes.client.post("/datasets/shapes/captioning/need", data=FORM | {"o.model": "wd-vit-v3"}).text
    assert "has to be downloaded" in there and "apache-2.0" in there.lower() and "free" in there
    refused = shapes.client.post("/datasets/shapes/captioning", data=FORM | {"o.model": "wd-vit-v3"})
    assert refused.status_code == 503 and "download" in refused.text.lower()
    missing = shapes.client.post("/datasets/shapes/captioning/need", data=FORM | {"o.model": "<b>nothing"})
    assert missing.status_code == 200 and "refusal" in missing.text and "<b>" not in missing.text
    assert shapes.studio.queue.list() == ()


def test_pictures_leave_only_after_consent(shapes: Door) -> None:
    form = {
        "captioner": "openai_compatible",
        "existing": "replace",
        "o.model": "m",
        "o.server": "https://captions.example/v1",
    }
    fields = shapes.studio.captions.options_of("openai_compatible").model_fields
    form = {key: value for key, value in form.items() if not key.startswith("o.") or key[2:] in fields}
    address = next(name for name in ("server", "endpoint", "base_url", "url") if name in fields)
    form[f"o.{address}"] = "https://captions.example/v1"
    shown = shapes.client.post("/datasets/shapes/captioning/need", data=form).text
    assert "I agree" in shown and "captions.example" in shown
    assert shapes.client.post("/datasets/shapes/captioning", data=form).status_code == 422
    wrong = form | {"agree": "send-to:elsewhere 00"}
    assert shapes.client.post("/datasets/shapes/captioning", data=wrong).status_code == 422
    agreed = re.search(r'name="agree" value="([^"]+)"', shown)
    assert agreed is not None
    assert shapes.client.post("/datasets/shapes/captioning", data=form | {"agree": agreed[1]}).status_code == 303


def test_pairs_are_asked_for_in_the_form(shapes: Door, tmp_path: Path) -> None:
    studio, here = shapes.studio, "/datasets/shapes/captioning"
    form = {"captioner": "openai_compatible", "existing": "replace", "o.model": "m", "o.pairs": "on"}
    far = form | {"o.base_url": "https://captions.example/v1"}
    assert shapes.client.post(here, data=far).status_code == 422, "no picture has a reference"
    (tmp_path / "before").mkdir()
    for number in range(2):
        Image.new("RGB", (24, 24), "white").save(tmp_path / "before" / f"{number}.png")
    studio.curate.pairs.give("shapes", tmp_path / "before")
    tagger = shapes.client.get(here).text
    assert "2 pictures have references, which this captioner does not look at" in " ".join(tagger.split())
    assert "with Pairs they are shown together" in shapes.client.get(here, params={"with": "openai_compatible"}).text
    told = " ".join(shapes.client.post(f"{here}/need", data=far).text.split())
    assert "2 pairs: 2 requests, together with 4 pictures. 4 without a reference get no caption." in told
    agreed = re.search(r'name="agree" value="(send-pairs-to:captions.example [^"]+)"', told)
    assert agreed is not None and "all of its references with it" in told
    assert shapes.client.post(here, data=far).status_code == 422, "not before it was agreed to"
    assert studio.queue.list() == ()
    with Vllm() as server:
        near = form | {"o.base_url": server.url, "o.model": server.models[0]}
        assert shapes.client.post(here, data=near).status_code == 303
        work(studio)
        assert [len(pictures_of(request)) for request in server.asked] == [2, 2]
    version = studio.dataset("shapes")
    assert sum(item.caption.startswith("Turn white into") for item in version.items) == 2
    assert version.items[0].provenance["captioner"]["settings"]["pairs"] is True


def test_a_run_is_watched_and_its_captions_become_a_version(shapes: Door) -> None:
    where = begin(shapes)
    waiting = shapes.client.get(where).text
    assert "queued" in waiting and "Cancel" in waiting and "hx-trigger" in shapes.client.get(f"{where}/state").text
    work(shapes.studio)
    version = shapes.studio.dataset("shapes")
    assert version.number == 2 and all(item.caption for item in version.items)
    text = shapes.client.get(where).text
    for item in version.items:
        assert item.name in text
    assert (
        "succeeded" in text and "Open shapes@2" in text and "hx-trigger" not in shapes.client.get(f"{where}/said").text
    )
    live = shapes.client.get(f"{where}/said", params={"at": 10**9}).text
    assert version.items[0].name not in live
    form = shapes.client.get("/datasets/shapes/captioning").text
    assert "Thresholds" in form and where.rpartition("/")[2] in form


def test_modes_cancel_and_going_on(shapes: Door) -> None:
    where = begin(shapes)
    assert shapes.client.post(f"{where}/cancel").status_code == 303
    assert "cancelled" in shapes.client.get(where).text
    assert shapes.client.post(f"{where}/resume").status_code == 303
    work(shapes.studio)
    first = {item.name: item.caption for item in shapes.studio.dataset("shapes").items}
    shapes.studio.curate.set_captions(shapes.studio.dataset("shapes"), dict.fromkeys(first, "mine"))
    begin(shapes, existing="append")
    work(shapes.studio)
    after = {item.name: item.caption for item in shapes.studio.dataset("shapes").items}
    assert after == {name: f"mine, {caption}" for name, caption in first.items()}
    for bad in ({"existing": "x"}, {"lines": "0"}, {"lines": "x"}, {"o.general_threshold": "2"}, {"captioner": "x"}):
        assert shapes.client.post("/datasets/shapes/captioning", data=FORM | bad).status_code == 422, bad
    assert shapes.client.get("/datasets/shapes/captioning/jobs/nothing").status_code == 404


def test_thresholds_are_previewed_and_applied_as_one_version(tagged: Door) -> None:
    page = tagged.client.get("/datasets/shapes/captioning/tags").text
    assert 'type="range"' in page and 'name="t.general"' in page
    number = str(tagged.studio.dataset("shapes").number)
    preview = lambda **form: tagged.client.post("/datasets/shapes/captioning/tags/preview", data=form)  # noqa: E731
    strict, loose = preview(**{"t.general": "0.99"}).text, preview(**{"t.general": "0.02"}).text

    def each(text: str) -> float:
        found = re.search(r"Tags a picture</dt><dd>([0-9.]+)", text)
        assert found is not None
        return float(found[1])

    assert each(strict) < each(loose)
    assert tagged.studio.dataset("shapes").number == int(number), "a preview writes nothing"
    form = {"t.general": "0.02", "number": number, "existing": "replace"}
    wanted = tagged.studio.captions.preview_tags("shapes", {"general_threshold": 0.02})
    assert tagged.client.post("/datasets/shapes/captioning/tags/apply", data=form).status_code == 303
    version = tagged.studio.dataset("shapes")
    assert version.number == int(number) + 1 and {i.name: i.caption for i in version.items} == wanted
    tag = wanted[version.items[0].name].split(", ")[0]
    without = preview(**{"t.general": "0.02", "exclude_tags": tag}).text
    assert f"<del>{tag}</del>" in without
    strict_rule = {"general_threshold": 0.99}
    usual = {
        one
        for caption in tagged.studio.captions.preview_tags("shapes", strict_rule).values()
        for one in caption.split(", ")
    }
    rare = next(one for caption in wanted.values() for one in caption.split(", ") if one not in usual)
    assert f"<span>{rare}</span>" in preview(**{"t.general": "0.02"}).text
    assert f"<span>{rare}</span>" not in preview(**{"t.general": "0.02", "tag_thresholds": f"{rare} = 0.99"}).text


@pytest.mark.parametrize(
    "form", [{"t.general": "x"}, {"t.general": "1.1"}, {"t.general": "nan"}, {"tag_thresholds": "solo"}, {"merge": "x"},
             {"tag_thresholds": f"{PAYLOAD} = 0.5"}, {"order": "nonsense"}],
)  # fmt: skip
def test_a_rule_that_means_nothing_is_said(tagged: Door, form: dict[str, str]) -> None:
    answer = tagged.client.post("/datasets/shapes/captioning/tags/preview", data=form, headers={"hx-request": "true"})
    assert answer.status_code == 422 and "refusal" in answer.text and PAYLOAD not in answer.text


def test_pages_without_a_tagger_say_so(door: Door, tmp_path: Path) -> None:
    fill(door.studio, tmp_path / "pictures")
    assert "No tagger has looked" in door.client.get("/datasets/cats/captioning/tags").text
    assert "No tagger has looked" in door.client.get("/datasets/cats/captioning/review").text
    assert door.client.post("/datasets/cats/captioning/tags/apply", data={"t.general": "0.5"}).status_code == 422
    assert door.client.get("/datasets/cats/captioning/review?within=x").status_code == 422


def test_unsure_tags_are_decided_as_one_version(tagged: Door) -> None:
    text = tagged.client.get("/datasets/shapes/captioning/review", params={"within": "0.6"}).text
    unsure = tagged.studio.captions.unsure("shapes", within=0.6)
    assert unsure and text.count("data-tag=") == min(200, len(unsure))
    one, two = unsure[0], unsure[1]
    before = tagged.studio.dataset("shapes").number
    decisions = {f"v.{json.dumps([one.item, one.tag])}": "yes", f"v.{json.dumps([two.item, two.tag])}": "no"}
    assert tagged.client.post("/datasets/shapes/captioning/review", data=decisions).status_code == 303
    version = tagged.studio.dataset("shapes")
    captions = {item.name: item.caption.split(", ") for item in version.items}
    assert version.number in (before, before + 1)
    assert one.tag in captions[one.item] and two.tag not in captions[two.item]
    for bad in ({}, {"v.x": "yes"}, {"v.[1]": "yes"}, {'v.["nothing", "x"]': "yes"}):
        assert tagged.client.post("/datasets/shapes/captioning/review", data=bad).status_code == 422, bad


def test_two_captioners_are_compared_and_brought_together(shapes: Door) -> None:
    client = shapes.client
    assert (
        client.post(
            "/datasets/shapes/captioning/compare", data={"first": "wd_tagger", "second": "wd_tagger"}
        ).status_code
        == 422
    )
    answer = client.post("/datasets/shapes/captioning/compare", data={"first": "wd_tagger", "second": "sandbox"})
    where = answer.headers["location"]
    assert "hx-trigger" in client.get(where).text
    work(shapes.studio)
    assert shapes.studio.dataset("shapes").number == 1, "nothing is written before somebody chooses"
    text = client.get(where).text
    names = [item.name for item in shapes.studio.dataset("shapes").items]
    assert all(name in text for name in names) and 'value="choose"' in text
    jobs = " ".join(re.findall(r"job=([^&]+)", where))
    second = re.findall(r'name="c\.[^"]+" value="([^"]+)"', text)[1]
    form = {"jobs": jobs, "how": "choose", f"c.{names[0]}": second}
    assert client.post("/datasets/shapes/captioning/combine", data=form).status_code == 303
    version = shapes.studio.dataset("shapes")
    assert version.number == 2 and all(item.caption for item in version.items)
    for bad in ({"how": "x", "jobs": jobs}, {"jobs": ""}, {"jobs": jobs, f"c.{names[0]}": "nobody"}):
        assert client.post("/datasets/shapes/captioning/combine", data=bad).status_code == 422, bad


def test_captions_of_strangers_stay_text(shapes: Door) -> None:
    where = begin(shapes)
    work(shapes.studio)
    job = shapes.studio.job(where.rpartition("/")[2])
    lines = (job.folder.path / "captions.jsonl").read_text("utf-8").splitlines()
    entry = json.loads(lines[1]) | {"caption": PAYLOAD}
    (job.folder.path / "captions.jsonl").write_text("\n".join([lines[0], json.dumps(entry)]) + "\n", "utf-8")
    for path in (where, f"{where}/said"):
        text = shapes.client.get(path).text
        assert PAYLOAD not in text and "&lt;img src=x" in text


def test_captions_appear_while_they_are_made_and_thresholds_are_slid(
    browser_page: Any, server: Server, tmp_path: Path
) -> None:
    page = browser_page
    world(server.studio, tmp_path / "shapes")
    page.goto(f"{server.address}/datasets/shapes/captioning")
    page.click("text=Caption 6 pictures")
    page.wait_for_url("**/captioning/jobs/*")
    page.wait_for_selector("#caption-state >> text=succeeded", timeout=90_000)
    page.locator("#said img").nth(5).wait_for()
    with page.expect_navigation():  # with its scripts: they hear the sliders
        page.click("text=Move the thresholds")
    before = page.locator("#preview dd").nth(1).inner_text()
    with page.expect_response(lambda answer: answer.url.endswith("/tags/preview")):
        page.locator("#t-1").fill("0.02")
    expect(page.locator(".slider output").first).to_have_text("0.02")
    page.locator("#preview dd", has_text=re.compile(r"^\d+\.\d$")).filter(has_not_text=before).wait_for()
    page.click("#tags >> text=Apply")
    page.wait_for_url(f"{server.address}/datasets/shapes")
    assert server.studio.dataset("shapes").number == 3
    page.goto(f"{server.address}/datasets/shapes/captioning/review?within=0.9")
    page.wait_for_selector("#one:not([hidden])")
    first = page.locator("#one-tag").inner_text()
    page.keyboard.press("y")
    page.keyboard.press("s")
    page.keyboard.press("u")
    page.keyboard.press("u")
    expect(page.locator("#one-tag")).to_have_text(first)
    page.keyboard.press("n")
    expect(page.locator("#decided")).to_have_text(re.compile("^1 decided"))
    page.click("text=Write what was decided")
    page.wait_for_url("**/review")
    assert server.studio.dataset("shapes").number in (3, 4)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_where_a_tagger_has_looked(chromium: Any, server: Server, tmp_path: Path, theme: str) -> None:
    world(server.studio, tmp_path / "shapes")
    server.studio.caption("shapes")
    job = server.studio.jobs()[-1].id
    both = [row.id for row in server.studio.enqueue.compare("shapes", {"wd_tagger": {}, "sandbox": {}})]
    phone = {"width": 380, "height": 800}
    context = patient_context(chromium, color_scheme=theme, viewport=phone, bypass_csp=True)
    page = context.new_page()
    page.goto(server.way_in())
    page.goto(f"{server.address}/datasets/shapes/captioning/compare?job={both[0]}&job={both[1]}")
    page.locator(".pair-choice").first.wait_for(timeout=120_000)
    found = {"compare": faults(page)}
    for path in ("", "/tags", "/review?within=0.9", f"/jobs/{job}"):
        page.goto(f"{server.address}/datasets/shapes/captioning{path}")
        found[path] = faults(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 380, path
    context.close()
    assert {path: wrong for path, wrong in found.items() if wrong} == {}
