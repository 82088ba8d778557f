"""One request and its answer: through redirects, with secrets that stay at home, and refusals as sentences."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin

from lorasmith.errors import AddressRefused, FetchError
from lorasmith.fetching.addresses import Address, Gate
from lorasmith.fetching.authorization import Authorization, Ticket
from lorasmith.fetching.hosts import Hosts, Temporary, retry_after
from lorasmith.fetching.limits import Cancel, Clock, Limits, stop_if
from lorasmith.fetching.refusals import refusal
from lorasmith.fetching.sniffing import said_by

if TYPE_CHECKING:
    import httpx2

# 5xx and their like at CDNs: the server, not the request, was the trouble. No 4xx but the two that say "later".
TEMPORARY: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_REFUSAL_BYTES: Final = 64_000  # of an answer that is read only to quote it
_RATIO: Final = 200  # compressed to plain, beyond _RATIO_FROM; what is denser is an attack
_RATIO_FROM: Final = 10_000_000


@dataclass(frozen=True)
class Asked:
    """A request that somebody wants answered."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    """Go to the host that is asked and to no other, but for those that say which part is wanted."""
    content: bytes | None = None
    ok: frozenset[int] = frozenset({200})
    """Answers that the asker deals with; all others become errors."""
    cancel: Cancel | None = None
    end: float = float("inf")
    """When, by the clock, it has to be over."""


@dataclass
class Answer:
    """An answer whose body has not been read yet."""

    address: Address
    """Who answered, after all redirects."""
    status: int
    headers: Mapping[str, str]
    _stream: Iterator[bytes]

    def body(self) -> Iterator[bytes]:
        """The bytes in pieces, as they were sent, or unpacked where a server compressed them unasked.

        Raises:
            Temporary: the connection broke, or fell silent.
            FetchError: packed in a way that cannot be undone, or so densely that it is an attack.
        """
        encoding = self.headers.get("content-encoding", "").strip().lower()
        if encoding in ("", "identity"):
            return self._stream
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise FetchError(
                f"{self.address.place} sent the file packed as {encoding[:40]}, which nobody asked for.",
                "Try again later, or look for another link.",
            )
        return _unpacked(self._stream, self.address.place, encoding)

    @property
    def packed(self) -> bool:
        """Whether sizes and ranges of this answer speak of packed bytes."""
        return self.headers.get("content-encoding", "").strip().lower() not in ("", "identity")

    @property
    def length(self) -> int | None:
        """Bytes of the body, when the server says so."""
        text = self.headers.get("content-length", "").strip()
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 and not self.packed else None


@dataclass(frozen=True)
class Exchange:
    """Asks. What it is made of is shared by all requests of one fetcher."""

    limits: Limits
    gate: Gate
    authorization: Authorization
    hosts: Hosts
    clock: Clock
    transport: Callable[[], httpx2.BaseTransport]
    agent: str

    @contextmanager
    def open(self, asked: Asked) -> Iterator[Answer]:
        """Ask, and follow where it leads.

        Raises:
            AddressRefused: it leads somewhere closed.
            Temporary: no answer, or one that says "later".
            FetchError: a refusal.
            Stopped: ``cancel`` said so.
        """
        address = self.gate.check(asked.url)
        ticket = self.authorization.ticket(address)
        own: Mapping[str, str] = dict(asked.headers)
        home = address.origin
        for _ in range(self.limits.max_redirects + 1):
            with ExitStack() as stack:
                answer = stack.enter_context(self._one(asked, address, ticket, own))
                if answer.status not in _REDIRECTS:
                    self._judge(answer, asked, ticket)
                    yield answer
                    return
                location = answer.headers.get("location", "")
            address = self._onward(address, location, asked)
            if address.origin == home:
                ticket = self.authorization.ticket(address)
            else:  # from here on without secrets, even if it comes back: a stranger chose the way
                home, ticket = ("", "", 0), Ticket(address.url)
                own = {k: v for k, v in own.items() if k.lower() in ("range", "if-range", "accept")}
        raise FetchError(
            f"{self.gate.check(asked.url).place} sends in circles: more than {self.limits.max_redirects} redirects.",
            "Open the link in a browser to see where it leads, and use that address.",
        )

    def _onward(self, address: Address, location: str, asked: Asked) -> Address:
        if not location:
            raise FetchError(f"{address.place} redirects without saying where to.", "Try another link.")
        try:
            target = urljoin(address.url, location)
        except ValueError as cause:
            raise AddressRefused(f"{address.place} redirects to no address.", "Try another link.") from cause
        onward = self.gate.check(target, after=address)
        if asked.method != "GET" and onward.origin != address.origin:
            raise FetchError(
                f"{address.place} wants to pass what was sent on to {onward.place}.", "Use that address from the start."
            )
        return onward

    @contextmanager
    def _one(self, asked: Asked, address: Address, ticket: Ticket, own: Mapping[str, str]) -> Iterator[Answer]:
        """One hop."""
        import httpx2

        headers = {
            "User-Agent": self.agent,
            "Accept": "*/*",
            "Accept-Encoding": "identity",  # ranges and lengths then speak of the file itself
            **own,
            **ticket.headers,
        }
        limits = self.limits
        extensions = {
            "timeout": {
                "connect": limits.connect_seconds,
                "read": limits.silence_seconds,
                "write": limits.silence_seconds,
                "pool": limits.connect_seconds,
            }
        }
        request = httpx2.Request(
            asked.method, ticket.url, headers=headers, content=asked.content, extensions=extensions
        )
        transport = self.transport()
        look_after = getattr(transport, "looked_after", None)
        with self.hosts.turn(address.place, asked.cancel):
            watch = _Watch(asked, self.clock, address.place, self.clock.now() + limits.answer_seconds)
            with look_after(watch.look) if look_after is not None else nullcontext():
                with _in_words(address.place):
                    response = transport.handle_request(request)
                watch.answered = True
                try:
                    stream = _read(response.stream, address.place, watch)
                    yield Answer(address, response.status_code, response.headers, stream)
                finally:
                    response.stream.close()  # type: ignore[union-attr]

    def _judge(self, answer: Answer, asked: Asked, ticket: Ticket) -> None:
        if answer.status in asked.ok:
            return
        said = said_by(_beginning(answer, _REFUSAL_BYTES))
        if answer.status in TEMPORARY:
            wait = retry_after(answer.headers.get("retry-after"))
            if wait is not None and wait <= self.limits.longest_wait:
                self.hosts.hold_back(answer.address.place, wait)
            reason = f"it answers {answer.status}" + (f" ({said})" if said else "")
            raise Temporary(answer.address.place, reason, wait=wait, status=answer.status)
        asked_at = self.gate.check(asked.url)
        service = self.authorization.service_of(asked_at)
        raise refusal(answer.status, answer.address, asked_at, service, bool(ticket.service), said)


class _Watch:
    """Looked at while nothing arrives: whether somebody wants to stop, and whether the answer takes too long."""

    def __init__(self, asked: Asked, clock: Clock, place: str, deadline: float) -> None:
        self._asked, self._clock, self._place, self._deadline = asked, clock, place, deadline
        self.answered = False

    def look(self) -> None:
        stop_if(self._asked.cancel)
        now = self._clock.now()
        if now > self._asked.end:
            raise Temporary(self._place, "it takes too long")
        if not self.answered and now > self._deadline:
            raise Temporary(self._place, "it accepts the request and does not answer")


def _read(stream: Any, place: str, watch: _Watch) -> Iterator[bytes]:
    with _in_words(place):
        for piece in stream:
            watch.look()
            yield piece


@contextmanager
def _in_words(place: str) -> Iterator[None]:
    """Errors of the connection as reasons to try again."""
    import ssl
    from urllib.request import getproxies

    import httpx2

    try:
        yield
    except httpx2.ConnectTimeout as cause:
        raise Temporary(place, "no connection in time") from cause
    except httpx2.TimeoutException as cause:
        raise Temporary(place, "it fell silent") from cause
    except httpx2.ConnectError as cause:
        if isinstance(_root(cause), ssl.SSLCertVerificationError):
            raise FetchError(
                f"{place} cannot prove who it is: {_root(cause)}.",
                "Check the clock of this machine and the link; somebody may be in between.",
            ) from cause
        proxy = "; the proxy that this environment names is not used" if getproxies() else ""
        raise Temporary(place, f"no connection: {str(cause) or 'refused'}{proxy}") from cause
    except httpx2.TransportError as cause:
        raise Temporary(place, "the connection broke off") from cause
    except httpx2.InvalidURL as cause:
        raise AddressRefused(f"The address at {place} cannot be read: {cause}.", "Copy the link again.") from cause


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return error


def _beginning(answer: Answer, most: int) -> bytes:
    """The first bytes of an answer that is only quoted; what cannot be read is not quoted."""
    found = b""
    try:
        for piece in answer.body():
            found += piece[: most - len(found)]
            if len(found) >= most:
                break
    except (Temporary, FetchError):
        return found
    return found


def _unpacked(stream: Iterator[bytes], place: str, encoding: str) -> Iterator[bytes]:
    """Packed bytes made plain a little at a time: a bomb is noticed long before it has gone off."""
    machine = zlib.decompressobj(zlib.MAX_WBITS | 32 if encoding != "deflate" else zlib.MAX_WBITS)
    read = made = 0
    try:
        for piece in stream:
            read += len(piece)
            rest = piece
            while rest:
                plain = machine.decompress(rest, 1 << 20)
                made += len(plain)
                if made > _RATIO_FROM and made > _RATIO * read:
                    raise FetchError(
                        f"What {place} sent unpacks to more than {_RATIO} times its size.",
                        "That is refused as an attack; look for another link.",
                    )
                yield plain
                rest = machine.unconsumed_tail
    except zlib.error as cause:
        raise Temporary(place, "what it sent cannot be unpacked") from cause
    if not machine.eof:
        raise Temporary(place, "what it sent ends too early")


def read_json(answer: Answer, most: int) -> Any:
    """A JSON body.

    Raises:
        FetchError: it is too large, or no JSON; a page's title is quoted.
    """
    body = read_bytes(answer, most)
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as cause:
        said = said_by(body)
        quoted = f": “{said}”" if said else ""
        raise FetchError(
            f"{answer.address.place} answered with something that is no JSON{quoted}.",
            "The site may be down, or want a browser; try again later.",
            answer.status,
        ) from cause


def read_bytes(answer: Answer, most: int) -> bytes:
    """A body that fits in memory.

    Raises:
        FetchError: it is larger than ``most`` bytes.
    """
    pieces: list[bytes] = []
    size = 0
    for piece in answer.body():
        size += len(piece)
        if size > most:
            raise FetchError(f"{answer.address.place} answered with more than {most} bytes.", "Ask for less at once.")
        pieces.append(piece)
    return b"".join(pieces)
