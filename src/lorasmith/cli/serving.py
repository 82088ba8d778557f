"""web: the studio in a browser, on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from lorasmith.cli.session import Session, verb


@verb("web")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), help="Left out: 7860, or the next one that is free.")
@click.option("--name", "names", multiple=True, help="What else browsers call this server; repeatable.")
@click.option("--certificate", type=click.Path(path_type=Path), help="A PEM file; with it the server speaks TLS.")
@click.option("--key", type=click.Path(path_type=Path), help="Its private key.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def web(
    session: Session,
    *,
    host: str,
    port: int | None,
    names: tuple[str, ...],
    certificate: Path | None,
    key: Path | None,
    no_browser: bool,
) -> None:
    """Start the studio and open it in the browser.

    Only this machine can reach it, unless --host says otherwise, which takes accounts: `lorasmith users add`. The
    printed address opens it once in one browser; Ctrl-C ends it, and jobs that run go on. `lorasmith` alone does the
    same.
    """
    start(session, host=host, port=port, browser=not no_browser, names=names, certificate=certificate, key=key)


def start(
    session: Session,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    browser: bool = True,
    names: tuple[str, ...] = (),
    certificate: Path | None = None,
    key: Path | None = None,
) -> None:
    """Serve until Ctrl-C; the address is the answer."""
    from lorasmith.web.serving import is_loopback, serve

    def said(address: str) -> None:
        session.answer({"address": address}, f"The studio is at {address}")
        session.note("Ctrl-C ends it; jobs that run go on.")
        if not is_loopback(host) and certificate is None:
            session.note(
                "Passwords cross the network in the clear: give --certificate, or put a proxy with TLS before it."
            )

    serve(
        session.studio, host=host, port=port, browser=browser, said=said, names=names, certificate=certificate, key=key
    )
