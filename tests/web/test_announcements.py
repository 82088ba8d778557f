"""People are told once of what ended for good: by a real server that takes webhooks, with the key kept secret."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from lorasmith.errors import ConfigError, LorasmithError
from lorasmith.queue.records import QueuedJob
from lorasmith.studio import Studio
from lorasmith.web import announcing
from lorasmith.web.announcing import Announcer, Wishes, choose, show_on_desktop, wishes_of
from tests.web.conftest import Door


@pytest.fixture
def taker() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that takes webhooks and answers as chat services do, with plain text."""
    heard: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204 if self.path.startswith("/hook") else 404)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook/secret-key", heard
    server.shutdown()
    server.server_close()
    thread.join(5)


def ended(studio: Studio, state: str) -> QueuedJob:
    """A job that has ended so."""
    from lorasmith.queue import records

    row = studio.queue.submit("certify", {"adapter": "a", "base": "sandbox"})
    with studio.queue.database.write() as connection:
        row = records.transition(connection, row, "starting")
        return records.transition(connection, row, state, reason="It went wrong." if state == "failed" else "")


def test_a_webhook_is_told_once(door: Door, taker: tuple[str, list[dict[str, Any]]]) -> None:
    address, heard = taker
    choose(door.studio.home, Wishes(address, own_network=True))
    announcer = Announcer(door.studio)
    assert announcer.look() == 0  # from now on, and not what is long past
    good, bad = ended(door.studio, "succeeded"), ended(door.studio, "failed")
    again = ended(door.studio, "failed")
    door.studio.queue.retry(again.id)  # not over yet
    assert Announcer(door.studio).look() == 2  # another server, after a restart
    assert announcer.look() == 0
    assert [(one["job"], one["state"]) for one in heard] == [(good.id, "succeeded"), (bad.id, "failed")]
    assert "It went wrong." in heard[1]["text"] and heard[1]["content"] == heard[1]["text"]


def test_a_webhook_goes_to_no_private_address_unasked(door: Door, taker: tuple[str, list[dict[str, Any]]]) -> None:
    address, heard = taker
    with pytest.raises(ConfigError, match="https"):
        choose(door.studio.home, Wishes(address))
    with pytest.raises(LorasmithError):
        announcing._post(address.replace("http://", "https://"), {}, False)
    assert heard == []
    with pytest.raises(LorasmithError, match="404"):
        announcing._post(address.replace("/hook", "/gone"), {}, True)


def test_the_address_is_kept_secret(door: Door, taker: tuple[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    address, heard = taker
    form = {"address": address, "own_network": "on"}
    assert door.client.post("/settings/announcements", data=form).status_code == 303
    assert wishes_of(door.studio.home) == Wishes(address, True, False)
    assert "secret-key" not in door.client.get("/settings/announcements").text
    assert "secret-key" not in (door.studio.home / "announcements.json").read_text()
    assert door.client.post("/settings/announcements/try").status_code == 303 and heard[0]["event"] == "test"
    door.client.post("/settings/announcements", data={"own_network": "on", "desktop": "on"})
    assert wishes_of(door.studio.home) == Wishes(address, True, True)  # an empty field leaves it
    door.client.post("/settings/announcements", data={"forget": "on"})
    assert wishes_of(door.studio.home) == Wishes()
    assert door.client.post("/settings/announcements/try").status_code == 422
    for bad in ("ftp://x", "javascript:alert(1)", "nothing"):
        assert door.client.post("/settings/announcements", data={"address": bad}).status_code == 422


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="a script in place of notify-send")
def test_the_desktop_gets_text_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not show_on_desktop("a", "b")
    program = tmp_path / "notify-send"
    program.write_text(f'#!/bin/sh\nfor a in "$@"; do echo "$a" >> "{tmp_path}/said"; done\n')
    program.chmod(0o755)
    assert show_on_desktop("--help; $(touch x)", "b\n")
    assert (tmp_path / "said").read_text().splitlines()[:3] == ["--app-name=lorasmith", "--", "--help; $(touch x)"]
