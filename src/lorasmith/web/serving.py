"""The server: loopback unless told otherwise, an address with a token that works once, and the browser opened on it."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import webbrowser
from collections.abc import Callable
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
) -> None:
    """Serve until Ctrl-C.

    Args:
        studio: what is served.
        host: the address to listen on; one that others can reach is refused as long as nobody has to sign in.
        port: left out, 7860 or the next free one.
        browser: whether to open the first page.
        said: hears the address of the first page, which holds the token.

    Raises:
        EnvironmentProblem: the extra is missing, the port is taken, or the address is open to others.
    """
    try:
        import uvicorn

        from lorasmith.web.app import create_app
        from lorasmith.web.sessions import Sessions
    except ImportError as cause:
        raise EnvironmentProblem(
            f"The web app needs the extra 'web': {cause}.", "Install it with `pip install lorasmith[web]`."
        ) from cause

    refuse_open_address(host)
    with contextlib.closing(_listen(host, port)) as listening:
        number = listening.getsockname()[1]
        sessions = Sessions(studio.home)
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{number}/enter?token={sessions.invite()}"
        app = create_app(studio, hosts=hosts_of(host, number), sessions=sessions)
        settings = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, proxy_headers=False, lifespan="on",
            timeout_graceful_shutdown=2,  # streams of events never end by themselves
        )  # fmt: skip
        said(address)
        if browser:
            webbrowser.open(address)
        uvicorn.Server(settings).run(sockets=[listening])


def refuse_open_address(host: str) -> None:
    """Refuse an address that others can reach.

    Raises:
        EnvironmentProblem: it is not loopback.
    """
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback:
        raise EnvironmentProblem(
            f"{host} can be reached by others, and nobody has to sign in yet.",
            "Listen on 127.0.0.1 and reach it through an SSH tunnel: ssh -L 7860:127.0.0.1:7860 THISMACHINE.",
        )


def hosts_of(host: str, port: int) -> frozenset[str]:
    """What a browser may call this server."""
    names = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
    return frozenset({*names, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"})


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
