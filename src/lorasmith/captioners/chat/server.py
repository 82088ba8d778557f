"""One server: requests with its key, within a budget, repeated where that helps."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from lorasmith.captioners import Answer, Failure
from lorasmith.captioners.chat.address import ServerAddress
from lorasmith.captioners.chat.reading import read_completion
from lorasmith.captioners.chat.trouble import Asked, Trouble, explain, no_json
from lorasmith.credentials import Credentials
from lorasmith.errors import EnvironmentProblem, FetchError, NoAnswer
from lorasmith.fetching import Clock, Fetcher, Limits, Reply

_FIRST_WAIT: Final = 1.0  # seconds; doubled with every failure
_LAST_WAIT: Final = 60.0
_IN_A_ROW: Final = 5  # pictures that a server may fail on, one after the other, before it is the server's fault
_OWN: Final = "Is the server running? Check base_url and start it; what was answered is kept."
_HOSTED: Final = "Check base_url and the internet connection, then run it again; what was answered is kept."


@dataclass(frozen=True)
class Manners:
    """How a server is asked."""

    timeout: float
    """Seconds for one answer."""
    retries: int
    concurrency: int
    budget: int | None
    longest_wait: float


class Server:
    """Asks. Safe to share between threads."""

    def __init__(
        self, address: ServerAddress, manners: Manners, credentials: Credentials | None, clock: Clock | None = None
    ) -> None:
        self._address, self._manners, self._clock = address, manners, clock or Clock()
        self.model = ""
        origin = f"{address.host}:{address.port}"
        names = (f"openai:{address.place}", f"openai:{address.host}")
        self._service = next((n for n in names if credentials is not None and credentials.get(n)), names[0])
        self._with_key = credentials is not None and credentials.get(self._service) is not None
        limits = Limits(
            connect_seconds=min(20.0, manners.timeout),
            answer_seconds=manners.timeout,
            silence_seconds=manners.timeout,
            max_seconds=2 * manners.timeout,
            longest_wait=manners.longest_wait,
            per_host=manners.concurrency,
            allow_loopback=address.is_local,
            allow_hosts=frozenset({origin}) if address.allow_private and not address.is_local else frozenset(),
        )
        self._fetcher = Fetcher(
            limits, credentials, services={origin: self._service}, resolver=address.resolve, clock=self._clock
        )
        self._lock = threading.Lock()
        self._asked = 0
        self._row = 0
        self._silent = _OWN if address.is_local or address.allow_private else _HOSTED

    @property
    def requests(self) -> int:
        """How many were made about pictures."""
        return self._asked

    def models(self) -> list[str]:
        """The models there are.

        Raises:
            EnvironmentProblem: the server cannot be reached, or refuses the key.
        """
        return self._listed() or []

    def choose_model(self, wanted: str) -> str:
        """The model to ask: the one that is wanted, else the only one there is.

        Raises:
            EnvironmentProblem: the server cannot be reached, refuses the key, or has several models, or none.
        """
        known = self._listed()
        if wanted:
            self.model = wanted  # servers know models by more names than they list, so the list proves nothing
        elif known is None:
            raise EnvironmentProblem(
                f"{self._address.place} does not say which models it has.", "Name one with --set model=NAME."
            )
        elif len(known) == 1:
            self.model = known[0]
        elif known:
            raise EnvironmentProblem(
                f"{self._address.place} has several models: {', '.join(known[:20])}.",
                f"Name the one to ask: --set model={known[0]}",
            )
        else:
            raise EnvironmentProblem(
                f"{self._address.place} has no model.", "Load one there (Ollama: `ollama pull NAME`), then try again."
            )
        return self.model

    def complete(self, document: Mapping[str, Any], max_tokens: int | None, pictures: int = 1) -> Answer | Failure:
        """The answer to one request, asked again where that may help.

        Args:
            document: the request.
            max_tokens: what an answer is allowed, for the sentence.
            pictures: how many it holds, for the sentence.

        Raises:
            EnvironmentProblem: no picture will get an answer as things are.
        """
        failures = 0
        while True:
            if not self._spend():
                return Failure(
                    f"Not asked: the budget of {self._manners.budget} requests is used up. Run the same command again "
                    "for the rest; what was answered is kept."
                )
            said = self._once(document, max_tokens, pictures)
            if isinstance(said, Answer):
                self._row = 0
                return said
            if isinstance(said, Failure):
                return said
            if said.reach == "later" and failures < self._manners.retries:
                self._refuse_long_wait(said)
                wait = min(_LAST_WAIT, _FIRST_WAIT * 2.0**failures) * (0.5 + 0.5 * self._clock.chance())
                self._clock.sleep(wait if said.wait is None else max(wait, said.wait))
                failures += 1
                continue
            return self._final(said)

    def close(self) -> None:
        """Close all connections."""
        self._fetcher.close()

    # Inside

    def _once(self, document: Mapping[str, Any], max_tokens: int | None, pictures: int) -> Answer | Failure | Trouble:
        asked = Asked(
            self._address.place,
            self._address.base,
            self.model,
            self._service,
            self._with_key,
            self._models_or_none,
            pictures,
        )
        try:
            reply = self._fetcher.ask(f"{self._address.base}/chat/completions", document)
        except NoAnswer as cause:
            return Trouble("later", cause.message, self._silent, suspicious=True)
        except FetchError as cause:
            return Trouble("run", cause.message, cause.hint)
        if reply.status != 200:
            return explain(reply, asked)
        content = _json(reply)
        if content is None:
            return no_json(asked, reply)
        read = read_completion(content, max_tokens)
        if read is not None:
            return read
        return explain(reply, asked) if content.get("error") else no_json(asked, reply)

    def _final(self, said: Trouble) -> Failure:
        with self._lock:
            self._row += said.suspicious
            row = self._row
        if (
            said.reach == "run"
            or (said.suspicious and row >= _IN_A_ROW)
            or (said.hint == self._silent and self._is_gone())
        ):
            raise EnvironmentProblem(said.message, said.hint)
        return Failure(said.sentence)

    def _refuse_long_wait(self, said: Trouble) -> None:
        if said.wait is not None and said.wait > self._manners.longest_wait:
            until = datetime.now().astimezone() + timedelta(seconds=said.wait)
            raise EnvironmentProblem(
                f"{said.message} It wants to be left alone for {said.wait:.0f} seconds.",
                f"Run the same command after {until:%H:%M on %d %B}; what was answered is kept.",
            )

    def _is_gone(self) -> bool:
        try:
            self._fetcher.ask(f"{self._address.base}/models")
        except FetchError:
            return True
        return False

    def _models_or_none(self) -> list[str]:
        try:
            return self._listed() or []
        except EnvironmentProblem:
            return []

    def _listed(self) -> list[str] | None:
        """The models; None when the server does not tell."""
        try:
            reply = self._fetcher.ask(f"{self._address.base}/models")
        except NoAnswer as cause:
            raise EnvironmentProblem(cause.message, self._silent) from cause
        except FetchError as cause:
            raise EnvironmentProblem(cause.message, cause.hint) from cause
        if reply.status == 401:
            asked = Asked(self._address.place, self._address.base, self.model, self._service, self._with_key)
            said = explain(reply, asked)
            raise EnvironmentProblem(said.message, said.hint)
        content = _json(reply) if reply.status == 200 else None
        entries = content.get("data") if content is not None else None
        if not isinstance(entries, list):
            return None
        return [str(entry["id"]) for entry in entries if isinstance(entry, Mapping) and entry.get("id")]

    def _spend(self) -> bool:
        with self._lock:
            if self._manners.budget is not None and self._asked >= self._manners.budget:
                return False
            self._asked += 1
            return True


def _json(reply: Reply) -> dict[str, Any] | None:
    try:
        content = json.loads(reply.body)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
