"""The canary: secrets are planted, real commands and real workers run, and every byte they leave is searched."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from lorasmith.jobs import Jobs
from tests.stand_in import write_pictures

KEPT = "canary+kept/0123456789abcdef"
UNASKED = "canary:unasked-0123456789"
GIVEN = "hf_canarygiven0123456789abcdef"
HERE = Path(__file__).parent


def forms(value: str) -> list[bytes]:
    packed = base64.b64encode(value.encode()).decode()
    return [text.encode() for text in (value, quote(value, safe=""), packed, json.dumps(value)[1:-1])]


def leaks(text: bytes) -> list[bytes]:
    return [form for value in (KEPT, GIVEN, UNASKED) for form in forms(value) if form in text]


class Terminal:
    """Runs commands as a user does, and keeps all that they say."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.said: list[bytes] = []
        self.environment = {
            **os.environ,
            "LORASMITH_HOME": str(home),
            "HF_TOKEN": GIVEN,
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
            "PYTHONPATH": str(HERE.parent / "src"),
            "PYTHONUTF8": "1",
        }

    def __call__(self, *arguments: str, given: str = "", code: int | None = 0) -> str:
        command = [sys.executable, "-m", "lorasmith.cli", *arguments]
        done = subprocess.run(
            command, input=given.encode(), capture_output=True, env=self.environment, check=False, cwd=self.home.parent
        )
        self.said.append(done.stdout + done.stderr)
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done.stdout.decode()

    def search(self) -> None:
        """Look for a secret in everything that was said, and in every file of the home but the one for them."""
        for said in self.said:
            assert not leaks(said), said
        looked = 0
        for path in self.home.rglob("*"):
            if path.is_file() and path.name != "secrets.json":
                looked += 1
                assert not leaks(path.read_bytes()), path
                assert not leaks(str(path).encode()), path
        assert looked > 3


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    made = Terminal(tmp_path / "höme")
    made("secrets", "set", "civitai", given=f"{KEPT}\n")
    return made


def test_commands(terminal: Terminal, tmp_path: Path) -> None:
    photos = str(write_pictures(tmp_path / "photos"))
    assert "civitai      file" in terminal("secrets", "list")
    listed = json.loads(terminal("secrets", "list", "--json"))["secrets"]
    assert listed == [{"service": "civitai", "where": "file"}, {"service": "huggingface", "where": "HF_TOKEN"}]
    terminal("import", photos, "--name", "cats")
    terminal("caption", "cats", "--captioner", "sandbox", code=None)
    terminal("datasets", "--json")
    terminal("doctor", code=None)
    # The secret itself on a command line: it may be seen there, but nothing here repeats it.
    terminal("secrets", "set", "civitai", KEPT, code=2)
    terminal("import", f"https://civitai.com/models/7?token={KEPT}", code=2)  # its terms come first
    terminal("import", f"https://example.invalid/a.zip?token={KEPT}", code=3)
    terminal("import", f"/nowhere/{KEPT}", "--json", code=3)
    terminal("import", f"/nowhere/{KEPT}", "--debug", code=3)
    terminal("captions", f"cats-{GIVEN}", code=None)
    terminal(GIVEN, code=2)
    terminal(f"--{KEPT}", code=2)
    terminal("secrets", "forget", "huggingface")
    if os.name != "nt":
        assert stat.S_IMODE((terminal.home / "secrets.json").stat().st_mode) == 0o600
    assert KEPT in (terminal.home / "secrets.json").read_text()
    terminal("secrets", "forget", "civitai")
    terminal.search()
    assert not leaks((terminal.home / "secrets.json").read_bytes())


@pytest.mark.parametrize("manner", ["known", "unforeseen"])
def test_a_job_that_gives_its_secrets_away(terminal: Terminal, tmp_path: Path, manner: str) -> None:
    command = [sys.executable, str(HERE / "leaky_worker.py")]
    terminal("secrets", "set", "danbooru", given=UNASKED)
    jobs = Jobs(terminal.home)
    job = jobs.submit("caption", {"dataset": "cats@1"})
    with subprocess.Popen(
        [*command, str(job.folder.path), manner],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=terminal.environment,
    ) as process:
        arguments = " ".join(psutil.Process(process.pid).cmdline())
        out, err = process.communicate(timeout=120)
    assert process.returncode == (7 if manner == "known" else 1), err
    terminal.said += [out, err, arguments.encode()]
    terminal("jobs", "show", job.id, code=None)
    terminal("jobs", "log", job.id, code=None)
    terminal("jobs", "--json")
    terminal.search()
    log = (job.folder.path / "log.txt").read_text()
    for trace in ("printed ***", "written ***", "token=***", "deprecated: ***", "caught", "ValueError: ***"):
        assert trace in log
    result = job.result()
    assert result is not None and "***" in result.message
    assert "all was said" in (job.folder.path / "events.jsonl").read_text()
