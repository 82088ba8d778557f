"""The gate every request goes through, before any route: deny by default.

1. **Host.** Only names this server was started under are answered, so a page that has its own name point here (DNS
   rebinding) gets nothing.
2. **Who asks from where.** What changes something has to come from a page of ours: ``Sec-Fetch-Site: same-origin``, or
   an ``Origin`` that is our own. ``null``, missing and foreign ones are refused, whatever the content type. What only
   reads may be followed to from elsewhere as a page (a link), never fetched or embedded.
3. **Session.** A cookie or a program's key; the only paths open without are in ``OPEN``.
4. **Role.** A viewer reads; members and admins change; what only an admin may do asks ``require_admin``.
5. **Headers** on every answer: a content policy without exceptions, no sniffing, no framing, no referrer.

Programs of this machine (``Authorization: Bearer`` with the key of ``web-key``) come without an origin; browsers cannot
send that header across sites without being allowed to.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lorasmith.web.sessions import COOKIE, Actor, Sessions

OPEN: Final = frozenset({"/enter", "/login", "/health"})
"""Paths that are answered without a session. ``/static/`` is too: it holds nothing of anybody."""
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'"
)
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


@dataclass(frozen=True)
class Refusal:
    """Why a request is not answered."""

    status: int
    sentence: str


class Gate:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp, *, sessions: Sessions, hosts: Collection[str]) -> None:
        """
        Args:
            app: what lies behind.
            sessions: who may ask.
            hosts: values of the ``Host`` header that are answered, such as ``127.0.0.1:7860``.
        """
        self._app, self._sessions, self._hosts = app, sessions, frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no websockets here
        headers = Headers(scope=scope)
        path = scope["path"]

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    out.setdefault(name, value)
                if not path.startswith("/static/"):
                    out.setdefault("cache-control", "no-store")
            await send(message)

        actor = self._actor(headers)
        refusal = self._refusal(scope["method"], path, headers, actor)
        if refusal is not None:
            await _refuse(refusal, scope, headers, guarded)
            return
        scope.setdefault("state", {})["actor"] = actor
        await self._app(scope, receive, guarded)

    def _actor(self, headers: Headers) -> Actor | None:
        kind, _, key = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self._sessions.program(key.strip())
        return self._sessions.actor(_cookie(headers.get("cookie", "")))

    def _refusal(self, method: str, path: str, headers: Headers, actor: Actor | None) -> Refusal | None:
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            return Refusal(400, "This server does not answer to that name.")
        if "authorization" not in headers and not self._from_here(method, headers, host):
            return Refusal(403, "This did not come from a page of lorasmith.")
        if path in OPEN or path.startswith("/static/"):
            return None
        if actor is None:
            return Refusal(401, "You are not signed in.")
        if method not in _SAFE and actor.role == "viewer":
            return Refusal(403, "You may look here, and change nothing.")
        return None

    def _from_here(self, method: str, headers: Headers, host: str) -> bool:
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if method in _SAFE:
            if site is None or site in ("same-origin", "none"):
                return origin is None or urlsplit(origin).netloc.lower() == host
            return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        if origin is not None and urlsplit(origin).netloc.lower() != host:
            return False  # "null" has no host either
        return site == "same-origin" if site is not None else origin is not None


async def _refuse(refusal: Refusal, scope: Scope, headers: Headers, send: Send) -> None:
    """The refusal as JSON; a browser that wanted a page and has no session is led to the door."""
    wants_page = "text/html" in headers.get("accept", "") and scope["method"] in _SAFE
    if refusal.status == 401 and wants_page and "hx-request" not in headers:
        target = quote(scope["path"])
        await _send(send, 303, b"", [(b"location", f"/login?next={target}".encode())])
        return
    body = json.dumps({"error": refusal.sentence, "hint": _HINTS[refusal.status]}).encode()
    await _send(send, refusal.status, body, [(b"content-type", b"application/json")])


_HINTS: Final = {
    400: "Open the address that `lorasmith` printed when it was started.",
    401: "Open the address that `lorasmith` printed when it was started.",
    403: "Open the page itself and try again there.",
}


async def _send(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    length = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body})


def _cookie(header: str) -> str | None:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return None
    return found.value if found else None
