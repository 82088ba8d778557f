"""Settings: room on the disk, secrets that are never shown, consents, who is told, sessions. And the help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lorasmith.credentials import Credentials
from lorasmith.datasets.query import FIELDS
from lorasmith.fetching import Consents, Notice
from lorasmith.storage import usage
from lorasmith.web import helping
from lorasmith.web.announcing import Wishes, choose
from lorasmith.web.sessions import Actor
from tests.web.conftest import Door, Server, client_of
from tests.web.test_datasets import fill
from tests.web.test_runs import PAYLOAD

SECRET = "s3cr3t-value-nobody-may-see"


def member(door: Door, role: Any = "member") -> Any:
    """A client of somebody who is no admin."""
    client = client_of(door.studio, door.sessions)
    client.cookies.clear()
    client.cookies.set("lorasmith_session", door.sessions.open(Actor("m", role)))
    return client


def test_a_secret_is_kept_and_never_shown(door: Door) -> None:
    kept = door.client.post("/settings/secrets", data={"service": "huggingface", "value": SECRET})
    assert kept.status_code == 303
    found = Credentials(door.studio.home).get("huggingface")
    assert found is not None and found.reveal() == SECRET
    text = door.client.get("/settings").text
    assert "huggingface" in text and SECRET not in text
    door.client.post("/settings/secrets/forget", data={"service": "huggingface"})
    assert Credentials(door.studio.home).get("huggingface") is None


@pytest.mark.parametrize("service", ["", "Face Book", "../x", PAYLOAD])
def test_what_is_no_service_is_refused_without_repeating_the_secret(door: Door, service: str) -> None:
    answer = door.client.post("/settings/secrets", data={"service": service, "value": SECRET})
    assert answer.status_code == 422 and SECRET not in answer.text and PAYLOAD not in answer.text
    short = door.client.post("/settings/secrets", data={"service": "civitai", "value": "a b"})
    assert short.status_code == 422 and Credentials(door.studio.home).services() == ()


def test_who_is_no_admin_changes_nothing_here(door: Door) -> None:
    client = member(door)
    for path, data in (
        ("/settings/secrets", {"service": "civitai", "value": SECRET}),
        ("/settings/secrets/forget", {"service": "civitai"}),
        ("/settings/garbage", {}),
    ):
        assert client.post(path, data=data).status_code == 403, path
    theirs = next(one for one in door.sessions.list() if one.name == "you")
    assert client.post("/settings/sessions/end", data={"id": theirs.id}).status_code == 422


def test_room_is_counted_and_garbage_goes_when_it_was_seen(door: Door, tmp_path: Path) -> None:
    fill(door.studio, tmp_path / "pictures")
    store = door.studio._store
    stray = store.blob_path(store.put_file(next((tmp_path / "pictures").glob("*.txt"))))
    del store  # what it put is of nobody from here on
    there = usage(door.studio.home)
    files = [path for path in door.studio.home.rglob("*") if path.is_file()]
    assert there.bytes == sum(path.stat().st_size for path in files)
    assert sum(share.files for share in there.shares) == len(files)
    blobs = door.studio.home / "blobs"
    pictures = next(share for share in there.shares if share.key == "pictures")
    assert pictures.bytes == sum(path.stat().st_size for path in blobs.rglob("*") if path.is_file())
    assert "Pictures" in door.client.get("/settings/storage").text
    assert "Delete them" in (looked := door.client.get("/settings/garbage").text) and "Pictures 1," in looked
    assert stray.exists()  # looking deletes nothing
    assert "freed" in door.client.post("/settings/garbage").text
    assert not stray.exists() and "everything is needed" in door.client.get("/settings/garbage").text


def test_an_empty_home_takes_nothing(tmp_path: Path) -> None:
    nothing = usage(tmp_path / "not there")
    assert nothing.bytes == 0 and nothing.free > 0


def test_the_theme_is_a_cookie(door: Door) -> None:
    assert 'data-bs-theme="dark"' not in door.client.get("/settings").text
    door.client.post("/settings/theme", data={"theme": "dark"})
    assert 'data-bs-theme="dark"' in door.client.get("/settings").text
    door.client.post("/settings/theme", data={"theme": "system"})
    assert 'data-bs-theme="dark"' not in door.client.get("/settings").text
    assert door.client.post("/settings/theme", data={"theme": PAYLOAD}).status_code == 422


def test_consents_are_listed_and_taken_back(door: Door) -> None:
    Consents(door.studio.home).give(Notice(f"terms {PAYLOAD}", "Terms", "Be kind."))
    text = door.client.get("/settings").text
    assert "terms" in text and PAYLOAD not in text
    door.client.post("/settings/consents/withdraw", data={"id": f"terms {PAYLOAD}"})
    assert Consents(door.studio.home).all() == {}


def test_who_is_told_is_said_without_the_address(door: Door) -> None:
    choose(door.studio.home, Wishes(f"https://hooks.example.org/services/{SECRET}", desktop=True))
    text = door.client.get("/settings").text
    assert "hooks.example.org" in text and "desktop" in text and SECRET not in text
    assert "webhook" not in text.partition('id="secrets"')[2].partition("</section>")[0]
    assert "/settings/announcements" in text


def test_the_doctor_speaks(door: Door) -> None:
    text = door.client.get("/settings/machine").text
    assert "processor" in text and "sandbox" in text and "can train" in text


def test_sessions_are_listed_and_signed_out(door: Door) -> None:
    other = client_of(door.studio, door.sessions)
    assert other.get("/settings").status_code == 200
    own = door.sessions.id_of(door.client.cookies["lorasmith_session"])
    mine = next(one for one in door.sessions.list() if one.id == own)
    theirs = next(one for one in door.sessions.list() if one.id != mine.id)
    text = door.client.get("/settings").text
    assert mine.id in text and theirs.id in text and door.client.cookies["lorasmith_session"] not in text
    door.client.post("/settings/sessions/end", data={"id": theirs.id})
    assert other.get("/settings").status_code == 303 and door.client.get("/settings").status_code == 200
    assert door.client.post("/settings/sessions/end", data={"id": theirs.id}).status_code == 422
    assert door.client.post("/settings/sessions/end", data={"id": mine.id}).headers["location"] == "/login"
    assert door.client.get("/settings").status_code == 303


# Help


def test_the_help_answers_every_message_and_the_palette_finds_it(door: Door) -> None:
    text = door.client.get("/help").text
    for message in ("No images found in ZIP", "Upload failed", "Tagging failed", "Tags too generic/specific",
                    "Captions too long/short", "Inconsistent trigger words"):  # fmt: skip
        assert message in text, message
    for topic in helping.TOPICS:
        assert f'id="{topic.id}"' in text, topic.id
    for name in FIELDS:
        assert f"<code>{name}:</code>" in text
    places = door.client.get("/places").json()
    assert {"word": "Upload failed", "address": "/help#upload-failed", "kind": "help"} in places
    assert len({topic.id for topic in helping.TOPICS}) == len(helping.TOPICS)


def test_the_help_is_searched(door: Door) -> None:
    assert "#tips-memory" in door.client.get("/help?q=vram").text.partition("On this page")[0]
    answer = door.client.get("/help", params={"q": PAYLOAD})
    assert answer.status_code == 200 and "speaks of" in answer.text and PAYLOAD not in answer.text


def test_every_cure_leads_somewhere(door: Door) -> None:
    """Pages that others make are not there in every build; those that are have to answer."""
    known = {getattr(route, "path", "") for route in door.client.app.routes}  # type: ignore[attr-defined]
    for trouble in helping.TROUBLES:
        for _, address in trouble.cures:
            path = address.partition("#")[0]
            if path and path != "/datasets/new":
                assert path in known or door.client.get(path).status_code == 200, address


def test_settings_in_a_browser(server: Server, browser_page: Any) -> None:
    page = browser_page
    page.goto(f"{server.address}/settings")
    page.wait_for_selector("#storage .shares")
    page.wait_for_selector("#machine .rows")
    page.click("text=Look what could go")
    page.wait_for_selector("#garbage >> text=Nothing")
    page.click("label[for=theme-dark]")
    with page.expect_navigation():  # to the same address: the keys need the scripts of the next page
        page.click("#appearance button")
    page.wait_for_selector("html[data-bs-theme=dark]")
    page.keyboard.press("Control+k")
    page.fill("#palette-query", "inconsistent trig")
    page.wait_for_selector("#palette-list >> text=Inconsistent trigger words")
    page.keyboard.press("Enter")
    page.wait_for_url("**/help#inconsistent-trigger")
