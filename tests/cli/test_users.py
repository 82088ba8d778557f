"""Accounts on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lorasmith.cli.app import cli
from lorasmith.web.sessions import Sessions

PASSWORD = "a sentence of some length"


def ask(home: Path, *words: str, given: str = "") -> tuple[int, str]:
    answer = CliRunner().invoke(cli, ["users", *words, "--home", str(home), "--json"], input=given)
    return answer.exit_code, answer.output + str(answer.exception or "")


def test_an_account_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    assert ask(tmp_path, "add", "ann", given=PASSWORD + "\n")[0] == 0
    assert ask(tmp_path, "add", "bob", "--role", "viewer", given=PASSWORD)[0] == 0
    listed = json.loads(ask(tmp_path, "list")[1].strip().removesuffix("None"))
    assert listed["users"] == [{"name": "ann", "role": "admin"}, {"name": "bob", "role": "viewer"}]
    sessions = Sessions(tmp_path)
    assert sessions.accounts.verify("ann", PASSWORD)
    assert ask(tmp_path, "role", "bob", "member")[0] == 0
    key = json.loads(ask(tmp_path, "key", "bob")[1].strip().removesuffix("None"))["key"]
    found = sessions.program(key)
    assert found and (found.name, found.role) == ("bob", "member")
    assert ask(tmp_path, "password", "bob", given=PASSWORD + "!")[0] == 0 and sessions.program(key) is None
    assert ask(tmp_path, "remove", "bob")[0] == 0 and sessions.accounts.find("bob") is None


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (("add", "Ann"), PASSWORD), (("add", "ann"), "short"), (("add", "ann"), "x" * 9000),
        (("remove", "nobody-here"), ""),
        (("role", "nobody-here", "admin"), ""), (("password", "nobody-here"), PASSWORD), (("key", "nobody-here"), ""),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(tmp_path: Path, words: tuple[str, ...], given: str) -> None:
    code, said = ask(tmp_path, *words, given=given)
    assert code != 0 and PASSWORD not in said
