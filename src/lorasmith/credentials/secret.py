"""A secret, and how every text is freed of those that this process knows."""

from __future__ import annotations

import base64
import hmac
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NoReturn
from urllib.parse import quote, quote_plus

from lorasmith.errors import ConfigError, InputError

HIDDEN: Final = "***"
ENVIRONMENT: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "civitai": (("CIVITAI_API_TOKEN",), ("CIVITAI_TOKEN",), ("CIVITAI_API_KEY",)),
    "huggingface": (("HF_TOKEN",), ("HUGGING_FACE_HUB_TOKEN",)),
    "gelbooru": (("GELBOORU_USER_ID", "GELBOORU_API_KEY"),),
    "danbooru": (("DANBOORU_LOGIN", "DANBOORU_API_KEY"),),
    "openai:api.openai.com": (("OPENAI_API_KEY",),),
}
"""Variables by service, the first that is set counts; several in one place are joined by ``:``."""
WANTED: Final[Mapping[str, str]] = {
    "civitai": "the API key of civitai.com/user/account",
    "huggingface": "the token of huggingface.co/settings/tokens (read access is enough)",
    "gelbooru": "USER_ID:API_KEY from gelbooru.com, Options (or the line that the page shows)",
    "danbooru": "LOGIN:API_KEY from danbooru.donmai.us, My Account",
}
"""What to give for a service, in words."""
PAIRED: Final = ("gelbooru", "danbooru")
SHORTEST: Final = 8  # characters; anything shorter could not be taken out of texts without damage
# What is a secret whoever issued it; for those that nobody told us about.
_UNMISTAKABLE: Final = re.compile(
    r"(?P<before>\b[Bb]earer[ =:]+|\b[Bb]asic +|\b[Aa]uthorization\W{1,4}(?:[Bb]earer|[Bb]asic)? *"
    r"|[?&](?:token|api_key|apikey|key|access_token|auth|sig|X-Amz-Signature|X-Amz-Credential|X-Amz-Security-Token"
    r"|Signature|Key-Pair-Id|Policy)=)[A-Za-z0-9+/=_.~%-]{8,}"
    r"|\bhf_[A-Za-z0-9]{20,}|\bsk-[A-Za-z0-9_-]{20,}"
)


class Secret:
    """A value that is handed on without being shown."""

    __slots__ = ("_value", "service", "where")

    def __init__(self, value: str, service: str = "", where: str = "") -> None:
        self._value = value
        self.service = service
        self.where = where
        """Where it comes from: ``keyring``, ``file``, or the names of environment variables."""
        _known.add(service, value)

    def reveal(self) -> str:
        """The value, for the request it belongs into and for nothing else."""
        return self._value

    def pair(self) -> tuple[str, str]:
        """Both halves of a secret such as ``login:key``.

        Raises:
            InputError: it has no two halves.
        """
        first, colon, second = self._value.partition(":")
        if not (first and colon and second):
            wanted = WANTED.get(self.service, "two halves with a colon between them")
            raise InputError(
                f"The secret of {self.service} is incomplete.",
                f"Run `lorasmith secrets set {self.service}` and give {wanted}.",
            )
        return first, second

    def __repr__(self) -> str:
        return f"Secret({self.service or 'unnamed'}: {HIDDEN})"

    def __str__(self) -> str:
        return HIDDEN

    def __format__(self, specification: str) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("A secret cannot be written down; read it again where it is needed.")


class _Known:
    """Values that this process has seen, so that they can be taken out of texts.

    The one thing here that outlives its caller: a text is redacted by those who never heard of the secret.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forms: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None
        self._environment: tuple[str, ...] = ()

    def add(self, service: str, value: str) -> None:
        """Remember a value, its halves, and how it looks in addresses, headers and JSON."""
        with self._lock:
            halves = [value] if service not in PAIRED else [value, value.partition(":")[2]]
            for part in halves:
                for form in _forms(part):
                    if len(form) >= SHORTEST and form not in self._forms:
                        self._forms[form] = service
                        self._pattern = None

    def find(self, text: str) -> Iterable[tuple[str, re.Match[str]]]:
        pattern = self._current()
        return ((self._forms[match[0]], match) for match in pattern.finditer(text)) if pattern else ()

    def hide(self, text: str) -> str:
        pattern = self._current()
        return pattern.sub(HIDDEN, text) if pattern else text

    def _current(self) -> re.Pattern[str] | None:
        self._look_around()
        with self._lock:
            if self._pattern is None and self._forms:
                longest_first = sorted(self._forms, key=len, reverse=True)
                self._pattern = re.compile("|".join(map(re.escape, longest_first)))
            return self._pattern

    def _look_around(self) -> None:
        """Secrets of the environment are known without having been asked for."""
        names = {name for choices in ENVIRONMENT.values() for names in choices for name in names}
        values = tuple(os.environ.get(name, "") for name in sorted(names) if not name.endswith(("_ID", "_LOGIN")))
        if values != self._environment:
            self._environment = values
            for value in values:
                self.add("environment", value.strip())


_known: Final = _Known()


def _forms(value: str) -> Iterator[str]:
    yield value
    yield quote(value, safe="")
    yield quote_plus(value)
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield base64.b64encode(value.encode()).decode()


def redact(text: str) -> str:
    """The text without any secret that this process knows, and without what can only be one."""
    text = _known.hide(text)
    if "earer" in text or "asic" in text or "uthorization" in text or "=" in text or "hf_" in text or "sk-" in text:
        return _UNMISTAKABLE.sub(lambda match: f"{match['before'] or ''}{HIDDEN}", text)
    return text


def mentioned(text: str) -> str | None:
    """The service one of whose secrets stands in the text; None when there is none.

    For what must be refused rather than altered: a job's request, a process's arguments.
    """
    return next((service for service, _ in _known.find(text)), None)


def refuse_to_write(text: str, what: str) -> None:
    """Raise when a secret is about to be written down in the open.

    Raises:
        ConfigError: naming the service and what it was about to be written into.
    """
    service = mentioned(text)
    if service is not None:
        raise ConfigError(
            f"{what} would show a secret ({service}).",
            "Leave it out; secrets that are set with `lorasmith secrets set` are found by themselves.",
        )
