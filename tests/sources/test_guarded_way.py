"""The proxy that another program goes through: what passes, and what does not."""

from __future__ import annotations

import socket
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from lorasmith.fetching import Limits
from lorasmith.fetching.addresses import Gate
from lorasmith.sources.guarded_way import GuardedWay, guarded_way
from tests.fetching.loopback import LOCAL, Loopback, says


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as server:
        server.at("/a", says(200, b"hello"))
        yield server


def said(way: GuardedWay, request: str, *, word: str | None = None, more: bytes = b"") -> bytes:
    """All that comes back on one connection."""
    parts = urlsplit(way.url)
    proof = b64encode(f"lorasmith:{parts.password if word is None else word}".encode()).decode()
    with closing(socket.create_connection(("127.0.0.1", parts.port or 0), timeout=60)) as stream:
        stream.sendall(f"{request}\r\nProxy-Authorization: Basic {proof}\r\n\r\n".encode() + more)
        stream.shutdown(socket.SHUT_WR) if request.startswith("GET") else None
        answer = b""
        while piece := stream.recv(65536):
            answer += piece
        return answer


def test_a_plain_request_passes_without_the_proof(server: Loopback) -> None:
    with guarded_way(Gate(LOCAL)) as way:
        answer = said(way, f"GET {server.url('/a?b=1')} HTTP/1.1\r\nX-Own: 1\r\nHost: evil.example")
        assert answer.endswith(b"hello") and way.passed == 1 and not way.refused
    (seen,) = server.seen
    assert "proxy-authorization" not in seen.headers and seen.headers["x-own"] == "1"
    assert seen.headers["host"] == server.place and seen.query == {"b": ["1"]}


def test_a_body_passes(server: Loopback) -> None:
    with guarded_way(Gate(LOCAL)) as way:
        said(way, f"POST {server.url('/a')} HTTP/1.1\r\nContent-Length: 4", more=b"abcdEXTRA")
    assert server.seen[0].body == b"abcd"


def test_a_tunnel_passes_both_ways(server: Loopback) -> None:
    with guarded_way(Gate(LOCAL)) as way:
        more = b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        answer = said(way, f"CONNECT {server.place} HTTP/1.1", more=more)
    assert answer.startswith(b"HTTP/1.1 200 Connection established\r\n\r\n") and answer.endswith(b"hello")


@pytest.mark.parametrize(
    "target",
    [
        "CONNECT 169.254.169.254:443", "CONNECT 10.0.0.1:443", "CONNECT [::1]:443", "CONNECT 0x7f.1:443",
        "CONNECT 127.0.0.1:22", "CONNECT localhost:443", "CONNECT example.org:25", "CONNECT a@b:443", "CONNECT \\:443",
        "GET http://192.168.0.1/a", "GET http://example.org/", "GET file:///etc/passwd", "GET /a", "GET gopher://a/",
    ],
)  # fmt: skip
def test_what_is_closed_is_not_reached(target: str) -> None:
    with guarded_way(Gate(Limits(), lambda host, port: ["127.0.0.1"])) as way:
        assert said(way, f"{target} HTTP/1.1").startswith(b"HTTP/1.1 403")
        assert len(way.refused) == 1 and way.passed == 0


def test_a_name_that_stands_for_something_private_is_refused() -> None:
    with guarded_way(Gate(Limits(), lambda host, port: ["93.184.216.34", "10.0.0.7"])) as way:
        assert said(way, "CONNECT example.org:443 HTTP/1.1").startswith(b"HTTP/1.1 403")
        assert "10.0.0.7" in way.refused[0]


def test_a_name_that_stands_for_nothing_is_no_refusal() -> None:
    def nothing(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    with guarded_way(Gate(Limits(), nothing)) as way:
        assert said(way, "CONNECT example.org:443 HTTP/1.1").startswith(b"HTTP/1.1 502")
        assert not way.refused


def test_strangers_of_this_machine_do_not_pass(server: Loopback) -> None:
    with guarded_way(Gate(LOCAL)) as way:
        assert said(way, f"GET {server.url('/a')} HTTP/1.1", word="wrong").startswith(b"HTTP/1.1 407")
    assert not server.seen


@pytest.mark.parametrize("junk", ["", "GET", "GET a b c", "X" * 70_000])
def test_junk_is_answered_or_dropped(junk: str) -> None:
    with guarded_way(Gate(LOCAL)) as way:
        assert not way.passed and said(way, f"{junk}").startswith((b"HTTP/1.1 4", b""))


def test_it_ends(server: Loopback) -> None:
    before = threading.active_count()
    with guarded_way(Gate(LOCAL)) as way:
        port = urlsplit(way.url).port or 0
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    assert threading.active_count() <= before
