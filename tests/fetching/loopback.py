"""Servers on this machine that behave like those of the internet, the good ones and the bad ones.

    with Loopback() as server:
        server.at("/model.safetensors", Shelf(content, etag='"1"'))
        fetcher.download(server.url("/model.safetensors"), folder)

A behaviour is a function of the ``Visit``; what was asked is kept in ``server.seen``.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import sys
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lorasmith.fetching import Clock, Limits

LOCAL = Limits(allow_loopback=True, reserve_bytes=0)


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes


class Visit(BaseHTTPRequestHandler):
    """One request, and the means to answer it well or badly."""

    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.seen = Seen(self.command, parts.path, parse_qs(parts.query), headers, body)
        with self.server.lock:
            self.server.seen.append(self.seen)
            behaviour = self.server.routes.get(parts.path)
        with contextlib.suppress(ConnectionError):
            if behaviour is None:
                self.say(404, b"nothing here")
            else:
                behaviour(self)

    do_POST = do_GET  # noqa: N815  the library's name

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def say(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.head(status, {"Content-Length": str(len(body)), **(headers or {})})
        self.wfile.write(body)

    def break_off(self) -> None:
        """Close the connection in the middle of whatever it is."""
        self.close_connection = True
        self.wfile.flush()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


Behaviour = Callable[[Visit], None]


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what these servers are for; anything else is a fault of the test."""
        if not isinstance(sys.exception(), ConnectionError | ssl.SSLError):
            super().handle_error(request, client_address)


class Loopback:
    """A server in a thread, on a port of its own."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._server = _Quiet((host, 0), Visit)
        self._server.lock = threading.Lock()  # type: ignore[attr-defined]
        self._server.routes = self.routes = {}  # type: ignore[attr-defined]
        self._server.seen = self.seen = []  # type: ignore[attr-defined]
        self.routes: dict[str, Behaviour]
        self.seen: list[Seen]
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def at(self, path: str, behaviour: Behaviour) -> str:
        """Answer at this path; its address."""
        self.routes[path] = behaviour
        return self.url(path)

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Loopback:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Shelf:
    """Serves one file, with ranges, as a good server does, or less well.

    Args:
        cuts: before which byte each answer breaks off, one after the other; when they run out, nothing does.
        ranges: whether parts are given out; False answers every request with the whole.
        obeys_if_range: False gives out parts of whatever there is now.
    """

    content: bytes
    etag: str = '"one"'
    modified: str = ""
    cuts: Iterable[int] = ()
    ranges: bool = True
    obeys_if_range: bool = True
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._cuts = iter(self.cuts)

    def __call__(self, visit: Visit) -> None:
        headers = dict(self.headers)
        if self.etag:
            headers["ETag"] = self.etag
        if self.modified:
            headers["Last-Modified"] = self.modified
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", visit.headers.get("Range", ""))
        condition = visit.headers.get("If-Range")
        same = condition is None or condition in (self.etag, self.modified) or not self.obeys_if_range
        first, status, last = 0, 200, len(self.content)
        if asked and self.ranges and same:
            first, status = int(asked[1]), 206
            last = min(last, int(asked[2]) + 1) if asked[2] else last
            if first >= len(self.content):
                visit.say(416, b"", {**headers, "Content-Range": f"bytes */{len(self.content)}"})
                return
            headers["Content-Range"] = f"bytes {first}-{last - 1}/{len(self.content)}"
        visit.head(status, {**headers, "Content-Length": str(last - first)})
        cut = next(self._cuts, None)
        end = last if cut is None else max(first, min(cut, last))
        visit.wfile.write(self.content[first:end])
        if end < last:
            visit.break_off()


def says(status: int, body: bytes | str | dict[str, Any] = b"", headers: Mapping[str, str] | None = None) -> Behaviour:
    """Always the same answer."""
    raw = json.dumps(body).encode() if isinstance(body, dict) else body.encode() if isinstance(body, str) else body
    return lambda visit: visit.say(status, raw, headers)


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """One after the other, and the last for ever."""
    lock, left = threading.Lock(), list(behaviours)

    def behave(visit: Visit) -> None:
        with lock:
            now = left.pop(0) if len(left) > 1 else left[0]
        now(visit)

    return behave


def redirects(location: str, status: int = 307) -> Behaviour:
    return says(status, b"", {"Location": location})


def refuses_authorization(behaviour: Behaviour) -> Behaviour:
    """A store with addresses that are signed already: it answers 400 when a second proof comes along."""

    def behave(visit: Visit) -> None:
        if visit.headers.get("Authorization") or visit.headers.get("Cookie"):
            visit.say(400, b"<Error><Code>InvalidArgument</Code><Message>Only one auth mechanism</Message></Error>")
        else:
            behaviour(visit)

    return behave


def wants_bearer(token: str, behaviour: Behaviour) -> Behaviour:
    """401 without the right token, as JSON."""

    def behave(visit: Visit) -> None:
        if visit.headers.get("Authorization") == f"Bearer {token}":
            behaviour(visit)
        else:
            visit.say(401, b'{"error": "Unauthorized", "message": "The creator wants you to be logged in"}')

    return behave


def chunked(pieces: Iterable[bytes], *, ends: bool = True, headers: Mapping[str, str] | None = None) -> Behaviour:
    """A body without a length; ``ends``: whether its end is announced."""

    def behave(visit: Visit) -> None:
        visit.head(200, {"Transfer-Encoding": "chunked", **(headers or {})})
        for piece in pieces:
            visit.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        if ends:
            visit.wfile.write(b"0\r\n\r\n")
        else:
            visit.break_off()

    return behave


def endless(piece: bytes) -> Behaviour:
    """A body that never ends."""

    def behave(visit: Visit) -> None:
        visit.head(200, {"Transfer-Encoding": "chunked"})
        while True:
            visit.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")

    return behave


def stalls(content: bytes, after: int, until: threading.Event, *, piece: int = 0) -> Behaviour:
    """Falls silent after so many bytes; with ``piece``, lets so few through every 20 ms. Ends with the event."""

    def behave(visit: Visit) -> None:
        visit.head(200, {"Content-Length": str(len(content)), "ETag": '"slow"'})
        visit.wfile.write(content[:after])
        sent = after
        while not until.wait(0.02):
            visit.wfile.write(content[sent : sent + piece])
            sent += piece
        visit.break_off()

    return behave


def gzip_of(size: int) -> bytes:
    """So many zeros, packed to a thousandth."""
    machine = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    block = bytes(1 << 20)
    return b"".join(machine.compress(block) for _ in range(size >> 20)) + machine.flush()


class FakeTime:
    """A clock that only moves when somebody waits by it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.waits: list[float] = []
        self._lock = threading.Lock()

    def pause(self, seconds: float) -> None:
        with self._lock:
            self.seconds += seconds
            self.waits.append(seconds)

    @property
    def waited(self) -> float:
        return sum(self.waits)

    def clock(self) -> Clock:
        return Clock(now=lambda: self.seconds, pause=self.pause, chance=lambda: 0.5)


def safetensors(size: int, fill: bytes = b"\1") -> bytes:
    """A safetensors file of about so many bytes."""
    header = json.dumps({"weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + (fill * (size // len(fill) + 1))[:size]
