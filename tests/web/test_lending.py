"""Pictures that are sent to be edited: kept for who sent them, shown with what was painted, and in every grid."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.bases.bare import bare_base, editing_base
from tests.datasets.dataset_pictures import gradient
from tests.web.conftest import Door, Server, expect
from tests.web.security.team import make_team
from tests.web.test_generate import adapters, asked, painted
from tests.web.test_models import take_in
from tests.web.test_pairing import png, upload
from tests.web.test_uploads import announce, send

FORM = {"base": "edits", "prompt": "make it red"}
PAYLOAD = "<img src=x onerror=alert(1)>.png"
JSON = {"accept": "application/json"}


@pytest.fixture(autouse=True)
def edits(request: pytest.FixtureRequest) -> None:
    """The base that pictures are edited with, in the home of the test's door or server."""
    for name in {"door", "server"} & set(request.fixturenames):
        editing_base(request.getfixturevalue(name).studio.home)


def test_a_picture_comes_with_the_form_and_stays_in_it(door: Door) -> None:
    files = [("files", (PAYLOAD, png(5))), ("files", ("two.png", png(6)))]
    answer = door.client.post("/generate", data=FORM, files=files)
    assert answer.status_code == 303 and not door.studio.uploads.all()
    first, second = asked(door.studio)["references"]
    page = door.client.get(answer.headers["location"]).text
    assert f'value="{first}"' in page and f"/generate/lent/{second}.png" in page and PAYLOAD not in page
    shown = door.client.get(f"/generate/lent/{first}.png")
    assert shown.status_code == 200 and shown.headers["content-type"] == "image/png"
    without_first = door.client.post("/generate", data=FORM | {"reference.2": second})
    assert without_first.status_code == 303 and asked(door.studio)["references"] == [second]


def test_what_is_sent_in_pieces_counts_too(door: Door) -> None:
    ids = [upload(door, png(5), "x.png")]
    assert door.client.post("/generate", data=FORM | {"uploads": json.dumps(ids)}).status_code == 303
    assert len(asked(door.studio)["references"]) == 1 and not door.studio.uploads.all()
    taken = door.client.post("/api/lent", json={"upload": upload(door, png(6), "y.png")}, headers=JSON).json()
    moves = bare_base(door.studio.home, "WanImageToVideoPipeline", "WanTransformer3DModel", "moves")
    for given in ({"base": "edits", "references": [taken["sha256"]]}, {"base": moves, "first_frame": taken["sha256"]}):
        answer = door.client.post("/api/generate", json={"request": {"prompts": ["x"]} | given}, headers=JSON)
        assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("content", [b"<html>", png(5)[:60]])
def test_what_is_no_picture_is_refused_on_the_page(door: Door, content: bytes) -> None:
    answer = door.client.post("/generate", data=FORM, files=[("files", ("bad.png", content))])
    assert answer.status_code == 422 and "bad.png" in answer.text and "make it red" in answer.text
    assert not door.studio.jobs() and not door.studio.uploads.all()
    url = door.client.post("/api/lent", json={"upload": upload(door, content, "bad.png")}, headers=JSON)
    assert url.status_code == 422 and "bad.png" in url.json()["error"]


def test_a_refusal_elsewhere_keeps_what_was_sent(door: Door) -> None:
    answer = door.client.post("/generate", data=FORM | {"prompt": " "}, files=[("files", ("a.png", png(5)))])
    assert answer.status_code == 422 and re.search(r'name="reference\.1" value="[0-9a-f]{64}" checked', answer.text)


def test_a_grid_keeps_its_reference(door: Door, tmp_path: Path) -> None:
    take_in(door.studio, tmp_path)
    form = FORM | adapters(cat="1") | {"grid": "0, 1"}
    assert door.client.post("/generate", data=form, files=[("files", ("a.png", png(5)))]).status_code == 303
    request = asked(door.studio)
    assert len(request["references"]) == 1 and request["grid"]["weights"] == [0, 1]


def test_history_shows_what_was_edited_and_uses_it_again(door: Door) -> None:
    reference = door.studio.lending.take(_file(door, 5), "a.png", "you")
    job = painted(door.studio, 1, base="edits", prompts=["x"], references=[reference])
    page = door.client.get("/generate/history").text
    assert f"/generate/{job}/reference/0.png" in page
    assert door.client.get(f"/generate/{job}/reference/0.png").headers["content-type"] == "image/png"
    for wrong in ("1", "-1", "x"):
        assert door.client.get(f"/generate/{job}/reference/{wrong}.png").status_code in (404, 422)
    assert f'value="{reference}"' in door.client.get(f"/generate?job={job}&again=0").text
    door.studio.lending.path(reference).unlink()
    assert "not here any more" in door.client.get(f"/generate?job={job}&again=0").text
    assert door.client.get(f"/generate/{job}/reference/0.png").status_code == 404


def test_a_picture_of_a_dataset_is_chosen(door: Door, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    gradient(seed=3).save(tmp_path / "in" / "a.png")
    version = door.studio.import_dataset(tmp_path / "in", "rooms")
    shown = door.client.get("/generate/pick?dataset=rooms").text
    assert f'value="{version.items[0].image}"' in shown
    assert door.client.get("/generate/pick?dataset=nothing").status_code == 422
    assert door.client.get("/generate/pick").text.strip() == ""


def test_what_somebody_sent_is_nobody_elses(tmp_path: Path) -> None:
    team = make_team(tmp_path / "home")
    editing_base(tmp_path / "home")

    def lent(name: str) -> str:
        url = announce(team[name], "a.png", len(png(9)), "a.png")
        send(team[name], url, 0, png(9))
        id = url.rpartition("/")[2]
        assert team["cyd" if name == "bob" else "bob"].post("/api/lent", json={"upload": id}).status_code in (404, 422)
        return str(team[name].post("/api/lent", json={"upload": id}).json()["sha256"])

    sha256 = lent("bob")
    assert team["bob"].get(f"/generate/lent/{sha256}.png").status_code == 200
    assert team["ann"].get(f"/generate/lent/{sha256}.png").status_code == 200, "an admin sees everything"
    for other in ("cyd", "vic"):
        assert team[other].get(f"/generate/lent/{sha256}.png").status_code == 404
    body = {"request": {"base": "edits", "prompts": ["x"], "references": [sha256]}}
    assert team["cyd"].post("/api/generate", json=body).status_code == 422
    assert team["bob"].post("/api/generate", json=body).status_code == 202
    assert team.nobody.get(f"/generate/lent/{sha256}.png").status_code in (302, 303, 401, 404)
    assert lent("cyd") == sha256 and team["cyd"].get(f"/generate/lent/{sha256}.png").status_code == 200


def test_a_picture_is_sent_and_edited_in_the_browser(server: Server, browser_page: Any, tmp_path: Path) -> None:
    gradient(200, 150, seed=5).save(tmp_path / "mine.png")
    server.studio.bases.add(str(server.studio.home / "bases" / "edits"), name="edits")
    browser_page.goto(server.way_in())
    browser_page.goto(f"{server.address}/generate")
    browser_page.locator("form[data-pieces=ready]").wait_for()
    browser_page.locator("#to-edit summary").click()
    browser_page.locator("#reference-files").set_input_files(tmp_path / "mine.png")
    browser_page.locator("[name=base]").select_option("edits")
    browser_page.locator("#prompt").fill("make it red")
    browser_page.get_by_role("button", name="Generate", exact=True).click()
    expect(browser_page.locator(".references-list img")).to_have_js_property("naturalWidth", 200)  # once it has come
    assert len(asked(server.studio)["references"]) == 1


def _file(door: Door, seed: int) -> Path:
    path = door.studio.home / "file.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(seed))
    assert Image.open(path).size
    return path
