"""The app in a thread on a free port, and a real browser before it.

Browser tests need playwright and a Chromium (``chromium`` of the system, or ``LORASMITH_CHROMIUM``). Without them they
are skipped and say so; with ``LORASMITH_REQUIRE_BROWSER=1``, as in CI, they fail instead.
"""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient

from lorasmith.studio import Studio
from lorasmith.web.app import create_app
from lorasmith.web.serving import hosts_of
from lorasmith.web.sessions import Sessions

NAME = "127.0.0.1:7860"
LOOKING = 60.0  # seconds that a page waits for its look: whole at once, and not as quick as the machine happens to be
PATIENCE = 90_000  # ms for what has to come; a machine that has much to do is no failure


@dataclass(frozen=True)
class Door:
    """A client that has come in, and what is behind."""

    client: TestClient
    studio: Studio
    sessions: Sessions


def client_of(studio: Studio, sessions: Sessions, *, signed_in: bool = True) -> TestClient:
    """A client as a browser on our own page is one."""
    app = create_app(studio, hosts={NAME}, sessions=sessions)
    app.state.looks.patience = LOOKING
    client = TestClient(app, base_url=f"http://{NAME}", raise_server_exceptions=False, follow_redirects=False)
    client.headers.update({"sec-fetch-site": "same-origin", "origin": f"http://{NAME}", "accept": "text/html"})
    if signed_in:
        assert client.get("/enter", params={"once": sessions.invite()}).status_code == 303
    return client


@pytest.fixture
def door(tmp_path: Path) -> Door:
    studio = Studio(tmp_path / "home")
    sessions = Sessions(studio.home)
    return Door(client_of(studio, sessions), studio, sessions)


@dataclass(frozen=True)
class Server:
    """A server that listens."""

    address: str
    studio: Studio
    sessions: Sessions

    def way_in(self) -> str:
        """An address that opens it once."""
        return f"{self.address}/enter?once={self.sessions.invite()}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    studio = Studio(tmp_path / "home")
    sessions = Sessions(studio.home)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        app = create_app(studio, hosts=hosts_of("127.0.0.1", port), sessions=sessions)
        running = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield Server(f"http://127.0.0.1:{port}", studio, sessions)
        finally:
            running.should_exit = True
            thread.join(20)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser for all tests of the session."""
    required = os.environ.get("LORASMITH_REQUIRE_BROWSER") == "1"
    program = os.environ.get("LORASMITH_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sync_playwright = None  # type: ignore[assignment]
    if sync_playwright is None or program is None:
        missing = (
            "playwright (pip install playwright)" if sync_playwright is None else "a Chromium (apt install chromium)"
        )
        (pytest.fail if required else pytest.skip)(f"The browser tests need {missing}.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def patient_context(chromium: Any, **options: Any) -> Any:
    """A context of the browser that waits as long as a machine under load may need."""
    context = chromium.new_context(**options)
    context.set_default_timeout(PATIENCE)
    return context


def expect(place: Any) -> Any:
    """What is asked of a part of a page until it holds: what a script, a swap or another page brings comes later."""
    from playwright.sync_api import expect as ask

    ask.set_options(timeout=PATIENCE)
    return ask(place)


@pytest.fixture
def browser_page(chromium: Any, server: Server) -> Iterator[Any]:
    """A page that has come in; an error in its console, or a breach of the content policy, fails the test."""
    context = patient_context(chromium)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(server.way_in())
    yield page
    context.close()
    assert said == []
