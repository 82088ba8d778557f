# ruff: noqa: E501 - a raw request is one line
"""Attacks by requests: names, origins, bodies, paths, sizes, pace; and what answers give away."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response

from lorasmith.web.gate import LARGEST, POLICY, Gate
from lorasmith.web.replies import unforeseen
from tests.web.conftest import NAME, Door, Server, client_of
from tests.web.security.team import pictures
from tests.web.test_gate import routes

LABELS = st.text("abc.-_0123456789:[]@/\\ %é", min_size=1, max_size=30)
FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@FEW
@given(before=LABELS, after=LABELS)
def test_a_name_that_only_looks_like_ours_is_not_answered(door: Door, before: str, after: str) -> None:
    for host in (before + NAME, NAME + after, before + NAME + after, f"localhost.{after}:7860", f"[::1]{after}:7860"):
        if host.strip().lower() != NAME and host.isascii():
            assert door.client.get("/health", headers={"host": host}).status_code == 400, host


@pytest.mark.parametrize("name", ["x-forwarded-host", "x-host", "forwarded", "x-original-host", "x-forwarded-for"])
def test_headers_of_proxies_are_not_believed(door: Door, name: str) -> None:
    assert door.client.get("/health", headers={name: "evil.example", "host": "evil.example"}).status_code == 400
    answer = door.client.get("/datasets/nope", headers={name: "evil.example"})
    assert "evil.example" not in answer.text + str(answer.headers)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/xml", ""]
)
def test_the_api_takes_json_and_nothing_else(door: Door, kind: str) -> None:
    """A form of another page could send these without asking; even from our own pages they are refused."""
    asked = 0
    for method, path in routes(door):
        if path.startswith("/api/") and method in ("POST", "PUT") and "/uploads" not in path and "/do/" not in path:
            address = path.replace("/verb", "/pause")
            headers = {"content-type": kind, "accept": "application/json"}
            body = b'{"name": "eve", "password": "a long enough password", "link": "x", "location": "x"}'
            status = door.client.request(method, address, headers=headers, content=body).status_code
            known = status in (422, 400, 409) or (status == 404 and "/jobs/" in address)  # no such job
            assert known or address.endswith(("restore", "collect")), (method, path, status)
            asked += 1
    assert asked > 30
    assert not door.sessions.accounts.exist()


def test_a_null_origin_is_foreign(door: Door) -> None:
    for origin in (
        "null",
        "file://",
        "http://127.0.0.1:7860.evil",
        "http://evil@127.0.0.1:7861",
        "http://[::1",
        "https://",
    ):
        answer = door.client.post("/api/users", headers={"origin": origin, "sec-fetch-site": "same-origin"}, json={})
        assert answer.status_code == 403, origin


@FEW
@given(
    path=st.lists(
        st.sampled_from(
            [
                "..",
                ".",
                "%2e%2e",
                "..%2f",
                "..\\",
                "C:",
                "con",
                "a:b",
                "\\\\host\\x",
                "web-key",
                "web.db",
                "%00",
                "é",
                "~",
                "{{7*7}}",
            ]
        ),
        min_size=1,
        max_size=6,
    )
)
def test_no_path_leads_out(door: Door, path: list[str]) -> None:
    """Names in addresses are names: nothing of the home, and nothing above it, is ever sent."""
    secret = (door.studio.home / "web-key").read_text()
    tail = "/".join(path)
    for root in (
        "/static/",
        "/pictures/",
        "/thumbnails/",
        "/jobs/last/files/",
        "/api/adapters/",
        "/api/datasets/",
        "/shared/",
        "/public/dataset/",
    ):
        for address in (root + tail, root + quote(tail, safe="")):
            answer = door.client.get(address, headers={"accept": "application/json"})
            assert answer.status_code < 500 and secret not in answer.text, address
            left = not answer.request.url.path.startswith(root)  # the client itself went up, to a page
            assert answer.status_code != 200 or left or root == "/static/", (address, answer.text[:100])


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "value",
    [
        "\0",
        "%00",
        "A" * 3000,
        "\ud800",
        "0x10",
        "1e400",
        "-1",
        "9" * 400,
        "{}",
        "'; DROP TABLE account;--",
        "{{7*7}}",
        "${7*7}",
    ],
)
def test_strange_values_are_refused_in_words(door: Door, value: str, method: str) -> None:
    headers = {"accept": "application/json"}
    for path in (
        "/api/datasets/X",
        "/api/datasets/X/items",
        "/api/jobs/X",
        "/api/bases/X",
        "/api/datasets?offset=X",
        "/api/journal?after=X",
        "/api/datasets/X/select?where=X",
        "/datasets/X",
        "/jobs/X",
    ):
        address = path.replace("X", quote(value, safe="", errors="surrogatepass"))
        answer = door.client.request(method, address, headers=headers)
        assert answer.status_code < 500, (address, answer.text)
        assert "49" not in answer.text.replace(value, "")


def test_headers_cannot_be_broken_into(door: Door, tmp_path: Path) -> None:
    door.studio.import_dataset(pictures(tmp_path / "cats"), "cats")
    evil = "a%0d%0aset-cookie:%20x=1"
    for path in (
        f"/datasets/cats?q={evil}",
        f"/login?next={evil}",
        f"/api/datasets?limit=1&offset=0&x={evil}",
        f"/nothing/{evil}",
    ):
        headers = door.client.get(path).headers
        assert "set-cookie" not in headers and "x=1" not in headers.get("location", "")
    link = door.client.get(f"/api/datasets/cats/items?limit=1&where=&x={evil}").headers["link"]
    assert "\r" not in link and "\n" not in link and link.startswith("</api/datasets/cats/items?")


def test_a_body_that_is_too_large_is_not_read(door: Door) -> None:
    for path in ("/api/train", "/login", "/datasets/cats/caption", "/nothing"):
        told = door.client.post(
            path, content=b"", headers={"content-length": str(LARGEST + 1), "content-type": "application/json"}
        )
        assert told.status_code == 413 and "large" in told.text
    piece = b"x" * 2**20

    def endless() -> object:
        for _ in range(LARGEST // len(piece) + 2):
            yield piece

    untold = door.client.post(
        "/api/train", content=endless(), headers={"content-type": "application/json", "accept": "application/json"}
    )  # type: ignore[arg-type]
    assert untold.status_code == 413


def test_a_body_that_stops_arriving_is_not_waited_for(door: Door) -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        request = Request(scope, receive)  # type: ignore[arg-type]
        await request.body()
        await Response("read")(scope, receive, send)  # type: ignore[arg-type]

    async def attack() -> int:
        pieces = [{"type": "http.request", "body": b"{", "more_body": True}]
        said: list[dict[str, object]] = []

        async def receive() -> dict[str, object]:
            if pieces:
                return pieces.pop()
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: dict[str, object]) -> None:
            said.append(message)

        gate = Gate(app, sessions=door.sessions, hosts={NAME}, patience=0.05)  # type: ignore[arg-type]
        key = (door.studio.home / "web-key").read_bytes()
        scope = {
            "type": "http", "method": "POST", "path": "/api/train", "query_string": b"", "client": ("127.0.0.1", 1),
            "headers": [(b"host", NAME.encode()), (b"authorization", b"Bearer " + key)],
        }  # fmt: skip
        await asyncio.wait_for(gate(scope, receive, send), 20)  # type: ignore[arg-type]
        return int(str(said[0]["status"]))

    with ThreadPoolExecutor(1) as apart:  # beside the loop of a browser that other tests may have left here
        assert apart.submit(lambda: asyncio.run(attack())).result(60) == 408


def test_a_slow_client_keeps_nobody_else_waiting(server: Server) -> None:
    port = int(server.address.rpartition(":")[2])
    slow = []
    for _ in range(40):
        line = socket.create_connection(("127.0.0.1", port), 10)
        line.sendall(b"POST /login HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: 100\r\n" % port)
        slow.append(line)
    with socket.create_connection(("127.0.0.1", port), 10) as line:
        line.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % port)
        assert b"200 OK" in line.recv(4096)
    for one in slow:
        one.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nHost: %b\r\nHost: evil.example\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: %b\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: %b\r\nX: a\r\n evil\x00\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)  # fmt: skip
def test_malformed_requests_get_nothing(server: Server, raw: bytes) -> None:
    port = int(server.address.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 10) as line:
        line.settimeout(10)
        line.sendall(raw.replace(b"%b", b"127.0.0.1:%d" % port))
        status = line.recv(4096).partition(b"\r\n")[0]
    assert not status or status.split()[1] in (b"400", b"303", b"401", b"403", b"404", b"405", b"422"), status


def test_errors_give_nothing_away(
    door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> object:
        raise RuntimeError("the password is swordfish at /root/secret/place.py")

    monkeypatch.setattr(door.client.app.state.studio, "datasets", broken)  # type: ignore[attr-defined]
    for path, accept in (("/api/datasets", "application/json"), ("/datasets", "text/html")):
        answer = door.client.get(path, headers={"accept": accept})
        assert answer.status_code == 500
        for word in ("swordfish", "Traceback", "RuntimeError", "/root", ".py"):
            assert word not in answer.text
        number = re.search(r"under ([0-9a-f]{8})", answer.text)
        assert number and number[1] in caplog.text  # the owner finds it in the log
        assert (
            answer.headers["content-security-policy"] == POLICY
            and answer.headers["x-content-type-options"] == "nosniff"
        )
    assert unforeseen is not None


def test_places_on_the_disk_are_for_the_owner_alone(tmp_path: Path) -> None:
    from tests.web.security.team import make_team

    team = make_team(tmp_path / "home")
    body = {"request": {"base": str(tmp_path / "secret" / "base.safetensors"), "prompts": ["x"]}}
    theirs, ours = team["bob"].post("/api/generate", json=body), team["ann"].post("/api/generate", json=body)
    assert theirs.status_code == ours.status_code == 422
    assert str(tmp_path) not in theirs.text and str(tmp_path) in ours.text


def test_answers_are_not_kept_by_browsers_or_shared(door: Door, tmp_path: Path) -> None:
    door.studio.import_dataset(pictures(tmp_path / "cats"), "cats")
    image = door.studio.dataset("cats").items[0].image
    for path in ("/", "/datasets/cats", "/api/datasets", "/login", "/nothing", "/people"):
        assert door.client.get(path).headers["cache-control"] == "no-store", path
    picture = door.client.get(f"/pictures/{image}").headers
    assert "private" in picture["cache-control"] and picture["content-security-policy"] == "sandbox"
    for method, path in routes(door):
        if method == "GET" and "events" not in path:
            headers = door.client.get(path).headers
            assert headers["x-content-type-options"] == "nosniff" and "access-control-allow-origin" not in headers, path
            assert headers["cross-origin-resource-policy"] == "same-origin" and headers["x-frame-options"] == "DENY", (
                path
            )


def test_other_sites_may_not_ask_first(door: Door) -> None:
    answer = door.client.options(
        "/api/datasets",
        headers={
            "origin": "https://evil.example",
            "sec-fetch-site": "cross-site",
            "access-control-request-method": "POST",
        },
    )
    assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers


def test_the_same_request_twice_is_done_once(door: Door, tmp_path: Path) -> None:
    door.studio.import_dataset(pictures(tmp_path / "cats"), "cats")
    key = {"idempotency-key": "one", "accept": "application/json"}
    body = {"operation": "add_trigger_word", "arguments": {"word": "ohwx"}}
    first = door.client.post("/api/datasets/cats/edit", json=body, headers=key)
    again = door.client.post("/api/datasets/cats/edit", json=body, headers=key)
    assert first.json() == again.json() and again.headers["idempotency-replayed"] == "true"
    other = door.client.post("/api/datasets/cats/undo", json={}, headers=key)
    assert other.status_code == 422 and door.studio.dataset("cats").number == 2
    refused = door.client.post("/api/datasets/nope/undo", json={}, headers={"idempotency-key": "two"})
    assert (
        refused.status_code == 422
        and door.client.post("/api/datasets/cats/undo", json={}, headers={"idempotency-key": "two"}).status_code == 200
    )
    door.client.app.state.answers.begin("you", "three", "what a dead server was asked")  # type: ignore[attr-defined]
    assert door.client.post("/api/datasets/cats/redo", json={}, headers={"idempotency-key": "three"}).status_code == 422
    assert door.client.post("/api/datasets/cats/redo", json={}, headers={"idempotency-key": "a b"}).status_code == 422


def test_deep_and_wide_json_is_refused(door: Door) -> None:
    headers = {"content-type": "application/json", "accept": "application/json"}
    deep = b'{"config":' + b"[" * 100_000 + b"]" * 100_000 + b',"dataset":"cats"}'
    wide = json.dumps({"dataset": "cats", "config": {str(n): n for n in range(50_000)}}).encode()
    many = b'{"dataset":"cats","config":{"base":' + b"9" * 5000 + b"}}"
    for body in (
        deep,
        wide,
        many,
        b"\xff\xfe",
        b'{"dataset":"cats","config":{"base":NaN}}',
        b"",
        b"null",
        b"[]",
        b'"x"',
    ):
        assert door.client.post("/api/train", content=body, headers=headers).status_code in (400, 422)


def test_a_client_that_is_nobody_learns_nothing(door: Door) -> None:
    stranger = client_of(door.studio, door.sessions, signed_in=False)
    for path in (
        "/api/openapi.json",
        "/api/datasets",
        "/api/events",
        "/places",
        "/metrics",
        "/docs",
        "/redoc",
        "/.git/config",
    ):
        assert stranger.get(path, headers={"accept": "application/json"}).status_code == 401, path
    assert "version" not in stranger.get("/health").text
