"""The gate: every route is closed unless it is opened, and only our own pages may change anything."""

from __future__ import annotations

import re

import pytest
from starlette.routing import Mount

from lorasmith.web.gate import OPEN, POLICY, SHOWN
from lorasmith.web.sessions import ABSOLUTE, IDLE, Actor, Sessions
from tests.web.conftest import NAME, Door, client_of

SAFE_HEADERS = {"sec-fetch-site": "same-origin", "origin": f"http://{NAME}"}


def routes(door: Door) -> list[tuple[str, str]]:
    """Every (method, path) of the app, parameters filled in."""
    pending = list(door.client.app.routes)  # type: ignore[attr-defined]
    found = []
    while pending:
        route = pending.pop()
        if hasattr(route, "original_router"):
            assert not route.include_context.prefix, "a prefix belongs to the router, so that the walk sees it"
            pending += route.original_router.routes
        elif not isinstance(route, Mount):
            path = re.sub(r"{(\w+)(:\w+)?}", r"\1", route.path)
            found += [(method, path) for method in sorted(route.methods)]
    return sorted(found)


def test_every_route_denies_whoever_is_not_signed_in(door: Door) -> None:
    stranger = client_of(door.studio, door.sessions, signed_in=False)
    asked = routes(door)
    assert len(asked) > 5
    for method, path in asked:
        answer = stranger.request(method, path)
        if path in OPEN:
            assert answer.status_code in (200, 303, 401, 422), path
        elif path.startswith(SHOWN) and method in ("GET", "HEAD"):
            assert answer.status_code in (404, 405, 422), path  # nothing was given away
            continue
        elif method in ("GET", "HEAD", "OPTIONS"):
            assert answer.status_code == 303 and answer.headers["location"].startswith("/login"), path
        else:
            assert answer.status_code == 401, (method, path)
        assert stranger.request(method, path, headers={"accept": "application/json"}).status_code in (
            (401,) if path not in OPEN else (200, 303, 401, 422)
        )


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
        {"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "", "origin": "null"},
        {"sec-fetch-site": "cross-site", "origin": ""},
        {"sec-fetch-site": "none", "origin": ""},
    ],
)
@pytest.mark.parametrize(
    "body", ["application/json", "application/x-www-form-urlencoded", "text/plain", "multipart/form-data"]
)
def test_nothing_is_changed_from_elsewhere(door: Door, headers: dict[str, str], body: str) -> None:
    for name in ("sec-fetch-site", "origin"):
        door.client.headers.pop(name, None)
    sent = {name: value for name, value in headers.items() if value} | {"content-type": body}
    for method, path in routes(door):
        if method not in ("GET", "HEAD", "OPTIONS"):
            assert door.client.request(method, path, headers=sent, content=b"{}").status_code == 403, (method, path)
    assert door.client.post("/whatever", headers=sent).status_code == 403


def test_reading_from_elsewhere_is_a_link_and_nothing_else(door: Door) -> None:
    del door.client.headers["origin"]
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert door.client.get("/", headers=link).status_code == 200
    for mode, dest in (("no-cors", "image"), ("cors", "empty"), ("navigate", "iframe"), ("no-cors", "script")):
        foreign = {"sec-fetch-site": "cross-site", "sec-fetch-mode": mode, "sec-fetch-dest": dest}
        assert door.client.get("/", headers=foreign).status_code == 403


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example:7860", "127.0.0.1", "127.0.0.1:7861", "127.0.0.1.evil:7860", "", "0:7860"],
)
def test_only_its_own_names_are_answered(door: Door, host: str) -> None:
    for path in ("/", "/health", "/static/app.css", "/enter"):
        assert door.client.get(path, headers={"host": host}).status_code == 400


def test_a_viewer_reads_and_changes_nothing(door: Door) -> None:
    client = client_of(door.studio, door.sessions, signed_in=False)
    client.cookies.set("lorasmith_session", door.sessions.open(Actor("ann", "viewer")), domain="127.0.0.1")
    assert client.get("/").status_code == 200
    assert client.post("/anything", headers=SAFE_HEADERS).status_code == 403


def test_every_answer_carries_the_policy(door: Door) -> None:
    for path in ("/", "/login", "/health", "/nothing", "/static/app.css"):
        headers = door.client.get(path).headers
        assert headers["content-security-policy"] == POLICY
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers
    assert "unsafe" not in POLICY and "default-src 'none'" in POLICY
    assert door.client.get("/").headers["cache-control"] == "no-store"


def test_a_token_works_once_and_the_cookie_is_closed_to_scripts(door: Door) -> None:
    fresh = client_of(door.studio, door.sessions, signed_in=False)
    token = door.sessions.invite()
    answer = fresh.get("/enter", params={"once": token})
    cookie = answer.headers["set-cookie"].lower()
    assert answer.headers["location"] == "/" and "httponly" in cookie and "samesite=strict" in cookie
    again = client_of(door.studio, door.sessions, signed_in=False).get("/enter", params={"once": token})
    assert again.headers["location"] == "/login?used=1" and "set-cookie" not in again.headers


def test_programs_bring_the_key_of_the_home(door: Door) -> None:
    key = (door.studio.home / "web-key").read_text()
    program = client_of(door.studio, door.sessions, signed_in=False)
    program.headers.clear()
    assert program.get("/", headers={"authorization": f"Bearer {key}"}).status_code == 200
    assert program.get("/", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert program.post("/nothing", headers={"authorization": f"Bearer {key}"}).status_code == 404


def test_sessions_end(tmp_path: object, door: Door) -> None:
    now = [0.0]
    sessions = Sessions(door.studio.home, clock=lambda: now[0])
    idle = sessions.open(Actor("you", "admin"))
    now[0] = IDLE - 1
    assert sessions.actor(idle) is not None
    now[0] += IDLE + 1
    assert sessions.actor(idle) is None
    busy = sessions.open(Actor("you", "admin"))
    begin = now[0]
    while now[0] < begin + ABSOLUTE:
        assert sessions.actor(busy) is not None
        now[0] += IDLE / 2
    now[0] += IDLE
    assert sessions.actor(busy) is None
    ended = sessions.open(Actor("you", "admin"))
    sessions.close(ended)
    assert sessions.actor(ended) is None and sessions.actor("") is None and sessions.actor("x" * 9) is None
