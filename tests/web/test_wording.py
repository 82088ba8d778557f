"""What the web app says in place of commands: every command that an error or a hint names has its page or button."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import lorasmith
from lorasmith.cli.app import cli
from lorasmith.errors import UnknownJob
from lorasmith.web.wording import TERMINAL, WAYS, guided, plainly, way_of
from tests.web.conftest import Door
from tests.web.test_api_parity import commands
from tests.web.test_runs import PAYLOAD

ROOT = Path(lorasmith.__file__).parent
NO_FACE = ("cli", "client", "demo", "pages.py", "notebook", "bases/families_page.py", "datasets/checks/table.py",
           "web/api/reference.py")  # fmt: skip
"""What nobody reads on a page: the command line's own, generated documents, other faces."""


def texts() -> Iterator[tuple[str, str]]:
    """Every text of the package that is no docstring, with its file; values in f-strings are X."""
    for path in ROOT.rglob("*.py"):
        where = path.relative_to(ROOT).as_posix()
        if where.startswith(NO_FACE):
            continue
        tree = ast.parse(path.read_text("utf-8"))
        silent = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [one.value if isinstance(one, ast.Constant) else "X" for one in node.values]
                yield where, "".join(str(one) for one in parts)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent:
                yield where, node.value
    yield "remedies/catalogue.toml", (ROOT / "remedies/catalogue.toml").read_text("utf-8")


def test_every_command_that_is_named_has_a_place_on_the_web() -> None:
    import click

    there = {" ".join(name.split()) for name in commands(cli, click.Context(cli))}
    known = {name.partition(" ")[0] for name in there} | there
    assert set(WAYS) - known == set(), "these are no commands any more"
    named = [(where, hit) for where, text in texts() for hit in re.findall(r"`lorasmith(?: ([^`]*))?`", text)]
    assert len(named) > 80
    lost = {
        (where, command)
        for where, command in named
        if way_of(command)[0] is None and not any(f"{command} ".startswith(f"{one} ") for one in TERMINAL if one)
    }
    assert {one for one in lost if one[1]} == set()


def test_a_template_names_no_command() -> None:
    for path in (ROOT / "web/templates").rglob("*.html"):
        found = re.findall(r"<code>lorasmith [a-z][^<]*", path.read_text("utf-8"))
        assert found == [], path


def test_a_sentence_of_ours_is_guided_wherever_it_is_shown() -> None:
    for path in (ROOT / "web/templates").rglob("*.html"):
        text = path.read_text("utf-8")
        last = r"(?:hint|sentence|reason|message|next_refused)"
        assert re.findall(rf"{{{{ (?:[\w.]+\.)?{last} \| visible", text) == [], path
        assert re.findall(r'="[^"<>]*\{\{[^}]*\| guided', text) == [], path  # a link stands in no attribute


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Run `lorasmith jobs` for the list.", "Open the queue for the list."),
        ("`lorasmith resume j-1` goes on.", "“Continue” on the job's page goes on."),
        ("It ended. `lorasmith queue clone j` runs it anew.", "It ended. “Clone” on the job's page runs it anew."),
        ("Run `lorasmith resume j-1`.", "Press “Continue” on the job's page."),
        ("Make one, then run `lorasmith secrets set civitai`.", "Make one, then open the settings, under “Secrets”."),
        ("Import some with `lorasmith import`.", "Import some with the page that imports."),
        ("`lorasmith bases list` shows what is here.", "The page of bases shows what is here."),
        ("`lorasmith queue fsck --rebuild` makes it anew.",
         "`lorasmith queue fsck --rebuild` in a terminal of its machine makes it anew."),
        ("Nothing to say.", "Nothing to say."),
    ],
)  # fmt: skip
def test_commands_become_pages_and_buttons(said: str, shown: str) -> None:
    assert plainly(said) == shown


def test_links_lead_there_and_nothing_else_is_markup() -> None:
    assert 'href="/jobs/j-1"' in guided("`lorasmith resume j-1` goes on.")
    assert 'href="/bases?link=stabilityai%2Fsd"' in guided("Run `lorasmith bases add stabilityai/sd`.")
    assert 'href="/bases"' in guided("Run `lorasmith bases add FOLDER`.")
    text = guided(f"`lorasmith resume {PAYLOAD}` <b>&`")
    assert "<img" not in text and "<b>" not in text and "&lt;b&gt;&amp;" in text
    assert "<a" not in guided("Run `lorasmith caption`, or put a .txt beside each picture.")


def test_an_unknown_job_is_not_found_and_tells_no_folder(door: Door) -> None:
    page = door.client.get("/jobs/nothing")
    assert page.status_code == 404 and '<a href="/queue">the queue</a>' in page.text
    assert str(door.studio.home) not in page.text
    answer = door.client.get("/api/jobs/nothing", headers={"accept": "application/json"})
    assert answer.status_code == 404 and answer.json()["kind"] == "UnknownJob"
    assert answer.json()["hint"] == "Open the queue for the list." and "/" not in answer.json()["error"]
    for path in ("log", "remedies", "files/log.txt"):
        assert door.client.get(f"/api/jobs/nothing/{path}").status_code == 404, path
    assert door.client.post("/api/jobs/nothing/do/pause").status_code == 404
    with pytest.raises(UnknownJob):
        door.studio.job("nothing")


def test_people_are_let_in_on_their_page(door: Door) -> None:
    text = door.client.get("/people").text
    assert "The first account" in text and "lorasmith users" not in text
    new = {"name": "ann", "password": "correct horse battery"}
    assert door.client.post("/people/accounts", data=new | {"password": "short"}).status_code == 422
    assert door.client.post("/people/accounts", data=new).status_code == 303
    text = door.client.get("/people").text
    assert "Another account" in text and "ann" in text and "correct horse" not in text
    again = door.client.post("/people/accounts", data=new)
    assert again.status_code == 422 and "already" in again.text and "horse" not in again.text
    assert door.client.post("/people/accounts", data=new | {"name": PAYLOAD}).status_code == 422
    assert door.client.post("/people/accounts", data=new | {"name": "bob", "role": "king"}).status_code == 422
    assert door.client.post("/people/accounts", data=new | {"name": "bob", "role": "viewer"}).status_code == 303
    refused = door.client.post("/people/accounts/role", data={"name": "ann", "role": "member"})
    assert refused.status_code == 422 and "admin" in refused.text
    assert door.client.post("/people/accounts/role", data={"name": "bob", "role": "member"}).status_code == 303
    change = {"name": "bob", "password": "another of some length"}
    assert door.client.post("/people/accounts/password", data=change).status_code == 303
    assert door.sessions.accounts.verify("bob", "another of some length") is not None
    assert door.client.post("/people/accounts/remove", data={"name": "nobody"}).status_code == 422
    assert door.client.post("/people/accounts/remove", data={"name": "bob"}).status_code == 303
    assert [one.name for one in door.sessions.accounts.list()] == ["ann"]
