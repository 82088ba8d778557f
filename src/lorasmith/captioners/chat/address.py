"""The address of a server as users write it, and where pictures would go."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from lorasmith.errors import AddressRefused, ConfigError
from lorasmith.fetching.addresses import IPAddress, resolve_name, why_closed

_ENDINGS: Final = ("/chat/completions", "/completions", "/models", "/responses")
_PORTS: Final = {"http": 80, "https": 443}
_NEAR: Final = tuple(  # where a server of one's own stands; 100.64.0.0/10 is also what Tailscale gives out
    ipaddress.ip_network(text)
    for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7")
)
_ALLOW: Final = "If it is a server of your own, allow it with --set allow_private=true."


@dataclass(frozen=True)
class ServerAddress:
    """Where the protocol is spoken. ``base`` ends without a slash."""

    base: str
    scheme: str
    host: str
    port: int
    allow_private: bool = False

    @property
    def place(self) -> str:
        """``name``, or ``name:port`` where the port is not the usual one."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == _PORTS[self.scheme] else f"{name}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether this is this machine itself, so that nothing leaves it."""
        literal = _literal(self.host)
        return self.host == "localhost" or (literal is not None and literal.is_loopback)

    def resolve(self, host: str, port: int) -> list[str]:
        """As ``fetching.addresses.Resolver``: ``localhost`` is this machine whatever others make of the name, and
        without encryption nothing goes to the internet.

        Raises:
            AddressRefused: it stands for an address that such a server cannot have.
        """
        if host == "localhost":
            return ["127.0.0.1", "::1"]
        found = resolve_name(host, port)
        for text in found:
            self.refuse_far(ipaddress.ip_address(text.partition("%")[0]))
        return found

    def refuse_far(self, address: IPAddress) -> None:
        """Refuse plain http to the internet, and what is neither the internet nor one's own network.

        Raises:
            AddressRefused: with the next thing to do.
        """
        near = any(address.version == network.version and address in network for network in _NEAR)
        if self.is_local or (near and self.allow_private):
            return
        if near:
            raise AddressRefused(f"{self.place} is in a private network, not on the internet.", _ALLOW)
        why = why_closed(address)
        if why is not None:
            raise AddressRefused(f"{self.place} is {why}, where no model server stands.", "Check the address.")
        if self.scheme == "http":
            raise AddressRefused(
                f"{self.place} would be asked over http, where anybody on the way sees the pictures and the key.",
                "Use its https:// address.",
            )


def read_address(text: str, *, allow_private: bool = False) -> ServerAddress:
    """The server that a text names: with or without ``/v1``, or copied with the path of a request.

    Raises:
        ConfigError: it names none, or holds what does not belong there; the text itself is not repeated.
    """
    if not text.strip():
        raise ConfigError(
            "No server is named.",
            "Name it with --set base_url=http://127.0.0.1:8000/v1, or take one of the names ollama, lm-studio, vllm, "
            "llama-cpp and openai.",
        )
    parts, host, port = _parts(text.strip())
    path = parts.path.rstrip("/")
    for ending in _ENDINGS:
        path = path.removesuffix(ending)
    path = path.rstrip("/") or "/v1"
    name = f"[{host}]" if ":" in host else host
    place = name if port == _PORTS[parts.scheme] else f"{name}:{port}"
    address = ServerAddress(f"{parts.scheme}://{place}{path}", parts.scheme, host, port, allow_private)
    literal = _literal(host)
    if literal is not None and literal.is_unspecified:
        raise ConfigError(
            f"{host} is where a server listens, not where it is asked.", f"Use {parts.scheme}://127.0.0.1:{port}."
        )
    try:
        if literal is not None:
            address.refuse_far(literal)
        elif parts.scheme == "http" and not (address.is_local or allow_private):
            raise AddressRefused(
                f"{place} would be asked over http, where anybody on the way sees the pictures and the key.",
                f"Use its https:// address. {_ALLOW}",
            )
    except AddressRefused as cause:
        raise ConfigError(cause.message, cause.hint) from cause
    return address


def _parts(text: str) -> tuple[SplitResult, str, int]:
    example = "Write it like http://127.0.0.1:8000/v1 or https://api.example.com/v1."
    if "://" not in text:
        near = text.partition("/")[0].rpartition(":")[0] in ("localhost", "127.0.0.1") or text.startswith("localhost")
        text = f"{'http' if near else 'https'}://{text}"
    try:
        parts = urlsplit(text)
        port, host = parts.port, (parts.hostname or "").lower()
    except ValueError as cause:
        raise ConfigError(f"The server's address cannot be read: {cause}.", example) from cause
    if parts.scheme not in _PORTS:
        raise ConfigError(f"A server is asked over https or http, not {parts.scheme}.", example)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(
            "The server's address holds a login or a question mark, as if a key stood in it.",
            f"Leave that out; a key is kept with `lorasmith secrets set openai:{host or 'HOST'}`.",
        )
    if not host or any(sign.isspace() for sign in text):
        raise ConfigError("The server's address names no server.", example)
    return parts, host.removesuffix("."), port if port is not None else _PORTS[parts.scheme]


def _literal(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
