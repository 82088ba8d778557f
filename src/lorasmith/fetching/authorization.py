"""Which secret goes to which host, and in what form."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlencode, urlsplit, urlunsplit

from lorasmith.credentials import Credentials
from lorasmith.fetching.addresses import Address

Form = Literal["bearer", "basic", "query"]

_HOSTS: Final[Mapping[str, str]] = {
    "huggingface.co": "huggingface",
    "hf.co": "huggingface",
    "civitai.com": "civitai",
    "civitai.red": "civitai",
    "civitai.green": "civitai",
    "gelbooru.com": "gelbooru",
    "danbooru.donmai.us": "danbooru",
}
_FORMS: Final[Mapping[str, Form]] = {"danbooru": "basic", "gelbooru": "query"}


@dataclass(frozen=True)
class Ticket:
    """What a request takes along to one origin: the address to ask, and headers."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    service: str = ""
    """Whose secret it holds; empty without one."""

    def __repr__(self) -> str:  # the headers and the address hold the secret
        return f"Ticket({self.service or 'without secret'})"


@dataclass(frozen=True)
class Authorization:
    """Looks up the secret of a host. Subdomains are other hosts: a file server has no business with a token."""

    credentials: Credentials | None
    services: Mapping[str, str] = field(default_factory=dict)
    """Further hosts, ``name`` or ``name:port``, and their services."""

    def service_of(self, address: Address) -> str:
        """The service that a host belongs to; empty when nobody here knows it."""
        for name in (f"{address.host}:{address.port}", address.host, address.host.removeprefix("www.")):
            if name in self.services:
                return self.services[name]
        plain = address.host.removeprefix("www.")
        return _HOSTS.get(plain, "") if (address.scheme, address.port) == ("https", 443) else ""

    def ticket(self, address: Address) -> Ticket:
        """The request's secret, when there is one for this host.

        Raises:
            InputError: a secret of two halves has only one.
            EnvironmentProblem: the place where it lies cannot be read.
        """
        service = self.service_of(address)
        secret = self.credentials.get(service) if service and self.credentials is not None else None
        if secret is None:
            return Ticket(address.url)
        form = _FORMS.get(service, "bearer")
        if form == "query":
            user, key = secret.pair()
            return Ticket(_with_parameters(address.url, {"api_key": key, "user_id": user}), {}, service)
        if form == "basic":
            secret.pair()
            packed = base64.b64encode(secret.reveal().encode()).decode()
            return Ticket(address.url, {"Authorization": f"Basic {packed}"}, service)
        return Ticket(address.url, {"Authorization": f"Bearer {secret.reveal()}"}, service)


def _with_parameters(url: str, parameters: Mapping[str, str]) -> str:
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, urlencode(parameters))))
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
