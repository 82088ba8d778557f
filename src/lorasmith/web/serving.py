"""The server: loopback unless told otherwise, an address with a token that works once, and the browser opened on it."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import webbrowser
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from lorasmith.errors import EnvironmentProblem
from lorasmith.studio import Studio

PORT: Final = 7860
_TRIED: Final = 20  # ports after the usual one, when it is taken


def serve(
    studio: Studio,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    browser: bool = True,
    said: Callable[[str], None] = lambda address: None,
    names: Collection[str] = (),
    certificate: Path | None = None,
    key: Path | None = None,
) -> None:
    """Serve until Ctrl-C.

    Args:
        studio: what is served.
        host: the address to listen on; one that others can reach is refused as long as nobody has to sign in.
        port: left out, 7860 or the next free one.
        browser: whether to open the first page.
        said: hears the address of the first page, which holds the token.
        names: what else a browser may call this server, such as ``studio.example.org``.
        certificate: a PEM file; with it the server speaks TLS, and cookies travel over nothing else.
        key: its private key.

    Raises:
        EnvironmentProblem: the extra is missing, the port is taken, or the address is open to others.
    """
    try:
        import uvicorn

        from lorasmith.web.accounts import Accounts
        from lorasmith.web.app import create_app
        from lorasmith.web.sessions import Sessions
        from lorasmith.web.warming import Warming, be_quick
    except ImportError as cause:
        raise EnvironmentProblem(
            f"The web app needs the extra 'web': {cause}.", "Install it with `pip install lorasmith[web]`."
        ) from cause

    refuse_open_address(host, Accounts(studio.home).exist())
    for file in (certificate, key):
        if file is not None and not file.is_file():
            raise EnvironmentProblem(f"There is no file {file}.", "Check the path.")
    with contextlib.closing(_listen(host, port)) as listening:
        number = listening.getsockname()[1]
        sessions = Sessions(studio.home)
        shown = f"[{host}]" if ":" in host else host
        address = f"{'https' if certificate else 'http'}://{shown}:{number}/enter?once={sessions.invite()}"
        app = create_app(studio, hosts=hosts_of(host, number, names), sessions=sessions, whole=False)
        settings = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, proxy_headers=False, lifespan="on",
            ssl_certfile=certificate, ssl_keyfile=key,
            timeout_graceful_shutdown=2,  # streams of events never end by themselves
        )  # fmt: skip
        said(address)
        if browser:
            webbrowser.open(address)
        be_quick()
        warming = Warming(app, studio)
        warming.start()
        try:
            uvicorn.Server(settings).run(sockets=[listening])
        finally:
            warming.stop(wait=False)


def refuse_open_address(host: str, accounts: bool = False) -> None:
    """Refuse an address that others can reach, unless they have to sign in.

    Raises:
        EnvironmentProblem: it is not loopback, and there are no accounts.
    """
    if not is_loopback(host) and not accounts:
        raise EnvironmentProblem(
            f"{host} can be reached by others, and nobody has to sign in yet.",
            "Make an account with `lorasmith users add NAME`, or listen on 127.0.0.1 and reach it through an SSH "
            "tunnel: ssh -L 7860:127.0.0.1:7860 THISMACHINE.",
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def hosts_of(host: str, port: int, names: Collection[str] = ()) -> frozenset[str]:
    """What a browser may call this server.

    Args:
        host: the address it listens on.
        port: its port.
        names: further ones, of DNS or of a proxy before it; as they stand, and with the port.
    """
    called = {"127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host}
    if host in ("0.0.0.0", "::"):  # noqa: S104 - it says which addresses that means
        called |= {socket.gethostname(), *_own_addresses()}
    return frozenset({*(f"{name.lower()}:{port}" for name in {*called, *names}), *(name.lower() for name in names)})


def _own_addresses() -> set[str]:
    import psutil

    found = set()
    for addresses in psutil.net_if_addrs().values():
        for one in addresses:
            if one.family == socket.AF_INET:
                found.add(one.address)
            elif one.family == socket.AF_INET6:
                found.add(f"[{one.address.partition('%')[0]}]")
    return found


def _listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens; the usual port, or the next one that is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    wanted = [port] if port is not None else [*range(PORT, PORT + _TRIED)]
    for number in wanted:
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows lets others bind a port that is taken
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            else:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, number))
            listening.listen(128)
            return listening
        except OSError as cause:
            listening.close()
            if number == wanted[-1]:
                raise EnvironmentProblem(
                    f"Port {number} of {host} cannot be used: {cause.strerror}.", "Choose another one with --port."
                ) from cause
    raise AssertionError("a list of ports is never empty")
