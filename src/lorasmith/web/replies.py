"""Errors as answers: a sentence and the next thing to do, as a page, a part of one, or JSON.

This is the process boundary of the server, so here alone everything is caught; what nobody foresaw is logged with its
cause and shown as a number to look for, never as a trace.
"""

from __future__ import annotations

import logging
import re
import secrets
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from lorasmith.credentials import redact
from lorasmith.errors import ConflictError, ConsentNeeded, FetchError, LorasmithError, UnknownJob
from lorasmith.web.rendering import page, part, wants_part
from lorasmith.web.wording import plainly

_log = logging.getLogger(__name__)
_STATUS: Final = {1: 500, 2: 422, 3: 422, 4: 422, 5: 422, 6: 503, 7: 409, 130: 409}
"""HTTP status by exit code: what was asked cannot be, this machine lacks something, a job stands differently."""
_KINDS: Final = ((ConflictError, 409), (UnknownJob, 404))
"""What its class tells more of than its exit code."""
_SENTENCES: Final = {
    404: ("There is nothing at this address.", "Go back, or start from the workspace."),
    400: ("This cannot be read.", "Send it as it is documented."),
    403: ("Only an admin may do that.", "Ask one of them."),
    408: ("The rest of this did not arrive.", "Send it again, over a better line."),
    405: ("This address cannot do that.", "Go back and try again there."),
    413: ("That is too large.", "Send it in parts, or import it from a folder."),
}


def install(app: FastAPI) -> None:
    """Teach an app to answer errors."""
    app.add_exception_handler(LorasmithError, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, unforeseen)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, LorasmithError)
    status = next((one for kind, one in _KINDS if isinstance(error, kind)), _STATUS.get(error.exit_code, 500))
    if status >= 500:
        _log.warning("%s %s: %s", request.method, request.url.path, redact(str(error)), exc_info=error)
    extra: dict[str, Any] = {"kind": type(error).__name__}
    if isinstance(error, ConsentNeeded):
        extra |= {"notice": error.notice, "title": error.title, "text": error.text}
    if isinstance(error, ConflictError):
        extra["conflicts"] = [
            {"item": one.item, "mine": one.mine and one.mine.caption, "theirs": one.theirs and one.theirs.caption}
            for one in error.conflicts
        ]
    if isinstance(error, FetchError):
        extra["status"] = error.status
    return _answer(request, status, str(error.args[0]), error.hint, extra)


def _malformed(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    sentence = f"{place or 'What was sent'}: {first['msg']!s}."
    return _answer(request, 422, sentence, "Correct it and send it again.", {"kind": "ConfigError"})


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence, hint = _SENTENCES.get(error.status_code, (str(error.detail), "Go back and try again."))
    answer = _answer(request, error.status_code, sentence, hint, {"kind": "HTTP"})
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


def unforeseen(request: Request, error: Exception) -> Response:
    """An error that nobody foresaw, as an answer that only names where the log has it."""
    number = secrets.token_hex(4)
    _log.error("%s %s failed (%s)", request.method, request.url.path, number, exc_info=error)
    sentence = "Something went wrong that nobody foresaw."
    return _answer(request, 500, sentence, f"The server's log has it under {number}.", {"kind": "Unforeseen"})


_PLACE: Final = re.compile(r"(?<![\w:/.<])(?:[A-Za-z]:[\\/]|/)(?:[^\s'\"\\/:;,)]+[\\/])+([^\s'\"\\/:;,)]*)")


def _without_places(request: Request, text: str) -> str:
    """Where files lie on this machine is for its owner: others read the last name of a path."""
    actor = getattr(request.state, "actor", None)
    if actor is not None and actor.role == "admin":
        return text
    home = str(request.app.state.studio.home)
    return _PLACE.sub(lambda found: found[1] or "the server's disk", text.replace(home, "the home"))


def _answer(request: Request, status: int, sentence: str, hint: str, extra: dict[str, Any]) -> Response:
    sentence, hint = _without_places(request, redact(sentence)), _without_places(request, redact(hint))
    program = request.url.path.startswith("/api/")
    if program and "sec-fetch-site" in request.headers:  # a page of ours asks, and shows it to somebody who is no shell
        sentence, hint = plainly(sentence), plainly(hint)
    if program or "text/html" not in request.headers.get("accept", "*/*").replace("*/*", "text/html"):
        return JSONResponse({"error": sentence, "hint": hint, **extra}, status)
    if wants_part(request):
        return part(request, "parts/refusal.html", status, sentence=sentence, hint=hint)
    return page(
        request, "refusal.html", status, title="That did not work", area="", sentence=sentence, hint=hint,
        came_from=_came_from(request),
    )  # fmt: skip


def _came_from(request: Request) -> str:
    """The page of this app whose form or link led here; empty where the browser does not say or means this very one."""
    try:
        there = urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return ""
    if there.netloc != request.url.netloc or not there.path.startswith("/") or there.path.startswith(("//", "/enter")):
        return ""
    address = there.path + (f"?{there.query}" if there.query else "")
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return "" if request.method == "GET" and address == here else address
