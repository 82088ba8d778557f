"""What the repository says about itself: the map, the layers, the walls, the lock, the exit codes."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import lorasmith
from lorasmith import errors

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "lorasmith"
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODEL_LIBRARIES = {"torch", "diffusers", "transformers", "peft", "accelerate", "onnxruntime"}


def run(*arguments: str, source: Path = ROOT / "src", cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that finds the package in ``source``."""
    environment = {**os.environ, "PYTHONPATH": str(source), "COLUMNS": "200", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, cwd=cwd, check=False)


# The README


def fenced(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def mapped() -> Iterator[tuple[str, str]]:
    """Path and description of every line of the map; a folder's path ends in ``/``."""
    (block,) = fenced("text")
    folder = ""
    for line in block.splitlines():
        inside, path, description = re.fullmatch(r"(  )?(\S+)(?:\s{2,}(\S.*))?", line).groups("")  # type: ignore[union-attr]
        if not description:
            folder = path
        yield (folder if inside else "") + path, description


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_every_line_of_the_map_is_there() -> None:
    for path, description in mapped():
        assert (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file(), path
        assert description or path == "src/lorasmith/", path


def test_every_room_is_on_the_map() -> None:
    paths = {path for path, _ in mapped()}
    for entry in PACKAGE.iterdir():
        if entry.name not in ("__init__.py", "__pycache__", "py.typed"):
            assert f"src/lorasmith/{entry.name}{'/' if entry.is_dir() else ''}" in paths, entry.name


def test_every_file_at_the_top_is_on_the_map() -> None:
    tops = {path.split("/")[0] for path, _ in mapped()}
    made = {"build", "dist", "__pycache__"}
    for entry in ROOT.iterdir():
        if not entry.name.startswith(".") and not entry.name.endswith(".egg-info") and entry.name not in made:
            assert entry.name in tops, entry.name


def test_the_picture_and_the_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md"):
        for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            target = link.split("#")[0]
            assert target.startswith("https://") or (page.parent / target).is_file(), f"{page.name}: {link}"


def test_the_shell_lines_use_options_that_exist() -> None:
    lines = [line for block in fenced("sh") for line in block.splitlines() if line.startswith("lorasmith ")]
    assert len(lines) == 6 + 3, "the straight line, and curating"
    for line in lines:
        _, *command, line_end = re.split(r"\s+", line, maxsplit=3 if line.startswith("lorasmith dataset ") else 2)
        words = shlex.split(line_end, comments=True)
        helped = run("-c", "from lorasmith.cli import main; main()", *command, "--help")
        assert helped.returncode == 0, helped.stderr
        for option in [word for word in words if word.startswith("--")]:
            assert re.search(rf"{option}\b", helped.stdout), f"{line}: {option}"


def test_the_python_lines_use_verbs_that_exist() -> None:
    (block,) = fenced("python")
    assert len([line for line in block.splitlines() if line.strip()]) == 6
    studio = importlib.import_module("lorasmith.studio").Studio
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "studio":
            assert callable(getattr(studio, node.attr)), node.attr


# The walls


@pytest.mark.parametrize(
    "module",
    [
        "lorasmith",
        "lorasmith.cli",
        "lorasmith.config",
        "lorasmith.doctor",
        "lorasmith.jobs",
        "lorasmith.notebook",
        "lorasmith.studio",
        "lorasmith.training.plan",
        "lorasmith.generation.request",
    ],
)
def test_importing_it_loads_no_model_library(module: str) -> None:
    code = f"import {module}, sys; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    assert not MODEL_LIBRARIES & set(done.stdout.split())


@pytest.mark.parametrize("room", ["families.Family", "captioners.Captioner"])
def test_finding_plugins_loads_no_model_library(room: str) -> None:
    package, contract = room.split(".")
    code = (
        f"import sys; from lorasmith import {package}, plugins; plugins.discover({package}, {package}.{contract}); "
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    assert not MODEL_LIBRARIES & set(done.stdout.split())


def lint(source: Path = ROOT / "src") -> subprocess.CompletedProcess[str]:
    lint = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return run("-c", lint, "--config", str(ROOT / ".importlinter"), "--no-cache", source=source)


def test_imports_point_down() -> None:
    done = lint()
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("errors.py", "from lorasmith import config", "Imports point down only BROKEN"),
        ("cli/extra.py", "from lorasmith import families", "Faces talk to Studio and to value types BROKEN"),
        ("config.py", "import torch", "import a model library BROKEN"),
        ("attic.py", "", "attic"),
    ],
)
def test_the_layers_are_held(tmp_path: Path, file: str, line: str, broken: str) -> None:
    shutil.copytree(PACKAGE, tmp_path / "lorasmith", ignore=shutil.ignore_patterns("__pycache__", "weights"))
    with (tmp_path / "lorasmith" / file).open("a", encoding="utf-8") as stream:
        stream.write(f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode != 0
    assert broken in done.stdout + done.stderr


# The lock


def locked(name: str) -> dict[str, set[str]]:
    """Package names of a lock with their versions; fails on a package without a hash."""
    found: dict[str, set[str]] = {}
    for entry in re.split(r"\n(?=\S)", (ROOT / name).read_text(encoding="utf-8").strip()):
        package, version = re.match(r"([a-z0-9-]+)==(\S+)", entry).groups()  # type: ignore[union-attr]
        assert "--hash=sha256:" in entry, package
        found.setdefault(package, set()).add(version)
    return found


def wanted(*extras: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lists = [project["project"]["optional-dependencies"][extra] for extra in extras]
    lists += [project["project"]["dependencies"], project["dependency-groups"]["build"]]
    return {re.match(r"[\w-]+", requirement).group() for every in lists for requirement in every}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "extras"),
    [
        ("requirements.lock", ("train", "caption", "web")),
        ("requirements-dev.lock", ("train", "caption", "web", "parquet", "heif", "postgres", "dev")),
    ],
)
def test_the_lock_holds_all_but_torch(name: str, extras: tuple[str, ...]) -> None:
    packages = locked(name)
    assert wanted(*extras) - packages.keys() == {"torch"}
    # What torch itself needs, so that it can be installed without looking for more.
    assert {"filelock", "fsspec", "jinja2", "networkx", "setuptools", "sympy", "typing-extensions"} <= packages.keys()
    assert not [package for package in packages if package.startswith(("torch", "nvidia", "triton", "cuda", "opencv"))]


def test_the_lock_names_no_place() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "://" not in text
        assert not re.search(r"^--|find-links|index-url", text, re.MULTILINE)


def test_both_locks_agree() -> None:
    run_time, development = locked("requirements.lock"), locked("requirements-dev.lock")
    assert {package: development[package] for package in run_time} == run_time


def test_torch_is_pinned_alike_everywhere() -> None:
    start = (ROOT / "start.py").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (pinned,) = re.findall(r'^TORCH = "(\d+\.\d+)\.\d+"', start, re.MULTILINE)
    (described,) = project["tool"]["uv"]["dependency-metadata"]
    assert described["version"].startswith(pinned + ".")
    assert f"torch>={pinned},<2.14" in project["project"]["optional-dependencies"]["train"]
    assert f"torch=={described['version']}" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


# What is tested in a browser


def test_no_browser_waits_with_an_evaluated_string() -> None:
    """The policy of the pages forbids ``eval``, by which playwright asks again: such a wait passes or fails by luck."""
    waits = "wait_for_" + "function"
    files = [file for room in ("tests", "bench") for file in (ROOT / room).rglob("*.py")]
    assert [str(file) for file in files if waits in file.read_text(encoding="utf-8")] == []


def test_no_browser_is_asked_at_once_for_what_comes_later() -> None:
    """A count right after a click is of the page before its answer or behind it: ``expect`` asks until it holds."""
    at_once = re.compile(
        r"wait_for_timeout|sync_api import expect|locator\(.*\)\.(count|is_visible|is_hidden|all_inner_texts)\(\)"
    )
    files = (ROOT / "tests" / "web").rglob("test_*.py")
    assert [str(file) for file in files if at_once.search(file.read_text(encoding="utf-8"))] == []


# What is written down


def test_the_exit_codes_are_written_down() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = {name: int(code) for code, name in re.findall(r"^\| (\d+) \| `(\w+)` \|", page, re.MULTILINE)}
    direct: list[type[errors.LorasmithError]] = [errors.LorasmithError, *errors.LorasmithError.__subclasses__()]
    codes = {kind.__name__: kind.exit_code for kind in direct if kind.__module__ == "lorasmith.errors"}
    assert table == codes
    assert len(set(codes.values())) == len(codes)


def test_the_layers_are_written_down_as_they_are_held() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = [set(line.split()) for line in re.findall(r"^\d  ((?:\w+ {0,3})+)(?: {4}.*)?$", page, re.MULTILINE)]
    contract = (ROOT / ".importlinter").read_text(encoding="utf-8").split("layers =\n")[1].split("\n\n")[0]
    assert drawn == [set(re.findall(r"\w+", line)) for line in contract.splitlines()]


def test_the_licence_and_the_version() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert re.fullmatch(r"\d+\.\d+\.\d+", lorasmith.__version__)
    for page in ("CONTRIBUTING.md", "SECURITY.md"):
        assert len((ROOT / page).read_text(encoding="utf-8").splitlines()) <= 60
