"""Requests to one server; answers come as values, refusals as errors."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import httpx2
from pydantic import TypeAdapter

from lorasmith import errors
from lorasmith.client.refusals import error_of

if TYPE_CHECKING:
    from lorasmith.queue.records import QueuedJob

One = TypeVar("One")
_PIECE: Final = 1000
_TRIES: Final = 3
ACCEPTED: Final = 202


class Line:
    """Requests to one server; answers as values, refusals as errors."""

    def __init__(self, address: str, key: str, timeout: float, transport: httpx2.BaseTransport | None) -> None:
        self._http = httpx2.Client(
            base_url=address.rstrip("/") + "/api",
            headers={"authorization": f"Bearer {key}", "accept": "application/json"},
            timeout=timeout,
            transport=transport,
            trust_env=False,
        )

    def close(self) -> None:
        self._http.close()

    def ask(
        self, method: str, path: str, body: Any = None, *, patient: bool = False,
        headers: Mapping[str, str] | None = None, **query: Any,
    ) -> httpx2.Response:  # fmt: skip
        """One answer; a broken line is tried again where that does nothing twice.

        Raises:
            LorasmithError: as the server says, or it does not answer.
        """
        sent = dict(headers or {})
        if method == "POST":
            sent["idempotency-key"] = secrets.token_urlsafe(18)
        options: dict[str, Any] = {"headers": sent, "params": {k: v for k, v in query.items() if v not in (None, "")}}
        if body is not None:
            options["json"] = body
        if patient:
            options["timeout"] = None
        for attempt in range(_TRIES):
            try:
                answer = self._http.request(method, path, **options)
                break
            except httpx2.TransportError as cause:
                if attempt + 1 == _TRIES or method in ("PUT", "DELETE"):
                    place = self._http.base_url.host
                    raise errors.NoAnswer(
                        f"{place} does not answer: {cause}.", "Is lorasmith running there?"
                    ) from cause
                time.sleep(0.2 * (attempt + 1))
        if answer.status_code >= 400:
            raise error_of(answer)
        return answer

    def send(self, method: str, path: str, content: bytes, headers: Mapping[str, str]) -> httpx2.Response:
        """Bytes, once.

        Raises:
            LorasmithError: as the server says, or it does not answer.
        """
        try:
            answer = self._http.request(method, path, content=content, headers=dict(headers), timeout=None)
        except httpx2.TransportError as cause:
            place = self._http.base_url.host
            raise errors.NoAnswer(f"{place} does not answer: {cause}.", "Is lorasmith running there?") from cause
        if answer.status_code >= 400:
            raise error_of(answer)
        return answer

    def get(self, kind: Any, path: str, **query: Any) -> Any:
        """A GET whose answer is of that type."""
        return TypeAdapter(kind).validate_json(self.ask("GET", path, **query).content)

    def post(self, kind: Any, path: str, body: Any = None, **options: Any) -> Any:
        """A POST whose answer is of that type."""
        return TypeAdapter(kind).validate_json(
            self.ask("POST", path, body if body is not None else {}, **options).content
        )

    def submit(self, path: str, body: Mapping[str, Any]) -> QueuedJob:
        """A POST that writes a job down."""
        from lorasmith.queue.records import QueuedJob

        return cast(QueuedJob, self.post(QueuedJob, path, body))

    def whole(self, kind: type[One], path: str, **query: Any) -> Iterator[One]:
        """All pieces of a list; while the server measures what is asked for, it is asked again."""
        made, offset = TypeAdapter(list[kind]), 0  # type: ignore[valid-type]
        while True:
            answer = self.ask("GET", path, limit=_PIECE, offset=offset, **query)
            if answer.status_code == ACCEPTED:
                time.sleep(float(answer.headers.get("retry-after", 1)))
                continue
            told = answer.json()
            yield from made.validate_python(told["items"])
            offset += _PIECE
            if offset >= told["total"]:
                return
