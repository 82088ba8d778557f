"""``Fetcher``: the one way in which anything comes in from the network."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

from lorasmith import __version__
from lorasmith.credentials import Credentials
from lorasmith.errors import ConfigError, FetchError, NoAnswer
from lorasmith.fetching.addresses import Gate, Resolver, resolve_name
from lorasmith.fetching.authorization import Authorization
from lorasmith.fetching.download import Download, Downloaded, Wanted, content_range
from lorasmith.fetching.exchange import Answer, Asked, Exchange, read_bytes, read_json
from lorasmith.fetching.hosts import Hosts, Patience, Temporary, retry_after
from lorasmith.fetching.limits import Cancel, Clock, Limits
from lorasmith.fetching.naming import name_from_disposition, name_from_url, shown
from lorasmith.fetching.progress import Watch
from lorasmith.fetching.sniffing import PEEK, Expected, kind_of, suffix_for

if TYPE_CHECKING:
    import httpx2

AGENT: Final = (
    f"lorasmith/{__version__} (LoRA training studio; Python {sys.version_info.major}.{sys.version_info.minor})"
)
T = TypeVar("T")
_LINK: Final = re.compile(r"<([^<>]*)>([^,<]*)")
_NEXT: Final = re.compile(r""";\s*rel\s*=\s*"?([^";]*\s)?next\b""", re.IGNORECASE)
_ANY: Final = frozenset(range(200, 600))  # but for redirects, which are followed before anybody sees them
_HASH_LETTERS: Final = frozenset("0123456789abcdefABCDEF")


@dataclass(frozen=True)
class Found:
    """What lies at an address, as far as its server tells without sending it."""

    url: str
    """Without tokens and signatures."""
    name: str
    size: int | None
    """Bytes; None when the server does not say."""
    kind: str
    """By its first bytes: ``zip``, ``safetensors``, ``image``, ``html`` ..."""
    resumable: bool
    etag: str


@dataclass(frozen=True)
class Reply:
    """What a server said to one question, whatever it was."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Fetcher:
    """Downloads and asks, politely and within limits. Safe to share between threads; close it, or use ``with``."""

    def __init__(
        self,
        limits: Limits | None = None,
        credentials: Credentials | None = None,
        *,
        transport: httpx2.BaseTransport | None = None,
        services: Mapping[str, str] | None = None,
        resolver: Resolver = resolve_name,
        clock: Clock | None = None,
    ) -> None:
        """
        Args:
            limits: what a fetch may cost and whom it may ask.
            credentials: where tokens are; without, none is sent.
            transport: instead of the network, such as ``httpx2.MockTransport``; names are not resolved then.
            services: further hosts (``name`` or ``name:port``) and the service whose secret they are given.
            resolver: what a name stands for, if not what the system says.
            clock: time, for tests.
        """
        self.limits = limits or Limits()
        clock = clock or Clock()
        gate = Gate(self.limits, resolver)
        self._transport, self._lock = transport, threading.Lock()
        self._gate = gate
        hosts = Hosts(self.limits, clock)
        authorization = Authorization(credentials, services or {})
        self._exchange = Exchange(self.limits, gate, authorization, hosts, clock, self._wire, AGENT)

    def probe(self, url: str, *, cancel: Cancel | None = None) -> Found:
        """What lies there: asks for the first bytes only, because many servers answer HEAD wrongly.

        Raises:
            FetchError: nothing that can be had.
        """
        headers = {"Range": f"bytes=0-{PEEK - 1}"}

        def look(answer: Answer) -> Found:
            first, total = content_range(answer.headers.get("content-range"))
            if answer.status == 200:
                total = answer.length
            beginning = b""
            for piece in answer.body() if answer.status != 416 else ():
                beginning += piece
                if len(beginning) >= PEEK:
                    break
            kind = kind_of(beginning[:PEEK])
            name = name_from_disposition(answer.headers.get("content-disposition")) or name_from_url(url)
            name = name or name_from_url(answer.address.url) or "download"
            name = name if Path(name).suffix else name + suffix_for(beginning)
            ranges = answer.status == 206 and first == 0
            return Found(shown(url), name, total, kind, ranges, answer.headers.get("etag", ""))

        return self._asked(Asked(url, headers=headers, ok=frozenset({200, 206, 416}), cancel=cancel), look)

    def download(
        self,
        url: str,
        folder: Path | str,
        *,
        name: str | None = None,
        sha256: str | None = None,
        expected: Expected = "any",
        progress: Watch | None = None,
        cancel: Cancel | None = None,
    ) -> Downloaded:
        """Bring a file into a folder; it appears there when it is whole, and never replaces another.

        Args:
            url: where it is.
            folder: where it goes; made when it is not there.
            name: what it shall be called; left out, what the server or the address calls it.
            sha256: what it has to be; with ``name`` too, a file that is here already is not asked for again.
            expected: what its first bytes have to say.
            progress: called a few times a second, and with a note when something is decided.
            cancel: set, or true when called: stops, and keeps what has arrived.

        Raises:
            AddressRefused: the address, or one it leads to, must not be asked.
            FetchError: it cannot be had, or is not what was expected.
            OutOfDisk: there is no room.
            Stopped: ``cancel`` said so.
        """
        if sha256 is not None and (len(sha256) != 64 or not _HASH_LETTERS.issuperset(sha256)):
            raise ConfigError(f"'{sha256}' is not a SHA-256.", "It has 64 letters and digits from 0 to f.")
        wanted = Wanted(url, Path(folder), name, sha256, expected)
        return Download(self._exchange, wanted, progress, cancel).run()

    def json(
        self,
        url: str,
        params: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        cancel: Cancel | None = None,
    ) -> Any:
        """The JSON document that an address answers with.

        Args:
            url: where.
            params: added to the address's query; None values are left out.
            headers: further ones, for that host only.
            cancel: set, or true when called: stops.

        Raises:
            FetchError: a refusal (``status`` says which), or no JSON.
        """
        own = {"Accept": "application/json", **(headers or {})}
        asked = Asked(with_query(url, params or {}), headers=own, cancel=cancel)
        return self._asked(asked, lambda answer: read_json(answer, self.limits.max_answer_bytes))

    def json_pages(
        self, url: str, params: Mapping[str, Any] | None = None, *, cancel: Cancel | None = None
    ) -> Iterator[Any]:
        """The JSON documents of an address that answers page by page, as long as it names a next one (RFC 8288).

        Raises:
            FetchError: a refusal, no JSON, a next page that is on another server or was there before.
        """
        here = with_query(url, params or {})
        origin = self._gate.check(here).origin
        seen: set[str] = set()
        while here:
            seen.add(here)
            asked = Asked(here, headers={"Accept": "application/json"}, cancel=cancel)
            document, following = self._asked(asked, self._page)
            yield document
            here = urljoin(here, following) if following else ""
            if here and (self._gate.check(here).origin != origin or here in seen):
                raise FetchError(
                    f"{self._gate.check(url).place} leads from page to page to nowhere.", "Try again later."
                )

    def _page(self, answer: Answer) -> tuple[Any, str]:
        return read_json(answer, self.limits.max_answer_bytes), next_page(answer.headers.get("link"))

    def text(self, url: str, params: Mapping[str, Any] | None = None, *, cancel: Cancel | None = None) -> str:
        """A small text, such as XML, as UTF-8.

        Raises:
            FetchError: a refusal.
        """
        asked = Asked(with_query(url, params or {}), cancel=cancel)
        return self._asked(asked, lambda answer: read_bytes(answer, self.limits.max_answer_bytes)).decode(
            "utf-8", "replace"
        )

    def post(
        self, url: str, document: Any, *, headers: Mapping[str, str] | None = None, cancel: Cancel | None = None
    ) -> Any:
        """Send a JSON document; the JSON answer. Sent again only when the server says that it took nothing (429, 503).

        Raises:
            FetchError: a refusal, no JSON, or a connection that broke: what became of it is not known then.
        """
        own = {"Accept": "application/json", "Content-Type": "application/json", **(headers or {})}
        content = json.dumps(document, ensure_ascii=False).encode()
        asked = Asked(url, "POST", own, content, frozenset({200, 201, 202}), cancel)
        return self._asked(asked, lambda answer: read_json(answer, self.limits.max_answer_bytes))

    def ask(
        self, url: str, document: Any = None, *, headers: Mapping[str, str] | None = None, cancel: Cancel | None = None
    ) -> Reply:
        """Ask once, and take whatever comes: for servers whose refusals the asker knows better.

        What a server says with ``Retry-After`` holds for the next question to it, up to ``Limits.longest_wait``.

        Args:
            url: where.
            document: sent as JSON; None only asks.
            headers: further ones, for that host only.
            cancel: set, or true when called: stops.

        Raises:
            NoAnswer: it cannot be reached, or fell silent.
            AddressRefused: the address must not be asked.
            FetchError: it leads elsewhere, cannot prove who it is, or sends more than fits.
        """
        own = {"Accept": "application/json", **(headers or {})}
        content = None
        if document is not None:
            own["Content-Type"] = "application/json"
            content = json.dumps(document, ensure_ascii=False).encode()
        asked = Asked(url, "GET" if content is None else "POST", own, content, _ANY, cancel)
        clock = self._exchange.clock
        try:
            with self._exchange.open(replace(asked, end=clock.now() + self.limits.max_seconds)) as answer:
                wait = retry_after(answer.headers.get("retry-after"))
                if answer.status in (429, 503) and wait is not None and wait <= self.limits.longest_wait:
                    self._exchange.hosts.hold_back(answer.address.place, wait)
                body = read_bytes(answer, self.limits.max_answer_bytes)
                return Reply(answer.status, dict(answer.headers), body)
        except Temporary as failure:
            raise NoAnswer(f"{failure.place} gave no answer: {failure.reason}.", "Try again.") from failure

    def deliver(self, url: str, document: Any, *, cancel: Cancel | None = None) -> int:
        """Send a JSON document to an address that only has to take it, whatever it says then; the status.

        Raises:
            FetchError: a refusal, or a connection that broke.
        """
        content = json.dumps(document, ensure_ascii=False).encode()
        taken = frozenset({200, 201, 202, 204})
        asked = Asked(url, "POST", {"Content-Type": "application/json"}, content, taken, cancel)
        return self._asked(asked, lambda answer: answer.status)

    def close(self) -> None:
        """Close all connections."""
        if self._transport is not None:
            self._transport.close()

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _asked(self, asked: Asked, read: Callable[[Answer], T]) -> T:
        """Ask until there is an answer, as long as that is polite."""
        clock = self._exchange.clock
        patience = Patience(self.limits, clock, asked.cancel)
        while True:
            try:
                with self._exchange.open(replace(asked, end=patience.end)) as answer:
                    return read(answer)
            except Temporary as failure:
                if asked.method != "GET" and failure.status not in (429, 503):
                    raise FetchError(
                        f"{failure.place} gave no answer: {failure.reason}.",
                        "Try again; whether it took what was sent is not known.",
                        failure.status,
                    ) from failure
                patience.after(failure)

    def _wire(self) -> httpx2.BaseTransport:
        """The network, opened with the first request."""
        with self._lock:
            if self._transport is None:
                from lorasmith.fetching.transport import PinnedTransport

                self._transport = PinnedTransport(self._gate, per_host=self.limits.per_host)
            return self._transport


def next_page(header: str | None) -> str:
    """The address that a ``Link`` header names as the next page (RFC 8288); empty when it names none."""
    for target, parameters in _LINK.findall(header or ""):
        if _NEXT.search(parameters):
            return str(target)
    return ""


def with_query(url: str, params: Mapping[str, Any]) -> str:
    """The address with parameters added; a None is left out, a list stands several times."""
    given = {key: value for key, value in params.items() if value is not None}
    if not given:
        return url
    address = url.partition("#")[0]
    joint = "&" if urlsplit(address).query else "?"
    return f"{address.rstrip('?&')}{joint}{urlencode(given, doseq=True)}"
