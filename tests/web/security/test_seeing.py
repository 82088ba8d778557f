"""Who sees what of others: pictures by their hash, adapters by what was said of them, the live stream, plans."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lorasmith.datasets.holders import Holders
from lorasmith.datasets.objects import ObjectFolder
from lorasmith.library import Library
from lorasmith.queue import records
from lorasmith.queue.verbs import Placement
from lorasmith.studio import Studio
from lorasmith.web.journal import Tap
from lorasmith.web.owning import OwnedStudio
from lorasmith.web.people import Actor, acting
from tests.web.conftest import Door
from tests.web.security.team import ROLES, Team, make_team, pictures
from tests.web.tiny_lora import write_lora

PAGE = {"accept": "text/html"}


@pytest.fixture
def team(tmp_path: Path) -> Team:
    made = make_team(tmp_path / "home")
    with being("bob"):
        owned_of(made).import_dataset(pictures(tmp_path / "bobs"), "bobs")
    return made


@contextmanager
def being(name: str) -> Iterator[None]:
    token = acting.set(Actor(name, ROLES[name]))  # type: ignore[arg-type]
    try:
        yield
    finally:
        acting.reset(token)


def owned_of(team: Team) -> OwnedStudio:
    studio: OwnedStudio = team["bob"].app.state.studio  # type: ignore[attr-defined]
    return studio


def shown_to(team: Team, sha256: str) -> dict[str, tuple[int, int]]:
    """The statuses of a picture and of its thumbnail, for everybody."""
    clients = {**team.people, "nobody": team.nobody}
    return {
        name: (client.get(f"/pictures/{sha256}").status_code, client.get(f"/thumbnails/{sha256}").status_code)
        for name, client in clients.items()
    }


# Pictures


def test_a_picture_is_shown_to_whoever_sees_a_dataset_that_holds_it(team: Team, tmp_path: Path) -> None:
    image = team.studio.dataset("bobs").items[0].image
    yes, no, closed = (200, 200), (404, 404), (401, 401)
    assert shown_to(team, image) == {"ann": yes, "bob": yes, "cyd": no, "vic": no, "nobody": closed}
    team["bob"].put("/api/owned/dataset/bobs", json={"visibility": "team"})
    assert shown_to(team, image) == {"ann": yes, "bob": yes, "cyd": yes, "vic": yes, "nobody": closed}
    team["bob"].put("/api/owned/dataset/bobs", json={"visibility": "private"})
    assert shown_to(team, image)["cyd"] == no
    with being("cyd"):  # the same bytes, brought by somebody else, are theirs too
        owned_of(team).import_dataset(pictures(tmp_path / "cyds"), "cyds")
    assert shown_to(team, image) == {"ann": yes, "bob": yes, "cyd": yes, "vic": no, "nobody": closed}


def test_what_a_version_before_held_is_shown_and_what_a_namesake_held_is_not(team: Team, tmp_path: Path) -> None:
    first = team.studio.dataset("bobs").items[0]
    with being("bob"):
        owned_of(team).curate.leave_out("bobs", [first.name])
    assert shown_to(team, first.image)["bob"] == (200, 200)  # the history shows it
    team["bob"].put("/api/owned/dataset/bobs", json={"visibility": "public"})
    assert shown_to(team, first.image)["cyd"] == (200, 200)
    with being("bob"):
        owned_of(team)._store.drop("bobs")
    assert shown_to(team, first.image)["cyd"] == (404, 404)
    with being("cyd"):
        owned_of(team).import_dataset(pictures(tmp_path / "others", 1), "bobs")
    assert shown_to(team, team.studio.dataset("bobs").items[0].image)["cyd"] == (200, 200)
    assert shown_to(team, team.studio.dataset("bobs").items[0].image)["bob"] == (404, 404)


def test_a_caption_that_is_a_hash_opens_nothing(team: Team, tmp_path: Path) -> None:
    """Whoever has learnt the hash of a picture cannot make it theirs by writing it down."""
    image = team.studio.dataset("bobs").items[2].image
    with being("cyd"):
        folder = pictures(tmp_path / "cyds", 1)
        (folder / "0.txt").write_text(f'{image}", "image": "{image}')
        owned_of(team).import_dataset(folder, "cyds")
    assert shown_to(team, image)["cyd"] == (404, 404)
    known = team["cyd"].post("/api/uploads/known", json={"files": [{"sha256": image, "size": 100}], "into": "cyds"})
    assert known.json()[0]["state"] == "new"


def test_many_pictures_stay_quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first look the index answers from memory: nothing of the store is read again."""
    studio = Studio(tmp_path / "home")
    studio.import_dataset(pictures(tmp_path / "cats", 40), "cats")
    holders = Holders(studio.home)
    images = [item.image for item in studio.dataset("cats").items]
    assert holders.of(images[0]) == ("cats",)
    read: list[str] = []
    real = ObjectFolder.read

    def counted(self: ObjectFolder, sha256: str) -> bytes:
        read.append(sha256)
        return real(self, sha256)

    monkeypatch.setattr(ObjectFolder, "read", counted)
    assert all(holders.of(image) == ("cats",) for image in images) and not read
    assert holders.of("0" * 64) == () and not read
    studio.add_trigger_word("cats", "ohwx")
    read.clear()
    assert holders.look_again(images[0]) == ("cats",) and 0 < len(read) < 40


def test_a_damaged_dataset_hides_no_other(team: Team, tmp_path: Path) -> None:
    image = team.studio.dataset("bobs").items[0].image
    with being("bob"):
        owned_of(team).import_dataset(pictures(tmp_path / "a", 1), "a")
    (team.studio.home / "datasets" / "a" / "1.json").write_text("{")
    assert shown_to(team, image)["bob"] == (200, 200) and shown_to(team, image)["cyd"] == (404, 404)


# Adapters


def seen_by(team: Team, name: str) -> set[str]:
    """Who finds an adapter in their list of models."""
    return {who for who, client in team.people.items() if f"/models/{name}" in client.get("/models", headers=PAGE).text}


@pytest.fixture
def adapter(team: Team, tmp_path: Path) -> str:
    with being("bob"):
        owned_of(team).library.add(write_lora(tmp_path / "mascot.safetensors"), None, name="mascot")
    return "mascot"


def checked(page: str) -> str:
    found = re.search(r'id="(\w+)" value="\w+" checked', page)
    assert found is not None
    return found[1]


def test_the_page_and_the_api_say_the_same_of_who_sees_a_model(team: Team, adapter: str) -> None:
    bob, page, api = team["bob"], f"/models/{adapter}", f"/api/owned/adapter/{adapter}"
    assert checked(bob.get(page, headers=PAGE).text) == "private" and seen_by(team, adapter) == {"ann", "bob"}
    for word, people in (("team", set(ROLES)), ("public", set(ROLES)), ("private", {"ann", "bob"})):
        assert bob.put(api, json={"visibility": word}).status_code == 200
        assert checked(bob.get(page, headers=PAGE).text) == word and seen_by(team, adapter) == people
    for word in ("public", "team", "private"):
        assert bob.post(f"{page}/about", data={"title": "Mascot", "visibility": word}).status_code == 303
        assert bob.get(api).json() == {"kind": "adapter", "name": adapter, "owner": "bob", "visibility": word}
    assert team.nobody.get(f"/public/adapter/{adapter}").status_code == 404
    bob.post(f"{page}/about", data={"visibility": "public"})
    assert team.nobody.get(f"/public/adapter/{adapter}").status_code == 200
    assert team["ann"].put(api, json={"visibility": "private"}).status_code == 200  # an admin may too
    assert team.nobody.get(f"/public/adapter/{adapter}").status_code == 404


def test_only_the_owner_gives_a_model_away(team: Team, adapter: str) -> None:
    page, api = f"/models/{adapter}/about", f"/api/owned/adapter/{adapter}"
    assert team["cyd"].get(api).status_code == team["vic"].get(api).status_code == 422  # it is not there for them
    assert team["cyd"].post(page, data={"title": "Mine"}).status_code == 422
    team["bob"].put(api, json={"visibility": "team"})
    form = {"title": "Ours", "visibility": "team"}
    assert team["cyd"].post(page, data=form).status_code == 303  # words are everybody's, as the team's things are
    assert Library(team.studio.home).about(adapter).title == "Ours"
    for refused in (
        team["cyd"].post(page, data=form | {"visibility": "public"}),
        team["cyd"].put(api, json={"visibility": "public"}),
    ):
        assert refused.status_code == 422 and "not yours to change" in refused.text
    assert team["vic"].post(page, data=form).status_code == 403
    assert team["vic"].put(api, json={"visibility": "public"}).status_code == 403
    assert team.nobody.put(api, json={"visibility": "public"}).status_code == 401
    assert Library(team.studio.home).about(adapter).visibility == "team"
    assert team["cyd"].get(f"/models/{adapter}", headers=PAGE).status_code == 200  # the whole page, for a member
    assert team["vic"].get(f"/models/{adapter}", headers=PAGE).status_code == 200
    assert team["bob"].put(api, json={"visibility": "everybody"}).status_code == 422
    assert team["bob"].post(page, data={"visibility": "everybody"}).status_code == 422


def test_a_model_in_the_trash_is_its_owners_and_its_name_is_free(team: Team, adapter: str, tmp_path: Path) -> None:
    team["bob"].put(f"/api/owned/adapter/{adapter}", json={"visibility": "team"})
    with being("bob"):
        gone = owned_of(team).library.remove(adapter)
    with being("cyd"):
        library = owned_of(team).library
        assert library.trash() == ()
        library.add(write_lora(tmp_path / "other.safetensors", seed=2), None, name=adapter)
    assert team["cyd"].get(f"/api/owned/adapter/{adapter}").json()["owner"] == "cyd"
    assert seen_by(team, adapter) == {"ann", "cyd"}
    with being("bob"):
        back = owned_of(team).library.restore(gone.id)
    told = team["bob"].get(f"/api/owned/adapter/{back}").json()
    assert back == f"{adapter}-2" and told["owner"] == "bob" and told["visibility"] == "team"


def test_what_the_wizard_was_told_holds(team: Team, adapter: str) -> None:
    """What was said before the training is written where page and API read it."""
    Library(team.studio.home).introduce(adapter, {"name": "Mascot", "public": True})  # as the queue files it
    assert team["bob"].get(f"/api/owned/adapter/{adapter}").json()["visibility"] == "public"
    assert team.nobody.get(f"/public/adapter/{adapter}").status_code == 200


def test_a_damaged_word_closes(team: Team, adapter: str) -> None:
    beside = team.studio.home / "adapters" / f"{adapter}.about.json"
    for content in ("{", '{"visibility": "everybody"}', '{"visibility": ["public"]}', "[]"):
        beside.write_text(content)
        assert team["cyd"].get(f"/models/{adapter}", headers=PAGE).status_code == 404, content
    for name in ("../../etc/passwd", "x" * 290, "..", "a\0b"):
        assert Library(team.studio.home).visibility(name) == "private"


# Jobs that follow


def test_what_follows_a_job_belongs_to_whose_plan_it_is(team: Team) -> None:
    """The queue makes the next job of a plan in nobody's name; it is its owner's all the same."""
    body = {"dataset": "bobs", "config": {"base": "sandbox", "max_train_steps": 4}, "place": {"held": True}}
    first = team["bob"].post("/api/train", json=body).json()["id"]
    payload = team.studio.queue.job(first).record().payload
    second = team.studio.queue.submit("train", payload, placement=Placement(held=True, parent=first))
    third = team.studio.queue.submit("train", payload, placement=Placement(held=True, parent=second.id))
    assert team["bob"].get(f"/api/jobs/{third.id}").status_code == 200
    assert team["bob"].post(f"/api/jobs/{third.id}/do/cancel").status_code == 200
    assert team["cyd"].get(f"/api/jobs/{third.id}").status_code == 404
    with being("cyd"):  # and naming somebody's job as what came before gives nothing of it away
        mine = owned_of(team).queue.submit("train", payload, placement=Placement(held=True, parent=first))
    assert team["cyd"].get(f"/api/jobs/{mine.id}").status_code == 200
    assert team["cyd"].get(f"/api/jobs/{first}").status_code == 404


# The stream


def hear(team: Team, name: str, known: str, act: Any = None, until: str = "") -> str:
    """What somebody hears behind an id: what there was, and what comes of ``act`` until a word is heard."""
    studio = owned_of(team)

    def may_hear(job: str) -> bool:
        return studio.rules.may("job", job, "see", Actor(name, ROLES[name]))  # type: ignore[arg-type]

    async def listen() -> str:
        tap, heard, deadline = Tap(team.studio), "", time.monotonic() + 90

        async def gone() -> bool:
            return (bool(until) and until in heard) or (not until and bool(heard)) or time.monotonic() > deadline

        async for text in tap.stream(known, gone, may_hear):
            heard += text
            if act is not None and "hello" in text:
                await asyncio.to_thread(act)
        return heard

    with ThreadPoolExecutor(1) as apart:
        return apart.submit(lambda: asyncio.run(listen())).result(180)


def held(team: Team, name: str) -> str:
    """A job of somebody, made in their name."""
    body = {"dataset": "bobs", "config": {"base": "sandbox", "max_train_steps": 4}, "place": {"held": True}}
    made = team[name].post("/api/train", json=body)
    assert made.status_code == 202, made.text
    return str(made.json()["id"])


def ids(heard: str) -> list[str]:
    return re.findall(r"^id: (\S+)$", heard, re.MULTILINE)


def jobs_in(heard: str) -> set[str]:
    told = (json.loads(line) for line in re.findall(r"^data: (\{.+\})$", heard, re.MULTILINE))
    return {one["job"] for one in told if one.get("job")}


def test_user_b_hears_nothing_of_a_private_job_not_even_after_a_cut(team: Team, tmp_path: Path) -> None:
    with being("cyd"):
        owned_of(team).import_dataset(pictures(tmp_path / "cyds"), "cyds")
    begin = ".".join(map(str, team.studio.queue.journal_end()))
    bobs = held(team, "bob")
    mine = (
        team["cyd"]
        .post(
            "/api/train",
            json={"dataset": "cyds", "config": {"base": "sandbox", "max_train_steps": 4}, "place": {"held": True}},
        )
        .json()["id"]
    )

    def act() -> None:
        for client, job in (("bob", bobs), ("cyd", mine)):
            assert team[client].post(f"/api/jobs/{job}/do/release").status_code == 200
            assert team[client].post(f"/api/jobs/{job}/do/cancel").status_code == 200

    live = hear(team, "cyd", begin, act, until='"after": "cancelled"')
    assert jobs_in(live) == {mine} and f'"{bobs}"' not in live
    again = hear(team, "cyd", begin)  # cut off, and back with the id it heard last
    assert jobs_in(again) == {mine} and f'"{bobs}"' not in again
    middle = ids(live)[len(ids(live)) // 2]
    assert f'"{bobs}"' not in hear(team, "cyd", middle)
    for who in ("ann", "bob"):
        assert bobs in jobs_in(hear(team, who, begin)), who
    assert jobs_in(hear(team, "ann", begin)) == {bobs, mine}
    assert jobs_in(hear(team, "vic", begin)) == set()


def test_the_route_itself_hands_each_listener_its_own(team: Team) -> None:
    """``/api/events`` as it is served, with ``Last-Event-ID``: by A, by B, by an admin, by nobody."""
    begin = ".".join(map(str, team.studio.queue.journal_end()))
    bobs = held(team, "bob")
    with team.studio.queue.database.write() as connection:  # of no job, so that everybody hears it, behind the others
        records.note(connection, "", "lane", {"lane": "cpu", "draining": False, "reason": "that was all"})
    app = team["bob"].app

    def read(name: str) -> str:
        cookie = "; ".join(f"{key}={value}" for key, value in team[name].cookies.items()) if name else ""
        headers = {"host": "127.0.0.1:7860", "last-event-id": begin, "cookie": cookie, "sec-fetch-site": "same-origin"}

        async def listen() -> str:
            heard, cut = bytearray(), asyncio.Event()

            async def receive() -> dict[str, Any]:
                await cut.wait()
                return {"type": "http.disconnect"}

            async def send(message: dict[str, Any]) -> None:
                heard.extend(message.get("body", b""))
                if b"that was all" in heard:
                    cut.set()

            scope = {
                "type": "http", "method": "GET", "path": "/api/events", "raw_path": b"/api/events", "query_string": b"",
                "headers": [(key.encode(), value.encode()) for key, value in headers.items()], "root_path": "",
                "scheme": "http", "http_version": "1.1", "server": ("127.0.0.1", 7860), "client": ("127.0.0.1", 1),
            }  # fmt: skip
            listening = asyncio.ensure_future(app(scope, receive, send))  # type: ignore[arg-type]
            await asyncio.wait_for(listening, 90)  # until it was heard, or refused
            return heard.decode()

        with ThreadPoolExecutor(1) as apart:
            return apart.submit(lambda: asyncio.run(listen())).result(180)

    heard = {name: read(name) for name in ("ann", "bob", "cyd", "")}
    assert bobs in heard["ann"] and bobs in heard["bob"]
    assert "hello" in heard["cyd"] and bobs not in heard["cyd"] and "not signed in" in heard[""]


# Leaving


def test_an_account_finds_the_way_out_on_every_page(team: Team, door: Door) -> None:
    for address in ("/", "/datasets", "/models", "/queue", "/settings", "/people", "/help"):
        page = team["bob"].get(address, headers=PAGE).text
        assert '<form method="post" action="/logout"' in page and ">bob<" in page, address
        assert "/logout" not in door.client.get(address).text  # without accounts there is nowhere to go
    assert "/logout" not in team.nobody.get("/login", headers=PAGE).text
    left = team["bob"].post("/logout")
    assert left.status_code == 303 and left.headers["location"] == "/login"
    assert team["bob"].get("/datasets", headers=PAGE).status_code == 303
    assert team["cyd"].post("/logout", headers={"origin": "https://evil.example"}).status_code == 403
    assert team["cyd"].get("/datasets", headers=PAGE).status_code == 200
