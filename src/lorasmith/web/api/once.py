"""POSTs that can be sent twice: with an ``Idempotency-Key`` the answer is kept and given again.

The key belongs to who asks. The same key with another body is refused, and so is one whose first request is still
being answered, or was when a server died: whether it was carried out is then for the asker to see.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from lorasmith.web.answers import Answers

HEADER: Final = "idempotency-key"
_KEY: Final = re.compile(r"[\x21-\x7e]{1,200}")
_KEPT: Final = ("content-type", "etag", "location", "link")


class OnceRoute(APIRoute):
    """A route of the API; POSTs honour the header."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def once(request: Request) -> Response:
            key = request.headers.get(HEADER)
            if key is None or request.method != "POST":
                return await answer(request)
            if not _KEY.fullmatch(key):
                return _refuse(422, "This Idempotency-Key cannot be used.", "Give 1 to 200 visible ASCII characters.")
            answers: Answers = request.app.state.answers
            actor = request.state.actor.name
            asked = hashlib.sha256(
                b"\0".join((str(request.url.path).encode(), request.url.query.encode(), await request.body()))
            ).hexdigest()
            known = await run_in_threadpool(answers.begin, actor, key, asked)
            if known is not None:
                return known.replay() if known.request == asked else _other()
            try:
                made = await answer(request)
            except BaseException:
                await run_in_threadpool(answers.forget, actor, key)  # it was refused, and may be tried again
                raise
            body = bytes(made.body) if hasattr(made, "body") else None
            if made.status_code >= 300 or body is None:
                await run_in_threadpool(answers.forget, actor, key)
            else:
                headers = {name: made.headers[name] for name in _KEPT if name in made.headers}
                await run_in_threadpool(answers.end, actor, key, made.status_code, headers, body)
            return made

        return once


def _other() -> JSONResponse:
    return _refuse(422, "This Idempotency-Key was used for something else.", "Take a new key for a new request.")


def _refuse(status: int, sentence: str, hint: str) -> JSONResponse:
    return JSONResponse({"error": sentence, "hint": hint, "kind": "ConfigError"}, status)
