"""Secrets: kept where nobody reads them, found where they are needed, and shown nowhere."""

from __future__ import annotations

import base64
import copy
import io
import json
import logging
import os
import pickle
import stat
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from urllib.parse import quote

import pytest

from lorasmith.credentials import (
    ENVIRONMENT,
    Credentials,
    RedactingFormatter,
    RedactingStream,
    Secret,
    mentioned,
    redact,
    refuse_to_write,
)
from lorasmith.errors import ConfigError, EnvironmentProblem, InputError
from lorasmith.jobfolder import JobFolder, Result
from lorasmith.jobs import Jobs
from lorasmith.processes import spawn

VALUE = 'canary/+%"é-0123456789'.replace("é", "e")


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    for choices in ENVIRONMENT.values():
        for name in (name for names in choices for name in names):
            monkeypatch.delenv(name, raising=False)


@dataclass
class Settings:
    key: Secret


def test_a_secret_never_shows_itself() -> None:
    secret = Secret(VALUE, "civitai")
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>80}",
        "%s %r" % (secret, secret),  # noqa: UP031
        "{}".format(secret),  # noqa: UP032
        repr([secret]),
        repr(Settings(secret)),
        repr(asdict(Settings(secret))),
        repr(copy.copy(secret)),
        repr(copy.deepcopy({"a": secret})),
        repr(vars(Settings(secret))),
        json.dumps({"key": secret}, default=str),
        str(ValueError(secret)),
    ]
    assert not [text for text in shown if "canary" in text]
    assert secret.reveal() == VALUE
    assert not hasattr(secret, "__dict__")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="cannot be written down"):
            pickle.dumps(secret, protocol)
    with pytest.raises(TypeError):
        json.dumps(secret)
    assert secret == Secret(VALUE) and secret != Secret(VALUE + "x") and secret != VALUE


@pytest.mark.parametrize(
    "text",
    [
        f"token is {VALUE}!",
        f"https://a.example/?token={quote(VALUE, safe='')}",
        json.dumps({"key": VALUE}),
        f"Authorization: Basic {base64.b64encode(VALUE.encode()).decode()}",
        f"two {VALUE} times {VALUE}",
    ],
)
def test_known_secrets_are_taken_out(text: str) -> None:
    Secret(VALUE, "civitai")
    clean = redact(text)
    assert "***" in clean and "0123456789" not in clean
    assert mentioned(text) == "civitai"


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abcdef0123456789",
        "{'authorization': 'Bearer abcdef0123456789'}",
        "GET https://civitai.com/api/download/models/7?type=Model&token=abcdef0123456789 200",
        "https://x.example/a?X-Amz-Signature=abcdef0123456789&X-Amz-Expires=60",
        "https://gelbooru.com/index.php?page=dapi&api_key=abcdef0123456789&user_id=1",
        "hf_abcdef0123456789abcdef0123456789",
        "sk-proj-abcdef0123456789abcdef0123456789",
    ],
)
def test_what_can_only_be_a_secret_is_taken_out(text: str) -> None:
    assert "abcdef0123456789" not in redact(text)


@pytest.mark.parametrize(
    "text",
    ["1girl, solo, key, token", "loss = 0.25", "a=b", "https://a.example/?page=2&tags=a_b", "Bearer of the ring", ""],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    Secret("short", "x")
    assert redact(text) == text


def test_secrets_of_the_environment_are_known_without_being_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "environment-canary-1")
    assert redact("x environment-canary-1") == "x ***"
    assert mentioned("environment-canary-1")


# Keeping


def test_a_file_that_only_its_owner_can_read(tmp_path: Path) -> None:
    kept = Credentials(tmp_path / "my höme")
    assert kept.get("civitai") is None and kept.services() == ()
    assert kept.set("civitai", f"  {VALUE}\n").where == "file"
    found = Credentials(tmp_path / "my höme").get("civitai")
    assert found is not None and found.reveal() == VALUE and found.where == "file"
    path = tmp_path / "my höme" / "secrets.json"
    assert [p.name for p in path.parent.iterdir() if "tmp" in p.name] == []
    if os.name != "nt":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kept.set("civitai", "another-value-99")
    again = kept.get("civitai")
    assert again is not None and again.reveal() == "another-value-99"
    assert VALUE not in path.read_text()
    assert kept.forget("civitai") and not kept.forget("civitai")
    assert kept.get("civitai") is None


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_a_file_that_was_opened_to_others_is_closed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = Credentials(tmp_path)
    kept.set("civitai", VALUE)
    (tmp_path / "secrets.json").chmod(0o644)
    assert kept.get("civitai")
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600
    assert "could be read by others" in caplog.text


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_it_is_closed_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    replace = Path.replace

    def look(self: Path, target: Path) -> Path:
        seen.append(stat.S_IMODE(self.stat().st_mode))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", look)
    before = os.umask(0)
    try:
        Credentials(tmp_path).set("civitai", VALUE)
    finally:
        os.umask(before)
    assert seen == [0o600]


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"id": "a", "secrets": {"x": {}}}', b"null", b'{"secrets": {}}'])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secrets.json").write_bytes(content)
    kept = Credentials(tmp_path)
    for verb in (lambda: kept.get("civitai"), kept.services, lambda: kept.set("civitai", VALUE)):
        with pytest.raises(EnvironmentProblem, match="damaged") as caught:
            verb()
        assert "set your secrets again" in caught.value.hint
    kept.remember_all()  # a worker's log is not the place to fail
    assert (tmp_path / "secrets.json").read_bytes() == content


def test_many_at_once(tmp_path: Path) -> None:
    names = [f"openai:host{number}:8000" for number in range(8)]
    threads = [threading.Thread(target=Credentials(tmp_path).set, args=(n, f"{n}-secret-key")) for n in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.service for entry in Credentials(tmp_path).services()] == names


@pytest.mark.parametrize(
    ("service", "value"),
    [
        ("civitai", ""),
        ("civitai", "   \n"),
        ("civitai", "short"),
        ("civitai", "two words here"),
        ("civitai", "line-one-1\nline-two-2"),
        ("civitai", "naïve-token-1"),
        ("civitai", "x" * 5000),
        ("gelbooru", "0123456789abcdef"),
        ("gelbooru", "name:0123456789abcdef"),
        ("gelbooru", ":0123456789abcdef"),
        ("danbooru", "somebody:"),
    ],
)
def test_what_cannot_be_a_secret(tmp_path: Path, service: str, value: str) -> None:
    with pytest.raises(InputError) as caught:
        Credentials(tmp_path).set(service, value)
    assert caught.value.hint.startswith("Give ")
    assert not value.strip() or value.strip() not in str(caught.value)


@pytest.mark.parametrize("service", ["", "Civitai", "../x", "a b", "openai:", "x" * 300, "a\nb"])
def test_what_cannot_be_a_service(tmp_path: Path, service: str) -> None:
    with pytest.raises(ConfigError, match="not a service"):
        Credentials(tmp_path).set(service, VALUE)


def test_the_line_of_gelbooru_is_understood(tmp_path: Path) -> None:
    kept = Credentials(tmp_path)
    kept.set("gelbooru", "&api_key=0123456789abcdef&user_id=4711")
    found = kept.get("gelbooru")
    assert found is not None and found.pair() == ("4711", "0123456789abcdef")
    assert "0123456789abcdef" not in redact("key 0123456789abcdef of user 4711")


# The environment


@pytest.mark.parametrize(
    ("variables", "service", "value"),
    [
        ({"CIVITAI_API_TOKEN": VALUE, "CIVITAI_TOKEN": "second-best"}, "civitai", VALUE),
        ({"CIVITAI_TOKEN": f" {VALUE} "}, "civitai", VALUE),
        ({"HF_TOKEN": VALUE}, "huggingface", VALUE),
        ({"GELBOORU_API_KEY": VALUE, "GELBOORU_USER_ID": "7"}, "gelbooru", f"7:{VALUE}"),
        ({"OPENAI_API_KEY": VALUE}, "openai:api.openai.com", VALUE),
    ],
)
def test_the_environment_counts_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], service: str, value: str
) -> None:
    kept = Credentials(tmp_path)
    kept.set(service, "7:stored-value" if service == "gelbooru" else "stored-value")
    for name, given in variables.items():
        monkeypatch.setenv(name, given)
    found = kept.get(service)
    assert found is not None and found.reveal() == value
    assert [entry.where for entry in kept.services()] == [found.where]
    assert all(name in variables for name in found.where.split(" and "))
    kept.forget(service)
    assert kept.get(service) == Secret(value)


def test_half_of_a_pair_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GELBOORU_API_KEY", VALUE)
    assert Credentials(tmp_path).get("gelbooru") is None


def test_a_variable_that_cannot_be_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "naïve-token")
    with pytest.raises(EnvironmentProblem, match="HF_TOKEN holds characters"):
        Credentials(tmp_path).get("huggingface")
    Credentials(tmp_path).remember_all()


# The keyring


class Backend:
    """A keyring in memory, which can be locked."""

    priority = 5.0

    def __init__(self, error: type[Exception]) -> None:
        self.kept: dict[tuple[str, str], str] = {}
        self.locked = False
        self._error = error

    def _open(self) -> None:
        if self.locked:
            raise self._error("locked")

    def get_password(self, service: str, name: str) -> str | None:
        self._open()
        return self.kept.get((service, name))

    def set_password(self, service: str, name: str, value: str) -> None:
        self._open()
        self.kept[service, name] = value

    def delete_password(self, service: str, name: str) -> None:
        self._open()
        if self.kept.pop((service, name), None) is None:
            raise self._error("not found")


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Backend:
    module, errors = ModuleType("keyring"), ModuleType("keyring.errors")
    errors.KeyringError = type("KeyringError", (Exception,), {})  # type: ignore[attr-defined]
    made = Backend(errors.KeyringError)  # type: ignore[attr-defined]
    module.errors, module.get_keyring = errors, lambda: made  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", module)
    monkeypatch.setitem(sys.modules, "keyring.errors", errors)
    return made


def test_the_keyring_is_used_when_there_is_one(tmp_path: Path, backend: Backend) -> None:
    kept = Credentials(tmp_path)
    assert kept.set("civitai", VALUE).where == "keyring"
    found = Credentials(tmp_path).get("civitai")
    assert found is not None and found.reveal() == VALUE and found.where == "keyring"
    assert VALUE not in (tmp_path / "secrets.json").read_text()
    other = Credentials(tmp_path / "other")
    other.set("civitai", "of-another-home")
    assert kept.get("civitai") == Secret(VALUE)
    assert kept.forget("civitai") and kept.get("civitai") is None
    assert list(backend.kept.values()) == ["of-another-home"]


def test_a_locked_keyring(tmp_path: Path, backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    kept = Credentials(tmp_path)
    kept.set("civitai", VALUE)
    backend.locked = True
    with pytest.raises(EnvironmentProblem, match="does not answer") as caught:
        kept.get("civitai")
    assert "Unlock" in caught.value.hint
    kept.remember_all()
    assert kept.set("danbooru", "me:danbooru-key").where == "file"
    assert "keyring refused" in caplog.text and "danbooru-key" not in caplog.text


def test_a_keyring_that_writes_plain_text_is_none(tmp_path: Path, backend: Backend) -> None:
    backend.priority = 0.5
    assert Credentials(tmp_path).set("civitai", VALUE).where == "file"
    backend.priority = 5
    kept = Credentials(tmp_path)
    kept.set("danbooru", "me:danbooru-key")
    backend.priority = 0
    with pytest.raises(EnvironmentProblem, match="none answers here"):
        kept.get("danbooru")


# Writing


def test_logs_with_tracebacks(tmp_path: Path) -> None:
    Secret(VALUE, "civitai")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(RedactingFormatter("%(levelname)s %(message)s"))
    log = logging.Logger("test")
    log.addHandler(handler)
    log.warning("asked with %s", VALUE)
    try:
        raise ValueError(f"refused {VALUE}")
    except ValueError:
        log.exception("failed with %r", {"key": VALUE})
    assert "Traceback" in stream.getvalue()
    assert "canary" not in stream.getvalue()


def test_what_is_printed_in_pieces() -> None:
    Secret(VALUE, "civitai")
    stream = io.StringIO()
    hidden = RedactingStream(stream)
    hidden.write(f"a {VALUE[:9]}")
    hidden.flush()
    hidden.writelines([f"{VALUE[9:]} b\nc ", VALUE])
    assert stream.getvalue() == "a *** b\n"
    hidden.finish()
    assert stream.getvalue() == "a *** b\nc ***"
    assert hidden.encoding == stream.encoding


def test_what_must_not_be_written_is_refused(tmp_path: Path) -> None:
    Secret(VALUE, "civitai")
    with pytest.raises(ConfigError, match=r"would show a secret \(civitai\)"):
        refuse_to_write(f"--token {VALUE}", "The command line")
    with pytest.raises(ConfigError, match="caption job"):
        Jobs(tmp_path).submit("caption", {"options": {"key": VALUE}})
    assert not (tmp_path / "jobs").exists()
    with pytest.raises(ConfigError):
        spawn([sys.executable, "-c", "pass", VALUE], folder=tmp_path, log=tmp_path / "log")
    assert not (tmp_path / "log").exists()


def test_events_and_results(tmp_path: Path) -> None:
    from lorasmith.events import Notice

    Secret(VALUE, "civitai")
    folder = JobFolder(tmp_path)
    folder.emit(Notice(f"asked with {VALUE}", f"https://a.example/?token={quote(VALUE, safe='')}"))
    folder.set_result(Result(outcome="failed", message=f"refused {VALUE}", output={"log": [VALUE]}))
    written = (tmp_path / "events.jsonl").read_text() + (tmp_path / "result.json").read_text()
    assert "0123456789" not in written and folder.result() is not None
    assert len(list(folder.read_events())) == 1
