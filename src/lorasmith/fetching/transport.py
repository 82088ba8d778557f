"""The wire: connections that go to the address that was checked, and that can be stopped while they are silent.

Server name and Host header stay those of the link, because only the connection's address is replaced. Proxies of the
environment are not used: behind one, nobody here would know which address is really asked.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpcore2
import httpx2

from lorasmith.fetching.addresses import Gate

Look = Callable[[], None]
"""Called every so often while nothing arrives; ends the wait by raising."""

_SLICE: Final = 0.25  # seconds between two looks
_ERRORS: Final = (
    (httpcore2.ConnectTimeout, httpx2.ConnectTimeout),
    (httpcore2.ConnectError, httpx2.ConnectError),
    (httpcore2.TimeoutException, httpx2.ReadTimeout),
    (httpcore2.NetworkError, httpx2.ReadError),
    (httpcore2.ProtocolError, httpx2.RemoteProtocolError),
    (httpcore2.UnsupportedProtocol, httpx2.UnsupportedProtocol),
)


class _Watched(httpcore2.NetworkStream):
    """A connection whose silence is broken up, so that somebody can be asked whether it is still wanted."""

    def __init__(self, inner: httpcore2.NetworkStream, here: threading.local) -> None:
        self._inner, self._here = inner, here

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            look: Look | None = getattr(self._here, "look", None)
            if look is not None:
                look()
            left = _SLICE if until is None else until - time.monotonic()
            try:
                return self._inner.read(max_bytes, max(0.001, min(left, _SLICE)))
            except httpcore2.ReadTimeout:
                if until is not None and time.monotonic() >= until:
                    raise

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, timeout)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _Watched(self._inner.start_tls(ssl_context, server_hostname, timeout), self._here)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _PinnedBackend(httpcore2.NetworkBackend):
    """Connects to what the gate lets through, and to nothing else."""

    def __init__(self, gate: Gate, here: threading.local) -> None:
        self._gate, self._here, self._inner = gate, here, httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        try:
            addresses = self._gate.resolve(host.strip("[]"), port)
        except (OSError, UnicodeError) as cause:
            raise httpcore2.ConnectError(f"its name is not known here ({cause})") from cause
        last: Exception = httpcore2.ConnectError("it has no address")
        for address in addresses:
            try:
                stream = self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as failed:
                last = failed
            else:
                return _Watched(stream, self._here)
        raise last

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None
    ) -> httpcore2.NetworkStream:
        raise httpcore2.UnsupportedProtocol("sockets of this machine are not asked")


class _Body(httpx2.SyncByteStream):
    """The bytes of an answer as they were sent."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with _translated():
            yield from self._stream

    def close(self) -> None:
        self._stream.close()


class PinnedTransport(httpx2.BaseTransport):
    """Requests over connections that the gate has let through. Safe to share between threads."""

    def __init__(self, gate: Gate, *, ssl_context: ssl.SSLContext | None = None, per_host: int = 4) -> None:
        self._here = threading.local()
        self._backend = _PinnedBackend(gate, self._here)
        self._ssl_context, self._per_host = ssl_context, per_host
        self._lock = threading.Lock()
        self._pools: dict[str, httpcore2.ConnectionPool] = {}

    def _pool(self, scheme: str) -> httpcore2.ConnectionPool:
        """The connections of a scheme; those without encryption need no certificates, which take long to read."""
        with self._lock:
            if scheme not in self._pools:
                secure = self._ssl_context or httpx2.create_ssl_context() if scheme == "https" else None
                self._pools[scheme] = httpcore2.ConnectionPool(
                    ssl_context=secure or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
                    max_connections=None,  # the pacing of hosts counts requests already
                    max_keepalive_connections=4 * self._per_host,
                    keepalive_expiry=15.0,
                    network_backend=self._backend,
                )
            return self._pools[scheme]

    @contextmanager
    def looked_after(self, look: Look | None) -> Iterator[None]:
        """While this is open, waits of this thread call ``look`` a few times a second."""
        before = getattr(self._here, "look", None)
        self._here.look = look
        try:
            yield
        finally:
            self._here.look = before

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        asked = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _translated():
            answer = self._pool(url.scheme).handle_request(asked)
        return httpx2.Response(answer.status, headers=answer.headers, stream=_Body(answer.stream))

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()


@contextmanager
def _translated() -> Iterator[None]:
    """Errors of the lower library as those of the upper one."""
    try:
        yield
    except tuple(lower for lower, _ in _ERRORS) as error:
        upper = next(upper for lower, upper in _ERRORS if isinstance(error, lower))
        raise upper(str(error)) from error
