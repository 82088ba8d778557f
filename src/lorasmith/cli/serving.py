"""web: the studio in a browser, on this machine."""

from __future__ import annotations

import click

from lorasmith.cli.session import Session, verb


@verb("web")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), help="Left out: 7860, or the next one that is free.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def web(session: Session, host: str, port: int | None, no_browser: bool) -> None:
    """Start the studio and open it in the browser.

    Only this machine can reach it. The printed address opens it once in one browser; Ctrl-C ends it, and jobs that run
    go on. `lorasmith` alone does the same.
    """
    start(session, host=host, port=port, browser=not no_browser)


def start(session: Session, *, host: str = "127.0.0.1", port: int | None = None, browser: bool = True) -> None:
    """Serve until Ctrl-C; the address is the answer."""
    from lorasmith.web.serving import serve

    def said(address: str) -> None:
        session.answer({"address": address}, f"The studio is at {address}")
        session.note("Ctrl-C ends it; jobs that run go on.")

    serve(session.studio, host=host, port=port, browser=browser, said=said)
