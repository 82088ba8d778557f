"""The only way to the network for a program that is not ours: a proxy on this machine that leads to nothing private.

A page may lead anywhere, and another program follows. So it is told to go through here, where each name it asks for is
held to the same rules as our own requests (``fetching/addresses.py``) and connected to at the very number that was
checked. What it says to the sites stays between them: encrypted connections are passed on as they are.
"""

from __future__ import annotations

import hmac
import secrets
import select
import socket
import socketserver
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from lorasmith.errors import AddressRefused
from lorasmith.fetching.addresses import Address, Gate

_LONGEST_HEAD: Final = 65_536  # bytes
_CONNECT: Final = 20.0  # seconds
_SILENCE: Final = 120.0  # seconds without a byte in either direction
_PIECE: Final = 65_536


class GuardedWay(socketserver.ThreadingTCPServer):
    """The proxy. ``url`` holds a word that only its user knows, so that nobody else on this machine goes through it."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = False

    def __init__(self, gate: Gate) -> None:
        super().__init__(("127.0.0.1", 0), _Passage)
        self.gate = gate
        word = secrets.token_urlsafe(24)
        self.url = f"http://lorasmith:{word}@127.0.0.1:{self.server_address[1]}"
        self.proof = "Basic " + b64encode(f"lorasmith:{word}".encode()).decode()
        self.refused: list[str] = []
        """Why something was not let through, one sentence each."""
        self.passed = 0
        """How many connections were."""


@contextmanager
def guarded_way(gate: Gate) -> Iterator[GuardedWay]:
    """A way that is open until this ends."""
    with GuardedWay(gate) as way:
        thread = threading.Thread(target=way.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield way
        finally:
            way.shutdown()
            thread.join()


@dataclass(frozen=True)
class _Head:
    """The beginning of a request."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    rest: bytes = b""
    """What had arrived of its body."""


class _Passage(socketserver.BaseRequestHandler):
    """One connection of the program."""

    server: GuardedWay

    def handle(self) -> None:
        with suppress(OSError):  # either side may leave at any time, and that is the end of it
            self.request.settimeout(_SILENCE)
            head = _head(self.request)
            if head is None:
                self._say("400 Bad Request")
            elif not hmac.compare_digest(head.headers.get("proxy-authorization", ""), self.server.proof):
                self._say("407 Proxy Authentication Required")
            else:
                self._pass(head)

    def _pass(self, head: _Head) -> None:
        tunnel = head.method == "CONNECT"
        gate = self.server.gate
        try:
            address = gate.check(f"https://{head.target}/" if tunnel else head.target)
            there = _connected(gate, address)
        except AddressRefused as refused:
            self.server.refused.append(refused.message)
            self._say("403 Forbidden")
            return
        if there is None:
            self._say("502 Bad Gateway")
            return
        self.server.passed += 1
        with closing(there):
            if tunnel:
                self._say("200 Connection established", last=False)
                there.sendall(head.rest)
                _both_ways(self.request, there)
            else:
                there.sendall(_forwarded(head, address))
                _send_body(self.request, there, head)
                _one_way(there, self.request)

    def _say(self, status: str, *, last: bool = True) -> None:
        ending = "Content-Length: 0\r\nConnection: close\r\n" if last else ""
        self.request.sendall(f"HTTP/1.1 {status}\r\n{ending}\r\n".encode())


def _head(stream: socket.socket) -> _Head | None:
    """The request's head; None when it is none, or too long."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        piece = stream.recv(_PIECE)
        raw += piece
        if not piece or len(raw) > _LONGEST_HEAD:
            return None
    top, _, rest = raw.partition(b"\r\n\r\n")
    first, *lines = top.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3:
        return None
    pairs = (line.partition(":") for line in lines)
    return _Head(words[0].upper(), words[1], {name.strip().lower(): value.strip() for name, _, value in pairs}, rest)


def _connected(gate: Gate, address: Address) -> socket.socket | None:
    """A connection to one of the numbers that were checked; None when there is none to be had."""
    try:
        numbers = gate.resolve(address.host, address.port)
    except (OSError, UnicodeError):
        return None
    for number in numbers:
        with suppress(OSError):
            there = socket.create_connection((number, address.port), timeout=_CONNECT)
            there.settimeout(_SILENCE)
            return there
    return None


def _forwarded(head: _Head, address: Address) -> bytes:
    """A plain request as its server expects it: the path alone, for this host, for one answer."""
    parts = urlsplit(address.url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    own = {name: value for name, value in head.headers.items() if not name.startswith("proxy-")}
    own |= {"host": address.place, "connection": "close"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in own.items())
    return f"{head.method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


def _send_body(here: socket.socket, there: socket.socket, head: _Head) -> None:
    length = head.headers.get("content-length", "0")
    left = int(length) if length.isascii() and length.isdigit() else 0
    piece = head.rest[:left]
    while left:
        piece = piece or here.recv(min(_PIECE, left))
        if not piece:
            return
        there.sendall(piece)
        left -= len(piece)
        piece = b""


def _one_way(source: socket.socket, target: socket.socket) -> None:
    while piece := source.recv(_PIECE):
        target.sendall(piece)


def _both_ways(here: socket.socket, there: socket.socket) -> None:
    """Pass on what either says, until one has nothing more to say or both are silent."""
    other = {here: there, there: here}
    while True:
        ready, _, _ = select.select(list(other), [], [], _SILENCE)
        if not ready:
            return
        for one in ready:
            piece = one.recv(_PIECE)
            if not piece:
                return
            other[one].sendall(piece)
