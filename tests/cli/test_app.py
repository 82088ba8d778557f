"""The face itself: quick to start, every command alike, its reference true, its output readable."""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from rich.console import Console

from lorasmith import errors
from lorasmith.cli import run
from lorasmith.cli.app import COMMANDS, EXIT_CODES, cli
from lorasmith.cli.completion import complete_job
from lorasmith.cli.dataset import DATASET_COMMANDS
from lorasmith.cli.options import COMMON, option_table, pairs
from lorasmith.cli.reference import reference
from lorasmith.cli.session import Session, duration, size, table
from lorasmith.cli.use import _adapter_use
from lorasmith.cli.watching import LiveReporter, PlainReporter
from lorasmith.config import known_keys
from lorasmith.errors import ConfigError
from lorasmith.events import Event, Finished, Metric, Notice, Phase, Progress, Sample

DOCS = Path(__file__).parents[2] / "docs" / "commands.md"


def commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            for inner in command.list_commands(context):
                found = command.get_command(context, inner)
                assert found is not None
                yield f"{name} {inner}", found


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)


@pytest.mark.parametrize(
    "arguments",
    ["--help", "dataset --help", "dataset edit --help", "dataset see --help", "check --help", "import --help"],
)
def test_help_is_quick_and_loads_nothing_heavy(arguments: str) -> None:
    code = """
import sys
sys.argv = ["lorasmith", *ARGUMENTS]
from lorasmith.cli import main
try:
    main()
except SystemExit as end:
    assert end.code == 0
heavy = {"pydantic", "rich", "yaml", "numpy", "PIL", "torch", "psutil"} & sys.modules.keys()
assert not heavy, heavy
"""
    seconds = []  # of processor time, which a busy machine does not stretch as it does the wall clock's
    for _ in range(3):
        before = os.times()
        ran = python(code.replace("ARGUMENTS", repr(arguments.split())))
        after = os.times()
        assert ran.returncode == 0 and ran.stdout.startswith("Usage: lorasmith"), ran.stderr
        used = after.children_user + after.children_system - before.children_user - before.children_system
        seconds.append(used or after.elapsed - before.elapsed)  # Windows does not count children's
    assert min(seconds) <= 0.3, seconds


def test_no_face_loads_a_model_library() -> None:
    code = """
import importlib, pkgutil, sys
import lorasmith, lorasmith.studio, lorasmith.cli, lorasmith.notebook, lorasmith.jobs, lorasmith.doctor
for module in pkgutil.iter_modules(lorasmith.cli.__path__, "lorasmith.cli."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
loaded = {"torch", "diffusers", "transformers", "peft", "onnxruntime"} & sys.modules.keys()
assert not loaded, loaded
"""
    ran = python(code)
    assert ran.returncode == 0, ran.stderr


def test_the_lines_of_the_list_are_those_of_the_commands() -> None:
    listed = {name: line for section in COMMANDS.values() for name, (_, _, line) in section.items()}
    listed |= {f"dataset {name}": line for part in DATASET_COMMANDS.values() for name, (_, _, line) in part.items()}
    real = {name: command.get_short_help_str(limit=200) for name, command in commands() if name in listed}
    assert listed == real


def test_every_command_takes_the_shared_options() -> None:
    for name, command in commands():
        assert {"json", "json_events", "home", "debug"} <= {p.name for p in command.params}, name


def test_every_option_says_what_it_does() -> None:
    for name, command in commands():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.name}"


def test_the_reference_is_not_stale() -> None:
    assert DOCS.read_text(encoding="utf-8") == reference(), "run: python -m lorasmith.cli.reference > docs/commands.md"


def test_every_error_has_a_documented_exit_code() -> None:
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, errors.LorasmithError)]
    assert len(kinds) > 10
    assert {kind.exit_code for kind in kinds} <= {code for code, _ in EXIT_CODES}


def test_nothing_said_opens_the_studio(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Any] = []
    address = "http://127.0.0.1:7860/enter?once=" + secrets.token_urlsafe(24)

    def serve(studio: Any, **options: Any) -> None:
        asked.append((studio.home, options["host"], options["browser"]))
        options["said"](address)

    monkeypatch.setattr("lorasmith.web.serving.serve", serve)
    assert run(["--home", str(tmp_path)]) == 0
    assert asked == [(tmp_path, "127.0.0.1", True)]
    assert address in capsys.readouterr().out  # whole: it is no secret to whoever sits here, and works once
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lorasmith 0.")


def test_an_unforeseen_error_is_a_sentence_too() -> None:
    code = """
import sys, lorasmith.cli.app as app
def fault(arguments):
    raise ZeroDivisionError("by nought")
app.run = fault
sys.argv = ["lorasmith", *ARGUMENTS]
app.main()
"""
    ran = python(code.replace("ARGUMENTS", "[]"))
    assert ran.returncode == 1
    assert ran.stderr.startswith("Error: an unforeseen ZeroDivisionError: by nought.") and "Traceback" not in ran.stderr
    assert "Traceback" in python(code.replace("ARGUMENTS", "['--debug']")).stderr


def test_a_reader_that_leaves_is_no_error() -> None:
    code = "import sys; sys.argv = ['lorasmith', 'train', '--options']; from lorasmith.cli import main; main()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    if shell == "bash" and shutil.which("bash") is None:
        pytest.skip("click asks bash for its version")
    assert run(["completion", shell]) == 0
    assert "_LORASMITH_COMPLETE" in capsys.readouterr().out


def test_jobs_are_completed_from_their_folders(tmp_path: Path) -> None:
    for name in ("20261121-142233-train-zib", "20261121-142234-caption-zib"):
        (tmp_path / "jobs" / name).mkdir(parents=True)
        (tmp_path / "jobs" / name / "job.json").touch()
    context = click.Context(cli, obj=Session(home=tmp_path))
    assert complete_job(context, click.Argument(["job"]), "train") == ["20261121-142233-train-zib"]
    assert len(complete_job(context, click.Argument(["job"]), "")) == 2


# Options


def test_every_option_is_listed_with_its_description(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--options", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["options"]
    assert [row["name"] for row in rows] == list(known_keys())
    assert all(row["description"] and row["type"] for row in option_table())
    assert set(COMMON.values()) <= set(known_keys())


def test_pairs_are_text_lists_or_nothing() -> None:
    settings = ["adapter.rank=8", 'sample.prompts=["a, b", "c"]', "ema_decay=null", "output_name=a=b"]
    assert pairs(settings) == {
        "adapter.rank": "8",
        "sample.prompts": ["a, b", "c"],
        "ema_decay": None,
        "output_name": "a=b",
    }
    for broken in ("rank", "=3", 'sample.prompts=["a'):
        with pytest.raises(ConfigError):
            pairs([broken])
    with pytest.raises(ConfigError, match="twice"):
        pairs(["seed=1", "seed=2"])


@pytest.mark.parametrize(
    ("text", "name", "weight"),
    [
        ("cats", "cats", None),
        ("cats:0.8", "cats", 0.8),
        ("cats:-1", "cats", -1.0),
        ("C:\\loras\\cats.safetensors", "C:\\loras\\cats.safetensors", None),
        ("C:\\loras\\cats.safetensors:0.5", "C:\\loras\\cats.safetensors", 0.5),
        ("/a:b/cats.safetensors", "/a:b/cats.safetensors", None),
    ],
)
def test_an_adapter_may_carry_its_weight(text: str, name: str, weight: float | None) -> None:
    expected = {"name": name} if weight is None else {"name": name, "weight": weight}
    assert _adapter_use(text) == expected


# What is shown

RUN: tuple[Event, ...] = (
    Notice(message="No caption.", hint="Write one."),
    Phase(name="training"),
    Progress(done=5, total=100, seconds_left=95.0, seconds_left_spread=3.0),
    Metric(step=50, values={"loss": 0.125, "validation_loss": 0.5}),
    Progress(done=50, total=100, seconds_left=50.0, seconds_left_spread=2.0),
    Phase(name="saving"),
    Phase(name="training"),
    Sample(step=50, path="samples/50.png", prompt="[a]", seed=1),
    Progress(done=100, total=100, seconds_left=0.0),
    Finished(outcome="succeeded"),
)


def test_plain_lines_follow_the_events(capsys: pytest.CaptureFixture[str]) -> None:
    report = PlainReporter()
    for event in RUN:
        report(event)
    assert capsys.readouterr().err.splitlines() == [
        "Note: No caption. Write one.",
        "training ...",
        "  50/100 steps, loss 0.1250, validation loss 0.5000, 50 s ± 2 s left",
        "saving ...",
        "  preview at step 50: samples/50.png",
        "  100/100 steps, loss 0.1250, validation loss 0.5000, 0 s left",
    ]


def test_bars_follow_the_events() -> None:
    screen = io.StringIO()
    with LiveReporter(Console(file=screen, force_terminal=True, width=140, color_system=None)) as report:
        for event in RUN:
            report(event)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
    assert "Note: No caption. Write one." in shown and "100/100" in shown
    assert "loss 0.1250, validation loss 0.5000" in shown
    assert shown.rstrip().splitlines()[-1].startswith("training"), "what has no measure is gone at the end"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (0.25, "0.2 s"), (59.4, "59 s"), (61, "1 min 01 s"), (7260, "2 h 01 min")]
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_sizes_and_tables() -> None:
    assert [size(n) for n in (12, 1500, 2.5e6, 3e12)] == ["12 bytes", "1.5 kB", "2.5 MB", "3 TB"]
    assert table(("name", "n"), [("a", 5), ("long", 10)]) == ["name   n", "a      5", "long  10"]
