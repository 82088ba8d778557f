"""start.py: run for real, in a tree of its own whose package and locks are small enough to install in a moment."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

START = Path(__file__).parents[1] / "start.py"
posix_only = pytest.mark.skipif(os.name == "nt", reason="signals, flock and scripts as on POSIX")

# A package whose build needs nothing from outside, and waits forever when it is told to.
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "lorasmith"
version = "0"
"""
BACKEND = """
import os, pathlib, threading, zipfile

def build_editable(folder, settings=None, metadata=None):
    if os.environ.get("BUILD_HANGS"):
        threading.Event().wait()
    name = "lorasmith-0-py3-none-any.whl"
    info = "lorasmith-0.dist-info/"
    files = {
        "lorasmith.pth": str(pathlib.Path("src").resolve()),
        info + "METADATA": "Metadata-Version: 2.1\\nName: lorasmith\\nVersion: 0\\n",
        info + "WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        info + "entry_points.txt": "[console_scripts]\\nlorasmith = lorasmith.cli:main\\n",
    }
    files[info + "RECORD"] = "".join(f"{path},,\\n" for path in [*files, info + "RECORD"])
    with zipfile.ZipFile(pathlib.Path(folder) / name, "w") as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)
    return name
"""
CLI = "import json, os, sys\n\ndef main():\n    print(json.dumps([sys.argv[1:], os.getcwd()]))\n    sys.exit(5)\n"


@pytest.fixture(scope="module")
def start() -> ModuleType:
    """start.py as a module, for the parts that decide."""
    spec = importlib.util.spec_from_file_location("start", START)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plant(folder: Path) -> Path:
    """A small tree with the real start.py in it."""
    (folder / "src/lorasmith/cli").mkdir(parents=True)
    shutil.copy(START, folder)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "backend.py").write_text(BACKEND)
    (folder / "src/lorasmith/__init__.py").touch()
    (folder / "src/lorasmith/cli/__init__.py").write_text(CLI)
    for name in ("requirements.lock", "requirements-dev.lock"):
        (folder / name).write_text("# nothing\n")
    return folder


def run(tree: Path, *arguments: str, prelude: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the tree's start.py to its end; ``prelude`` is Python that runs first in the same process."""
    script = tree / "start.py"
    code = f"import runpy, sys; {prelude}; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", code, str(script)] if prelude else [sys.executable, str(script)]
    options = {"capture_output": True, "encoding": "utf-8", "timeout": 300, **options}
    return subprocess.run([*command, *arguments], check=False, **options)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree that was started once more after its first start was killed while it made the environment.

    The folder's name has spaces and letters of several scripts.
    """
    tree = plant(tmp_path_factory.mktemp("start") / "tête à tête 猫")
    (tree / ".venv/lib/half").mkdir(parents=True)
    (tree / ".venv/start.json").write_text('{"unfinished": "venv"}')
    done = run(tree, "--torch", "skip", "lorasmith", "train", "--help", "two words")
    assert done.returncode == 5, done.stderr
    assert "[1/4]" in done.stderr and "[4/4]" in done.stderr
    assert not (tree / ".venv/lib/half").exists()
    assert json.loads(done.stdout)[0] == ["train", "--help", "two words"]
    return tree


def test_a_later_start_hands_over_at_once(tree: Path, tmp_path: Path) -> None:
    there = {path: path.stat().st_mtime_ns for path in (tree / ".venv").rglob("*") if path.suffix != ".pyc"}
    done = run(tree, "demo", "--style", cwd=tmp_path)
    assert done.returncode == 5
    assert done.stderr == "", "no step was taken"
    assert json.loads(done.stdout) == [["demo", "--style"], str(tmp_path.resolve())]
    after = {path: path.stat().st_mtime_ns for path in (tree / ".venv").rglob("*") if path.suffix != ".pyc"}
    changed = {path.name for path in there.keys() | after.keys() if there.get(path) != after.get(path)}
    assert changed <= {"__pycache__", "lorasmith"}, "the environment is the one that was there"


def test_a_changed_lock_is_installed_and_nothing_else(tree: Path) -> None:
    (tree / "requirements.lock").write_text("# still nothing\n")
    done = run(tree)
    assert done.returncode == 5
    assert "[2/4]" in done.stderr
    assert not any(f"[{step}/4]" in done.stderr for step in (1, 3, 4))
    assert json.loads(done.stdout)[0] == []


def test_a_moved_tree_mends_itself(tree: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(tree, moved, symlinks=True)
    done = run(moved, "lorasmith")
    assert done.returncode == 5
    assert "[4/4]" in done.stderr and "[1/4]" not in done.stderr
    assert str(moved) in (moved / ".venv" / "start.log").read_text(encoding="utf-8")


@posix_only
def test_an_interrupted_start_goes_on_where_it_was(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy, symlinks=True)
    with subprocess.Popen(
        [sys.executable, str(copy / "start.py"), "lorasmith"],
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "BUILD_HANGS": "1"},
    ) as process:
        assert process.stderr
        assert "[4/4]" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130
    assert "Interrupted. Start again" in said
    assert json.loads((copy / ".venv/start.json").read_text())["unfinished"] == "package"

    (record,) = copy.glob(".venv/lib/*/site-packages/pip-*.dist-info/RECORD")
    assert record.stat().st_size > 0
    done = run(copy, "lorasmith")
    assert done.returncode == 5, done.stderr
    assert "Going on" in done.stderr and "[1/4]" not in done.stderr and "left unfinished" not in done.stderr
    assert run(copy, "lorasmith").stderr == ""


@posix_only
def test_two_starts_wait_for_each_other(tree: Path) -> None:
    import fcntl

    (tree / "requirements.lock").write_text("# and now?\n")
    with (tree / ".venv/start.lock").open("a+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with subprocess.Popen(
            [sys.executable, str(tree / "start.py"), "lorasmith"], stderr=subprocess.PIPE, encoding="utf-8"
        ) as process:
            assert process.stderr
            assert "Another start.py is installing here" in process.stderr.readline()
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert "[2/4]" in process.stderr.read()
    assert process.returncode == 5


def test_an_environment_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree")
    (tree / ".venv").mkdir()
    (tree / ".venv/mine").write_text("precious")
    done = run(tree, "demo")
    assert done.returncode == 6
    assert "was not made by start.py" in done.stderr
    assert [path.name for path in (tree / ".venv").iterdir()] == ["mine"]


@pytest.mark.parametrize("missing", ["venv", "ensurepip"])
def test_a_python_that_cannot_make_environments_gets_one_command(tmp_path: Path, missing: str) -> None:
    done = run(plant(tmp_path / "tree"), "demo", prelude=f"sys.modules[{missing!r}] = None")
    assert done.returncode == 6
    *_, problem, remedy = done.stderr.strip().splitlines()
    assert "lacks venv or pip" in problem
    assert remedy.startswith(("Run: sudo apt install python3", "Install Python from"))
    assert "Traceback" not in done.stderr


def test_an_old_python_is_told_so_and_can_read_that_far(tmp_path: Path) -> None:
    ast.parse(START.read_text(encoding="utf-8"), feature_version=(3, 7))
    done = run(plant(tmp_path / "tree"), prelude="sys.version_info = (3, 8, 1, 'final', 0)")
    assert done.returncode == 6
    assert "needs Python 3.11 or newer; this is Python 3.8." in done.stderr


@pytest.mark.parametrize(
    ("argv", "torch", "verb", "arguments"),
    [
        ([], "", "lorasmith", []),
        (["demo", "--torch", "cpu", "--style"], "cpu", "demo", ["--style"]),
        (["--torch", "cuda", "test", "-k", "lorasmith"], "cuda", "test", ["-k", "lorasmith"]),
        (["lorasmith", "--torch", "x", "-h"], "", "lorasmith", ["--torch", "x", "-h"]),
        (["--torch=skip", "lorasmith", "demo"], "skip", "lorasmith", ["demo"]),
    ],
)
def test_the_command_line(start: ModuleType, argv: list[str], torch: str, verb: str, arguments: list[str]) -> None:
    assert start.read_command(argv) == (torch, verb, arguments)


@pytest.mark.parametrize(
    ("arguments", "abreast"),
    [
        ([], True),
        (["--durations=15"], True),
        (["tests/test_start.py"], False),
        (["-k", "alias"], False),
        (["-n", "0"], False),
    ],
)
def test_all_tests_run_abreast_and_a_part_does_not(start: ModuleType, arguments: list[str], abreast: bool) -> None:
    assert start.processes(arguments, cores=4) == (["-n", "5", "--dist", "loadfile"] if abreast else [])
    assert start.processes(arguments, cores=1) == []


def test_a_wrong_verb_names_the_right_command(start: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert start.main(["train", "x.yaml"]) == 2
    assert "python3 start.py lorasmith train x.yaml" in capsys.readouterr().err


GTX, RTX, NEWEST = ((6, 1), (8, 9), (12, 0))


@pytest.mark.parametrize(
    ("wanted", "cuda", "capability", "system", "build"),
    [
        ("", None, None, "Linux", "cpu"),
        ("", None, None, "Windows", "cpu"),
        ("", None, None, "Darwin", "apple"),
        ("cpu", (13, 0), RTX, "Linux", "cpu"),
        ("skip", (13, 0), RTX, "Linux", "skip"),
        ("cuda", None, None, "Linux", "cu130"),
        ("", (13, 0), RTX, "Linux", "cu130"),
        ("", (13, 1), NEWEST, "Windows", "cu130"),
        ("", (12, 4), RTX, "Linux", "cu126"),
        ("", (13, 0), GTX, "Linux", "cu126"),
        ("", (12, 8), NEWEST, "Linux", "cpu"),
        ("", (11, 4), RTX, "Linux", "cpu"),
        ("", (0, 0), (0, 0), "Linux", "cu130"),
    ],
)
def test_the_build_fits_card_and_driver(
    start: ModuleType,
    wanted: str,
    cuda: tuple[int, int] | None,
    capability: tuple[int, int] | None,
    system: str,
    build: str,
) -> None:
    card = start.Card("Card 9", cuda, capability) if cuda else None
    chosen, reason = start.choose_torch(wanted, card, system)
    assert chosen == build
    assert reason


@pytest.mark.parametrize("cuda", [(11, 4), (12, 8)])
def test_cuda_that_cannot_work_is_refused(start: ModuleType, cuda: tuple[int, int]) -> None:
    with pytest.raises(start.StartError, match="cannot use this card"):
        start.choose_torch("cuda", start.Card("Card 9", cuda, NEWEST), "Linux")


def test_without_a_card_no_offer_can_be_a_cuda_build(start: ModuleType) -> None:
    offers = start.torch_offers("cpu", "Linux")
    assert offers[0].url == "" and offers[-1].url.endswith("/whl/cpu")
    assert {offer.requirement for offer in offers} == {f"torch=={start.TORCH}+cpu"}


def test_with_a_card_no_offer_can_be_a_cpu_build(start: ModuleType) -> None:
    for build in ("cu126", "cu130"):
        for offer in start.torch_offers(build, "Linux"):
            assert offer.requirement.endswith((f"+{build}", "!=2.13.0+cpu"))


@pytest.fixture
def pip_answers(start: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[list[Any], list[list[str]]]]:
    """Answers that pip gives in order, and the command lines that it got."""
    answers: list[Any] = []
    asked: list[list[str]] = []

    def pip(*arguments: str) -> tuple[int, list[str]]:
        asked.append(list(arguments))
        return answers.pop(0)  # type: ignore[no-any-return]

    monkeypatch.setattr(start, "pip", pip)
    monkeypatch.setattr(start.platform, "system", lambda: "Linux")
    yield answers, asked
    assert answers == []


def test_torch_comes_from_the_machines_own_offer_first(start: ModuleType, pip_answers: Any) -> None:
    answers, asked = pip_answers
    answers[:] = [(0, [])]
    start.install_torch("cpu", "no NVIDIA card was found")
    assert asked == [["install", "--no-deps", "torch==2.13.0+cpu"]]


def test_torch_comes_from_the_public_index_next(
    start: ModuleType, pip_answers: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    answers, asked = pip_answers
    answers[:] = [(1, ["ERROR: No matching distribution found for torch==2.13.0+cpu"]), (0, [])]
    start.install_torch("cpu", "no NVIDIA card was found")
    assert asked[1][2:4] == ["--index-url", "https://download.pytorch.org/whl/cpu"]
    said = capsys.readouterr().err
    assert "CPU build: no NVIDIA card was found" in said
    assert "download.pytorch.org" in said


def test_torch_that_nobody_has_and_torch_that_breaks_off(start: ModuleType, pip_answers: Any) -> None:
    answers, _ = pip_answers
    nothing = (1, ["ERROR: No matching distribution found for torch==2.13.0+cpu"])
    answers[:] = [nothing, nothing]
    with pytest.raises(start.StartError, match=r"No CPU build of torch 2\.13\.0 was found"):
        start.install_torch("cpu", "no NVIDIA card was found")
    answers[:] = [(1, ["ERROR: Connection broken"])]
    with pytest.raises(start.StartError, match="could not be installed"):
        start.install_torch("cpu", "no NVIDIA card was found")


@posix_only
def test_the_card_is_read_from_its_driver(start: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = '"NVIDIA GeForce RTX 4090, 8.9\nNVIDIA GTX 1080, 6.1"'
    script = f'#!/bin/sh\ncase "$1" in --query*) echo {said};; *) echo "| CUDA Version: 13.0  |";; esac\n'
    (tmp_path / "nvidia-smi").write_text(script)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert start.find_card() == ("NVIDIA GTX 1080", (13, 0), (6, 1))
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho failed; exit 9\n")
    card = start.find_card()
    assert card is None or card.cuda == (0, 0) or card.name != "NVIDIA GTX 1080"


def test_packages_that_a_killed_pip_left_are_forgotten(
    start: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "lib/python3.11/site-packages"
    for name, record in {
        "whole": "whole.py,sha256=x,5\nwhole-1.dist-info/RECORD,,\nwhole.pyc,,\n",
        "short": "short.py,sha256=x,9\n",
        "gone": "missing.py,sha256=x,5\n",
        "listless": None,
    }.items():
        (site / f"{name}-1.dist-info").mkdir(parents=True)
        (site / f"{name}.py").write_text("12345")
        if record is not None:
            (site / f"{name}-1.dist-info/RECORD").write_text(record)
    monkeypatch.setattr(start, "VENV", tmp_path)
    start.remove_torn_packages()
    assert [path.name for path in site.glob("*.dist-info")] == ["whole-1.dist-info"]


def test_a_torn_stamp_counts_as_none(start: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "STAMP", tmp_path / "start.json")
    assert start.read_stamp() == {}
    for torn in ('{"venv": "ab', "[]", "\x00"):
        start.STAMP.write_text(torn)
        assert start.read_stamp() == {}
    with contextlib.suppress(FileNotFoundError):
        start.STAMP.unlink()
    start.write_stamp({"torch": "2.13.0 cpu"})
    assert start.read_stamp() == {"torch": "2.13.0 cpu"}
    assert [path.name for path in tmp_path.iterdir()] == ["start.json"]
