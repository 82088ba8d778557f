"""``lorasmith secrets`` as a user meets it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from lorasmith.cli import run
from lorasmith.credentials import ENVIRONMENT, Credentials

VALUE = "typed-secret-0123"
Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORASMITH_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    for choices in ENVIRONMENT.values():
        for name in (name for names in choices for name in names):
            monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def say(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Say:
    def call(*arguments: str, given: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        capsys.readouterr()
        code = run(arguments)
        return code, *capsys.readouterr()

    return call


def test_set_list_forget(say: Say, home: Path) -> None:
    assert say("secrets")[1] == "No secrets yet; `lorasmith secrets set SERVICE` keeps one.\n"
    code, out, _ = say("secrets", "set", "civitai", given=VALUE)
    assert (code, out) == (0, "The secret of civitai is kept in a file that only you can read.\n")
    found = Credentials(home).get("civitai")
    assert found is not None and found.reveal() == VALUE
    assert json.loads(say("secrets", "--json")[1]) == {"secrets": [{"service": "civitai", "where": "file"}]}
    assert say("secrets", "forget", "civitai")[1] == "The secret of civitai is forgotten.\n"
    code, _, err = say("secrets", "forget", "civitai")
    assert code == 3 and "no secret of civitai" in err and "secrets list" in err


def test_typed_unseen(say: Say, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def prompt(text: str, hide_input: bool, err: bool) -> str:
        asked.append(hide_input and err)
        return VALUE

    monkeypatch.setattr(click, "prompt", prompt)

    class Typing(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Typing())
    assert run(["secrets", "set", "civitai"]) == 0
    assert asked == [True]
    assert Credentials(home).get("civitai") is not None


@pytest.mark.parametrize(
    ("arguments", "given", "code", "said"),
    [
        (("set", "civitai", VALUE), "", 2, "not given on the command line"),
        (("set",), VALUE, 2, "SERVICE"),
        (("set", "civitai"), "", 3, "No secret was given"),
        (("set", "civitai"), "x" * 20_000, 3, "too long"),
        (("set", "Civit AI"), VALUE, 2, "not a service"),
        (("set", "gelbooru"), VALUE, 3, "two parts"),
        (("sett", "civitai"), VALUE, 2, "Did you mean 'lorasmith secrets set'?"),
        (("forget", "nothing"), "", 3, "no secret of nothing"),
    ],
)
def test_refusals(say: Say, arguments: tuple[str, ...], given: str, code: int, said: str) -> None:
    ended, out, err = say("secrets", *arguments, given=given)
    assert ended == code and said in err
    assert VALUE not in out + err


def test_what_the_environment_gives_is_not_forgotten(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", VALUE)
    say("secrets", "set", "huggingface", given="stored-secret-1")
    assert "HF_TOKEN still gives one" in say("secrets", "forget", "huggingface")[1]
    assert "Nothing was kept" in say("secrets", "forget", "huggingface")[1]
