"""Attacks by people: without an account, as a viewer, as user B, by guessing, with old sessions and forged links."""

from __future__ import annotations

import base64
import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from lorasmith.errors import ConfigError, EnvironmentProblem, InputError
from lorasmith.studio import Studio
from lorasmith.web.accounts import Accounts, Throttle
from lorasmith.web.people import Actor, acting
from lorasmith.web.serving import hosts_of, refuse_open_address, serve
from lorasmith.web.sessions import COOKIE, Sessions
from lorasmith.web.sharing import Shares
from tests.bases.bare import bare_base
from tests.web.conftest import NAME, Door, client_of
from tests.web.security.team import PASSWORD, Team, make_team, pictures
from tests.web.test_gate import routes
from tests.web.test_models import take_in
from tests.web.tiny_lora import write_lora

CONFIG = {"base": "sandbox", "trigger_word": "ohwx", "max_train_steps": 4}


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    made = make_team(tmp_path / "home")
    made.studio.import_dataset(pictures(tmp_path / "old"), "old")  # before anybody owned anything
    bob = made.sessions.accounts.find("bob")
    assert bob is not None
    token = acting.set(Actor("bob", "member"))
    owned = made["bob"].app.state.studio  # type: ignore[attr-defined]
    owned.import_dataset(pictures(tmp_path / "bobs"), "bobs")
    acting.reset(token)
    yield made


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "127.0.0.1.example.org", ""])
def test_an_open_address_is_refused_without_accounts(tmp_path: Path, host: str) -> None:
    with pytest.raises(EnvironmentProblem, match="nobody has to sign in"):
        serve(Studio(tmp_path), host=host, browser=False)
    refuse_open_address(host, accounts=True)
    assert Accounts(tmp_path).exist() is False
    Accounts(tmp_path).add("ann", PASSWORD)
    assert Accounts(tmp_path).exist()


def test_an_open_address_answers_to_its_names_and_no_others() -> None:
    names = hosts_of("0.0.0.0", 7860, ["studio.example.org"])
    assert {"127.0.0.1:7860", "studio.example.org", "studio.example.org:7860"} <= names
    assert "evil.example:7860" not in names and "0.0.0.0" not in names


def test_every_route_is_closed_to_a_viewer_who_would_change_something(team: Team, door: Door) -> None:
    safe = ("GET", "HEAD", "OPTIONS")
    asked = [(method, path) for method, path in routes(door) if method not in safe and path != "/login"]
    assert len(asked) > 40
    for method, path in asked:
        for client, status in ((team["vic"], 403), (team.nobody, 401)):
            assert client.request(method, path, json={}).status_code == status, (method, path)


def test_what_is_private_is_not_there_for_user_b(team: Team, door: Door) -> None:
    """Every route that takes a name, asked with one of somebody else, answers as for a name that nobody has."""
    ghost = "nothing-of-that-name"
    seen = 0
    for method, path in routes(door):
        if not re.search(r"/datasets/(name|ref)", path) or method == "HEAD":
            continue
        for client in (team["cyd"], team["vic"]) if method == "GET" else (team["cyd"],):
            answers = []
            for name in ("bobs", ghost):
                address = re.sub(r"/datasets/(name|ref)", f"/datasets/{name}", path)
                answer = client.request(method, address, json={} if method != "GET" else None)
                answers.append((answer.status_code, answer.text.replace(name, "X")))
            assert answers[0] == answers[1], (method, path, answers)
            assert answers[0][0] >= 400 or "bobs" not in answers[0][1]
            seen += 1
    assert seen > 20


def test_lists_hold_only_what_one_may_see(team: Team) -> None:
    def names(who: str) -> list[str]:
        return [one["name"] for one in team[who].get("/api/datasets").json()["items"]]

    assert names("ann") == ["bobs", "old"] and names("bob") == ["bobs"] and names("cyd") == names("vic") == []
    assert team["bob"].put("/api/owned/dataset/bobs", json={"visibility": "team"}).status_code == 200
    assert names("cyd") == names("vic") == ["bobs"]
    for page in ("/datasets", "/places", "/api/places"):
        shown = team["cyd"].get(page).text
        assert "bobs" in shown and "/datasets/old" not in shown and '"old"' not in shown


def test_team_members_change_together_and_the_public_only_looks(team: Team) -> None:
    edit = {"operation": "add_trigger_word", "arguments": {"word": "ohwx"}}
    assert team["cyd"].post("/api/datasets/bobs/edit", json=edit).status_code == 422
    team["bob"].put("/api/owned/dataset/bobs", json={"visibility": "team"})
    assert team["cyd"].post("/api/datasets/bobs/edit", json=edit).status_code == 200
    assert team["cyd"].delete("/api/datasets/bobs").status_code == 422  # dropping is its owner's
    assert team["cyd"].put("/api/owned/dataset/bobs", json={"visibility": "public"}).status_code == 422
    team["bob"].put("/api/owned/dataset/bobs", json={"visibility": "public"})
    refused = team["cyd"].post("/api/datasets/bobs/undo", json={})
    assert refused.status_code == 422 and "not yours to change" in refused.json()["error"]
    for sneaky in ("BOBS", "Bobs", "bobs@1"):
        assert team["cyd"].post(f"/api/datasets/{sneaky}/undo", json={}).status_code == 422
    copied = team["cyd"].post("/api/datasets/bobs/branch", json={"name": "mine"})
    assert copied.status_code == 201
    assert team["cyd"].post("/api/datasets/mine/undo", json={}).status_code in (200, 422)
    assert team["bob"].get("/api/datasets/mine").status_code == 422  # the copy is Cyd's
    caption = team["cyd"].post("/api/datasets/bobs/caption", json={"captioner": "filename"})
    assert caption.status_code == 422  # what the queue would commit later is asked for now


def test_jobs_belong_to_who_submitted_them(team: Team) -> None:
    made = team["bob"].post("/api/train", json={"dataset": "bobs", "config": CONFIG, "place": {"held": True}})
    assert made.status_code == 202, made.text
    job = made.json()["id"]
    for verb in ("release", "front", "cancel", "retry", "pause"):
        assert team["cyd"].post(f"/api/jobs/{job}/do/{verb}").status_code == 404
    for path in (f"/api/jobs/{job}", f"/api/jobs/{job}/log", f"/jobs/{job}", f"/jobs/{job}/files/job.json"):
        assert team["cyd"].get(path).status_code == 404, path
    assert team["cyd"].get("/api/jobs").json()["items"] == [] and job not in team["cyd"].get("/api/journal").text
    assert team["cyd"].get("/api/jobs/last").status_code == 404
    assert team["cyd"].post("/api/train", json={"dataset": "bobs", "config": CONFIG}).status_code == 422
    assert team["bob"].post(f"/api/jobs/{job}/do/cancel").json()["state"] == "cancelled"


def test_the_servers_own_files_are_for_admins(team: Team, tmp_path: Path) -> None:
    secret = pictures(tmp_path / "secret")
    bob = team["bob"]
    for method, path, body in (
        ("POST", "/api/datasets", {"sources": [str(secret)], "name": "taken"}),
        ("POST", "/api/sources/look", {"location": str(secret)}),
        ("POST", "/api/sources/fetch", {"location": str(secret), "source": "folder"}),
        ("POST", "/api/datasets/bobs/export", {"layout": "kohya", "folder": str(tmp_path / "out")}),
        ("POST", "/api/bases", {"link": str(secret)}),
        ("GET", f"/api/bases/recognise?path={secret}", None),
        ("GET", "/api/doctor", None),
        ("GET", "/api/audit", None),
        ("GET", "/people/audit.csv", None),
        ("GET", "/api/users", None),
        ("POST", "/api/users", {"name": "eve", "password": PASSWORD}),
        ("PUT", "/api/users/cyd/role", {"role": "viewer"}),
        ("POST", "/api/lanes/drain", {}),
        ("POST", "/api/garbage/collect", {}),
    ):
        assert bob.request(method, path, json=body).status_code == 403, path
        assert team["ann"].request(method, path, json=body).status_code != 403, path
    for adapter in (str(secret / "0.png"), "../secret", "/etc/passwd"):
        assert bob.post("/api/certify", json={"adapter": adapter, "base": "sandbox"}).status_code == 422


def test_the_path_of_a_base_is_for_admins_until_it_is_one_of_the_home(team: Team, tmp_path: Path) -> None:
    base = bare_base(tmp_path / "elsewhere", "StableDiffusionPipeline", "UNet2DConditionModel", "model")
    path = str(tmp_path / "elsewhere" / "bases" / base)
    take_in(team.studio, tmp_path)

    def answers(person: str) -> list[str]:
        return [
            team[person].post(to, json=body).text
            for to, body in (
                ("/api/train", {"dataset": "bobs", "config": CONFIG | {"base": path}, "place": {"held": True}}),
                ("/api/generate", {"request": {"base": path, "prompts": ["x"]}, "place": {"held": True}}),
                ("/api/certify", {"adapter": "cat", "base": path, "place": {"held": True}}),
            )
        ]

    team.studio.library.describe("cat", visibility="team")
    assert all("There is no base" in answer for answer in answers("bob"))
    assert not any("There is no base" in answer for answer in answers("ann"))
    team.studio.bases.add(path, name="model")
    assert not any("There is no base" in answer for answer in answers("bob"))


def test_guessing_is_slowed_down_and_says_nothing(tmp_path: Path) -> None:
    team = make_team(tmp_path / "home")
    now = [0.0]
    team.nobody.app.state.throttle = Throttle(clock=lambda: now[0])  # type: ignore[attr-defined]
    answers = {
        name: team.nobody.post("/login", data={"name": name, "password": "wrong wrong"}) for name in ("bob", "no-one")
    }
    assert answers["bob"].status_code == answers["no-one"].status_code == 401
    assert answers["bob"].text == answers["no-one"].text and "set-cookie" not in answers["bob"].headers
    for _ in range(3):
        team.nobody.post("/login", data={"name": "bob", "password": "wrong wrong"})
    slowed = team.nobody.post("/login", data={"name": "bob", "password": PASSWORD})  # even the right one waits
    assert slowed.status_code == 429 and int(slowed.headers["retry-after"]) >= 1
    now[0] += int(slowed.headers["retry-after"])
    assert team.nobody.post("/login", data={"name": "bob", "password": PASSWORD}).status_code == 303


def test_the_wait_doubles_and_ends(tmp_path: Path) -> None:
    now = [0.0]
    throttle = Throttle(clock=lambda: now[0], free=2, longest=8.0)
    waits = []
    for _ in range(8):
        throttle.failed("bob")
        waits.append(throttle.wait("bob"))
        now[0] += max(0.0, waits[-1])
    assert waits[1:] == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0] and throttle.wait("ann") <= 0
    throttle.succeeded("bob")
    assert throttle.wait("bob") <= 0


def test_passwords_are_hashed_and_checked(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path)
    assert accounts.add("ann", PASSWORD, "viewer").role == "admin"  # the first one
    raw = (
        (tmp_path / "web.db").read_bytes() + (tmp_path / "web.db-wal").read_bytes()
        if (tmp_path / "web.db-wal").exists()
        else (tmp_path / "web.db").read_bytes()
    )
    assert PASSWORD.encode() not in raw and b"$argon2id$" in raw
    assert stat.S_IMODE((tmp_path / "web.db").stat().st_mode) == 0o600
    for name, password in (
        ("Ann", PASSWORD),
        ("you", PASSWORD),
        ("../x", PASSWORD),
        ("", PASSWORD),
        ("bob", "short"),
        ("ann", PASSWORD),
        ("bob", "x" * 2000),
    ):
        with pytest.raises(ConfigError):
            accounts.add(name, password)
    long = "p" * 72 + "the rest counts too"
    accounts.add("bob", long)
    assert accounts.verify("bob", long) and not accounts.verify("bob", "p" * 72 + "something else here")
    assert accounts.verify("bob", "") is None and accounts.verify("bob", "x" * 10**6) is None
    with pytest.raises(ConfigError, match="only admin"):
        accounts.remove("ann")
    with pytest.raises(ConfigError, match="only admin"):
        accounts.set_role("ann", "member")
    with pytest.raises(InputError):
        accounts.set_role("nobody-here", "admin")


def test_sessions_are_listed_and_end_at_once(team: Team) -> None:
    bob = team["bob"]
    mine = bob.get("/api/sessions").json()
    assert [one["name"] for one in mine] == ["bob"] and COOKIE not in json.dumps(mine)
    others = team["ann"].get("/api/sessions").json()
    theirs = next(one["id"] for one in others if one["name"] == "cyd")
    assert bob.delete(f"/api/sessions/{theirs}").status_code == 422 and team["cyd"].get("/api/me").status_code == 200
    assert bob.delete(f"/api/sessions/{mine[0]['id']}").status_code == 200
    assert bob.get("/api/me").status_code == 401
    Accounts(team.studio.home).remove("cyd")  # by another process
    assert team["cyd"].get("/api/me").status_code == 401
    Accounts(team.studio.home).set_role("vic", "member")
    assert team["vic"].get("/api/me").json()["role"] == "member"
    Accounts(team.studio.home).set_password("vic", PASSWORD + "!")
    assert team["vic"].get("/api/me").status_code == 401
    assert team["ann"].post("/logout").status_code == 303 and team["ann"].get("/api/me").status_code == 401


def test_a_session_outlives_the_server_and_only_its_hash_is_kept(door: Door) -> None:
    secret = door.sessions.open(Actor("you", "admin"))
    assert Sessions(door.studio.home).actor(secret) == Actor("you", "admin")
    kept = b"".join(path.read_bytes() for path in door.studio.home.glob("web.db*"))
    assert secret.encode() not in kept


def test_a_session_is_new_after_signing_in(team: Team) -> None:
    """A cookie that an attacker has planted never becomes a session."""
    planted = "x" * 43
    team.nobody.cookies.set(COOKIE, planted, domain="127.0.0.1")
    answer = team.nobody.post("/login", data={"name": "bob", "password": PASSWORD})
    assert answer.status_code == 303 and planted not in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    "next",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "/a\r\nset-cookie: x=1",
        "evil",
    ],
)
def test_signing_in_leads_nowhere_else(team: Team, next: str) -> None:
    answer = team.nobody.post("/login", data={"name": "bob", "password": PASSWORD, "next": next})
    assert answer.headers["location"] == "/" and answer.headers["set-cookie"].count("=") < 8


def test_the_cookie_is_closed(team: Team, tmp_path: Path) -> None:
    cookie = team.nobody.post("/login", data={"name": "bob", "password": PASSWORD}).headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "path=/" in cookie and "domain" not in cookie
    assert "secure" not in cookie  # plain HTTP on loopback; over TLS it is:
    over_tls = client_of(Studio(tmp_path / "tls"), Sessions(tmp_path / "tls"), signed_in=False)
    over_tls.base_url = f"https://{NAME}"  # type: ignore[assignment]
    token = over_tls.app.state.sessions.invite()  # type: ignore[attr-defined]
    assert "secure" in over_tls.get("/enter", params={"once": token}).headers["set-cookie"].lower()


def test_a_link_shows_one_thing_and_nothing_else(team: Team) -> None:
    assert team["cyd"].post("/api/shares", json={"kind": "dataset", "name": "bobs"}).status_code == 422
    made = team["bob"].post("/api/shares", json={"kind": "dataset", "name": "bobs"}).json()
    shown = team.nobody.get(made["address"])
    assert shown.status_code == 200 and "bobs, number 1" in shown.text and shown.headers["cache-control"] == "no-store"
    picture = re.search(r"/shared/[^\"]+/pictures/[0-9a-f]{64}", shown.text)
    assert picture and team.nobody.get(picture[0]).headers["content-type"] == "image/png"
    other = team.studio.dataset("old").items[0].image
    assert team.nobody.get(f"{made['address']}/pictures/{other}").status_code in (200, 404)
    assert team.nobody.get(f"{made['address']}/file").status_code == 404
    assert team.nobody.post(made["address"]).status_code == 401
    assert team.nobody.get("/api/datasets/bobs").status_code == 401
    team["bob"].delete(f"/api/shares/{made['share']['id']}")
    assert team.nobody.get(made["address"]).status_code == 404


def test_a_forged_or_old_link_shows_nothing(tmp_path: Path) -> None:
    now = [1000.0]
    shares = Shares(tmp_path, now=lambda: now[0])
    share, token = shares.make("dataset", "cats", "bob", 60)
    assert shares.read(token) == share
    told, signature = token.split(".")
    content = json.loads(base64.urlsafe_b64decode(told + "=="))
    content[2] = "dogs"
    forged = base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
    bad = [
        f"{forged}.{signature}",
        told,
        f"{told}.",
        f"{told}.AAAA",
        f".{signature}",
        "",
        "é.é",
        "x" * 5000,
        f"{told}.{signature}x",
        "a.b.c",
    ]
    assert [shares.read(one) for one in bad] == [None] * len(bad)
    assert Shares(tmp_path / "other").read(token) is None
    now[0] += 60
    assert shares.read(token) is None
    for seconds in (0.0, -1.0, float("inf"), float("nan"), 1e12):
        with pytest.raises(ConfigError):
            shares.make("dataset", "cats", "bob", seconds)


def test_public_things_are_seen_by_everybody_and_nothing_around_them(team: Team) -> None:
    assert team.nobody.get("/public/dataset/bobs").status_code == 404
    team["bob"].put("/api/owned/dataset/bobs", json={"visibility": "public"})
    assert team.nobody.get("/public/dataset/bobs").status_code == 200
    for path in ("/public/dataset/old", "/public/job/last", "/public/adapter/bobs", "/datasets/bobs", "/api/datasets"):
        assert team.nobody.get(path).status_code in (401, 404), path
    run = (
        team["bob"].post("/api/train", json={"dataset": "bobs", "config": CONFIG, "place": {"held": True}}).json()["id"]
    )
    team["bob"].put(f"/api/owned/job/{run}", json={"visibility": "public"})
    shown = team.nobody.get(f"/public/job/{run}")
    assert shown.status_code == 200 and "max_train_steps" in shown.text
    assert "bobs" not in shown.text.replace(run, "")  # a run never names its pictures


def test_what_is_changed_is_written_down(team: Team) -> None:
    team["bob"].post("/api/datasets/bobs/undo", json={})
    team["cyd"].post("/api/datasets/bobs/undo", json={})
    team.nobody.post("/login", data={"name": "bob", "password": "a wrong password"})
    team["bob"].get("/api/datasets")
    entries = team["ann"].get("/api/audit").json()
    found = {(one["who"], one["what"], one["target"], one["status"]) for one in entries}
    assert {
        ("cyd", "POST", "/api/datasets/bobs/undo", 422),
        ("nobody", "POST", "/login", 401),
        ("bob", "POST", "/login", 303),
    } <= found
    assert any(who == "bob" and path == "/api/datasets/bobs/undo" for who, _, path, _ in found)
    assert not any(what == "GET" for _, what, _, _ in found) and all(one["address"] for one in entries)
    log = (team.studio.home / "audit.jsonl").read_text()
    assert PASSWORD not in log and "a wrong password" not in log
    sheet = team["ann"].get("/people/audit.csv")
    assert sheet.headers["content-disposition"].startswith("attachment") and "/api/datasets/bobs/undo" in sheet.text


def test_the_log_cannot_be_forged_by_an_address(door: Door) -> None:
    door.client.post("/x%0a%7b%22who%22%3a%22ann%22%7d%00%1b[2J")
    lines = (door.studio.home / "audit.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["target"].startswith("/x?{") and all(json.loads(line) for line in lines)


def test_what_a_models_page_says_of_who_sees_it_is_what_holds(team: Team, tmp_path: Path) -> None:
    token = acting.set(Actor("bob", "member"))
    library = team["bob"].app.state.studio.library  # type: ignore[attr-defined]
    library.add(write_lora(tmp_path / "bobs.safetensors"), None, name="bobs")
    acting.reset(token)
    assert "bobs" not in team["cyd"].get("/models").text
    token = acting.set(Actor("bob", "member"))
    library.describe("bobs", visibility="public")
    acting.reset(token)
    assert "bobs" in team["cyd"].get("/models").text
    token = acting.set(Actor("cyd", "member"))
    with pytest.raises(ConfigError, match="not yours to change"):
        library.describe("bobs", visibility="private")
    acting.reset(token)
