"""The gate every request goes through, before any route: deny by default.

1. **Host.** Only names this server was started under are answered, so a page that has its own name point here (DNS
   rebinding) gets nothing.
2. **Who asks from where.** What changes something has to come from a page of ours: ``Sec-Fetch-Site: same-origin``, or
   an ``Origin`` that is our own. ``null``, missing and foreign ones are refused, whatever the content type. What only
   reads may be followed to from elsewhere as a page (a link), never fetched or embedded.
3. **Session.** A cookie or a program's key; the only paths open without are in ``OPEN``.
4. **Role.** A viewer reads; members and admins change; what only an admin may do asks ``require_admin``.
5. **Size and pace.** A body that is too large, or stops arriving, is not waited for.
6. **Headers** on every answer: a content policy without exceptions, no sniffing, no framing, no referrer.

What was changed is written into the audit log, here, so that no route can forget to.

Programs of this machine (``Authorization: Bearer`` with the key of ``web-key``) come without an origin; browsers cannot
send that header across sites without being allowed to.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lorasmith.web.audit import Audit
from lorasmith.web.people import NOBODY, Actor, acting, changing
from lorasmith.web.sessions import COOKIE, Sessions

OPEN: Final = frozenset({"/enter", "/login", "/health"})
"""Paths that are answered without a session. ``/static/`` is too: it holds nothing of anybody."""
SHOWN: Final = ("/shared/", "/public/")
"""Paths below these are answered to nobody in particular, who sees what a link or its owner lets everybody see."""
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self'; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "object-src 'none'"
)
UPLOADS: Final = ("/api/uploads", "/import", "/models/import")
"""Paths below these take files and have limits of their own."""
LARGEST: Final = 16 * 2**20
PATIENCE: Final = 30.0
_SENTENCES: Final = {408: "The rest of this did not arrive.", 413: "That is too large."}
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

    def __init__(
        self,
        app: ASGIApp,
        *,
        sessions: Sessions,
        hosts: Collection[str],
        audit: Audit | None = None,
        largest: int = LARGEST,
        patience: float = PATIENCE,
        unforeseen: Callable[[Request, Exception], Response] | None = None,
    ) -> None:
        """
        Args:
            app: what lies behind.
            sessions: who may ask.
            hosts: values of the ``Host`` header that are answered, such as ``127.0.0.1:7860``.
            audit: where it is written down who changed what.
            largest: bytes of a body; uploads have limits of their own.
            patience: seconds without a byte of a body that was announced.
            unforeseen: makes the answer when something went wrong that nobody foresaw.
        """
        self._app, self._sessions, self._hosts = app, sessions, frozenset(host.lower() for host in hosts)
        self._audit, self._largest, self._patience = audit, largest, patience
        self._unforeseen = unforeseen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no websockets here
        headers = Headers(scope=scope)
        path = scope["path"]
        status = 0

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                out = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    out.setdefault(name, value)
                if not path.startswith("/static/"):
                    out.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._at_the_door(scope["method"], headers)
        actor = None if refusal else await run_in_threadpool(self._actor, headers)
        refusal = refusal or self._refusal(scope["method"], path, actor) or self._too_large(path, headers)
        if refusal is not None:
            await _refuse(refusal, scope, headers, guarded)
            self._note(scope, headers, actor, status)
            return
        who = actor or NOBODY
        scope.setdefault("state", {})["actor"] = actor
        acting.set(who)
        changing.set(scope["method"] not in _SAFE)
        body = _Body(receive, None if path.startswith(UPLOADS) else self._largest, self._patience)
        try:
            await self._app(scope, body.receive, guarded)
        except _NotWaitedFor as cause:
            if status == 0:
                await _refuse(Refusal(cause.status_code, _SENTENCES[cause.status_code]), scope, headers, guarded)
        except Exception as error:  # the server's boundary; answered here so that the headers are on it too
            if status != 0 or self._unforeseen is None:
                raise
            await self._unforeseen(Request(scope), error)(scope, receive, guarded)
        finally:
            self._note(scope, headers, actor, status)

    def _note(self, scope: Scope, headers: Headers, actor: Actor | None, status: int) -> None:
        if self._audit is None or scope["method"] in _SAFE:
            return
        client = scope.get("client") or ("", 0)
        path, told = str(scope["path"]), scope.get("state", {}).get("signed_in", "")
        who = told or (actor.name if actor else "nobody")
        self._audit.write(who=who, what=scope["method"], target=path, status=status, address=str(client[0]))

    def _actor(self, headers: Headers) -> Actor | None:
        kind, _, key = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self._sessions.program(key.strip())
        return self._sessions.actor(_cookie(headers.get("cookie", "")))

    def _at_the_door(self, method: str, headers: Headers) -> Refusal | None:
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            return Refusal(400, "This server does not answer to that name.")
        if "authorization" not in headers and not self._from_here(method, headers, host):
            return Refusal(403, "This did not come from a page of lorasmith.")
        return None

    def _refusal(self, method: str, path: str, actor: Actor | None) -> Refusal | None:
        if path.startswith(SHOWN) and method in _SAFE:
            return None
        if path in OPEN or path.startswith("/static/"):
            return None
        if actor is None:
            return Refusal(401, "You are not signed in.")
        if method not in _SAFE and actor.role == "viewer":
            return Refusal(403, "You may look here, and change nothing.")
        return None

    def _too_large(self, path: str, headers: Headers) -> Refusal | None:
        length = headers.get("content-length", "0")
        if not path.startswith(UPLOADS) and length.isdecimal() and int(length[:19]) > self._largest:
            return Refusal(413, _SENTENCES[413])
        return None

    def _from_here(self, method: str, headers: Headers, host: str) -> bool:
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if method in _SAFE:
            if site is None or site in ("same-origin", "none"):
                return origin is None or _place(origin) == host
            return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        if origin is not None and _place(origin) != host:
            return False  # "null" has no host either
        return site == "same-origin" if site is not None else origin is not None


class _NotWaitedFor(HTTPException):
    """A body that is too large or does not arrive. Who reads it may answer so; else the gate does."""


class _Body:
    """A body that may not be too large, nor arrive too slowly."""

    def __init__(self, receive: Receive, largest: int | None, patience: float) -> None:
        self._receive, self._largest, self._patience = receive, largest, patience
        self._size, self._whole = 0, False

    async def receive(self) -> Message:
        """The next piece; once it is whole, whatever comes is waited for."""
        if self._whole:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), self._patience)
        except TimeoutError:
            raise _NotWaitedFor(408) from None
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._largest is not None and self._size > self._largest:
                raise _NotWaitedFor(413)
        return message


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
    408: "Send it again, over a better line.",
    413: "Send it in parts, or upload it as a file.",
}


async def _send(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    length = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body})


def _place(origin: str) -> str:
    """Host and port of an origin; empty when it is none, as ``null`` is."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _cookie(header: str) -> str | None:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return None
    return found.value if found else None
