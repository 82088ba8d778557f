"""Which addresses may be asked: the guard that keeps a link from reaching into the user's own network.

A link comes from anywhere, a redirect from whoever answers it. The text of an address is checked before every request
(``Gate.check``); what its name stands for is checked where the connection is made (``Gate.resolve``), and the
connection goes to the very address that was checked, so that a name cannot mean one thing now and another later.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from lorasmith.errors import AddressRefused
from lorasmith.fetching.limits import Limits

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], list[str]]
"""A name and a port to the numeric addresses it stands for; raises ``OSError`` when there are none."""

_PORTS: Final = {"https": 443, "http": 80}
_STRANGE: Final = re.compile(r"[\x00-\x1f\x7f\\]")
_NAME: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_NUMBER: Final = re.compile(r"(0x[0-9a-f]*|[0-9]+)")

# RFC 6890 and the registries of IANA: networks in which an answer comes from somewhere close, or from nowhere.
_CLOSED: Final = tuple(
    (ipaddress.ip_network(network), why)
    for network, why in (
        ("0.0.0.0/8", "this machine"),
        ("10.0.0.0/8", "a private network"),
        ("100.64.0.0/10", "the network of a provider"),
        ("127.0.0.0/8", "this machine"),
        ("169.254.0.0/16", "a link-local address, where clouds keep their secrets"),
        ("172.16.0.0/12", "a private network"),
        ("192.0.0.0/24", "a reserved network"),
        ("192.0.2.0/24", "a network of examples"),
        ("192.31.196.0/24", "a reserved network"),
        ("192.52.193.0/24", "a reserved network"),
        ("192.88.99.0/24", "a reserved network"),
        ("192.168.0.0/16", "a private network"),
        ("192.175.48.0/24", "a reserved network"),
        ("198.18.0.0/15", "a network of measurements"),
        ("198.51.100.0/24", "a network of examples"),
        ("203.0.113.0/24", "a network of examples"),
        ("224.0.0.0/4", "a multicast address"),
        ("240.0.0.0/4", "a reserved network"),
        ("::/128", "this machine"),
        ("::1/128", "this machine"),
        ("::ffff:0:0/96", "an IPv4 address in disguise"),
        ("::/96", "an IPv4 address in disguise"),
        ("64:ff9b::/96", "an IPv4 address in disguise"),
        ("64:ff9b:1::/48", "an IPv4 address in disguise"),
        ("2001::/23", "a reserved network"),
        ("2001:db8::/32", "a network of examples"),
        ("2002::/16", "an IPv4 address in disguise"),
        ("2620:4f:8000::/48", "a reserved network"),
        ("3fff::/20", "a network of examples"),
        ("fc00::/7", "a private network"),
        ("fe80::/10", "a link-local address"),
        ("ff00::/8", "a multicast address"),
    )
)
_GLOBAL_V6: Final = ipaddress.ip_network("2000::/3")  # all that has been given out for the public internet
_LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


@dataclass(frozen=True)
class Address:
    """An address whose text has been checked. ``host`` is lower-case ASCII, without brackets or a last dot."""

    url: str
    scheme: str
    host: str
    port: int

    @property
    def origin(self) -> tuple[str, str, int]:
        """What a browser calls the same origin; secrets never leave it."""
        return self.scheme, self.host, self.port

    @property
    def place(self) -> str:
        """``name``, or ``name:port`` where the port is not the usual one; for sentences."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == _PORTS[self.scheme] else f"{name}:{self.port}"


def why_closed(address: IPAddress) -> str | None:
    """What an address is that must not be asked; None when it is one of the public internet."""
    for network, why in _CLOSED:
        if address.version == network.version and address in network:
            return why
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_V6:
        return "a reserved network"
    return None


def resolve_name(host: str, port: int) -> list[str]:
    """What the system knows of a name."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True)
class Gate:
    """Says which addresses may be asked."""

    limits: Limits
    resolver: Resolver = resolve_name

    def check(self, url: str, *, after: Address | None = None) -> Address:
        """The address that a text stands for, when it may be asked.

        Args:
            url: absolute.
            after: the address that redirected here; from https nothing leads back to http.

        Raises:
            AddressRefused: with the reason.
        """
        parts, host, port = _taken_apart(url)
        address = Address(_rebuilt(parts, host, port), parts.scheme, host, port)
        own = self._own(host, port)
        literal = _literal(host)
        loopback = self.limits.allow_loopback and (_is_loopback_name(host) or _within(literal, _LOOPBACK))
        if after is not None and after.scheme == "https" and parts.scheme != "https":
            raise AddressRefused(
                f"{after.place} leads on to {address.place} without encryption.",
                "That is refused; look for another link to the same file.",
            )
        if parts.scheme == "http" and not (self.limits.allow_http or own or loopback):
            raise AddressRefused(
                f"The address at {address.place} begins with http://, which anybody on the way can change.",
                "Use the https:// address; most servers have one.",
            )
        if port not in _PORTS.values() and port < 1024 and not own:
            raise AddressRefused(
                f"Port {port} of {host} is not one that serves files.", "Check the number behind the colon."
            )
        if literal is not None:
            self._admit(host, port, literal)
        return address

    def resolve(self, host: str, port: int) -> list[str]:
        """Numeric addresses to connect to, all of which may be asked.

        Raises:
            AddressRefused: one of them may not: a name that stands for several is only as good as the worst.
            OSError: the name stands for nothing.
        """
        literal = _literal(host)
        found = [str(literal)] if literal is not None else self.resolver(host, port)
        for text in found:
            self._admit(host, port, ipaddress.ip_address(text.partition("%")[0]))
        if not found:
            raise OSError(f"{host} has no address")
        return found

    def _admit(self, host: str, port: int, address: IPAddress) -> None:
        why = why_closed(address)
        if why is None or self._own(host, port):
            return
        if self.limits.allow_loopback and _within(address, _LOOPBACK):
            return
        named = "" if host == str(address) else f" stands for {address}, which"
        raise AddressRefused(
            f"{host}{named} is {why}, not a server of the internet.",
            "Check the link. A server of your own has to be allowed by name (allow_hosts).",
        )

    def _own(self, host: str, port: int) -> bool:
        return host in self.limits.allow_hosts or f"{host}:{port}" in self.limits.allow_hosts


def _taken_apart(url: str) -> tuple[SplitResult, str, int]:
    """Scheme, host and port of an absolute address; refuses what two programs could read differently."""
    if _STRANGE.search(url):
        raise AddressRefused("The address holds a backslash or a control character.", "Copy the link again.")
    try:
        parts = urlsplit(url.strip())
        port = parts.port
        host = parts.hostname or ""
    except ValueError as cause:
        raise AddressRefused(f"The address cannot be read: {cause}.", "Copy the link again.") from cause
    if parts.scheme not in _PORTS:
        kind = f"begins with {parts.scheme}:" if parts.scheme else "does not begin with https://"
        raise AddressRefused(f"The address {kind}, which is nothing to download from.", "Use an https:// address.")
    if "@" in parts.netloc:
        raise AddressRefused(
            "The address holds a user name or password before an @, which hides where it really leads.",
            "Take out what stands between // and @; secrets are kept with `lorasmith secrets set`.",
        )
    return parts, _plain_host(host), port if port is not None else _PORTS[parts.scheme]


def _rebuilt(parts: SplitResult, host: str, port: int) -> str:
    """The address from its checked pieces: what is asked is what was read here, whatever another parser makes of it."""
    name = f"[{host}]" if ":" in host else host
    place = name if port == _PORTS[parts.scheme] else f"{name}:{port}"
    path = quote(parts.path, safe="/%:@!$&'()*+,;=~") or "/"
    return urlunsplit((parts.scheme, place, path, quote(parts.query, safe="/?%:@!$&'()*+,;=~[]"), ""))


def _plain_host(host: str) -> str:
    """A host in lower-case ASCII; refuses every notation that is read in more than one way."""
    if ":" in host:  # urlsplit lets a colon into a host only between brackets
        if "%" in host:
            raise AddressRefused("The address names a network card (%).", "Use a server's name.")
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError as cause:
            raise AddressRefused(f"[{host}] is not an address.", "Copy the link again.") from cause
    plain = host.lower()
    if not plain.isascii():
        plain = _ascii_of(plain)
    plain = plain[:-1] if plain.endswith(".") else plain
    if not _NAME.fullmatch(plain) or len(plain) > 253:
        raise AddressRefused(f"'{host}' is not a server's name.", "Copy the link again.")
    if _NUMBER.fullmatch(plain.rpartition(".")[2]):  # such a name is a number to one program and a name to another
        try:
            return str(ipaddress.IPv4Address(plain))
        except ValueError as cause:
            raise AddressRefused(
                f"'{host}' is a number in disguise, not a server's name.", "Use the name of the server."
            ) from cause
    return plain


def _ascii_of(host: str) -> str:
    """An international name as it is asked for. One that turns into plain letters was never meant to be read."""
    import idna

    try:
        plain = idna.encode(host, uts46=True, std3_rules=True).decode("ascii").lower()
    except idna.IDNAError as cause:
        raise AddressRefused(f"'{host}' is not a server's name.", "Copy the link again.") from cause
    if "xn--" not in plain:
        raise AddressRefused(
            f"'{host}' is '{plain}' written in look-alike characters.", "Type the address instead of copying it."
        )
    return plain


def _literal(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _within(address: IPAddress | None, networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]) -> bool:
    return address is not None and any(address.version == n.version and address in n for n in networks)


def _is_loopback_name(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")
