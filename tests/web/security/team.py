"""A server with accounts, and people before it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fastapi.testclient import TestClient
from PIL import Image

from lorasmith.studio import Studio
from lorasmith.web.app import create_app
from lorasmith.web.sessions import Sessions
from tests.web.conftest import LOOKING, NAME

PASSWORD = "a sentence of some length"
ROLES = {"ann": "admin", "bob": "member", "cyd": "member", "vic": "viewer"}


@dataclass(frozen=True)
class Team:
    """One app; a client per person, signed in with a password, and one of nobody."""

    studio: Studio
    sessions: Sessions
    people: dict[str, TestClient]
    nobody: TestClient

    def __getitem__(self, name: str) -> TestClient:
        return self.people[name]


@lru_cache(maxsize=1)
def _hashed() -> str:
    from pwdlib import PasswordHash

    return PasswordHash.recommended().hash(PASSWORD)


def make_team(home: Path) -> Team:
    """Ann the admin, Bob and Cyd the members, Vic the viewer."""
    studio = Studio(home)
    sessions = Sessions(home)
    for name, role in ROLES.items():
        sessions.accounts.add(name, PASSWORD, role)
    app = create_app(studio, hosts={NAME}, sessions=sessions)
    app.state.looks.patience = LOOKING

    def client() -> TestClient:
        made = TestClient(app, base_url=f"http://{NAME}", raise_server_exceptions=False, follow_redirects=False)
        made.headers.update({"sec-fetch-site": "same-origin", "origin": f"http://{NAME}", "accept": "application/json"})
        return made

    people = {name: client() for name in ROLES}
    for name, one in people.items():
        answer = one.post("/login", data={"name": name, "password": PASSWORD, "next": "/datasets"})
        assert answer.status_code == 303 and answer.headers["location"] == "/datasets", answer.text
    return Team(studio, sessions, people, client())


def pictures(folder: Path, count: int = 3) -> Path:
    """A folder of small pictures with captions."""
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (64 + number, 64), (40 * number, 90, 20)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"{folder.name}, number {number}")
    return folder
