"""References over the web: pages, API and client; what is nobody's, hostile or gone is refused in one sentence."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from lorasmith.client import connect
from lorasmith.datasets.manifest import Item
from lorasmith.errors import DatasetError
from tests.datasets.dataset_pictures import gradient
from tests.datasets.test_pairs import put
from tests.web.conftest import NAME, Door, Server, expect
from tests.web.security.team import make_team
from tests.web.test_client import Through
from tests.web.test_uploads import announce, send

HERE = "/datasets/rooms"
PAYLOAD = "<img src=x onerror=alert(1)>"
JSON = {"accept": "application/json"}


@pytest.fixture
def rooms(door: Door, tmp_path: Path) -> Door:
    put(tmp_path / "in", a=1, b=2, c=3)
    (tmp_path / "in" / "a.txt").write_text(PAYLOAD)
    door.studio.import_dataset(tmp_path / "in", "rooms")
    put(tmp_path / "before", a=11, b=12, stray=13)
    return door


def item(door: Door, name: str = "a.png") -> Item:
    return next(one for one in door.studio.dataset("rooms").items if one.name == name)


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    gradient(seed=seed).save(stream, "PNG")
    return stream.getvalue()


def whole_page(door: Door, path: str) -> str:
    """A page whose look is done."""
    for look in door.client.app.state.looks.running():  # type: ignore[attr-defined]
        look._wait(30)
    return re.sub(r"</?span[^>]*>", "", door.client.get(path).text)


def sent_files(door: Door, folder: Path, **fields: str) -> str:
    """Where the look at a folder's files is shown."""
    files = [("files", (path.name, path.read_bytes())) for path in sorted(folder.iterdir())]
    answer = door.client.post(f"{HERE}/references/look", data=fields, files=files)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def test_a_folder_is_looked_at_then_given(rooms: Door, tmp_path: Path) -> None:
    place = sent_files(rooms, tmp_path / "before")
    shown = whole_page(rooms, place)
    assert "2 pictures would get references" in shown and "c.png" in shown and "stray.png" in shown
    assert not item(rooms).references, "nothing is changed by a look"
    fields = dict(re.findall(r'name="(uploads|number|suffix|mode)" value="([^"]*)"', shown))
    answer = rooms.client.post(f"{HERE}/references/give", data=fields | {"verb": "give"})
    assert "2 pictures got references" in whole_page(rooms, answer.headers["location"])
    assert len(item(rooms).references) == 1 and rooms.studio.dataset("rooms").number == 2
    assert not rooms.studio.uploads.all(), "what was sent went when it was taken"
    assert not list((rooms.studio.home / "uploads").glob("set-*"))
    page = rooms.client.get(f"{HERE}/references").text
    assert f"/thumbnails/{item(rooms).references[0]}" in page and PAYLOAD not in page
    assert "Some pictures have no reference" in page
    assert "a.png" not in rooms.client.get(f"{HERE}/references?show=none").text.partition("pair-grid")[2]


def test_what_was_sent_can_be_discarded(rooms: Door, tmp_path: Path) -> None:
    shown = whole_page(rooms, sent_files(rooms, tmp_path / "before"))
    fields = dict(re.findall(r'name="(uploads|number|suffix|mode)" value="([^"]*)"', shown))
    assert rooms.client.post(f"{HERE}/references/give", data=fields | {"verb": "discard"}).status_code == 303
    assert not rooms.studio.uploads.all() and rooms.studio.dataset("rooms").number == 1


def test_a_folder_that_fits_nothing_says_so(rooms: Door, tmp_path: Path) -> None:
    put(tmp_path / "other", x=9)
    assert "Nothing in" in whole_page(rooms, sent_files(rooms, tmp_path / "other"))
    assert rooms.client.post(f"{HERE}/references/look").status_code == 422
    assert rooms.client.get(f"{HERE}/references/look/nothing").status_code == 404


def test_one_picture_is_edited_by_buttons(rooms: Door) -> None:
    def press(verb: str, files: list[tuple[str, tuple[str, bytes]]] | None = None, **fields: str) -> int:
        number = str(rooms.studio.dataset("rooms").number)
        data = {"item": "a.png", "number": number, "verb": verb} | fields
        return rooms.client.post(f"{HERE}/references/item", data=data, files=files or None).status_code

    assert press("add", [("files", ("one.png", png(21))), ("files", ("two.png", png(22)))]) == 303
    first, second = item(rooms).references
    assert not rooms.studio.uploads.all()
    assert press("later:1") == 303 and item(rooms).references == (second, first)
    assert press("earlier:2") == 303 and item(rooms).references == (first, second)
    assert press("replace:2", [("files", ("three.png", png(23)))]) == 303
    assert item(rooms).references[0] == first and item(rooms).references[1] != second
    assert press("remove:2") == 303 and item(rooms).references == (first,)
    assert press("add", other="b.png") == 303 and item(rooms).references[1] == item(rooms, "b.png").image
    was = item(rooms).image
    assert press("swap:1") == 303 and item(rooms).references[0] == was
    before = rooms.studio.dataset("rooms")
    for verb in ("remove:9", "remove:x", "swap:3", "fly:1", "", "replace:1"):
        assert press(verb) == 422, verb
    assert press("add") == 422 and press("add", other="nobody.png") == 422
    assert press("add", [("files", ("page.png", b"<html>"))]) == 422
    assert rooms.studio.dataset("rooms") == before and not rooms.studio.uploads.all()
    page = rooms.client.get(f"{HERE}/references/item?item=a.png")
    assert page.status_code == 200 and PAYLOAD not in page.text and "Reference 2" in page.text
    assert rooms.client.get(f"{HERE}/references/item?item=x").status_code == 422


def test_all_are_swapped_or_removed_at_once(rooms: Door, tmp_path: Path) -> None:
    rooms.studio.curate.pairs.give("rooms", tmp_path / "before")
    was = item(rooms)
    assert rooms.client.post(f"{HERE}/references/swap", data={"number": "2"}).status_code == 303
    assert item(rooms).image == was.references[0]
    assert rooms.client.post(f"{HERE}/references/remove", data={"number": "3"}).status_code == 303
    assert not any(one.references for one in rooms.studio.dataset("rooms").items)
    assert rooms.client.post(f"{HERE}/references/remove", data={"number": "4"}).status_code == 422


def upload(door: Door, content: bytes, path: str) -> str:
    url = announce(door.client, Path(path).name, len(content), path)
    send(door.client, url, 0, content)
    return url.rpartition("/")[2]


def test_the_api_gives_sets_swaps_and_removes(rooms: Door) -> None:
    ids = [upload(rooms, png(11), "before/a.png"), upload(rooms, png(13), "before/stray.png")]
    api = "/api/datasets/rooms"
    shown = rooms.client.post(f"{api}/references/preview", json={"uploads": ids}, headers=JSON).json()
    assert shown["matched"] == {"a.png": ["a.png"]} and set(shown["left_out"]) == {"stray.png"}
    gave = rooms.client.post(f"{api}/references", json={"uploads": ids}, headers=JSON).json()
    assert gave["version"]["number"] == 2 and gave["offer"] == shown and not rooms.studio.uploads.all()
    reference = item(rooms).references[0]
    extra = upload(rooms, png(22), "x.png")
    made = rooms.client.put(f"{api}/references/a.png", json={"references": [extra, reference]}, headers=JSON)
    assert made.status_code == 200 and item(rooms).references[1] == reference and not rooms.studio.uploads.all()
    for wrong in (["f" * 64], ["0" * 32], ["../../etc/passwd"], ["x"] * 40, [item(rooms).image]):
        assert rooms.client.put(f"{api}/references/a.png", json={"references": wrong}, headers=JSON).status_code in (
            404, 422,
        ), wrong  # fmt: skip
    done = rooms.client.post(f"{api}/swap-references", json={}, headers=JSON).json()
    assert done["swapped"] == ["a.png"]
    assert rooms.client.post(f"{api}/remove-references", json={"items": ["a.png"]}, headers=JSON).status_code == 200
    assert rooms.client.post(f"{api}/remove-references", json={"items": ["a.png"]}, headers=JSON).status_code == 422


def test_the_client_sends_files_of_its_own_machine(rooms: Door, tmp_path: Path) -> None:
    far = connect(f"http://{NAME}", (rooms.studio.home / "web-key").read_text(), transport=Through(rooms))
    pairs = far.curate.pairs
    assert set(pairs.preview("rooms", tmp_path / "before")["matched"]) == {"a.png", "b.png"}
    assert not rooms.studio.uploads.all()
    given = pairs.give("rooms", tmp_path / "before")
    assert [len(one.references) for one in given.items] == [1, 1, 0]
    set_by_hand = pairs.set("rooms", "a.png", [tmp_path / "before" / "stray.png", given.items[0].references[0]])
    assert len(set_by_hand.items[0].references) == 2
    assert pairs.swap("rooms", ["b.png"])["swapped"] == ["b.png"]
    assert not pairs.remove("rooms", ["a.png"]).items[0].references
    with pytest.raises(DatasetError, match="None of these"):
        pairs.remove("rooms", ["c.png"])
    with pytest.raises(DatasetError, match="Nothing in"):
        pairs.give("rooms", tmp_path / "before" / "stray.png")
    assert not rooms.studio.uploads.all()


def test_uploads_of_others_are_nobodys(tmp_path: Path) -> None:
    team = make_team(tmp_path / "home")
    for name in ("bob", "cyd"):
        put(tmp_path / name, a=1 if name == "bob" else 2)
        files = [("files", (path.name, path.read_bytes())) for path in (tmp_path / name).iterdir()]
        assert team[name].post("/datasets/new", data={"name": name}, files=files).status_code in (200, 303)
    url = announce(team["bob"], "a.png", len(png(9)), "a.png")
    send(team["bob"], url, 0, png(9))
    body = {"uploads": [url.rpartition("/")[2]]}
    for path in ("/api/datasets/cyd/references", "/api/datasets/cyd/references/preview"):
        answer = team["cyd"].post(path, json=body)
        assert answer.status_code in (404, 422) and "error" in answer.json()
    assert len(team.studio.uploads.all()) == 1, "and it is still his"


def test_a_zip_for_services_holds_pairs_at_its_root_and_comes_back(rooms: Door, tmp_path: Path) -> None:
    rooms.studio.curate.pairs.give("rooms", tmp_path / "before")
    answer = rooms.client.get("/api/datasets/rooms/archive?layout=pairs", headers=JSON)
    (tmp_path / "rooms.zip").write_bytes(answer.content)
    with zipfile.ZipFile(tmp_path / "rooms.zip") as packed:
        names = packed.namelist()
    assert {"a_start.png", "a_end.png", "a.txt", "c_end.png"} <= set(names) and not any("/" in one for one in names)
    assert not [name for name in names if name.startswith(".") or name.endswith(".json")]
    back = rooms.studio.import_dataset(tmp_path / "rooms.zip", "again")
    assert {item.name: len(item.references) for item in back.items} == {"a_end.png": 1, "b_end.png": 1, "c_end.png": 0}


def test_a_pair_is_made_in_the_browser(server: Server, browser_page: Any, tmp_path: Path) -> None:
    put(tmp_path / "in", a=1, b=2)
    server.studio.import_dataset(tmp_path / "in", "rooms")
    put(tmp_path / "before", a=11, b=12)
    page = browser_page
    page.goto(server.way_in())
    page.goto(f"{server.address}{HERE}/references")
    page.locator("form[data-pieces=ready]").wait_for()
    page.locator("#files").set_input_files(sorted((tmp_path / "before").iterdir()))
    page.get_by_role("button", name="Look what fits").click()
    page.get_by_role("button", name="Give them").click()
    page.get_by_role("link", name="See the pairs").click()
    expect(page.locator(".pair-grid .side img")).to_have_count(4)
    page.get_by_role("link", name="a.png").click()
    page.get_by_role("button", name="Swap with the picture").click()
    page.locator("p.numbers", has_text="version 3").wait_for()
    assert server.studio.dataset("rooms").operation.name == "swap_references"


def test_a_reference_that_is_gone_leaves_the_page_standing(rooms: Door, tmp_path: Path) -> None:
    rooms.studio.curate.pairs.give("rooms", tmp_path / "before")
    rooms.studio.home.joinpath("blobs", item(rooms).references[0][:2], item(rooms).references[0][2:]).unlink()
    for path in ("", "/references", "/references/item?item=a.png", "/item?item=a.png"):
        assert rooms.client.get(f"{HERE}{path}").status_code == 200, path
    assert rooms.client.get(f"/pictures/{item(rooms).references[0]}").status_code in (404, 422)
